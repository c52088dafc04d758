"""What a system does around the trainings of its networks: processes, folders, and what is said of memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tellsign import artifacts
from tellsign.data.manifest import require_both_classes
from tellsign.engine.checkpoint import AGAIN
from tellsign.engine.distributed import gathered, this_process
from tellsign.engine.folder import CACHE
from tellsign.engine.memory import memory_errors_explained

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.data.manifest import Manifest
    from tellsign.engine.config import TrainingConfig


@contextmanager
def trainings(
    train: Manifest, valid: Manifest, out: Path, *configs: TrainingConfig, several: str = ""
) -> Iterator[tuple[Path, bool]]:
    """Train the networks of a detector in the block, and write the detector at its end.

    Args:    train, valid: labelled images. out: the detector's folder.
             configs: of the trainings, all on the device of the first.
             several: what the networks are called, where there is more than one.
    Returns: the folder beside `out` in which they are trained, and whether this process, of those that train
             together, is the one that writes the detector. Decoded images go at the end of the block.
    Raises:  ArtifactError: `out` holds something else. ManifestError: a class is missing. ConfigError: there
             is no such device. ResourceError: memory did not suffice in the block.
    """
    at = this_process(configs[0].device)
    gathered(None, at)  # until the first process has made its folder ready, none writes into it
    artifacts.check_target(out)
    for name, part in (("training", train), ("validation", valid)):
        require_both_classes(part, name)
    run = out.with_name(out.name + artifacts.RUN_SUFFIX)
    what, learners = ("trainings", f"{several} have") if several else ("training", "network has")
    rest = f"what the {learners} learnt until now is kept in {run}. Make memory free, and {AGAIN}"
    with memory_errors_explained(f"around the {what}", lambda: rest):
        yield run, at.is_first
    gathered(None, at)  # so that every process finds the detector, and none needs the decoded images
    if at.is_first and any(config.cache for config in configs):
        shutil.rmtree(run / CACHE, ignore_errors=True)
