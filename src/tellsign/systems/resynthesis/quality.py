"""How good a restored image is: PSNR and SSIM, as super-resolution is judged.

Both are of luma as ITU-R BT.601 stores it, 16 to 235 of 255, without a border of as many pixels as the image
was shrunk by; so is the published state of the art. SSIM is that of Wang, Bovik, Sheikh and Simoncelli,
"Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE Transactions on Image
Processing 13 (2004): windows of 11 x 11 pixels with Gaussian weights of deviation 1.5, K1 = 0.01 and
K2 = 0.03, of which only those count that lie in the image as a whole.

Shapes: B batch, H W pixels of the image, h w of its small form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tellsign.features.residual import FACTOR
from tellsign.types import ImageError, TooSmallError

BT601 = (65.481, 128.553, 24.966)  # of R, G and B in [0, 1]; black is 16
WINDOW, DEVIATION = 11, 1.5
K1, K2 = 0.01, 0.03
LEAST_ERROR = 1e-10  # mean square, PSNR 100 dB: of images that are equal nothing infinite is averaged


class Quality(NamedTuple):
    """Of each image."""

    psnr: Tensor  # (B,) dB
    ssim: Tensor  # (B,) 1 where both are equal


def quality(restored: Tensor, images: Tensor) -> Quality:
    """PSNR and SSIM of luma, without a border of 4 pixels.

    Args:    restored: (B, 3, H, W), clipped to [0, 1] here. images: (B, 3, H, W) in [0, 1].
    Returns: both, float64.
    Raises:  ImageError: the shapes differ. TooSmallError: they are smaller than 19 x 19 pixels.
    """
    if restored.shape != images.shape or images.ndim != 4 or images.shape[1] != 3:
        raise ImageError(
            f"expected two arrays of one shape (B, 3, H, W), found {tuple(restored.shape)} and "
            f"{tuple(images.shape)}"
        )
    least = WINDOW + 2 * FACTOR
    if min(images.shape[-2:]) < least:
        raise TooSmallError(
            f"images of {images.shape[-1]} × {images.shape[-2]} pixels; PSNR and SSIM are taken "
            f"from {least} × {least} on"
        )
    one, other = (luma(each)[:, FACTOR:-FACTOR, FACTOR:-FACTOR] for each in (restored.clamp(0, 1), images))
    return Quality(psnr(one, other), ssim(one, other))


def luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] → (B, H, W) float64, 16 / 255 to 235 / 255."""
    weights = torch.tensor(BT601, dtype=torch.float64, device=images.device)
    return (torch.einsum("c,bchw->bhw", weights, images.double()) + 16) / 255


def psnr(restored: Tensor, planes: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of planes with the peak 1.

    Args:    restored, planes: (B, H, W).
    Returns: (B,) dB, 100 at most.
    """
    errors = (restored - planes).square().mean(dim=(1, 2)).clamp(min=LEAST_ERROR)
    return -10 * errors.log10()


def ssim(restored: Tensor, planes: Tensor) -> Tensor:
    """The structural similarity of planes with the range 1, Wang et al. (2004), eq. 13. Deviates: none.

    Args:    restored, planes: (B, H, W), 11 x 11 pixels or more.
    Returns: (B,), the mean over all windows.
    """
    x, y = restored[:, None], planes[:, None]
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x**2
    variance_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    likeness = likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    return likeness.mean(dim=(1, 2, 3))


def enlarged(small: Tensor, filter: str) -> Tensor:  # noqa: A002
    """A small image at four times its sides by interpolation: what a re-synthesiser has to be better than.

    Args:    small: (B, 3, h, w). filter: "bicubic" (Keys, a = -0.5) or "bilinear".
    Returns: (B, 3, 4h, 4w).
    """
    # Enlarging does without antialiasing, but PyTorch's bicubic without that word is Keys' with a = -0.75.
    return functional.interpolate(
        small, scale_factor=FACTOR, mode=filter, antialias=True, align_corners=False
    )


def _windowed(planes: Tensor) -> Tensor:
    """(B, 1, H, W) → (B, 1, H - 10, W - 10), the weighted mean of each window."""
    steps = torch.arange(WINDOW, dtype=planes.dtype, device=planes.device) - WINDOW // 2
    weights = (-steps.square() / (2 * DEVIATION**2)).exp()
    weights = weights / weights.sum()
    rows = functional.conv2d(planes, weights.view(1, 1, -1, 1))
    return functional.conv2d(rows, weights.view(1, 1, 1, -1))
