"""PASCAL VOC annotations: read, written, paired with images, by one rule for every command."""
