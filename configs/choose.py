"""Chooses the shipped detector's options by cross-validation inside the training split: CONFIG MANIFEST.

The validation and test splits are not read. Folds keep groups together and shares of labels alike. A fold is
judged within each source that holds both classes, never across sources, which differ in more than the label;
the mean over sources is weighted by their images. Among the inputs (crop, number of crops, normalisation) the
cheapest wins whose best classifier comes within one standard error of the best of all; then the best
classifier on that input. Takes some minutes; prints every candidate.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from tellsign import metrics
from tellsign.data import manifest
from tellsign.detectors import kernel
from tellsign.detectors.rows import feature_rows
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.systems.spectrum.model import fit
from tellsign.train import read_config

INPUTS = {"crop": (128, 240), "max_crops": (1, 3), "normalise": ("none", "first")}
CLASSIFIERS = {"c": (1.0, 3.0, 10.0), "gamma": (0.003, 0.01, 0.03)}
FOLDS, SEEDS = 5, (0, 1)


def grid(options: dict[str, tuple]) -> list[dict]:
    """All combinations."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def within_sources(labels, scores, sources) -> float:
    """Mean AUROC of the sources with both classes."""
    members = [sources == name for name in np.unique(sources)]
    both = [rows for rows in members if len(set(labels[rows])) == 2]
    return np.average([metrics.auroc(labels[r], scores[r]) for r in both], weights=[r.sum() for r in both])


def areas(features, labels, groups, sources, config: SpectrumConfig) -> np.ndarray:
    """AUROC of every fold of every repeat."""
    found = []
    for seed in SEEDS:
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        for learn, judge in folds.split(features, labels, groups):
            arrays = fit(features[learn], labels[learn], config).arrays
            standardised = (features[judge] - arrays["mean"]) / arrays["scale"]
            scores = kernel.scores(standardised, arrays)
            found.append(within_sources(labels[judge], scores, sources[judge]))
    return np.array(found)


def main(config_path: Path, manifest_path: Path) -> None:
    """Print the table and the choice."""
    start = SpectrumConfig(**read_config(config_path).config)
    training = manifest.read(manifest_path).filter(split="train")
    labels = np.array(training.labels)
    groups = np.array([sample.group or str(sample.path) for sample in training])
    sources = np.array([sample.dataset for sample in training])
    best: list[tuple[float, float, int, SpectrumConfig]] = []
    for looks in grid(INPUTS):
        features = feature_rows(training, replace(start, **looks).input).values
        trials = []
        for settings in grid(CLASSIFIERS):
            config = replace(start, **looks, **settings)
            fold = areas(features, labels, groups, sources, config)
            trials.append((fold.mean(), fold.std(ddof=1) / np.sqrt(FOLDS), config))
            print(f"{fold.mean():.4f} ± {trials[-1][1]:.4f}  {looks | settings}", flush=True)
        area, error, config = max(trials, key=lambda trial: trial[0])
        best.append((area, error, looks["max_crops"] * looks["crop"] ** 2, config))
    top, error, _, _ = max(best, key=lambda entry: entry[0])
    near = [entry for entry in best if entry[0] >= top - error]
    area, error, _, config = min(near, key=lambda entry: (entry[2], -entry[0]))
    print(f"best of all {top:.4f}; chosen {area:.4f} ± {error:.4f}: {config}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
