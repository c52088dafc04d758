"""Cuts native squares out of the real images of a manifest: configs/patches.py MANIFEST SIZE OUT [MOST].

Squares lie side by side from the corners on and hardly overlap; nothing is resized. Of each image there are
as many as fit, or MOST, evenly over it. They are PNG files, all of one size, with a manifest in which those
of an image are one group, so that no split parts them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tellsign.data import Manifest, read, write
from tellsign.data.picture import picture
from tellsign.generators.sampling import write_image
from tellsign.groups import sources
from tellsign.image.crops import crop_corners, square_crops
from tellsign.types import REAL


def patches(manifest: Manifest, size: int, out: Path, most: int | None = None) -> Manifest:
    """Write the squares and their manifest, OUT/manifest.csv."""
    rows = []
    reals = manifest.filter(label=REAL)
    for number, (sample, group) in enumerate(zip(reals, sources(reals), strict=True)):
        array = picture(sample).array
        height, width = array.shape[1:]
        fit = (height // size) * (width // size)
        n = fit if most is None else min(most, fit)
        corners = crop_corners(height, width, size, n)
        for (top, left), crop in zip(corners, square_crops(array, size, n), strict=True):
            path = out / f"{number:05d}-{top:04d}-{left:04d}.png"
            digest = write_image(path, crop)
            own = replace(sample, path=path, sha256=digest, group=group or f"{number:05d}", split="")
            rows.append(own)
    found = Manifest(tuple(rows))
    write(found, out / "manifest.csv")
    return found


if __name__ == "__main__":
    source, size, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    most = int(sys.argv[4]) if len(sys.argv) > 4 else None
    print(f"{len(patches(read(source), size, out, most))} patches of {size} pixels")
