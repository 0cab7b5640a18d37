"""Presentation attacks: is this a face, or a picture of one?

`passive` looks at the pixels of one moment, `challenge` asks for movements and watches them.
"""
