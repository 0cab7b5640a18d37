"""What the detector and the recogniser both stand on, and that knows nothing of faces."""
