"""Multistage training: the fakes in disjoint subsets, a stage on each, and what each keeps of the others.

CAE-Net, the section on disjoint-subset training: stage i trains on all reals and the i-th subset, from the
weights of stage i - 1. Since the last subset is seen last, every stage is followed by the accuracy on each
subset, seen or not, and on the reals: forgetting is in the table, and not only in a final number.

Shapes: N samples.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.data.manifest import Manifest
from tellsign.data.splitting import parts_by_source
from tellsign.durable import write_file
from tellsign.engine.checkpoint import AGAIN
from tellsign.engine.faces import known_faces
from tellsign.engine.scores import network_scores
from tellsign.groups import n_groups, sources
from tellsign.metrics import auroc
from tellsign.types import FAKE, REAL, ManifestError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from tellsign.systems.cae_net.config import CaeNetConfig

RETENTION_IMAGES = 2000  # at most, of a subset: an accuracy of 0.9 is then known to ± 0.013
TABLE, PICTURE = "retention.json", "retention.png"


@dataclass(frozen=True, slots=True)
class Stage:
    """One training: what it sees."""

    number: int  # from 1
    training: Manifest  # reals and one subset of the fakes
    n_real: int
    n_fake: int


@dataclass(frozen=True, slots=True)
class Retention:
    """What a branch knows after a stage: shares of images called right, fake from log-odds 0 on."""

    stage: int  # from 1
    subsets: tuple[float, ...]  # of the fakes of each subset
    n_subsets: tuple[int, ...]  # images behind them
    seen: tuple[bool, ...]  # whether a stage up to this one trained on the subset
    reals: float  # of all reals of the training
    n_reals: int
    valid_accuracy: float  # of the images on which checkpoints are chosen
    valid_reals: float  # of their reals
    valid_fakes: float  # of their fakes
    valid_auroc: float
    n_valid: int
    weights: str = ""  # digest of the branch's weights, of which all this is said
    real_parts: tuple[float, ...] = ()  # of the reals of each stage, where stages part them; `seen` holds too
    n_real_parts: tuple[int, ...] = ()
    n_valid_reals: int = 0  # 0 in tables that were written without it

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Retention:
        """From plain values, as `asdict` gives them."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)


def fake_subsets(
    training: Manifest, *, stages: int, by: Literal["random", "generator"], seed: int
) -> tuple[Manifest, ...]:
    """The fakes of a training set in disjoint subsets of nearly equal size.

    "random" keeps groups together and gives each subset its share of every data set. "generator" keeps the
    fakes of a generator together; groups may then cross, as where several generators altered one video.

    Args:    training: reals and fakes.
             stages: how many subsets.
             by: what is kept together.
             seed: of the partition.
    Returns: the subsets, each in the manifest's order; every fake is in one of them.
    Raises:  ManifestError: there are fewer fakes, groups or generators than subsets, or a fake has no
             generator.
    """
    fakes = training.filter(label=FAKE)
    if len(fakes) < stages:
        raise ManifestError(
            f"{len(fakes)} fakes cannot be parted into {stages} subsets; add fakes, or set stages to "
            f"{max(1, len(fakes))} or less"
        )
    if by == "random":
        return _parts(fakes, stages, seed=seed, what="fakes")
    nameless = [sample for sample in fakes if not sample.generator]
    if nameless:
        raise ManifestError(
            f"{len(nameless)} of {len(fakes)} fakes have no generator, e.g. {str(nameless[0].path)!a}; name "
            'it in the manifest, or part them with subsets = "random"'
        )
    sizes = {name: sum(s.generator == name for s in fakes) for name in {s.generator for s in fakes}}
    if len(sizes) < stages:
        raise ManifestError(
            f"{len(sizes)} generators ({', '.join(sorted(sizes))[:200]}) cannot be parted into {stages} "
            f'subsets; set stages to {len(sizes)} or less, or subsets = "random"'
        )
    names = sorted(sizes)
    np.random.default_rng(seed).shuffle(names)
    names.sort(key=lambda name: -sizes[name])
    chosen: list[list[str]] = [[] for _ in range(stages)]
    for name in names:
        # An empty subset first, so that none stays so where one generator is larger than all others.
        smallest = min(chosen, key=lambda subset: (bool(subset), sum(sizes[other] for other in subset)))
        smallest.append(name)
    return tuple(fakes.filter(generator=subset) for subset in chosen)


