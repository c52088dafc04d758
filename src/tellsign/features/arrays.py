"""What the array API leaves open between NumPy arrays and PyTorch tensors. PyTorch is never imported here."""

from __future__ import annotations

import sys
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


def sum_of_squares(a: Any, b: Any, constant: float = 0.0) -> Any:
    """The sum a * a + b * b + constant, in few passes over the memory where PyTorch can."""
    if isinstance(a, np.ndarray):
        found = a * a + b * b
        return found + constant if constant else found
    found = (a * a).addcmul_(b, b)
    return found.add_(constant) if constant else found


def unwatched(x: Any) -> Any:
    """The same memory as a NumPy array, where nobody has to know what is computed of it.

    NumPy and SciPy are several times as fast as what PyTorch can differentiate and export.

    Args:    x: NumPy array or PyTorch tensor.
    Returns: a NumPy array; None for a tensor that lies on a GPU, that a gradient is taken of, or whose use is
             being traced, compiled or exported.
    """
    if isinstance(x, np.ndarray):
        return x
    torch = sys.modules["torch"]
    # What is no plain tensor stands for one: while a network is exported, under torch.func.
    if type(x) is not torch.Tensor or x.device.type != "cpu" or (x.requires_grad and torch.is_grad_enabled()):
        return None
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    try:
        return x.detach().numpy()
    except RuntimeError:  # torch.func wraps tensors in ones of the same type, that have no memory
        return None


def like(found: Any, x: Any) -> Any:
    """A NumPy array as x is one, or as a tensor that shares its memory."""
    return found if isinstance(x, np.ndarray) else sys.modules["torch"].from_numpy(found)
