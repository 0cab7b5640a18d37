"""Who was in a film, when, and how sure that is."""
