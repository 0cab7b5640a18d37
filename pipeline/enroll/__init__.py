"""From photos of a person to samples."""
