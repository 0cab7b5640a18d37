"""people.db: who is known, on disk; whole under kill -9, portable, and forgotten for good."""
