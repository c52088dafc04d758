"""A small detector of up-sampled pictures, made on the spot, so that no test depends on the one that ships.

Shapes: N images, K frequency bins.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pictures import natural, upsampled
from tellsign import artifacts
from tellsign.calibration import Calibration, operating_point
from tellsign.detectors.preprocessing import ProfileInput, profile
from tellsign.scoring.decision import domain_level, domain_shape

CROP = 32  # pixels; a smaller image is too small
N = 60  # images a class, from which the detector is made: enough for a false-positive rate of 0.05


def write_detector(
    folder: Path, *, kind: str = "linear", name: str = "stand-in", region: str = "image", **spec: Any
) -> Path:
    """Writes a calibrated artifact that tells `pictures.upsampled` from `pictures.natural`.

    kind: linear or kernel. name: of the detector. region: image or face. spec: other keys of detector.json.
    """
    options = ProfileInput(crop=CROP, max_crops=4, region=region)  # type: ignore[arg-type]
    real, fake = _profiles()
    mean, scale = real.mean(axis=0), np.where(real.std(axis=0) > 0, real.std(axis=0), 1.0)
    z_real, z_fake = (real - mean) / scale, (fake - mean) / scale
    arrays, scores = _linear(z_real, z_fake) if kind == "linear" else _kernel(z_real, z_fake)
    both = np.concatenate([real, fake])
    spread = np.where(both.std(axis=0) > 0, both.std(axis=0), 1.0)
    z, precision = (both - both.mean(axis=0)) / spread, np.eye(len(mean))
    arrays |= {
        "mean": mean,
        "scale": scale,
        "band.real_mean": real.mean(axis=0),
        "band.real_std": real.std(axis=0),
        "band.fake_mean": fake.mean(axis=0),
        "band.fake_std": fake.std(axis=0),
        "domain.mean": both.mean(axis=0),
        "domain.std": spread,
        "domain.precision": precision,
        "domain.scales": np.array([domain_level(z).max(), domain_shape(z, precision).max()]),
        "scores.real": np.sort(scores[:N]),
        "scores.fake": np.sort(scores[N:]),
    }
    artifacts.save(
        folder,
        spec={
            "name": name,
            "kind": kind,
            "preprocessing": options.to_spec(),
            "calibration": Calibration.fit(np.repeat([0, 1], N), scores).to_dict(),
            "operating_point": operating_point(scores[:N], scores[N:], fpr=0.05, fnr=0.05).to_dict(),
            "domain": {"limit": 1.5, "quantile": 0.99},
        }
        | spec,
        arrays={key: np.asarray(array, dtype=np.float64) for key, array in arrays.items()},
    )
    return folder


def _linear(real: np.ndarray, fake: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    weights = (fake.mean(axis=0) - real.mean(axis=0)) / (1 + fake.std(axis=0))
    low, high = (float(z.mean(axis=0) @ weights) for z in (real, fake))
    weights *= 6 / (high - low)  # the classes lie around -3 and 3
    bias = -3 * (high + low) / (high - low)
    return {"weights": weights, "bias": np.array(bias)}, np.concatenate([real, fake]) @ weights + bias


def _kernel(real: np.ndarray, fake: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    support = np.concatenate([real, fake])
    dual, gamma = np.repeat([-1.0, 1.0], N), 0.5 / support.shape[1]
    squared = np.square(support[:, None] - support).sum(axis=2)
    arrays = {"support": support, "dual": dual, "gamma": np.array(gamma), "bias": np.array(0.0)}
    return arrays, np.exp(-gamma * squared) @ dual


@lru_cache(maxsize=1)
def _profiles() -> tuple[np.ndarray, np.ndarray]:
    """(N, K) of real and of fake images."""
    options = ProfileInput(crop=CROP, max_crops=4)
    real, fake = (
        np.stack([profile(make(90_000 + seed), options) for seed in range(N)])
        for make in (natural, upsampled)
    )
    return real, fake
