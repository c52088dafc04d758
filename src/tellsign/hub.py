"""Names → systems, shipped detectors and generators; nothing else."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tellsign import artifacts
from tellsign.types import ConfigError

DEFAULT_DETECTOR = "spectrum"
SHIPPED = Path(__file__).with_name("shipped")
SYSTEMS = {
    "spectrum": "tellsign.systems.spectrum.system:SpectrumSystem",
    "cae-net": "tellsign.systems.cae_net.system:CaeNetSystem",
    "sfcl-hcmf": "tellsign.systems.sfcl_hcmf.system:SfclHcmfSystem",
    "resynthesis": "tellsign.systems.resynthesis.system:ResynthesisSystem",
    "prnu": "tellsign.systems.baselines.prnu:PrnuSystem",
    "sida": "tellsign.systems.sfcl_hcmf.sida_system:SidaSystem",
    "image": "tellsign.systems.baselines.system:ImageSystem",
    "fft2d": "tellsign.systems.baselines.system:Fft2dSystem",
    "dct2d": "tellsign.systems.baselines.system:Dct2dSystem",
    "gramnet": "tellsign.systems.baselines.system:GramNetSystem",
}
ENTRY_POINTS = "tellsign.systems"


def shipped_detectors() -> dict[str, Path]:
    """Name → folder of the detectors inside the package."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob("*/detector.json"))}


def detector_path(name: str | Path) -> Path:
    """The folder of a detector.

    Args:    name: of a shipped detector, or a path to a folder.
    Returns: the folder.
    Raises:  ConfigError: there is neither; the message lists the names.
    """
    return _folder("detector", name, shipped_detectors())


def shipped_generators() -> dict[str, Path]:
    """Name → folder of the generators inside the package."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob("generators/*/detector.json"))}


def generator_path(name: str | Path) -> Path:
    """The folder of a generator.

    Args:    name: of a shipped generator, or a path to a folder.
    Returns: the folder.
    Raises:  ConfigError: there is neither; the message lists the names.
    """
    return _folder("generator", name, shipped_generators())


def _folder(what: str, name: str | Path, shipped: dict[str, Path]) -> Path:
    if str(name) in shipped:
        return shipped[str(name)]
    artifacts.restore(Path(name))
    if (Path(name) / "detector.json").is_file():
        return Path(name)
    raise ConfigError(
        f"no {what} {str(name)!a}: neither a folder with detector.json nor one of {', '.join(shipped)}"
    )


def system(name: str) -> Any:
    """The class of a system.

    Args:    name: as in `SYSTEMS`, or of an entry point of the group `tellsign.systems`.
    Returns: the class; construct it with its configuration.
    Raises:  ConfigError: there is no such system, or the `train` extra is missing.
    """
    others = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    try:
        if name in SYSTEMS:
            module, attribute = SYSTEMS[name].split(":")
            found = getattr(import_module(module), attribute)
        elif name in others:
            found = others[name].load()
        else:
            raise ConfigError(f"no system {name!r}; there are {', '.join([*SYSTEMS, *others])}")
        # Systems import late what is heavy: asked for here, it is missed before hours of work and not after.
        for module in getattr(found, "requires", ()):
            import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the system {name!r} needs {error.name}; install it with: pip install 'tellsign[train]'"
        ) from error
    return found
