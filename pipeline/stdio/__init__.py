"""The service as a child process: requests on stdin, answers on stdout."""
