"""Face crops -> embeddings -> gallery and classifier head -> names."""
