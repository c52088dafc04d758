"""Writes the card and the licence of the shipped detector from its evaluations: DETECTOR WORK (two folders).

The card is not part of the digest, so what is measured can name what was measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tellsign import artifacts
from tellsign.evaluate.report import markdown

TEMPLATE = """# {name}

Detects the traces of up-convolutions in the spectrum of an image (Durall, Keuper, Keuper, CVPR 2020): the radial
profile of the 2-D Fourier spectrum of native {crop} × {crop} crops, judged by an SVM. Made by `make default-detector` with
`configs/spectrum.toml`. Detector `{name}@{digest}`.

## What it cannot do

- **It is a weak detector, and says so.** On images of the kind it was trained on, AUROC is
  {auroc}. Most verdicts are *can't tell*.
- **It knows one family of generators.** It was trained on StyleGAN faces and a few older GANs. It finds next to nothing in
  diffusion images (see sd3_portraits), in face swaps and in manual composites (see ciplab).
- *No sign found* is no proof that an image is genuine.
- Images under {crop} pixels on a side get no verdict. Recompressed, resized or screen-captured images are judged by what that
  left of the spectrum.
- Part of what it uses may be content and not generation: on stylegan140k, 8 × 8 thumbnails alone give an AUROC of
  about 0.70.

## Training data

Harmonised before anything else: native centre crop of 240 pixels, one JPEG at quality 75 for both classes, no
metadata. Split by group. Images by source and label:

{counts}

Chosen from {n_candidates} candidates by AUROC on the selection half ({auroc_select:.3f}, optimistic because chosen there);
{auroc_calibrate:.3f} on the calibration half. Calibrated ({method}) on {n_real} real and {n_fake} fake images, with thresholds for
at most {fpr:.0%} false positives and {fnr:.0%} misses among them.

## Measured

Intervals: 95 %, bootstrap over groups, 1000 resamples, seed 0. FPR is the share of real images that are called fake,
recall the share of fakes that are; coverage is the share of images that get a verdict at all.

### Test split of the training sources, harmonised

{test}

### Sources that training and calibration never saw, harmonised

`imagenet_samples` and `sr_sets` are photographs kept out of everything, to measure false positives on. `sr_sets` are
partly drawings and synthetic test pictures.

{unseen}

### The same sources as they come

Not harmonised: where classes differ in size or JPEG quality, AUROC is about that (celebahq_pggan: real q75, fake
q95). The false-positive rates are what a user sees.

{native}

### Images too small to judge

{small}

## Licence

The weights may be used for research and evaluation only; see LICENSE in this folder. The images are not part of it.
"""

LICENCE = """The weights in this folder were fitted on images under these terms:

- stylegan140k: FFHQ photographs (CC BY-NC-SA 4.0) and StyleGAN images (CC BY-NC 4.0)
- cnnd10: CNNDetection sample images (CC BY-NC-SA 4.0)
- ffhq1024: FFHQ photographs (CC BY-NC-SA 4.0)
- bsds500: Berkeley Segmentation Dataset, for non-commercial research
- realorai: no licence stated

The weights are therefore offered for non-commercial research and evaluation only, under CC BY-NC-SA 4.0
(https://creativecommons.org/licenses/by-nc-sa/4.0/) as far as the authors of this package have rights in them.
The code that makes and runs them is under the Apache License 2.0.

People are identifiable in the training images. The weights hold averages and single profiles of spectra, from
which no picture can be rebuilt.
"""


def counts(data: dict[str, Any]) -> str:
    """The numbers of images as a table."""
    parts = ("train", "select", "calibrate")
    names = sorted({name for part in parts for name in data[part]["by_dataset"]})
    rows = [
        f"| {n} | " + " | ".join(str(data[p]["by_dataset"].get(n, 0)) for p in parts) + " |" for n in names
    ]
    return "\n".join(["| source / label | train | select | calibrate |", "|---|---:|---:|---:|", *rows])


def main(detector: Path, work: Path) -> None:
    """Write both files."""
    artifact = artifacts.load(detector)
    spec = artifact.spec
    reports = {
        name: json.loads((work / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("test", "unseen", "native", "small")
    }
    stylegan = reports["test"]["by"]["dataset"]["stylegan140k"]["metrics"]["auroc"]
    low, high = stylegan["ci"]
    card = TEMPLATE.format(
        name=spec["name"],
        digest=artifact.digest[:12],
        crop=spec["preprocessing"]["crop"],
        auroc=f"{stylegan['value']:.2f} [{low:.2f}, {high:.2f}] (test split of stylegan140k)",
        counts=counts(spec["data"]),
        method=spec["calibration"]["method"],
        n_real=spec["operating_point"]["n_real"],
        n_fake=spec["operating_point"]["n_fake"],
        fpr=spec["operating_point"]["fpr"],
        fnr=spec["operating_point"]["fnr"],
        **spec["metrics"],
        **{name: markdown(result).strip() for name, result in reports.items()},
    )
    (detector / artifacts.CARD_FILE).write_text(card, encoding="utf-8")
    (detector / artifacts.LICENCE_FILE).write_text(LICENCE, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
