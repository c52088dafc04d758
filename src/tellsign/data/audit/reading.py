"""A manifest as an audit reads it: what `manifest.read` refuses is a finding here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tellsign.data.manifest import Manifest, csv_rows, from_rows
from tellsign.types import ManifestError


def read_to_audit(path: Path) -> Manifest:
    """A manifest whose groups and videos may cross splits and whose files may be missing.

    Args:    path: of the CSV file; its paths are relative to its folder.
    Returns: the samples.
    Raises:  ManifestError: the file is no manifest, or its rows break another rule.
    """
    rows = list(csv_rows(path))
    if rows and not {"path", "label"} <= rows[0][1].keys():
        found = ", ".join(rows[0][1])[:200]
        raise ManifestError(f"{path}, line 1: a manifest's header has path and label; found {found!a}")
    ungrouped = ((line, {**row, "group": "", "video": ""}) for line, row in rows)
    samples = from_rows(ungrouped, root=path.parent, name=str(path), check_files=False)
    return Manifest(
        tuple(
            replace(sample, group=row.get("group") or "", video=row.get("video") or "")
            for sample, (_, row) in zip(samples, rows, strict=True)
        )
    )
