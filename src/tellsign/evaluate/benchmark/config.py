"""One TOML file: which detectors meet which test sets, under which perturbations and attacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from tellsign.configuration import NONE as NO_VALUE
from tellsign.configuration import check_whole, known_options, only_known, toml_tree
from tellsign.data.manifest import LABELS, SPLITS
from tellsign.train_config import TrainConfig, config_from
from tellsign.types import ConfigError

Missing = Literal["error", "exclude", "worst"]
Detail = Literal["plain", "all"]
NONE = "none"  # the perturbation, or the attack, that changes nothing
NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}")  # it becomes a folder


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """Rows of one table of images."""

    manifest: str  # a CSV: a manifest, or a table whose columns have other names; relative to `root`
    columns: Mapping[str, str] = field(default_factory=dict)  # our column = theirs, as `data index` takes it
    skip_labels: tuple[str, ...] = ()  # rows with these labels are none of the data
    paths: tuple[
        str, ...
    ] = ()  # of whole paths from the table's folder on: fake_1024/*, or **/*.png; none: all
    datasets: tuple[str, ...] = ()  # to keep; none: all
    generators: tuple[str, ...] = ()  # of the fakes to keep; the reals stay
    splits: tuple[str, ...] = ()  # to keep
    labels: tuple[str, ...] = ()  # real or fake, to keep

    def __post_init__(self) -> None:
        _check_text("manifest", self.manifest)
        _check_texts_table("columns", self.columns)
        for name in ("skip_labels", "paths", "datasets", "generators", "splits", "labels"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        for name, known in (("splits", [s for s in SPLITS if s]), ("labels", [k for k in LABELS if k])):
            if unknown := sorted(set(getattr(self, name)) - set(known)):
                raise ConfigError(f"{name} are of {', '.join(known)}, found {unknown[0]!r}")


@dataclass(frozen=True, slots=True)
class HarmoniseConfig:
    """One file format for both classes; see `tellsign data harmonise`."""

    size: int  # side in pixels of the native centre crop, or of the resized square
    quality: int = 75  # of the JPEG
    resize: str | None = None  # name of a filter; none: crop

    def __post_init__(self) -> None:
        check_whole("size", self.size, 1)
        check_whole("quality", self.quality, 1)
        if self.quality > 100:
            raise ConfigError(f"quality is a whole number from 1 to 100, found {self.quality}")
        if self.resize is not None:
            _check_text("resize", self.resize)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """A test set, or what a detector is trained on: the rows of one or more sources."""

    sources: tuple[SourceConfig, ...]  # joined; a table of one source may have its keys here
    harmonise: HarmoniseConfig | None = None  # false: the files as they are, whatever the benchmark says
    split: Mapping[str, float] = field(default_factory=dict)  # train and valid = shares; none: the table's

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("sources is a list of tables with a manifest each, found none")
        if not isinstance(self.split, Mapping) or set(self.split) - set(SPLITS):
            raise ConfigError(
                f"split is a table of shares, e.g. {{train = 0.8, valid = 0.2}}: found {self.split!r}"
            )


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """A detector that exists, or one to train."""

    name: str  # in the tables
    path: str | None = None  # a shipped detector's name, or a folder; relative to `root`
    config: TrainConfig | None = None  # a training file, from this file's folder on, or its tables here
    train: str | None = None  # name of the data that it is, or was, trained on

    def __post_init__(self) -> None:
        _check_name("detector", self.name)
        if (self.path is None) == (self.config is None):
            raise ConfigError(f"the detector {self.name!r} needs either a path or a config to train")
        if self.config is not None and self.train is None:
            raise ConfigError(f"the detector {self.name!r} needs train, the name of the data to train it on")
        for name in ("path", "train"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class BenchmarkConfig:
    """The whole grid."""

    name: str  # of the benchmark
    detector: tuple[DetectorConfig, ...]  # [[detector]], in the order of the tables
    data: Mapping[str, DataConfig]  # [data.NAME]
    tests: tuple[str, ...]  # names of the data that are test sets
    root: str = "."  # folder of relative data paths; from this file's folder on (of --set, from here on)
    perturbations: tuple[str, ...] = (NONE,)  # e.g. jpeg:75; a file that one names is relative to `root`
    attacks: tuple[str, ...] = (NONE,)  # e.g. fgsm:0.01; on images that are not perturbed
    attack_limit: int | None = None  # images a class and test set that are attacked; none: all
    limit: int | None = None  # images a class of each test set, for a first look; none: all
    harmonise: HarmoniseConfig | None = None  # of all data that say nothing else
    seed: int = 0  # of everything random
    resamples: int = 1000  # of the bootstrap
    missing: Missing = "error"  # what metrics do where a score is missing: error, exclude or worst
    detail: Detail = "plain"  # tables that have generators and data sets apart: of plain images, or all
    published: tuple[str, ...] = ()  # papers whose values stand beside the tables

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise ConfigError(f"name is a text, found {self.name!r}")
        _check_text("root", self.root)
        for name in ("tests", "perturbations", "attacks", "published"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        for name in ("attack_limit", "limit"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        check_whole("seed", self.seed, 0)
        check_whole("resamples", self.resamples, 0)
        if self.missing not in get_args(Missing):
            raise ConfigError(f"missing is one of {', '.join(get_args(Missing))}, found {self.missing!r}")
        if self.detail not in get_args(Detail):
            raise ConfigError(f"detail is one of {', '.join(get_args(Detail))}, found {self.detail!r}")
        self._check_references()

    def _check_references(self) -> None:
        for what, found in (
            ("[[detector]]", self.detector),
            ("tests", self.tests),
            ("perturbations", self.perturbations),
            ("attacks", self.attacks),
        ):
            if not found:
                raise ConfigError(f"{what}: at least one is needed")
        names = [detector.name for detector in self.detector]
        for what, listed in (("detector", names), ("perturbation", self.perturbations), ("test", self.tests)):
            if twice := [name for name in listed if list(listed).count(name) > 1]:
                raise ConfigError(f"the {what} {twice[0]!r} stands there twice")
        used = [*self.tests, *(d.train for d in self.detector if d.train is not None)]
        if unknown := [name for name in used if name not in self.data]:
            known = ", ".join(self.data) or "none"
            raise ConfigError(f"no [data.{unknown[0]}] in the configuration; there are {known}")
        for name in self.data:
            _check_name("[data]", name)

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration as plain values."""
        return asdict(self)


