"""What each operation of the service does: faces, people, liveness."""
