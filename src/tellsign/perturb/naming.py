"""Perturbations by name: `jpeg:75`, `fake@equalise:gain.safetensors`, `combined:p=1`.

A name is an operation with its parameters behind colons, positional ones first, and before it the class that
is perturbed where it is not both. The canonical name leaves out what is the default.

Shapes: H W pixels; an image is (3, H, W) float32 sRGB in [0, 1].
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin, get_type_hints

import numpy as np

from tellsign.perturb.chains import Combined, Platform
from tellsign.perturb.equalise import Equalise
from tellsign.perturb.operations import (
    Blur,
    Crop,
    Jpeg,
    Noise,
    Operation,
    Resize,
    Screenshot,
    Untouched,
    Webp,
    check_pixels,
    round_to_levels,
)
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Classes = Literal["both", "fake", "real"]

OPERATIONS: dict[str, type[Any]] = {
    "none": Untouched,
    "combined": Combined,
    "crop": Crop,
    "blur": Blur,
    "jpeg": Jpeg,
    "noise": Noise,
    "resize": Resize,
    "webp": Webp,
    "platform": Platform,
    "screenshot": Screenshot,
    "equalise": Equalise,
}

AT_LEVELS = (Jpeg, Webp, Platform, Equalise)  # whose results are at 8-bit levels already

_SUITE = (
    "none",
    "combined",
    *(f"crop:{fraction}" for fraction in (0.05, 0.1, 0.2)),
    *(f"blur:{kernel}" for kernel in (3, 5, 9)),
    *(f"jpeg:{quality}" for quality in (90, 75, 50, 30, 10)),
    *(f"noise:{variance}" for variance in (5, 10, 20)),
    *(f"resize:{factor}" for factor in (0.75, 0.5, 0.25)),
    *(f"webp:{quality}" for quality in (80, 50)),
    *("platform:1080", "platform:1080:40", "platform:512", "platform:512:40"),
    *("screenshot", "screenshot:jpeg=75"),
)


@dataclass(frozen=True, slots=True)
class Perturbation:
    """An operation, and the class of images that it is done to."""

    name: str  # canonical: `parse(name)` gives an equal perturbation
    operation: Operation  # what is done
    classes: Classes = "both"  # to which images

    @property
    def identity(self) -> str:
        """The name, and the digest of the file that it names, if any: what a cache goes by."""
        digest = getattr(self.operation, "digest", "")
        return f"{self.name}@{digest[:12]}" if digest else self.name

    def touches(self, label: int | None) -> bool:
        """Whether images of a label are perturbed.

        Args:    label: 0 real, 1 fake, None unknown.
        Returns: True where `apply` is meant for them; the others stay as they are.
        Raises:  ConfigError: the label is unknown, and one class only is meant.
        """
        if self.classes == "both":
            return True
        if label is None:
            raise ConfigError(
                f"{self.name} is for images that are {self.classes}, and one has no label; give labels, or "
                "perturb both classes"
            )
        return label == {"real": REAL, "fake": FAKE}[self.classes]

    def steps(self, *, key: str, seed: int = 0) -> tuple[str, ...]:
        """What an image gets, in order, with the parameters that are drawn for it.

        Args:    key, seed: as for `apply`.
        Returns: names of single operations; empty where nothing is done.
        """
        if isinstance(self.operation, Combined):
            return tuple(_text(drawn) for drawn in self.operation.drawn(self._generator(key, seed)))
        return () if isinstance(self.operation, Untouched) else (_text(self.operation),)

    def apply(self, image: NDArray[np.floating[Any]], *, key: str, seed: int = 0) -> NDArray[np.float32]:
        """An image after the perturbation, at 8-bit levels: what a lossless file of it would hold.

        All that is random comes from a hash of seed, key and name (without the class), so that every
        detector sees the same pixels, in any order and on any number of workers. `none`, and `combined` where
        it draws no operation, leave the pixels as they are, without rounding. A new array, or `image` itself
        where nothing is done to it; it is never written to.

        Args:    image: (3, H, W) in [0, 1]. `touches` says whether its class is meant.
                 key: names the image, as the SHA-256 of its file does.
                 seed: another one gives other draws.
        Returns: (3, H', W') float32 in [0, 1].
        Raises:  ImageError: the array is no image, or the operation has no room for it.
        """
        check_pixels(image)
        source = image.astype(np.float32, copy=False)
        result = self.operation.apply(source, self._generator(key, seed))
        if isinstance(self.operation, AT_LEVELS):
            return result
        if result is source:
            if not self.steps(key=key, seed=seed):
                return source
            result = source.copy()  # an operation with nothing to do, as on one pixel: still a file of 8 bits
        round_to_levels(result)
        return result

    def _generator(self, key: str, seed: int) -> np.random.Generator:
        text = "\0".join((str(seed), key, self.name.removeprefix(f"{self.classes}@")))
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))


def suite() -> tuple[str, ...]:
    """The names of the standard perturbations, each operation at graded strengths, `none` first."""
    return _SUITE


def parse(text: str, *, folder: Path | None = None) -> Perturbation:
    """The perturbation of a name.

    Args:    text: [CLASS@]OPERATION[:PARAMETER…], as in docs/perturbations.md.
             folder: of a relative file that is named; None: the working directory.
    Returns: the perturbation, its name made canonical; a file in it stays as it is written.
    Raises:  ConfigError: there is no such operation or class, or a parameter is missing, unknown or out of
             range; the message lists what exists.

    Example:
        >>> parse("jpeg:quality=75").name, parse("both@crop:0.10:position=centre").name
        ('jpeg:75', 'crop:0.1')
        >>> parse("fake@noise:10").classes
        'fake'
    """
    head, colon, rest = text.partition(":")
    classes, at, name = head.rpartition("@")
    if at and classes not in get_args(Classes):
        raise ConfigError(
            f"perturbation {text!r}: before @ stands the class that is perturbed, one of "
            f"{', '.join(get_args(Classes))}; found {classes!r}"
        )
    if name not in OPERATIONS:
        raise ConfigError(f"there is no perturbation {name!r}; there are {', '.join(usages())}")
    try:
        arguments = _arguments(name, _words(name, rest) if colon else [])
        # The name keeps the file as it is written, since a folder of this machine is no part of it.
        own = {key: value for key, value in arguments.items() if key == "file"}
        placed = {key: str(folder / value) for key, value in own.items()} if folder is not None else {}
        operation = OPERATIONS[name](**(arguments | placed))
    except ConfigError as error:
        raise ConfigError(f"perturbation {text!r}: {error}; it is written {usage(name)}") from None
    chosen = cast("Classes", classes or "both")
    prefix = "" if chosen == "both" else f"{chosen}@"
    return Perturbation(prefix + _text(operation, own), operation, chosen)


def usage(name: str) -> str:
    """How an operation is written, with its parameters in capitals and what can be left out in brackets.

    Args:    name: one of OPERATIONS.
    Returns: as `crop:FRACTION[:centre|random]`.
    """
    text = name
    for parameter in _parameters(name):
        values = {bool: _word(parameter.name)}.get(parameter.type, parameter.name.upper())
        if get_origin(parameter.type) is Literal:
            values = "|".join(get_args(parameter.type))
        elif get_origin(parameter.type) is tuple:
            values = "QUALITY-QUALITY…"
        piece = f":{parameter.name}={values}" if parameter.keyed else f":{values}"
        text += piece if parameter.needed else f"[{piece}]"
    return text


def usages() -> tuple[str, ...]:
    """How each operation is written."""
    return tuple(usage(name) for name in OPERATIONS)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A field of an operation, as it stands in a name."""

    name: str
    type: Any  # int, float, bool, str, a Literal of texts, or a tuple of int
    keyed: bool  # written NAME=VALUE
    default: Any

    @property
    def needed(self) -> bool:
        return self.default is dataclasses.MISSING


