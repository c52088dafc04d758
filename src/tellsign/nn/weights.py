"""Tensors of a safetensors file. A pickle is not read, whatever its name, since reading it can run code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def refuse_pickle(path: Path) -> None:
    """Raises ConfigError where a file is pickled, as torch.save writes it: reading it could run code."""
    with path.open("rb") as file:
        start = file.read(9)
    # Behind its length, whose first byte may be that of a pickle, safetensors has its header, in JSON.
    if start.startswith((b"PK\3\4", b"\x80")) and start[8:] != b"{":
        raise ConfigError(
            f"{path} is pickled, and reading a pickle can run code: a pickle under another name is not read; "
            "load it where you trust it and write it with safetensors.torch.save_file"
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Args:    path: of the file.
    Returns: name → tensor.
    Raises:  ConfigError: it is missing, pickled, cut or no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        refuse_pickle(path)
        tensors: dict[str, Tensor] = load_file(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise ConfigError(
            f"{path} cannot be read as safetensors: it is damaged or no safetensors at all ({error})"
        ) from error
    return tensors
