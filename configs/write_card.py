"""Writes the card and the licence of the shipped detector from its evaluations: DETECTOR WORK (two folders).

Their texts are card.md and weights-licence.txt beside this file. The card is not part of the digest, so that
it can name what was measured.
"""

from __future__ import annotations

import ast
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tellsign import artifacts
from tellsign.evaluate.report_text import markdown

HERE = Path(__file__).parent
PARTS = ("train", "select", "calibrate")


def counts(data: dict[str, Any]) -> str:
    """The numbers of images as a table."""
    parts = ("train", "select", "calibrate")
    names = sorted({name for part in parts for name in data[part]["by_dataset"]})
    rows = [
        f"| {n} | " + " | ".join(str(data[p]["by_dataset"].get(n, 0)) for p in parts) + " |" for n in names
    ]
    return "\n".join(["| source / label | train | select | calibrate |", "|---|---:|---:|---:|", *rows])


def choice(work: Path) -> str:
    """The best candidate of each input, from what `choose.py` printed."""
    best: dict[tuple[object, ...], tuple[str, dict[str, Any]]] = {}
    for line in (work / "choose.txt").read_text(encoding="utf-8").splitlines():
        area, brace, options = line.partition("{")
        if not brace:
            continue
        candidate = ast.literal_eval(brace + options)
        looks = tuple(candidate[key] for key in ("crop", "max_crops", "normalise"))
        if looks not in best or area > best[looks][0]:
            best[looks] = (area, candidate)
    rows = [
        f"| {' | '.join(map(str, looks))} | {c['c']:g} | {c['gamma']:g} | {area.strip()} |"
        for looks, (area, c) in best.items()
    ]
    return "\n".join(
        ["| crop | crops | normalise | C | gamma | AUROC |", "|---:|---:|---|---:|---:|---:|", *rows]
    )


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
    card = (
        (HERE / "card.md")
        .read_text(encoding="utf-8")
        .format(
            name=spec["name"],
            digest=artifact.digest[:12],
            crop=spec["preprocessing"]["crop"],
            auroc=f"{stylegan['value']:.2f} [{low:.2f}, {high:.2f}] (test split of stylegan140k)",
            counts=counts(spec["data"]),
            choice=choice(work),
            method=spec["calibration"]["method"],
            n_real=spec["operating_point"]["n_real"],
            n_fake=spec["operating_point"]["n_fake"],
            fpr=spec["operating_point"]["fpr"],
            fnr=spec["operating_point"]["fnr"],
            **spec["metrics"],
            **{name: markdown(result).strip() for name, result in reports.items()},
        )
    )
    (detector / artifacts.CARD_FILE).write_text(card, encoding="utf-8")
    shutil.copyfile(HERE / "weights-licence.txt", detector / artifacts.LICENCE_FILE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