@cache
def _parameters(name: str) -> tuple[_Parameter, ...]:
    form = OPERATIONS[name]
    hints = get_type_hints(form)
    found = []
    for each in dataclasses.fields(form):
        if each.init:
            hint = hints[each.name]
            if isinstance(hint, types.UnionType):  # a type or None
                (hint,) = (member for member in get_args(hint) if member is not types.NoneType)
            found.append(_Parameter(each.name, hint, bool(each.kw_only), each.default))
    return tuple(found)


def _words(name: str, rest: str) -> list[str]:
    if OPERATIONS[name] is not Equalise:
        return rest.split(":")
    flag = f":{_word('per_image')}"  # the name of a file may have colons in it
    return [rest.removesuffix(flag), flag[1:]] if rest.endswith(flag) else [rest]


def _arguments(operation: str, words: list[str]) -> dict[str, Any]:
    parameters = {parameter.name: parameter for parameter in _parameters(operation)}
    places = [parameter for parameter in parameters.values() if not parameter.keyed]
    found: dict[str, Any] = {}
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if equals and OPERATIONS[operation] is not Equalise:
            if name not in parameters:
                raise ConfigError(f"no parameter {name!r}")
            parameter = parameters[name]
        elif place < len(places):
            parameter, value = places[place], word
        else:
            raise ConfigError(f"{word!r} is one parameter too many")
        if parameter.name in found:
            raise ConfigError(f"{parameter.name} is given twice")
        found[parameter.name] = _value(parameter, value)
    if missing := [name for name, parameter in parameters.items() if parameter.needed and name not in found]:
        raise ConfigError(f"{missing[0]} is missing")
    return found


def _value(parameter: _Parameter, text: str) -> Any:
    kind = parameter.type
    if kind is bool:
        if text != _word(parameter.name):
            raise ConfigError(f"expected {_word(parameter.name)!r} or nothing, found {text!r}")
        return True
    if kind is str:
        return text
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ConfigError(f"{parameter.name} is one of {', '.join(get_args(kind))}, found {text!r}")
        return text
    try:
        if get_origin(kind) is tuple:
            return tuple(int(part) for part in text.split("-"))
        return kind(text)
    except ValueError:
        expected = "a number" if kind is float else "a whole number"
        raise ConfigError(f"{parameter.name} is {expected}, found {text!r}") from None


def _text(operation: Operation, own: Mapping[str, str] | None = None) -> str:
    """The canonical name of an operation, with its own texts in place of some values."""
    operation_name = next(name for name, form in OPERATIONS.items() if form is type(operation))
    parts = [operation_name]
    in_place = True
    for parameter in _parameters(operation_name):
        value = (own or {}).get(parameter.name, getattr(operation, parameter.name))
        if not parameter.needed and value == parameter.default:
            in_place = False  # what follows cannot be told by its place
            continue
        written = _word(parameter.name) if parameter.type is bool else _written(value)
        parts.append(written if in_place and not parameter.keyed else f"{parameter.name}={written}")
    return ":".join(parts)


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else repr(value)
    return str(value)


def _word(name: str) -> str:
    return name.replace("_", "-")
