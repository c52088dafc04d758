"""A generator of somebody else's making, named on the command line: `--module package.module:name`.

To import a module runs its code, so that the name is taken from the command line alone, never from a
configuration or an artifact. `name` is an `nn.Module`, or a function without arguments that makes one, with
its weights, and with two methods:

    latents(n, rng)    n latents in a tensor (n, ...), drawn by the `torch.Generator` rng on the CPU
    images(latents)    (B, 3, S, S) in [0, 1], differentiable by the module's parameters

Whether images are in [0, 1], and have a gradient, is measured before anything is learnt, and never guessed.

Shapes: B batch, S side of an image.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn

from tellsign.generators.gan import SMALLEST
from tellsign.generators.luma import SLACK
from tellsign.types import ConfigError, TellsignError

if TYPE_CHECKING:
    from torch import Tensor

N_MEASURED = 64  # images of which the range is measured
NARROW = 0.25  # range of values of all images, below which something is wrong with them
METHODS = ("latents", "images")


class ImageGenerator(Protocol):
    """What is asked of a generator."""

    def latents(self, n: int, rng: torch.Generator) -> Tensor:
        """What n images are made from: (n, ...)."""

    def images(self, latents: Tensor) -> Tensor:
        """(B, ...) → (B, 3, S, S) in [0, 1]."""


def imported(target: str) -> nn.Module:
    """The generator at an import path; the working directory is looked in first, as Python does.

    Args:    target: package.module:name.
    Returns: the module.
    Raises:  ConfigError: there is no such module or name, importing it fails, or it is no generator.
    """
    place, colon, name = target.partition(":")
    if not colon or not place or not name:
        raise ConfigError(f"--module takes package.module:name, found {target!r}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
        if not isinstance(found, nn.Module):
            found = found()
    except TellsignError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody else's code raises, or a script that ends
        raise ConfigError(
            f"--module {target} cannot be imported ({type(error).__name__}: {error}); it is looked for in "
            f"{here} and among the installed packages"
        ) from error
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if not isinstance(found, nn.Module) or missing:
        lacks = f"lacks {' and '.join(missing)}" if missing else "is no nn.Module"
        raise ConfigError(
            f"--module {target} is a {type(found).__name__} and {lacks}; a generator is an nn.Module with "
            "the methods latents(n, rng) and images(latents)"
        )
    return found


def image_generator(network: nn.Module) -> ImageGenerator:
    """A network by the two methods that `imported` has found in it."""
    return cast("ImageGenerator", network)


def measured_size(network: nn.Module, *, name: str, seed: int = 0) -> int:
    """The side of a generator's images, once it is known that they are images in [0, 1].

    Args:    network: with the two methods, in any mode, on the CPU.
             name: of it, for messages. seed: of the latents.
    Returns: S.
    Raises:  ConfigError: it gives something else; what was measured is told.
    """
    rng = torch.Generator().manual_seed(seed)
    own = image_generator(network)
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        # No inference mode: a module that keeps something of what it computes could not be trained after it.
        with torch.no_grad():
            parts = [own.images(_latents(own, 8, rng, name)) for _ in range(N_MEASURED // 8)]
        images = torch.cat(parts)
    except TellsignError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        raise ConfigError(
            f"{name} cannot make images ({type(error).__name__}: {error}); images(latents(n, rng)) should "
            "give (n, 3, S, S)"
        ) from error
    finally:
        for part, mode in modes:
            part.training = mode
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[0] != N_MEASURED or shape[1] != 3 or shape[2] != shape[3]:
        raise ConfigError(f"{name} gives {shape} for {N_MEASURED} images, expected ({N_MEASURED}, 3, S, S)")
    if shape[-1] < SMALLEST:
        raise ConfigError(
            f"{name} gives images of {shape[-1]} pixels a side, of which a spectrum says nothing; expected "
            f"{SMALLEST} or more"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= -SLACK and high <= 1 + SLACK):  # also where one is no number
        raise ConfigError(
            f"the {N_MEASURED} images of {name} that were measured have values from {low:.3g} to {high:.3g}, "
            "expected [0, 1]: where its last layer is a tanh, images() gives (x + 1) / 2; where values are "
            "levels, x / 255"
        )
    if high - low < NARROW:
        raise ConfigError(
            f"the {N_MEASURED} images of {name} that were measured have values from {low:.3g} to {high:.3g} "
            "alone, which is nearly one grey: are its weights loaded, and are its values in [0, 1]?"
        )
    return shape[-1]


def require_gradient(network: nn.Module, *, name: str, seed: int = 0) -> None:
    """See to it that a generator can learn from its images, before anything is trained in vain.

    Args:    network: with the two methods, in the mode that it is trained in, on the CPU.
             name: of it, for messages. seed: of the latents.
    Raises:  ConfigError: its images have no gradient to any parameter that is to be trained.
    """
    own = image_generator(network)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        images = own.images(_latents(own, 2, torch.Generator().manual_seed(seed), name))
    found: tuple[Tensor | None, ...] = ()
    if trained and images.requires_grad:
        found = torch.autograd.grad(images.square().sum(), trained, allow_unused=True)
    if not any(gradient is not None and bool(gradient.any()) for gradient in found):
        raise ConfigError(
            f"the images of {name} have no gradient to any of its {len(trained)} parameters with "
            "requires_grad, so that nothing would be learnt: take torch.no_grad, detach and .data out of "
            "images(), and set requires_grad where it is off"
        )


def _latents(own: ImageGenerator, n: int, rng: torch.Generator, name: str) -> Tensor:
    found: Any = own.latents(n, rng)
    if not isinstance(found, torch.Tensor) or found.ndim < 1 or len(found) != n:
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ConfigError(f"latents({n}, rng) of {name} gives {shape}, expected a tensor ({n}, ...)")
    return found
