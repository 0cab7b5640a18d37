"""Faces that nobody has named: kept for some days where it is asked for, grouped, and named."""
