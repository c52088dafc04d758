"""What a worker process does with one image: read, change, and show it to several detectors.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import faces, hub, image
from tellsign.detectors import TREES
from tellsign.detectors.vector import VectorDetector
from tellsign.evaluate.benchmark.config import NONE
from tellsign.scoring.looks import Inputs, Look, Looker, Row, most_suspicious
from tellsign.scoring.workers import NO_MEMORY
from tellsign.types import ConfigError, TellsignError

if TYPE_CHECKING:
    from tellsign.perturb import Perturbation
    from tellsign.types import FloatArray

Shared = dict[tuple[object, int], "Inputs | Look"]  # what detectors take of a region, one entry an input
FACES = "the detector looks at faces, and attacks change whole images"


@dataclass(frozen=True, slots=True)
class Task:
    """What is done to an image, and who looks at it then."""

    perturbation: str
    attack: str  # on the one detector that looks
    detectors: tuple[int, ...]  # places in the worker's list
    identity: str = NONE  # of the perturbation, with the digest of a file that it names


class GridScorer:
    """Changes images and shows them to detectors: a `RowMaker` for `tellsign.scoring.workers.Pool`."""

    def __init__(
        self,
        detectors: Sequence[tuple[Path, str, float]],
        tasks: Sequence[Task],
        seed: int,
        root: Path = Path(),
    ) -> None:
        """Load the detectors, and what perturbations read.

        Args:    detectors: folder, digest and threshold of each.
                 tasks: all there are.
                 seed: of perturbations and attacks.
                 root: folder of the files that perturbations name.
        Raises:  TellsignError: a detector or a perturbation can't be loaded, or is another one by now.
        """
        self.lookers = [Looker(path, digest=digest) for path, digest, _ in detectors]
        self.thresholds = [threshold for _, _, threshold in detectors]
        self.tasks = tasks
        self.perturbations = {task: _perturbation(task, root) for task in tasks}
        self.seed = seed
        self._targets: dict[tuple[int, bool], Any] = {}

    def rows(
        self,
        files: Sequence[tuple[Path, str | None]],
        *,
        on_start: Callable[[int | None], None] = lambda index: None,
    ) -> list[Row | None]:
        """Score some files, one after the other, so that no score depends on its neighbours.

        Args:    files: each with the number of its task and its label, as "3:1".
                 on_start: called with the index of each file before it is read.
        Returns: one row a file: sha256, and in `rows` what each detector of the task says.
        """
        found: list[Row | None] = []
        for index, (path, ticket) in enumerate(files):
            on_start(index)
            assert ticket is not None
            number, _, label = ticket.partition(":")
            found.append(self._row(path, self.tasks[int(number)], int(label)))
        return found

    def _row(self, path: Path, task: Task, label: int) -> Row:
        try:
            content = path.read_bytes()
        except OSError as error:
            failure = {"error": f"the file cannot be read: {error.strerror or error}"}
            return {"sha256": None, "rows": [failure for _ in task.detectors]}
        key = hashlib.sha256(content).hexdigest()
        try:
            picture = image.decode(content, name=path.name)
            pixels = self._perturbed(picture.array, task, label, key)
        except Exception as error:
            return {"sha256": key, "rows": [{"error": _reason(error)} for _ in task.detectors]}
        warnings = list(picture.meta.warnings)
        # Shared by the detectors that look at faces.
        crops = lru_cache(maxsize=1)(lambda: [faces.crop(pixels, box).image for box in faces.boxes(pixels)])
        shared: Shared = {}
        rows = []
        for place in task.detectors:
            try:
                if task.attack != NONE:
                    pixels = self._attacked(pixels, task.attack, place, label, key)
                regions = [pixels] if self.lookers[place].region == "image" else crops()
                rows.append(_seen(self.lookers[place], regions, warnings, shared))
            except Exception as error:
                # One detector's failure is not the others'.
                rows.append({"error": _reason(error)})
        return {"sha256": key, "rows": rows}

    def _perturbed(self, pixels: FloatArray, task: Task, label: int, key: str) -> FloatArray:
        """(3, H, W) → (3, H', W')."""
        perturbation = self.perturbations[task]
        if perturbation is None or not perturbation.touches(label):
            return pixels
        return perturbation.apply(pixels, key=key, seed=self.seed)

    def _attacked(self, pixels: FloatArray, name: str, place: int, label: int, key: str) -> FloatArray:
        """(3, H, W) → the adversarial image for one detector."""
        from tellsign.perturb.attacks import parse

        attack = parse(name)
        found = attack.run(
            self._target(place, needs_gradient=attack.needs_gradient),
            pixels[None],
            np.array([label]),
            threshold=self.thresholds[place],
            seed=self.seed,
            keys=[key],
        )
        return np.asarray(found[0], dtype=np.float32)

    def _target(self, place: int, *, needs_gradient: bool) -> Any:
        from tellsign.perturb.attacks import detector_score

        if (place, needs_gradient) not in self._targets:
            artifact = self.lookers[place].artifact
            target = (
                system_of(artifact.spec).module(artifact.path)
                if needs_gradient
                else detector_score(self.lookers[place].detector)
            )
            self._targets[place, needs_gradient] = target
        return self._targets[place, needs_gradient]


def _seen(looker: Looker, regions: Sequence[FloatArray], warnings: list[str], shared: Shared) -> Row:
    """The verdict of one detector on the regions of an image."""
    looks = []
    for number, region in enumerate(regions):
        # Detectors of the same profile differ only in what they make of it.
        own = looker.detector.input if isinstance(looker.detector, VectorDetector) else looker
        if (own, number) not in shared:
            shared[own, number] = looker.prepared(region)
        # One region at a time: a network's sums may round otherwise in another batch.
        looks += looker.scored([shared[own, number]])
    return looker.verdict(most_suspicious(looks), [*looker.warnings, *warnings])


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, TellsignError):
        return str(error)
    return f"it could not be scored: {type(error).__name__}: {error}"


def system_of(spec: dict[str, Any]) -> Any:
    """The system that wrote a detector, with the detector's configuration.

    Args:    spec: of the detector.
    Returns: the system.
    Raises:  ConfigError: it does not say which, or that is not installed.
    """
    if "system" not in spec:
        raise ConfigError("it does not say which system wrote it, and so has no differentiable form")
    found = hub.system(spec["system"])
    return found(found.config_class(**spec.get("config", {})))


def unfit(spec: dict[str, Any], attack: str) -> str | None:
    """Why a detector can't be attacked so, or None where it can.

    Args:    spec: of the detector.
             attack: its name.
    Returns: a reason for the tables.
    """
    if attack == NONE:
        return None
    from tellsign.perturb.attacks import parse

    if spec["preprocessing"].get("region", "image") != "image":
        return FACES
    if parse(attack).needs_gradient:
        if spec.get("kind") == TREES:
            return "decision trees have no gradient; a black-box attack is square"
        try:
            if not hasattr(system_of(spec), "module"):
                return f"the system {spec['system']} has no gradient; a black-box attack is square"
        except (ConfigError, TypeError) as error:
            return f"no gradient: {error}"
    return None


def _perturbation(task: Task, root: Path) -> Perturbation | None:
    """What a task does to an image, read once; None where that is nothing."""
    if task.perturbation == NONE:
        return None
    from tellsign import perturb

    found = perturb.parse(task.perturbation, folder=root)
    if found.identity != task.identity:
        raise ConfigError(
            f"the file of {found.name} has changed while the benchmark ran: it is {found.identity} and was "
            f"{task.identity}; run the benchmark again"
        )
    return found
