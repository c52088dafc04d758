"""An audit as one self-contained HTML page: findings first, then cues, culprits and duplicates.

No script, no network, no path of this machine: files go by their name below the folder that all share. The
same audit of the same files gives the same bytes.

Shapes: H W pixels.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import __version__, image
from tellsign.data.audit.advice import by_advice
from tellsign.data.audit.report import auroc_text, verdict
from tellsign.explain import figures, words
from tellsign.explain.templates import template
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tellsign.data.audit import Audit
    from tellsign.data.audit.classify import CueResult
    from tellsign.data.audit.duplicates import DuplicateSet
    from tellsign.types import Sample

    Context = dict[str, Any]

PICTURE_SIDE = 160
PATCH_SIDE = 20  # CSS pixels of one of a thumbnail's 64 patches
CULPRITS = 5  # cues whose examples are shown
SETS = 12  # of duplicates that are shown, and of their files
FILES = 4
LISTED = 50  # rows of a list before the others are counted

CUES = {
    "format": ("File format", "what the file is by its content, its extension, and how pixels are stored"),
    "size": ("Size", "width, height and aspect"),
    "bytes": ("Byte count", "how large the file is"),
    "jpeg": ("JPEG", "quantisation tables and the quality they stand for"),
    "exif": ("EXIF", "which tags there are, and the colour profile"),
    "bits_per_pixel": ("Bits per pixel", "file size over picture size"),
    "name": ("File name", "length, kinds of characters and words; folders and running numbers are left out"),
    "metadata": ("All metadata", "format, size, bytes, JPEG, EXIF and bits per pixel together"),
    "thumbnail": ("Thumbnail", "the picture as 8 × 8 patches of colour: content"),
}


def write_audit_page(audit: Audit, path: Path | str, *, title: str) -> None:
    """Write the page to a file, which is there as a whole or not at all.

    Args:    audit: of a manifest whose files are still there; those that went show no picture.
             path: to write to, replaced where it exists. title: of the page.
    Raises:  ConfigError: the file can't be written.
    """
    path = Path(path)
    content = audit_page(audit, title=title)
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(content, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path.name!a}: {error.strerror or error}; give another place or make room"
        ) from error
    finally:
        if draft.exists():
            draft.unlink()


def audit_page(audit: Audit, *, title: str) -> str:
    """The page.

    Args:    audit: of a manifest. title: of the page.
    Returns: one HTML document, valid UTF-8.
    """
    named = _names(audit)
    return str(
        template("audit.html").render(
            title=words.visible(title),
            light=figures.LIGHT,
            dark=figures.DARK,
            version=__version__,
            audit=audit,
            limit=f"{audit.limit:g}",
            findings=[
                {"whats": [words.visible(what) for what in whats], "advice": _code(words.visible(advice))}
                for advice, whats in by_advice(audit.findings).items()
            ],
            tables=_tables(audit),
            culprits=_culprits(audit, named),
            sets=[_duplicate(found, named) for found in audit.duplicates[:SETS]],
            n_sets=len(audit.duplicates),
            leaks=[
                {
                    "kind": leak.kind,
                    "name": words.visible(leak.name) if leak.kind == "group" else named(leak.samples[0]),
                    "splits": ", ".join(f"{n} in {split}" for split, n in sorted(leak.splits.items())),
                }
                for leak in audit.leaks[:LISTED]
            ],
            failed=[(named(sample), words.visible(reason)) for sample, reason in audit.unreadable[:LISTED]],
            changed=[named(sample) for sample in audit.changed[:LISTED]],
            balance=[
                (words.visible(c.dataset), c.label, words.visible(c.generator), c.split, c.n)
                for c in audit.balance
            ],
            listed=LISTED,
        )
    )


def _names(audit: Audit) -> Callable[[Sample], str]:
    """Sample → its path below the folder that all files on the page share, as visible text."""
    samples = [example.sample for examples in audit.examples.values() for example in examples]
    samples += [sample for found in audit.duplicates for sample in found.samples]
    samples += [sample for leak in audit.leaks for sample in leak.samples]
    samples += [*(sample for sample, _ in audit.unreadable), *audit.changed]
    folders = {os.path.abspath(sample.path.parent) for sample in samples}  # noqa: PTH100 - links stay
    root = os.path.commonpath(folders) if folders else ""
    return lambda sample: words.visible(os.path.relpath(sample.path, root))


def _code(advice: str) -> list[tuple[bool, str]]:
    """(is it a command, text): what stands between backquotes is one."""
    return [(index % 2 == 1, part) for index, part in enumerate(advice.split("`"))]


def _tables(audit: Audit) -> list[Context]:
    """The cues of all files, then of each data set."""
    parts = [("All files", audit.cues)]
    parts += [
        (f"Data set {words.visible(name) or 'without a name'}", c) for name, c in audit.datasets.items()
    ]
    return [
        {
            "title": name,
            "rows": [_cue_row(cue, result, audit.limit) for cue, result in cues.items()],
            "notes": list(dict.fromkeys(words.visible(r.note) for r in cues.values() if r.note)),
        }
        for name, cues in parts
    ]


def _cue_row(name: str, result: CueResult, limit: float) -> Context:
    value, interval = auroc_text(result)
    said = verdict(result, limit)
    row: Context = {
        "title": CUES[name][0],
        "about": CUES[name][1],
        "value": value,
        "interval": interval,
        "verdict": said,
        "tone": "fake" if said == "tells the label" else "uncertain" if said else "",
        "dot": None,
    }
    if result.auroc is not None:
        known = not math.isnan(result.auroc.low)
        low, high = (result.auroc.low, result.auroc.high) if known else (result.auroc.value,) * 2
        row |= {"dot": 100 * result.auroc.value, "low": 100 * low, "high": 100 * high}
    return row


def _culprits(audit: Audit, named: Callable[[Sample], str]) -> list[Context]:
    """The cues with the largest AUROC above 0.5, with the files that they are surest of."""
    values: Mapping[str, float] = {
        name: result.auroc.value for name, result in audit.cues.items() if result.auroc is not None
    }
    worst = sorted((n for n in values if verdict(audit.cues[n], audit.limit)), key=lambda n: -values[n])
    found = []
    for name in worst[:CULPRITS]:
        sides = []
        for label, heading in ((0, "Real"), (1, "Fake")):
            examples = [e for e in audit.examples[name] if e.sample.label == label]
            key = "fake" if label else "real"
            mean = audit.thumbnails.get(key) if name == "thumbnail" else None
            sides.append(
                {
                    "heading": heading,
                    "tone": key,
                    "mean": mean is not None and _patches(mean),
                    "examples": [
                        {
                            "picture": _picture(e.sample.path),
                            "name": named(e.sample),
                            "value": words.visible(e.value),
                        }
                        for e in examples
                    ],
                }
            )
        found.append({"title": CUES[name][0], "value": f"{values[name]:.3f}", "sides": sides})
    return found


def _patches(thumbnail: np.ndarray[Any, Any]) -> tuple[str, int, int]:
    levels = np.rint(np.clip(thumbnail, 0, 1) * 255).astype(np.uint8)
    side = PATCH_SIDE * len(levels)
    enlarged = levels.repeat(PATCH_SIDE, axis=0).repeat(PATCH_SIDE, axis=1)
    return figures.jpeg_url(enlarged, side, quality=90)


def _duplicate(found: DuplicateSet, named: Callable[[Sample], str]) -> Context:
    across = [
        noun
        for noun, crosses in (
            ("both classes", found.crosses_labels),
            ("several splits", found.crosses_splits),
            ("several groups", found.crosses_groups),
        )
        if crosses
    ]
    return {
        "kind": "Equal files" if found.kind == "exact" else "Nearly the same picture",
        "across": f"in {' and '.join(across)}" if across else "within one group",
        "more": max(0, len(found.samples) - FILES),
        "files": [
            {
                "picture": _picture(sample.path),
                "name": named(sample),
                "value": ", ".join(
                    words.visible(part)
                    for part in (
                        {0: "real", 1: "fake"}.get(sample.label if sample.label is not None else -1, ""),
                        sample.split,
                        sample.group and f"group {sample.group}",
                    )
                    if part
                ),
            }
            for sample in found.samples[:FILES]
        ],
    }


@lru_cache(maxsize=256)
def _picture(path: Path) -> tuple[str, int, int] | None:
    """A small picture of a file; None where it is gone or damaged meanwhile."""
    try:
        array = image.decode(path).array
    except ImageError:
        return None
    levels = np.rint(array * 255).astype(np.uint8).transpose(1, 2, 0)
    return figures.jpeg_url(levels, PICTURE_SIDE, quality=75)
