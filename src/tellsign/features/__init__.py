"""Features as pure array maths, for NumPy arrays and PyTorch tensors alike; each module names its paper."""
