"""Photos of people on disk, and LFW with its pairs: what both training and evaluation read."""
