"""What all tables of CAE-Net are made from: configuration, folds, queue of cells, spectrum detector."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, hub
from tellsign.data.manifest import require_images
from tellsign.evaluate.cae_net.cells import Cell, Finished, Say, finished_cell, kept
from tellsign.evaluate.cae_net.folds import Fold, folds
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.train import raw_scores
from tellsign.train_config import read_config
from tellsign.types import ConfigError, ManifestError, OutputError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray

SMALL = Path(__file__).with_name("small.toml")  # what is trained where --config says nothing
NEEDS = "needs images and a folder for what is trained: --data MANIFEST -o FOLDER"


@dataclass(frozen=True, eq=False)
class Study:
    """One data set, one configuration, one seed, and the folder of all cells."""

    manifest: Manifest
    config: CaeNetConfig
    folder: Path
    n_folds: int
    seed: int
    samples: int | None  # images that a study of a trained detector looks at; None: as many as it says
    others: Manifest | None  # images of other sources, on which nothing is trained
    say: Say

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """The folds; the first is also the one split of all tables that are not cross-validated."""
        return folds(self.manifest, self.n_folds, seed=self.seed)

    def cell(
        self,
        name: str,
        config: CaeNetConfig | None = None,
        *,
        fold: int = 1,
        training: Manifest | None = None,
    ) -> Finished:
        """A cell of this study, trained unless it was before.

        Args:    name: of its folder. config: None: the study's.
                 fold: its number. training: in place of the fold's.
        Returns: detector, scores, record.
        Raises:  ManifestError, ConfigError: data or options don't do.
        """
        parts = self.folds[fold - 1]
        train = parts.train if training is None else training
        one = Cell(name, config or self.config, train, parts.valid, parts.test, self.seed)
        return finished_cell(one, self.folder, say=self.say)

    def ensemble(self, fold: int = 1) -> Finished:
        """The configuration as it is, on a fold."""
        return self.cell(f"fold-{fold}-of-{self.n_folds}", fold=fold)

    def spectrum_scores(self, fold: int) -> FloatArray:
        """What the spectrum detector, fitted on a fold's training part, says of its test part.

        Args:    fold: its number.
        Returns: (N,) scores, one a sample of the test part.
        Raises:  ManifestError: an image can't be used, or is smaller than its crops.
        """
        from tellsign.systems.spectrum.config import SpectrumConfig
        from tellsign.systems.spectrum.system import SpectrumSystem

        parts = self.folds[fold - 1]
        config = SpectrumConfig(**artifacts.load(hub.detector_path("spectrum")).spec["config"])

        def made() -> list[float]:
            self.say(f"the spectrum detector on fold {fold} of {self.n_folds}")
            with tempfile.TemporaryDirectory(prefix="tellsign-") as place:
                path = SpectrumSystem(config).fit(
                    parts.train, parts.valid, out=Path(place, "d"), seed=self.seed
                )
                scores, _ = raw_scores(artifacts.load(path), parts.test)
            return [float(score) for score in scores]

        digests = {name: getattr(parts, name).digest() for name in ("train", "test")}
        order = [str(sample.sha256 or sample.path.name) for sample in parts.test]
        identity = {"config": asdict(config), "data": digests, "order": order, "seed": self.seed}
        name = f"spectrum-fold-{fold}-of-{self.n_folds}"
        return np.array(kept(self.folder, name, identity, made), dtype=np.float64)


def study(inputs: Inputs) -> Study | None:
    """What is to be trained and tested.

    Args:    inputs: of a reproduction.
    Returns: None where no manifest is given.
    Raises:  ConfigError: there is no folder, the configuration is of another system or can't be read, or a
             package is missing. ManifestError: rows are videos.
    """
    if inputs.manifest is None:
        return None
    if inputs.folder is None:
        raise ConfigError(f"a training takes long and is kept: {NEEDS}")
    require_images(inputs.manifest)
    return Study(
        manifest=inputs.manifest,
        config=configuration(inputs.config),
        folder=inputs.folder,
        n_folds=inputs.folds,
        seed=inputs.seed,
        samples=min(inputs.samples) if inputs.samples else None,
        others=inputs.others,
        say=inputs.say,
    )


def configuration(file: Path | None) -> CaeNetConfig:
    """The options of CAE-Net in a file for `tellsign train`; by default those of configs/cae-net-small.toml.

    Args:    file: TOML.
    Returns: the options.
    Raises:  ConfigError: it can't be read, is of another system, or has a grid; or a package is missing.
    """
    given = read_config(file or SMALL)
    system = hub.system("cae-net")
    if given.system != system.name:
        raise ConfigError(
            f"{file} is a configuration of the system {given.system!r}; expected {system.name!r}"
        )
    if given.grid:
        raise ConfigError(f"{file} has a [grid]; a table is made with one value of each option")
    from tellsign.configuration import only_known

    only_known(given.config, CaeNetConfig, f"{file or SMALL} [config]")
    return CaeNetConfig(**given.config)


def wavelet_branch(config: CaeNetConfig) -> str:
    """The name of the branch that looks at sub-bands. Raises ConfigError where there is none."""
    for name, branch in config.branches.items():
        if branch.input == "dwt":
            return name
    raise ConfigError(
        f'none of the branches {", ".join(config.branches)} looks at sub-bands; give one with input = "dwt"'
    )


def alone(
    config: CaeNetConfig, branch: str, options: Mapping[str, Any] | None = None, *, dwt: Any = None
) -> CaeNetConfig:
    """A configuration with one branch of another, and nothing to fuse.

    Args:    config: the other. branch: its name there.
             options: of the branch, in place of those there.
             dwt: how sub-bands enter; None: as there.
    Returns: the configuration.
    """
    return replace(
        config,
        branches={branch: replace(config.branches[branch], **(options or {}))},
        dwt=dwt or config.dwt,
        fusion="weights",
        fusion_weights=(1.0,),
    )


def first_error(found: Sequence[Finished | str]) -> None:
    """Raise ConfigError where no cell of several could be made, with the first reason."""
    if found and all(isinstance(one, str) for one in found):
        raise ConfigError(str(found[0]))


def attempted(make: Callable[[], Finished]) -> Finished | str:
    """A cell, or the reason why it can't be made, for a table in which others can.

    Raises OutputError where another run holds it, or it can't be written: that says nothing of the cell.
    """
    try:
        return make()
    except OutputError:
        raise
    except (ConfigError, ManifestError) as error:
        return str(error)
