"""Image files: found, read whatever they are, turned upright, written."""
