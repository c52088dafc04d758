"""A network over a large image, window by window, so that memory is that of a window.

Windows overlap by as much as a result sees to either side. At the border of the image a window ends with it,
so that what a convolution pads there is padded as of the whole: nothing but the rounding of sums differs.

Shapes: B batch, C D channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tellsign.types import ConfigError

SIDE = 512  # of a tile in pixels of the image, without its margin
Scale = tuple[int, int]  # up and down: how a side of a result compares with that of the images


def tiled(
    function: Callable[..., Sequence[Tensor]],
    images: Sequence[Tensor],
    *,
    side: int,
    margin: int,
    scales: Sequence[Scale],
) -> list[Tensor]:
    """A function of whole images, from parts of them.

    Args:    function: images (B, C, H, W) → results (B, D, up H / down, up W / down), each number of them
             from no more than `margin` pixels around its own.
             images: (B, C, H, W) each, of one size, H and W multiples of each `down`.
             side: of a tile in pixels, a multiple of each `down`.
             margin: pixels to each side; rounded up to a multiple of each `down`.
             scales: up and down of each result, powers of two.
    Returns: the results.
    Raises:  ConfigError: side or margin don't do.
    """
    coarsest = max(down for _, down in scales)
    if side < coarsest or side % coarsest or margin < 0:
        raise ConfigError(
            f"a tile has a side of a multiple of {coarsest} pixels and a margin of 0 or more, found {side} "
            f"and {margin}"
        )
    margin += -margin % coarsest
    height, width = images[0].shape[-2:]
    found: list[Tensor] = []
    for top, bottom in _parts(height, side):
        for left, right in _parts(width, side):
            row, column = max(0, top - margin), max(0, left - margin)
            results = function(*(one[..., row : bottom + margin, column : right + margin] for one in images))
            for number, (result, (up, down)) in enumerate(zip(results, scales, strict=True)):
                if number == len(found):
                    shape = (*result.shape[:-2], height * up // down, width * up // down)
                    found.append(torch.empty(shape, dtype=result.dtype, device=result.device))
                found[number][..., _scaled(top, bottom, up, down), _scaled(left, right, up, down)] = result[
                    ...,
                    _scaled(top - row, bottom - row, up, down),
                    _scaled(left - column, right - column, up, down),
                ]
    return found


def _parts(length: int, side: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, side):
        yield start, min(start + side, length)


def _scaled(start: int, stop: int, up: int, down: int) -> slice:
    return slice(start * up // down, stop * up // down)