def stage_manifests(
    training: Manifest, subsets: Sequence[Manifest], *, reals: Literal["repeat", "disjoint"], seed: int
) -> tuple[Stage, ...]:
    """What each stage trains on: a subset of the fakes, and all reals or a part of them.

    Args:    training: reals and fakes.
             subsets: of the fakes, one a stage.
             reals: "repeat" shows all of them in every stage, "disjoint" parts them as the fakes.
             seed: of the parting.
    Returns: the stages.
    Raises:  ManifestError: there are no reals, or fewer than stages where they are parted.
    """
    all_reals = training.filter(label=REAL)
    if reals == "repeat":
        shares = (all_reals,) * len(subsets)
    elif len(all_reals) < len(subsets):
        raise ManifestError(
            f'{len(all_reals)} reals cannot be parted into {len(subsets)} subsets; set reals = "repeat"'
        )
    else:
        shares = _parts(all_reals, len(subsets), seed=seed, what="reals")
    if not all_reals:
        raise ManifestError("training needs both classes, found no reals")
    return tuple(
        Stage(number, Manifest((*own, *fakes)), len(own), len(fakes))
        for number, (own, fakes) in enumerate(zip(shares, subsets, strict=True), start=1)
    )


def retention(
    branch: nn.Module,
    stage: int,
    *,
    subsets: Sequence[Manifest],
    reals: Sequence[Manifest],
    valid: Manifest,
    config: CaeNetConfig,
    weights: str = "",
    cache: Path | None = None,
    faces: Path | None = None,
) -> Retention:
    """What a branch knows after a stage.

    Args:    branch: after the stage.
             stage: its number, from 1.
             subsets: of the fakes.
             reals: of the training, one part a stage where stages part them; else all of them as one.
             valid: the images on which checkpoints are chosen.
             config: size, number of crops, workers.
             weights: digest of the branch's. cache: folder of decoded images, or none.
             faces: file of the faces in the images, where faces are looked at.
    Returns: accuracies. Images that can't be used don't count.
    """
    parts = [part.evenly(RETENTION_IMAGES) for part in (*subsets, *reals)] + [valid]
    together = Manifest(tuple(sample for part in parts for sample in part))
    look, options = config.input.look, config.training
    scores, _ = network_scores(
        branch,
        together,
        look,
        batch_size=options.batch_size,
        workers=options.workers,
        cache=cache,
        precision=options.precision,
        faces=known_faces(together, look, options, file=faces, cache=cache),
    )
    edges = np.cumsum([len(part) for part in parts])[:-1]
    *trained, own_valid = np.split(scores, edges)
    fakes, own_reals = trained[: len(subsets)], trained[len(subsets) :]
    all_reals = np.concatenate(own_reals)
    labels = np.array(valid.labels)
    usable = np.isfinite(own_valid)
    known, right = labels[usable], (own_valid[usable] >= 0) == (labels[usable] == FAKE)
    return Retention(
        stage=stage,
        subsets=tuple(_share(part >= 0, part) for part in fakes),
        n_subsets=tuple(int(np.isfinite(part).sum()) for part in fakes),
        seen=tuple(number <= stage for number in range(1, len(fakes) + 1)),
        reals=_share(all_reals < 0, all_reals),
        n_reals=int(np.isfinite(all_reals).sum()),
        valid_accuracy=float(right.mean()),
        valid_reals=float(right[known == REAL].mean()),
        valid_fakes=float(right[known == FAKE].mean()),
        valid_auroc=float(auroc(known, own_valid[usable])),
        n_valid=int(usable.sum()),
        weights=weights,
        real_parts=tuple(_share(part < 0, part) for part in own_reals) if len(reals) > 1 else (),
        n_real_parts=tuple(int(np.isfinite(part).sum()) for part in own_reals) if len(reals) > 1 else (),
        n_valid_reals=int((known == REAL).sum()),
    )


