"""The cells of the tables, from detectors that were trained before and the images of manifests.

    FOLDER/celeba-hq-progan/prnu             a folder for each training set, in it a detector for each row
    FOLDER/celeba-hq-progan/resynthesis-sr
    FOLDER/scores/                           what they said of images, kept for the next run

Shapes: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, detectors
from tellsign.data import Manifest
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import estimates, labelled
from tellsign.evaluate.resynthesis.layout import slug
from tellsign.evaluate.samples import content, made_by, pictures
from tellsign.evaluate.study import given_images
from tellsign.perturb import parse
from tellsign.perturb.equalise import Equalisation
from tellsign.types import FAKE, REAL, ArtifactError, ConfigError, ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.artifacts import Artifact
    from tellsign.evaluate.cells import Say
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.resynthesis.layout import Column, Measured, Method
    from tellsign.metrics import Estimate
    from tellsign.types import FloatArray, Sample

    Change = Callable[[FloatArray, Sample], FloatArray]

TEST, TRAIN = "test", "train"
SCORE = "score"  # column of the fused score
REGULARISED = ("+R", "+A")  # variants that are generators of their own
PERTURBATION = "combined"  # of +P: crop, blur, JPEG and noise, each in half of the images


@dataclass(frozen=True, eq=False)
class Bench:
    """Images to test on, and the folder of detectors."""

    images: Manifest  # with splits and checksums
    others: Manifest  # of other sources, with checksums; all of them are tested on
    folder: Path
    seed: int  # of what is random in +P
    by_dataset: bool  # whether test images are of a data set with the name of the paper's
    say: Say

    @property
    def tested(self) -> Manifest:
        """The labelled images of the split test, and those of other sources."""
        pool = (*self.images.filter(split=TEST), *self.others)
        return Manifest(tuple(sample for sample in pool if sample.label is not None))

    def measured(self, cells: Iterable[tuple[Method, Column]]) -> Measured:
        """Every cell that there are a detector and images for.

        Args:    cells: rows and columns.
        Returns: the balanced accuracy of each, or why it has none.
        Raises:  OutputError: what detectors say can't be kept.
        """
        artifact, prepared = cache(self.detector), cache(self._prepared)
        found: Measured = {}
        for row, column in cells:
            found[row, column] = self._accuracy(row, column, artifact, prepared)
        return found

    def resynthesiser(self, train_set: str, name: str) -> Artifact | str:
        """A detector of the folder that restores images, or why there is none.

        Args:    train_set, name: as for `detector`.
        Returns: the detector.
        """
        found = self.detector(train_set, name)
        if isinstance(found, str) or found.spec.get("system") == "resynthesis":
            return found
        return f"{found.name} is of the system {found.spec.get('system')!r}, and restores no images"

    def _accuracy(
        self,
        row: Method,
        column: Column,
        artifact: Callable[[str, str], Artifact | str],
        prepared: Callable[[Column], tuple[Manifest, Change] | str],
    ) -> Estimate | str:
        detector, images = artifact(column.train_set, row.detector), prepared(column._replace(train_set=""))
        if isinstance(detector, str) or isinstance(images, str):
            return "; ".join(one for one in (detector, images) if isinstance(one, str))
        sample, change = images
        columns = self.said(detector, sample, change, column)
        if (row.part or SCORE) not in columns:
            return f"{detector.name} has no part {row.part!r}; it has {', '.join(columns)}"
        scores = np.array([np.nan if v is None else v for v in columns[row.part or SCORE]])
        usable = np.flatnonzero(np.isfinite(scores))
        table = labelled(sample, usable.tolist())
        if set(table.labels.tolist()) != {REAL, FAKE}:
            return f"{detector.name} can use {len(usable)} of {len(sample)} images, not of both classes"
        result = estimates(table, scores[usable], ranks=False)["balanced_accuracy"]
        return "no accuracy" if result is None else result

    def detector(self, train_set: str, name: str) -> Artifact | str:
        """A detector of the folder, or why it can't be asked.

        Args:    train_set: as the paper calls it. name: of its own folder.
        Returns: the detector.
        """
        path = self.folder / slug(train_set) / name
        if not (path / artifacts.SPEC_FILE).is_file():
            return f"needs a detector in {slug(train_set)}/{name} of the folder -o"
        try:
            found = artifacts.load(path)
        except ArtifactError as error:
            return str(error)
        if found.spec["preprocessing"].get("region", "image") != "image":
            return f"{found.name} looks at faces; these tables are of whole images"
        return found

    def _prepared(self, column: Column) -> tuple[Manifest, Change] | str:
        """The images of a column and what is done to them."""
        sample = self._sample(column)
        if isinstance(sample, str):
            return sample
        change = self.change(column.variant, column.test_set.partition(" / ")[2])
        return change if isinstance(change, str) else (sample, change)

    def change(self, variant: str, generator: str | None = None) -> Change | str:
        """What a variant does to an image, or why that can't be.

        Args:    variant: Raw, +R, +E, +A or +P. generator: whose fakes +E is fitted to; None: to all.
        Returns: a function of an image (3, H, W) and its sample.
        """
        if variant == "+P":
            chosen = parse(PERTURBATION)
            return lambda image, one: chosen.apply(image, key=one.sha256, seed=self.seed)
        return self._equalised(generator) if variant == "+E" else lambda image, _: image

    def _sample(self, column: Column) -> Manifest | str:
        domain, _, generator = column.test_set.partition(" / ")
        if column.variant in REGULARISED:
            generator += column.variant
        pool = [sample for sample in self.tested if self._is_of(sample, domain)]
        fakes = [s for s in pool if s.label == FAKE and made_by(s, generator)]
        reals = [s for s in pool if s.label == REAL]
        of_set = f" in a data set {domain!r}" if self.by_dataset else ""
        if not fakes or not reals:
            what = f"fakes of a generator {generator!r}" if not fakes else "reals"
            return f"no data: needs {what}{of_set}, in the split test or by --others"
        return Manifest((*reals, *fakes))

    def _is_of(self, sample: Sample, domain: str) -> bool:
        return not self.by_dataset or sample.dataset.lower() == domain.lower()

    def _equalised(self, generator: str | None) -> Change | str:
        training = self.images.filter(split=TRAIN)
        fakes, reals = (training.filter(label=label) for label in (FAKE, REAL))
        if generator is not None:
            fakes = fakes.filter(lambda sample: made_by(sample, generator))
        self.say(f"equalisation of {generator or 'all fakes'}: {len(fakes)} fakes, {len(reals)} reals")
        try:
            fitted = Equalisation.fit(
                *((p for p in pictures(part) if p is not None) for part in (fakes, reals))
            )
        except (ConfigError, ImageError) as error:
            return f"no equalisation by the split train: {error}"
        return lambda image, one: fitted.apply(image) if one.label == FAKE else image

    def said(
        self, artifact: Artifact, sample: Manifest, change: Change, column: Column
    ) -> dict[str, list[float | None]]:
        """Score and parts of every image; measured once.

        Args:    artifact: the detector. sample: images. change: what is done to them. column: its name.
        Returns: "score" or the name of a part → a number an image, None where it can't be used.
        Raises:  OutputError: they can't be kept.
        """

        def made() -> Any:
            self.say(f"{artifact.name} on {column.test_set} {column.variant}: {len(sample)} images")
            detector: Any = detectors.from_artifact(artifact)
            return _columns([_looked(detector, image) for image in pictures(sample, change)])

        identity: dict[str, Any] = {
            "detector": artifact.digest,
            "images": content(sample),
            "variant": column.variant,
            "seed": self.seed,
        }
        if column.variant == "+E":
            identity["training"] = self.images.filter(split=TRAIN).digest()
        found: dict[str, list[float | None]] = kept(
            self.folder / "scores", slug(column.title), identity, made
        )
        return found


def new_bench(inputs: Inputs, *, by_dataset: bool) -> Bench | None:
    """What a reproduction tests with.

    Args:    inputs: of it. by_dataset: as `Bench` has it.
    Returns: None where no manifest is given.
    Raises:  ConfigError, ManifestError: as `given_images` does.
    """
    images = given_images(inputs)
    if images is None:
        return None
    assert inputs.folder is not None
    others = Manifest(()) if images[1] is None else images[1]
    return Bench(images[0], others, inputs.folder, inputs.seed, by_dataset, inputs.say)


def _looked(detector: Any, image: FloatArray | None) -> dict[str, float] | None:
    if image is None:
        return None
    try:
        batch = {name: array[None] for name, array in detector.preprocess(image).items()}
    except ImageError:
        return None
    parts = detector.parts(batch) if hasattr(detector, "parts") else {}
    found = {SCORE: detector.score(batch), **parts}
    return {name: float(values[0]) for name, values in found.items()}


def _columns(looks: list[dict[str, float] | None]) -> dict[str, list[float | None]]:
    names = dict.fromkeys(name for look in looks if look for name in look) or {SCORE: None}
    rows = [look or {} for look in looks]
    return {n: [row[n] if n in row and np.isfinite(row[n]) else None for row in rows] for n in names}
