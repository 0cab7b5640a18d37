"""A library of faces: what was found in many photos and films, looked at once and asked often."""
