"""An attack as text, as a record, and carried out on a batch.

    none                       the images as they are
    fgsm:0.01                  one step of eps
    pgd:0.02,steps=40          projected gradient descent; also step=, restarts=
    apgd:0.02                  Auto-PGD with cross-entropy; also steps=, restarts=
    square:0.03,queries=1000   random search, needs no gradient

Every one also takes quantise=false. The first value may be named, pgd:eps=0.02, and be a fraction, pgd:2/255.

Shapes: B batch, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from tellsign.perturb.attacks.score import (
    INSTALL,
    check_batch,
    check_count,
    check_eps,
    content_keys,
    device_and_type,
    is_module,
    module_score,
    streams,
)
from tellsign.perturb.attacks.square import square
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.perturb.attacks.score import ArrayScore, Labels
    from tellsign.types import FloatArray

Kind = Literal["none", "fgsm", "pgd", "apgd", "square"]

# Kind → its options and their defaults; eps has none. None of step: 2.5 eps / steps.
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "fgsm": {"eps": None, "quantise": True},
    "pgd": {"eps": None, "steps": 40, "step": None, "restarts": 1, "quantise": True},
    "apgd": {"eps": None, "steps": 100, "restarts": 1, "quantise": True},
    "square": {"eps": None, "queries": 1000, "quantise": True},
}
EXAMPLE = "write none, fgsm:0.01, pgd:0.02,steps=40, apgd:0.02 or square:0.03,queries=1000"
WORDS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack with its settings. What a kind doesn't have is None."""

    kind: Kind
    eps: float | None = None  # largest change of a pixel value in [0, 1]
    steps: int | None = None  # of each restart
    step: float | None = None  # size of one in pixel values; None: 2.5 eps / steps
    restarts: int | None = None
    queries: int | None = None  # scores asked for each image
    quantise: bool | None = None  # round to levels of 8 bits, since a file can hold no others

    def __post_init__(self) -> None:
        if self.kind not in OPTIONS:
            raise ConfigError(f"no attack {self.kind!r}; {EXAMPLE}")
        options = OPTIONS[self.kind]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "kind" or (value is None and field.name not in options):
                continue
            if field.name not in options:
                raise ConfigError(
                    f"{self.kind} has no option {field.name!r}; it has {', '.join(options) or 'none'}"
                )
            if value is None:
                value = options[field.name]
                object.__setattr__(self, field.name, value)
            _check_option(self.kind, field.name, value)

    @property
    def name(self) -> str:
        """The text of this attack; two that do the same have one name. Defaults are left out."""
        parts = [
            text if option == "eps" else f"{option}={text}"
            for option, default in OPTIONS[self.kind].items()
            if (value := getattr(self, option)) != default
            for text in (_text(value),)
        ]
        return f"{self.kind}:{','.join(parts)}" if parts else self.kind

    @property
    def needs_gradient(self) -> bool:
        """Whether the target must be a differentiable PyTorch module."""
        return self.kind in ("fgsm", "pgd", "apgd")

    def run(
        self,
        target: Any,
        images: FloatArray,
        labels: Labels,
        *,
        threshold: float,
        seed: int,
        keys: Sequence[str] | None = None,
        batch_size: int = 1,
    ) -> FloatArray:
        """Adversarial images.

        Args:    target: an nn.Module, (B, 3, H, W) in [0, 1] → (B,), in evaluation mode; for attacks that
                     need no gradient also a function of arrays with these shapes.
                 images: (B, 3, H, W) float32 in [0, 1].
                 labels: (B,) 0 real, 1 fake.
                 threshold: score from which on an image is called fake.
                 seed: of the run.
                 keys: one an image, from which its random numbers come; None: its pixels.
                 batch_size: images in one call of the target. With 1 an image's result doesn't depend on the
                     others to the last bit; with more only through the rounding of the target.
        Returns: (B, 3, H, W) float32, within eps of the images and in [0, 1].
        Raises:  ConfigError: images, labels, keys or target don't fit, PyTorch is missing, or the target
                     gives NaN or no gradient.
        """
        check_batch(images, labels)
        check_count("batch_size", batch_size)
        images = np.asarray(images, dtype=np.float32)
        if not math.isfinite(threshold):
            raise ConfigError(f"the threshold must be a finite score, found {threshold!r}")
        if not self.eps:  # none, or nothing may change
            return images.copy()
        if keys is None:
            keys = content_keys(images)
        if len(keys) != len(images):
            raise ConfigError(f"keys must name each image: found {len(keys)} keys and {len(images)} images")
        search = self._search(target, threshold)
        labels = np.asarray(labels)
        parts = [
            search(images[at], labels[at], streams(seed, keys[at]))
            for at in (slice(start, start + batch_size) for start in range(0, len(images), batch_size))
        ]
        found = np.concatenate(parts).astype(np.float32)
        return quantised(found, images, self.eps) if self.quantise else found

    def _search(self, target: Any, threshold: float) -> Any:
        """(images, labels, rngs) → adversarial images, before they are rounded."""
        if is_module(target):
            _check_module(target)
        if not self.needs_gradient:
            score: ArrayScore = module_score(target) if is_module(target) else target
            given: dict[str, Any] = {"eps": self.eps, "threshold": threshold, "queries": self.queries}
            return lambda images, labels, rngs: square(score, images, labels, rngs=rngs, **given)[0]
        try:
            import torch
        except ModuleNotFoundError as error:
            raise ConfigError(f"the attack {self.name} needs {error.name}; {INSTALL}") from error
        if not is_module(target):
            raise ConfigError(
                f"the attack {self.name} needs gradients, and the target is a {type(target).__name__}, no "
                "PyTorch module; take the module of the detector's system, or the attack square, which only "
                "reads scores"
            )
        from tellsign.perturb.attacks import gradient

        place = device_and_type(target)
        functions: dict[str, Any] = {"fgsm": gradient.fgsm, "pgd": gradient.pgd, "apgd": gradient.apgd_ce}
        options = {name: getattr(self, name) for name in OPTIONS[self.kind] if name != "quantise"}

        def search(images: FloatArray, labels: Labels, rngs: list[np.random.Generator]) -> FloatArray:
            x = torch.from_numpy(images).to(**place)
            y = torch.from_numpy(labels).to(place["device"])
            chance = {} if self.kind == "fgsm" else {"rngs": rngs}
            found = functions[self.kind](target, x, y, threshold=threshold, **options, **chance)
            return np.asarray(found.images.double().cpu().numpy())

        return search


