"""Films: read frame by frame as players show them, and written with their sound."""