def read_retention(file: Path) -> list[Retention]:
    """The rows of a retention table; none where there is none yet.

    Args:    file: as `write_retention` wrote it.
    Returns: one row a stage.
    Raises:  ManifestError: the file is damaged.
    """
    if not file.is_file():
        return []
    try:
        return [Retention.from_dict(row) for row in json.loads(file.read_bytes())["stages"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{file} cannot be read ({error!r}); remove it, and it is made again") from error


def write_retention(file: Path, rows: Sequence[Retention], *, title: str) -> None:
    """Write a retention table as JSON, and its picture beside it.

    Args:    file: of the table.
             rows: one a stage.
             title: of the picture.
    Raises:  OutputError: they can't be written; a table that was there is whole.
    """
    text = json.dumps({"stages": [asdict(row) for row in rows]}, indent=1) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file.with_name(PICTURE), _picture(rows, title))
        write_file(file, text.encode("ascii"))  # last, since a table that is there is not drawn again
    except OSError as error:
        raise OutputError(
            f"cannot write {file} ({error.strerror or error}): the trainings that it is about are whole; "
            f"make room or mend it, then {AGAIN}"
        ) from error


def real_curves(rows: Sequence[Retention]) -> list[tuple[str, str, list[float]]]:
    """The training's reals as curves over the stages.

    Args:    rows: of a table.
    Returns: name, style of the line, and the share called right after each stage. Where stages part the
             reals, those that were trained on and those to come apart, NaN where there are none.
    """
    if not all(row.real_parts for row in rows):
        return [("reals of the training", "k--", [row.reals for row in rows])]
    return [
        (name, style, [_mean_share(row, trained_on=trained_on) for row in rows])
        for name, style, trained_on in (("reals trained on", "k--", True), ("reals to come", "k-.", False))
    ]


def _mean_share(row: Retention, *, trained_on: bool) -> float:
    """Of all reals that were trained on until then, or not."""
    parts = [
        (share, n)
        for share, n, seen in zip(row.real_parts, row.n_real_parts, row.seen, strict=True)
        if seen == trained_on
    ]
    n_all = sum(n for _, n in parts)
    return sum(share * n for share, n in parts) / n_all if n_all else math.nan


def _picture(rows: Sequence[Retention], title: str) -> bytes:
    """A table as curves, in PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    numbers = [row.stage for row in rows]
    for index in range(len(rows[0].subsets)):
        values = [row.subsets[index] for row in rows]
        seen = [row.seen[index] for row in rows]
        (line,) = axes.plot(numbers, values, linewidth=1, label=f"fakes, subset {index + 1}")
        # A subset that was not trained on yet is drawn hollow.
        fill = [line.get_color() if known else "white" for known in seen]
        axes.scatter(numbers, values, s=28, c=fill, edgecolors=line.get_color(), zorder=3)
    for label, style, values in real_curves(rows):
        axes.plot(numbers, values, style, linewidth=1.5, label=label)
    axes.plot(numbers, [row.valid_reals for row in rows], "k:", linewidth=1.5, label="reals of validation")
    axes.plot(numbers, [row.valid_fakes for row in rows], ":", color="grey", label="fakes of validation")
    axes.set_xticks(numbers)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("after stage")
    axes.set_ylabel("share called right (filled: trained on)")
    axes.set_title(title)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def _parts(manifest: Manifest, n: int, *, seed: int, what: str) -> tuple[Manifest, ...]:
    """Disjoint parts of nearly equal size that no group crosses, each in the manifest's order."""
    if n == 1:
        return (manifest,)
    found = n_groups(sources(manifest))
    if found < n:
        raise ManifestError(
            f"the {len(manifest)} {what} lie in {found} groups, which stay together, and cannot be parted "
            f"into {n} subsets; set stages to {found} or less"
        )
    names = [str(number) for number in range(n)]
    chosen = parts_by_source(manifest, dict.fromkeys(names, 1 / n), seed=seed)
    return tuple(
        Manifest(tuple(sample for sample, part in zip(manifest, chosen, strict=True) if part == name))
        for name in names
    )


def _share(right: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Of usable images that are right; NaN is no JSON, so that without any it is 0 of 0, 0."""
    usable = np.isfinite(scores)
    return float(right[usable].mean()) if usable.any() else 0.0
