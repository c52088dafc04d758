"""What is said when memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.engine.checkpoint import AGAIN, what_is_left
from tellsign.types import ResourceError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tellsign.engine.config import TrainingConfig

# In PyTorch's messages; the last is of CUDA's own libraries.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "_ALLOC_FAILED")


@contextmanager
def memory_errors_explained(what: str, rest: Callable[[], str]) -> Iterator[None]:
    """Raises ResourceError in place of what PyTorch and Python raise when memory does not suffice.

    Args:    what: was being done.
             rest: says, once it has happened, what is left and what to do.
    Raises:  ResourceError: memory did not suffice in the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(text in str(error) for text in NO_MEMORY):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResourceError(f"out of memory {what} ({reason}): {rest()}") from error


def training_memory_explained(run: Path, config: TrainingConfig) -> AbstractContextManager[None]:
    """`memory_errors_explained` for the steps of a training.

    Args:    run: its folder. config: of it.
    Returns: a context manager.
    """
    return memory_errors_explained(
        f"with batch_size = {config.batch_size} in {config.precision}",
        lambda: (
            f"{what_is_left(run)}. Make memory free, or spread the same batch over several GPUs by torchrun, "
            f"and {AGAIN}; a smaller batch_size is another training, which needs another folder"
        ),
    )
