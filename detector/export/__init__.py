"""A checkpoint becomes ONNX, TorchScript and .pt2, published only after parity."""
