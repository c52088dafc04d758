"""A manifest of videos and images → a folder of face crops with a manifest of its own.

    OUT/DATASET/NAME-HASH/00017.png    crops, one folder a file, with its record crops.json
    OUT/manifest.csv                   one row a crop; label, group, split as of its video
    OUT/failed.csv                     one row a file without crops: why; itself a manifest
    OUT/report.json                    options and coverage
    OUT/options.json                   what a later run in this folder must agree with

The second run in a folder does what is left. What is written depends on the manifest and the files alone,
not on the number of workers or on how often a run was stopped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tellsign.data.face_crops import DRAFT, CropOptions, CropTask, Record, record_of, write_crops
from tellsign.data.manifest import COLUMNS, LABEL_NAMES, Manifest, as_row, common_folder
from tellsign.data.manifest import write as write_manifest
from tellsign.data.paths import safe_name
from tellsign.lock import locked
from tellsign.processes import Lost, results
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError, Sample, VideoError
from tellsign.video import VIDEO_SUFFIXES

BALANCES = ("none", "repeat", "sample")
BALANCED_SPLITS = ("", "train")
NO_FACE = "no face was found in any frame"
SHORT = 0.9  # of its planned share: a class with less of the crops is short


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is taken from a data set. The same for every run in one folder."""

    n_frames: int = 270  # of a video; the papers take 270 of FaceForensics++ and 50 for tests on other data
    balance: str = "none"  # none, repeat: more frames of real videos, sample: fewer frames of fake ones
    factor: float | None = None  # fake videos for a real one; None: as the manifest has it
    crops: CropOptions = field(default_factory=CropOptions)

    def __post_init__(self) -> None:
        if self.n_frames < 1:
            raise ConfigError(f"n_frames is {self.n_frames}; expected 1 or more")
        if self.balance not in BALANCES:
            raise ConfigError(f"balance is {self.balance!r}; expected one of {', '.join(BALANCES)}")
        if self.factor is not None and self.balance == "none":
            raise ConfigError("a factor is given, but balance is none; expected repeat or sample with it")
        if self.factor is not None and not 1 <= self.factor <= 1000:
            raise ConfigError(f"factor is {self.factor}; expected 1 to 1000, such as the papers' 4")


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, and what could not be."""

    manifest: Manifest  # of the crops
    failed: tuple[tuple[Path, str], ...]  # path and reason
    faceless: tuple[Path, ...]  # files that could be read, without a face in any frame
    n_unchanged: int  # files whose crops an earlier run had written
    report: dict[str, Any]  # as in report.json


def export_faces(
    manifest: Manifest,
    out: Path,
    options: ExportOptions,
    *,
    workers: int = 1,
    stall: float = 300.0,
    on_file: Callable[[], None] = lambda: None,
) -> Export:
    """Write the face crops of videos and images, as far as an earlier run has not.

    Args:    manifest: videos and images.
             out: folder for the crops; continued where it holds crops made with the same options.
             options: what is taken.
             workers: processes, one file each at a time.
             stall: seconds that a file may take for one frame.
             on_file: called after each file.
    Returns: the crops' manifest, the files without crops, and the report.
    Raises:  ConfigError: the folder was made with other options, is in use or cannot be written, or the
             classes cannot be balanced.
             ManifestError: samples lie in the output folder, or there is no crop at all.
    """
    if not manifest:
        raise ManifestError("the manifest has no rows: there is nothing to look for faces in")
    _require_outside(manifest, out)
    options = replace(options, factor=balance_factor(manifest, options))
    with locked(out):
        _make(out)
        _require_same(out, options)
        tasks = [CropTask(s.path, out / name, n, s.sha256) for s, name, n in _planned(manifest, options)]
        for parent in {task.folder.parent for task in tasks}:
            for draft in parent.glob(f".*{DRAFT}"):  # of a run that was killed
                shutil.rmtree(draft, ignore_errors=True)
        left = [index for index, task in enumerate(tasks) if record_of(task) is None]
        if left:
            (out / "manifest.csv").unlink(missing_ok=True)  # of another state of the folder
        for _ in range(len(tasks) - len(left)):
            on_file()
        reasons: dict[int, str] = {}
        work = partial(_crops_or_reason, options=options.crops)
        for done, result in results(work, [tasks[index] for index in left], workers=workers, stall=stall):
            if isinstance(result, Lost):
                reasons[left[done]] = result.reason
            on_file()
        return _finished(manifest, tasks, reasons, out, options, n_unchanged=len(tasks) - len(left))


def balance_factor(manifest: Manifest, options: ExportOptions) -> float | None:
    """How many times as many fake videos as real ones there are to balance.

    Only videos (by their names) that are to be trained on count: those of the split train, or of none.

    Args:    manifest: the videos.
             options: with the kind of balance, and the factor where it is fixed.
    Returns: the factor that was asked for, else fakes divided by reals; None without balance.
    Raises:  ConfigError: a class has no video, or the fakes are fewer.
    """
    if options.balance == "none" or options.factor is not None:
        return options.factor
    counts = Counter(sample.label for sample in manifest if _is_balanced(sample))
    n_real, n_fake = counts[REAL], counts[FAKE]
    if not n_fake >= n_real > 0:
        raise ConfigError(
            f"{n_real} real and {n_fake} fake videos to train on can't be balanced: expected real ones, and "
            "as many fakes or more; give a factor, or no balance"
        )
    return n_fake / n_real


def frames_wanted(sample: Sample, options: ExportOptions) -> int:
    """How many frames of a video are looked at.

    Args:    sample: the video.
             options: with the factor that `balance_factor` gives.
    Returns: `n_frames`; with balance, for videos to train on, times the factor for reals (repeat) or divided
             by it for fakes (sample), rounded, and at least 1.
    """
    if options.factor is None or not _is_balanced(sample):
        return options.n_frames
    if options.balance == "repeat" and sample.label == REAL:
        return round(options.n_frames * options.factor)
    if options.balance == "sample" and sample.label == FAKE:
        return max(1, round(options.n_frames / options.factor))
    return options.n_frames


def _is_balanced(sample: Sample) -> bool:
    return sample.split in BALANCED_SPLITS and sample.path.suffix.lower() in VIDEO_SUFFIXES


def _planned(manifest: Manifest, options: ExportOptions) -> Iterator[tuple[Sample, str, int]]:
    root = common_folder(manifest)
    for sample in manifest:
        yield sample, folder_name(sample, root), frames_wanted(sample, options)


def folder_name(sample: Sample, root: str) -> str:
    """DATASET/NAME-HASH: safe on every file system, and another one for every path.

    Args:    sample: a file; its path below the root is what the hash is of, so that a data set that was moved
                 keeps its names, which are groups where the manifest has none.
             root: the folder that all samples share, as `common_folder` gives it.
    Returns: the folder of its crops, relative to the output.
    """
    digest = hashlib.sha256(os.fsencode(os.path.relpath(sample.path, root))).hexdigest()[:12]
    stem = safe_name(sample.path.stem)[:40] or "file"
    return f"{safe_name(sample.dataset)[:40] or 'files'}/{stem}-{digest}"


def _crops_or_reason(task: CropTask, beat: Callable[[], None], *, options: CropOptions) -> Lost | None:
    """Work of a process. The record is on disk: it need not be sent."""
    try:
        write_crops(task, beat, options=options)
    except (ImageError, VideoError) as error:
        return Lost(str(error))
    return None


def _finished(
    manifest: Manifest,
    tasks: list[CropTask],
    reasons: dict[int, str],
    out: Path,
    options: ExportOptions,
    *,
    n_unchanged: int,
) -> Export:
    """The tables and the report, from the records on disk in the order of the manifest."""
    crops: list[Sample] = []
    without: list[tuple[Sample, str, str]] = []
    report = _Report(options)
    for index, (sample, task) in enumerate(zip(manifest, tasks, strict=True)):
        record = None if index in reasons else record_of(task)
        if record is None:
            reason = reasons.get(index, "the file or its crops changed while the others were read; run again")
            without.append((sample, "failed", reason))
        elif not record["crops"]:
            without.append((sample, "no face", NO_FACE))
        else:
            crops += _rows(sample, task, record, task.folder.relative_to(out).as_posix())
        report.count(sample, record, task.n_frames)
    _write_failed(without, out / "failed.csv")
    summary = report.summary()
    _write_json(summary, out / "report.json")
    if not crops:
        first, _, reason = without[0]
        raise ManifestError(
            f"none of the {len(manifest)} files gave a crop; the first, {str(first.path)!a}: {reason}"
        )
    write_manifest(Manifest(tuple(crops)), out / "manifest.csv")
    return Export(
        manifest=Manifest(tuple(crops)),
        failed=tuple((sample.path, reason) for sample, outcome, reason in without if outcome == "failed"),
        faceless=tuple(sample.path for sample, outcome, _ in without if outcome == "no face"),
        n_unchanged=n_unchanged,
        report=summary,
    )


def _rows(sample: Sample, task: CropTask, record: Record, name: str) -> Iterator[Sample]:
    is_video = record["kind"] == "video"
    for crop in record["crops"]:
        yield replace(
            sample,
            path=task.folder / crop["name"],
            # Without a group, the frames of one video would be parted by a split.
            group=sample.group or (sample.video if not is_video else "") or name,
            video=(sample.video or name) if is_video else sample.video,
            frame=crop["time"] if is_video else sample.frame,
            sha256=crop["sha256"],
        )


class _Report:
    """Counts of files, frames and crops: in all, by label and by data set."""

    def __init__(self, options: ExportOptions) -> None:
        self.options = options
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self.balance: dict[str, Counter[str]] = {"real": Counter(), "fake": Counter()}
        self.warnings: list[dict[str, Any]] = []

    def count(self, sample: Sample, record: Record | None, wanted: int) -> None:
        """Add a file. wanted: frames, where it is a video."""
        if self.options.balance != "none" and _is_balanced(sample) and sample.label is not None:
            crops = 0 if record is None else len(record["crops"])
            self.balance[LABEL_NAMES[sample.label]].update(planned=wanted, crops=crops)
        is_video = (
            sample.path.suffix.lower() in VIDEO_SUFFIXES if record is None else record["kind"] == "video"
        )
        found = Counter({"videos" if is_video else "images": 1})
        if record is None:
            found["failed"] = 1
        else:
            found["with_crops" if record["crops"] else "without_face"] = 1
            found["crops"] = len(record["crops"])
            found["frames"] = record["n_looked"]
            found["frames_with_face"] = record["n_with_face"] or 0
            if record["warnings"]:
                self.warnings.append({"path": str(sample.path), "warnings": record["warnings"]})
        for key in (("all", ""), ("label", LABEL_NAMES[sample.label]), ("dataset", sample.dataset)):
            self.counts.setdefault(key, Counter()).update(found)

    def summary(self) -> dict[str, Any]:
        """What report.json holds."""
        seeks = self.options.crops.region == "face"
        by: dict[str, Any] = {"label": {}, "dataset": {}}
        for (kind, name), counts in sorted(self.counts.items()):
            if kind != "all":
                by[kind][name] = _coverage(counts, seeks=seeks)
        return {
            **_coverage(self.counts["all", ""], seeks=seeks),
            "by": by,
            "balance": self._balance() if self.options.balance != "none" else None,
            "options": asdict(self.options),
            "warnings": self.warnings,
        }

    def _balance(self) -> dict[str, Any]:
        """Frames planned and crops of each class that is balanced, and which one got too few."""
        real, fake = self.balance["real"], self.balance["fake"]
        got = {"real": real["crops"] * fake["planned"], "fake": fake["crops"] * real["planned"]}
        fewer, more = sorted(got, key=got.__getitem__)
        classes = {name: {key: c[key] for key in ("planned", "crops")} for name, c in self.balance.items()}
        return {**classes, "short": fewer if got[fewer] < SHORT * got[more] else None}


def _coverage(counts: Counter[str], *, seeks: bool) -> dict[str, Any]:
    n = counts["videos"] + counts["images"]
    return {
        **{name: counts[name] for name in ("videos", "images", "with_crops", "without_face", "failed")},
        "coverage": counts["with_crops"] / n,
        "frames": counts["frames"],
        "frames_with_face": counts["frames_with_face"] if seeks else None,
        "frame_coverage": counts["frames_with_face"] / counts["frames"]
        if seeks and counts["frames"]
        else None,
        "crops": counts["crops"],
    }


def _require_outside(manifest: Manifest, out: Path) -> None:
    inside = out.resolve()
    for folder in sorted({sample.path.parent for sample in manifest}):
        if folder.resolve().is_relative_to(inside):
            raise ManifestError(f"samples lie in the output folder, in {str(folder)!a}; give another output")


def _require_same(out: Path, options: ExportOptions) -> None:
    """Write down the options of the first run, or compare with them. The limit of pixels may differ."""
    asked = asdict(options)
    asked |= asked.pop("crops")
    del asked["max_pixels"]
    path = out / "options.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise ConfigError(
                f"{out} is not empty and holds no crops of an earlier run (options.json); give another folder"
            ) from None
        _write_json(asked, path)
        return
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; give another folder") from error
    if not isinstance(found, dict) or found != asked:
        found = found if isinstance(found, dict) else {}
        names = [name for name in sorted({*found, *asked}) if found.get(name) != asked.get(name)]
        listed = "; ".join(f"{name} was {found.get(name)!r} and is {asked.get(name)!r}" for name in names)
        raise ConfigError(f"{out} was made with other options ({listed}); give another folder")


def _write_failed(without: Iterable[tuple[Sample, str, str]], path: Path) -> None:
    """Rows of the manifest with an outcome and a reason more; a manifest too, to try them again."""
    rows = list(without)
    draft = path.with_name(f".{path.name}.draft")
    folder = path.parent.resolve()
    with draft.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        # All quoted: a lone carriage return ends a row when it is read, and csv does not quote it by itself.
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow([*COLUMNS, "outcome", "reason"])
        for sample, outcome, reason in rows:
            writer.writerow([*as_row(sample, folder).values(), outcome, reason])
    draft.replace(path)


def _write_json(value: dict[str, Any], path: Path) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror or error}") from error
