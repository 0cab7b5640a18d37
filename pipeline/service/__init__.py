"""The pipeline as a service without a transport; `pipeline.stdio.server` and `pipeline.http` adapt it."""
