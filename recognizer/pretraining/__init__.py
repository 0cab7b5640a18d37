"""Training an embedder from a larger one: how the shipped `mini` was made."""
