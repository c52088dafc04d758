"""Torch layers and networks that two systems share, nothing else. They need the `train` extra."""
