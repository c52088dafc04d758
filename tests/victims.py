"""Small differentiable detectors whose weaknesses are known, to be attacked.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import numpy as np
import torch

SIZE = 8  # pixels


class Linear(torch.nn.Module):
    """Pixels · weights: the best attack is eps against the weights' signs, up to the limits of [0, 1]."""

    def __init__(self, seed: int = 0, size: int = SIZE, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        weights = np.random.default_rng(seed).normal(size=(3, size, size))
        self.register_buffer("weights", torch.from_numpy(weights).to(dtype))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images * self.weights).sum(dim=(1, 2, 3))


class Wrapped(torch.nn.Module):
    """A linear detector whose score goes through a function."""

    def __init__(self, function, seed: int = 0) -> None:
        super().__init__()
        self.inner, self.function = Linear(seed), function
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.function(self.inner(images))


def network(seed: int = 0, outputs: int = 1) -> torch.nn.Module:
    """A small convolutional network, (B, 3, SIZE, SIZE) → (B,), or (B, outputs) where outputs is above 1."""
    torch.manual_seed(seed)
    layers = [
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.SiLU(),
        torch.nn.Conv2d(8, 8, 3, stride=2, padding=1),
        torch.nn.SiLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * (SIZE // 2) ** 2, outputs),
    ]
    if outputs == 1:
        layers.append(torch.nn.Flatten(0))
    return torch.nn.Sequential(*layers).double().eval()


def pictures(n: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """(n, 3, size, size) float32 on levels of 8 bits, the darkest and the lightest among them."""
    levels = np.random.default_rng(seed).integers(256, size=(n, 3, size, size))
    levels[:, :, 0, 0], levels[:, :, 0, 1] = 0, 255
    return (levels / 255).astype(np.float32)


def scores_of(module: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """(B,) float64."""
    with torch.no_grad():
        return module(torch.from_numpy(images).double()).numpy()
