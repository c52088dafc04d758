"""What all tables of a system that trains are made from: folds, a queue of cells, the spectrum detector.

Shapes: N rows (test images).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, hub
from tellsign.configuration import only_known
from tellsign.data.manifest import require_images
from tellsign.evaluate.cells import Cell, Finished, Say, Scorer, finished_cell, kept
from tellsign.evaluate.folds import Fold, folds
from tellsign.evaluate.samples import content, known
from tellsign.train import raw_scores
from tellsign.train_config import read_config
from tellsign.types import ArtifactError, ConfigError, ManifestError, ResourceError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray

NEEDS = "needs images and a folder for what is trained: --data MANIFEST -o FOLDER"
SPECTRUM = "spectrum detector"
MARGIN = (
    "The score of the spectrum detector is the margin of its classifier, and from 0 on it calls an image "
    "fake too. Crop, C and gamma are those of the shipped detector, chosen by cross-validation among the "
    "images that one was trained on (its card): these may be test images here."
)


@dataclass(frozen=True, eq=False)
class Study:
    """One data set, one configuration, one seed, and the folder of all cells."""

    manifest: Manifest
    system: str  # a name of `tellsign.hub`
    config: Any  # of the system
    scorer: Scorer  # of its detectors
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
        self, name: str, config: Any = None, *, fold: int = 1, training: Manifest | None = None
    ) -> Finished:
        """A cell of this study, trained unless it was before.

        Args:    name: of its folder. config: None: the study's.
                 fold: its number. training: in place of the fold's.
        Returns: detector, scores, record.
        Raises:  ManifestError, ConfigError, ArtifactError: as for `finished_cell`.
        """
        parts = self.folds[fold - 1]
        one = Cell(
            name,
            self.system,
            self.config if config is None else config,
            parts.train if training is None else training,
            parts.valid,
            parts.test,
            self.seed,
            self.scorer,
        )
        return finished_cell(one, self.folder, say=self.say)

    def whole(self, fold: int = 1) -> Finished:
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
        order = [line.split()[0] for line in content(parts.test)]
        identity = {"config": asdict(config), "data": digests, "order": order, "seed": self.seed}
        name = f"spectrum-fold-{fold}-of-{self.n_folds}"
        return np.array(kept(self.folder, name, identity, made), dtype=np.float64)

    def spectrum_beside(self, cells: Sequence[Finished]) -> tuple[FloatArray | None, str]:
        """What the spectrum detectors of all folds say of the test images that cells could use.

        Args:    cells: of every fold, in their order.
        Returns: (N,) scores, or None and the reason where it can't take the images.
        """
        try:
            parts = [self.spectrum_scores(fold.number) for fold in self.folds]
        except ManifestError as error:
            return None, f"the spectrum detector can't be fitted: {error}".replace("\n", " ")
        usable = [part[cell.scores.rows] for part, cell in zip(parts, cells, strict=True)]
        return np.concatenate(usable), ""


def study(inputs: Inputs, *, system: str, small: Path, scorer: Scorer) -> Study | None:
    """What is to be trained and tested.

    Args:    inputs: of a reproduction.
             system: a name of `tellsign.hub`. small: TOML of its training where the inputs name none.
             scorer: of its detectors.
    Returns: None where no manifest is given. Images are known by their checksums; those whose rows have none
             are read for it.
    Raises:  ConfigError: there is no folder, the configuration is of another system or can't be read, or a
             package is missing. ManifestError: rows are videos, or a file can't be read.
    """
    images = given_images(inputs)
    if images is None:
        return None
    assert inputs.folder is not None
    return Study(
        manifest=images[0],
        system=system,
        config=configuration(inputs.config or small, system=system),
        scorer=scorer,
        folder=inputs.folder,
        n_folds=inputs.folds,
        seed=inputs.seed,
        samples=min(inputs.samples) if inputs.samples else None,
        others=images[1],
        say=inputs.say,
    )


def given_images(inputs: Inputs) -> tuple[Manifest, Manifest | None] | None:
    """The images to train and test on, and those of other sources, known by their checksums.

    Args:    inputs: of a reproduction.
    Returns: None where no manifest is given; None in place of other sources that are not.
    Raises:  ConfigError: there is no folder for what is trained. ManifestError: rows are videos, or a file
             can't be read.
    """
    if inputs.manifest is None:
        return None
    if inputs.folder is None:
        raise ConfigError(f"a training takes long and is kept: {NEEDS}")
    for manifest in filter(None, (inputs.manifest, inputs.others)):
        require_images(manifest)
    return known(inputs.manifest), None if inputs.others is None else known(inputs.others)


def configuration(file: Path, *, system: str) -> Any:
    """The options of a system in a file for `tellsign train`.

    Args:    file: TOML.
             system: a name of `tellsign.hub`.
    Returns: the system's configuration.
    Raises:  ConfigError: it can't be read, is of another system, or has a grid; or a package is missing.
    """
    given = read_config(file)
    if given.system != system:
        raise ConfigError(f"{file} is a configuration of the system {given.system!r}; expected {system!r}")
    if given.grid:
        raise ConfigError(f"{file} has a [grid]; a table is made with one value of each option")
    kind = hub.system(system).config_class
    only_known(given.config, kind, f"{file} [config]")
    return kind(**given.config)


def first_error(found: Sequence[Finished | str]) -> None:
    """Raise ConfigError where no cell of several could be made, with the first reason."""
    if found and all(isinstance(one, str) for one in found):
        raise ConfigError(str(found[0]))


def attempted(make: Callable[[], Finished]) -> Finished | str:
    """A cell, or the reason why it can't be made, for a table in which others can.

    Raises ResourceError where that says nothing of the cell: another run holds its folder, a disk is full,
    memory or a process is lacking.
    """
    try:
        return make()
    except ResourceError:
        raise
    except (ConfigError, ManifestError, ArtifactError) as error:
        return str(error)
