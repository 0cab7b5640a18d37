"""Hiding faces in films: whose, and where they are on every frame."""