def parse(text: str) -> Attack:
    """The attack that a text describes.

    Args:    text: as at the head of this module.
    Returns: the attack.
    Raises:  ConfigError: there is no such attack or option, or a value is out of range.

    Example:
        >>> parse("pgd:eps=0.020,steps=40").name
        'pgd:0.02'
    """
    kind, separator, rest = text.strip().partition(":")
    if kind not in OPTIONS:
        raise ConfigError(f"no attack {text!r}; {EXAMPLE}")
    options: dict[str, Any] = {}
    for index, part in enumerate(rest.split(",") if separator else []):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and index == 0:
            name, value = "eps", name
        if name in options:
            raise ConfigError(f"the attack {text!r} says {name} twice")
        if name not in OPTIONS[kind]:
            known = ", ".join(OPTIONS[kind]) or "none"
            raise ConfigError(f"the attack {text!r} has {part.strip()!r}; options of {kind} are: {known}")
        options[name] = _value(name, value, text)
    return Attack(cast("Kind", kind), **options)


def quantised(adversarial: FloatArray, images: FloatArray, eps: float) -> FloatArray:
    """Adversarial images on the 256 levels that a file of 8 bits can hold, still within eps.

    No level farther than eps from the image is taken, so that from an image of 8 bits the effective eps is a
    whole number of levels: 0.01 (2.55 levels) becomes 2/255.

    Args:    adversarial, images: (B, 3, H, W) in [0, 1].
             eps: largest change of a pixel value.
    Returns: (B, 3, H, W) float32.
    Raises:  ConfigError: an image lies between levels and eps reaches none.
    """
    # With room for rounding, so that float32 images count as the levels they were decoded from.
    own, reach = 255 * images.astype(np.float64), 255 * eps + 1e-4
    low, high = np.ceil(np.maximum(own - reach, 0)), np.floor(np.minimum(own + reach, 255))
    if (low > high).any():
        raise ConfigError(
            f"eps {eps:g} is {255 * eps:.2g} levels of 255, and the images lie between levels, so that none "
            "is within reach; round the images first, or say quantise=false"
        )
    levels = np.clip(np.rint(255 * adversarial.astype(np.float64)), low, high)
    return np.asarray(levels / 255, dtype=np.float32)


def _check_option(kind: str, name: str, value: Any) -> None:
    if name == "eps":
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ConfigError(f"the attack {kind} needs an eps between 0 and 1, found {value!r}; {EXAMPLE}")
        check_eps(value)
    elif name == "quantise":
        if not isinstance(value, bool):
            raise ConfigError(f"quantise is true or false, found {value!r}")
    elif name == "step":
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, float) or not 0 < value <= 1
        ):
            raise ConfigError(f"step is a change of pixel values in [0, 1], above 0, found {value!r}")
    else:
        check_count(name, value)


def _check_module(module: Any) -> None:
    training = [name or type(module).__name__ for name, part in module.named_modules() if part.training]
    if training:
        raise ConfigError(
            f"the module is in training mode ({training[0]}), where dropout and batch statistics make an "
            "image's score depend on chance and on its neighbours; call .eval() first"
        )


def _value(name: str, value: str, text: str) -> Any:
    if name == "quantise":
        if value.lower() not in WORDS:
            raise ConfigError(f"the attack {text!r}: quantise is true or false, found {value!r}")
        return WORDS[value.lower()]
    kind = _number if name in ("eps", "step") else int
    try:
        return kind(value)
    except (ValueError, ZeroDivisionError) as error:
        expected = "a number, as 0.01 or 2/255" if kind is _number else "a whole number"
        raise ConfigError(f"the attack {text!r}: {name} is {expected}, found {value!r}; {EXAMPLE}") from error


def _number(value: str) -> float:
    whole, slash, part = value.partition("/")
    return float(whole) / float(part) if slash else float(whole)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).removesuffix(".0")
