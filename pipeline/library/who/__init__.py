"""Who is who among faces: grouping, decisions about it, and names."""
