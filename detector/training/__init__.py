"""Training a detector: data, augmentation, the loop, validation, torchrun."""
