"""What the detector and the recognizer both stand on, and that knows nothing of faces."""
