"""What `faces demo` makes and tells: its film, its summary."""
