"""The pipeline as a service without a transport; `pipeline.stdio` and `pipeline.http` adapt it."""
