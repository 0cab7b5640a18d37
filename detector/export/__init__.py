"""A checkpoint becomes ONNX and TorchScript files, published only after parity."""
