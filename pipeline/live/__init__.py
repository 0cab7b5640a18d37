"""The live loop: detect, follow, embed, name, each apart, and the picture drawn."""
