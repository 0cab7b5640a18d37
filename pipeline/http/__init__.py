"""The service over HTTP: FastAPI under uvicorn, with keys and limits."""
