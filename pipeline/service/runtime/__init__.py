"""What the service runs on: batches, limits, jobs, locks, logs, metrics, spans."""
