"""Names → converters: functions from the folder of a published data set to its manifest.

A converter is `function(root, *, warn, **options) -> Manifest`: it alone knows which files are real, which
belong together and what the official splits are. Options are texts, as the command line gives them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data.convert.trees import Warn, check_groups, unheard
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from tellsign.data.manifest import Manifest

__all__ = ["CONVERTERS", "convert", "converter", "names"]

CONVERTERS = {
    "faceforensics": "tellsign.data.convert.faceforensics:faceforensics",
    "celeb-df-v1": "tellsign.data.convert.celeb_df:celeb_df_v1",
    "celeb-df-v2": "tellsign.data.convert.celeb_df:celeb_df_v2",
    "dfdc": "tellsign.data.convert.dfdc:dfdc",
    "dfdc-preview": "tellsign.data.convert.dfdc:dfdc_preview",
    "dfwild-cup": "tellsign.data.convert.dfwild_cup:dfwild_cup",
    "faces-hq": "tellsign.data.convert.faces:faces_hq",
    "celeba": "tellsign.data.convert.celeba:celeba",
    "celeba-hq": "tellsign.data.convert.celeba:celeba_hq",
    "ffhq": "tellsign.data.convert.faces:ffhq",
    "lsun": "tellsign.data.convert.faces:lsun",
    "cnndetection": "tellsign.data.convert.cnndetection:cnndetection",
    "folder": "tellsign.data.convert.plain:folder",
    "csv": "tellsign.data.convert.plain:csv",
}
ENTRY_POINTS = "tellsign.converters"


def names() -> dict[str, str]:
    """Name → first line of the docstring of every converter, entry points included; or why one is broken."""
    found = {}
    for name in sorted({*CONVERTERS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))}):
        try:
            found[name] = (inspect.getdoc(converter(name)) or "").partition("\n")[0]
        except ConfigError as error:
            found[name] = " ".join(str(error).split())
    return found


def converter(name: str) -> Callable[..., Manifest]:
    """The converter of a data set.

    Args:    name: as in `CONVERTERS`, or of an entry point of the group `tellsign.converters`.
    Returns: the function.
    Raises:  ConfigError: there is none of that name, its package is missing, or it can't be loaded.
    """
    others = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    try:
        if name in CONVERTERS:
            module, attribute = CONVERTERS[name].split(":")
            found: Callable[..., Manifest] = getattr(import_module(module), attribute)
            return found
        if name in others:
            return _loaded(others[name])
    except ModuleNotFoundError as error:
        raise ConfigError(f"the converter {name!r} needs {error.name}, which is not installed") from error
    raise ConfigError(f"no converter {name!r}; there are {', '.join([*CONVERTERS, *others])}")


def _loaded(entry: EntryPoint) -> Callable[..., Manifest]:
    """The converter of another package, whose code may raise whatever it likes."""
    try:
        loaded: Callable[..., Manifest] = entry.load()
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the converter {entry.name!r} can't be loaded: {type(error).__name__}: {error}; mend or remove "
            "the package that brings it"
        ) from error
    return loaded


def convert(name: str, root: Path | str, /, *, warn: Warn = unheard, **options: str) -> Manifest:
    """The manifest of a published data set, from its folder as it is downloaded.

    Args:    name: of the data set, see `names`.
             root: its folder.
             warn: called with each thing that is worth knowing but no error, as a sentence.
             options: of the converter, as texts.
    Returns: the samples, labelled, grouped and, where there are official splits, split.
    Raises:  ConfigError: an option is unknown or has a value that it can't have.
             ManifestError: the folder is not laid out as expected, or contradicts itself.
    """
    function = converter(name)
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "warn"]
    fixed = {p.name for p in parameters} - set(known)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if unknown := sorted(key for key in options if key in fixed or (key not in known and not takes_any)):
        raise ConfigError(
            f"the converter {name!r} has no option {unknown[0]!a}; it has {', '.join(known) or 'none'}"
        )
    manifest = function(Path(root), warn=warn, **options)
    # Converters check this themselves; those of others may not.
    if not manifest:
        raise ManifestError(f"the converter {name!r} found nothing in {str(root)!a}")
    check_groups(manifest.samples)
    return manifest
