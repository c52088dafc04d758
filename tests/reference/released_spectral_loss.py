"""The spectral term as it was released with the paper, written from its description.

Nothing is imported from tellsign. The description: profiles of a real and of a generated mini-batch are taken
in NumPy, of tensors cut off from their history, and each is scaled to [0, 1]; the binary cross-entropy has
the real profile as its input and the generated one as its target; the i-th real image goes with the i-th
generated one; and the adversarial loss g becomes g + weight * cross-entropy * g.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from official_profile import official_profile
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def scaled(images: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, K), each between 0 and 1, without a history."""
    rows = []
    for red, green, blue in images.detach().double().numpy():
        row = official_profile(0.2989 * red + 0.5870 * green + 0.1140 * blue)
        rows.append((row - row.min()) / (row.max() - row.min()))
    return torch.from_numpy(np.stack(rows))


def released_loss(adversarial: Tensor, fakes: Tensor, reals: Tensor, *, weight: float) -> Tensor:
    """() the generator's loss with the term."""
    term = functional.binary_cross_entropy(scaled(reals), scaled(fakes))
    return adversarial + weight * term * adversarial