def read(path: Path, overrides: Iterable[str] = ()) -> BenchmarkConfig:
    """A benchmark from TOML with `key=value` overrides.

    Args:    path: of the TOML file.
             overrides: e.g. `seed=1`, `missing=exclude` or `root=/data`; values are TOML.
    Returns: the configuration, checked.
    Raises:  ConfigError: the file can't be read, a key is unknown, or a value is not allowed.
    """
    overrides = list(overrides)
    tree = known_options(toml_tree(path, overrides), BenchmarkConfig, str(path))
    if missing := [name for name in ("name", "detector", "data", "tests") if name not in tree]:
        raise ConfigError(f"{path} lacks {missing[0]!r}")
    # What a shell completes is relative to where the user stands.
    if not any(override.partition("=")[0].strip() == "root" for override in overrides):
        _check_text("root", tree.get("root", "."))
        tree["root"] = str(path.parent / tree.get("root", "."))
    seed, common = tree.get("seed", 0), tree.get("harmonise")
    harmonise = None if common is None else _harmonise(common, f"{path} [harmonise]")
    return BenchmarkConfig(
        **{
            **tree,
            "harmonise": harmonise,
            "detector": tuple(
                _detector(entry, path, seed) for entry in _tables(tree["detector"], f"{path} [[detector]]")
            ),
            "data": {
                name: _data(entry, f"{path} [data.{name}]", harmonise)
                for name, entry in _table(tree["data"], f"{path} [data]").items()
            },
        }
    )


def _detector(entry: Mapping[str, Any], path: Path, seed: int) -> DetectorConfig:
    where = f"{path} [[detector]] {entry.get('name', '')}".rstrip()
    entry = known_options(entry, DetectorConfig, where)
    if "name" not in entry:
        raise ConfigError(f"{where} lacks 'name'")
    config = entry.get("config")
    if isinstance(config, str):
        where, config = str(path.parent / config), toml_tree(path.parent / config)
    if config is None:
        return DetectorConfig(**entry)
    options = {"name": entry["name"], "seed": seed, **_table(config, f"{where} config")}
    return DetectorConfig(**{**entry, "config": config_from(options, where=where)})


def _data(entry: Any, where: str, harmonise: HarmoniseConfig | None) -> DataConfig:
    entry = dict(_table(entry, where))
    own = {f.name for f in fields(DataConfig)}
    single = {key: entry.pop(key) for key in list(entry) if key not in own}
    if single and "sources" in entry:
        raise ConfigError(f"{where}: {min(single)!r} belongs into one of the sources")
    sources = _tables(entry.pop("sources", [single] if single else []), f"{where} sources")
    for source in sources:
        only_known(source, SourceConfig, where)
        if "manifest" not in source:
            raise ConfigError(f"{where} lacks 'manifest'")
    asked = entry.pop("harmonise", harmonise)
    if isinstance(asked, Mapping):
        asked = _harmonise(asked, f"{where} harmonise")
    elif asked is False or asked == NO_VALUE:
        asked = None
    elif not (asked is None or isinstance(asked, HarmoniseConfig)):
        raise ConfigError(f"{where}: harmonise is a table with a size, or false; found {asked!r}")
    return DataConfig(sources=tuple(SourceConfig(**source) for source in sources), harmonise=asked, **entry)


def _harmonise(entry: Any, where: str) -> HarmoniseConfig:
    options = known_options(_table(entry, where), HarmoniseConfig, where)
    if "size" not in options:
        raise ConfigError(f"{where} lacks 'size'")
    return HarmoniseConfig(**options)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is a table of options, found {value!r}")
    return value


def _tables(value: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} is a list of tables, found {value!r}")
    return [_table(entry, where) for entry in value]


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{name} is a text, found {value!r}")


def _check_name(what: str, value: Any) -> None:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigError(
            f"the name of a {what} is made of letters, digits and . _ + -, since it names a folder: "
            f"found {value!r}"
        )


def _check_texts_table(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ConfigError(f"{name} is a table of names, found {value!r}")


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) and text for text in value):
        raise ConfigError(f"{name} is a list of texts, found {value!r}")
    return tuple(value)
