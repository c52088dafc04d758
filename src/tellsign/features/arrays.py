"""What the array API leaves open between NumPy arrays and PyTorch tensors. PyTorch is never imported here."""

from __future__ import annotations

from typing import Any

import numpy as np

from tellsign.types import ImageError


def namespace(x: Any) -> Any:
    """The array API namespace of a floating-point array.

    Args:    x: NumPy array or PyTorch tensor, float32 or float64.
    Returns: a module with the functions of the array API standard.
    Raises:  ImageError: x is something else.
    """
    if isinstance(x, np.ndarray):
        xp: Any = (
            np  # not array_api_compat.numpy: NumPy 2 needs no wrapper, and importing that one takes 90 ms
        )
    else:
        import array_api_compat

        if not array_api_compat.is_torch_array(x):
            raise ImageError(f"expected a NumPy array or a PyTorch tensor, found {type(x).__name__}")
        xp = array_api_compat.array_namespace(x)
    if x.dtype not in (xp.float32, xp.float64):
        raise ImageError(
            f"expected float32 or float64, found {x.dtype}: convert the array first; values keep their scale"
        )
    return xp


def cast(x: Any, dtype: Any) -> Any:
    """The same values as dtype, without a copy where that is their type already."""
    return x.astype(dtype, copy=False) if isinstance(x, np.ndarray) else x.to(dtype)


def on_cpu(x: Any) -> bool:
    """Whether an array lies in the memory of the CPU."""
    return isinstance(x, np.ndarray) or x.device.type == "cpu"


def sum_of_squares(a: Any, b: Any) -> Any:
    """The sum a * a + b * b, of which PyTorch does the second half in one pass."""
    return a * a + b * b if isinstance(a, np.ndarray) else (a * a).addcmul(b, b)
