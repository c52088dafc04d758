"""Small images whose spectra are known, and data sets of them, made here and now.

`natural` looks to a spectrum as photographs do, `upsampled` as what a generator's last layers leave, and
`stamped` has the same pattern in each image, as a generator's fingerprint is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

from tellsign.data import Manifest, write
from tellsign.types import FAKE, REAL, Sample


def natural(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """(3, height, width) float32 in [0, 1]: noise with a 1/f amplitude spectrum, as photographs have it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1 / max(height, width)
    spectrum = np.fft.rfft2(rng.normal(size=(3, height, width))) / frequency
    # Three channels that mostly agree, as those of photographs do.
    mixed = np.einsum("ij,jhw->ihw", 0.2 * np.eye(3) + 0.8 / 3, spectrum)
    pixels = np.fft.irfft2(mixed, s=(height, width))
    pixels = (pixels - pixels.mean()) / pixels.std()
    return np.clip(0.5 + 0.15 * pixels, 0, 1).astype(np.float32)


def upsampled(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """(3, height, width) float32 in [0, 1]: a natural image of half the size, each pixel made four.

    The up-sampling repeats the low frequencies at the high ones, damped by a cosine.
    """
    half = natural(seed, -(-height // 2), -(-width // 2))
    return np.ascontiguousarray(half.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width])


def stamped(seed: int, height: int = 64, width: int = 64, *, period: int = 16) -> np.ndarray:
    """(3, height, width) float32 in [0, 1]: a natural image and a pattern, the same in every one."""
    pattern = np.random.default_rng(period).choice([-0.08, 0.08], size=(period, period))
    pattern = np.tile(pattern, (-(-height // period), -(-width // period)))[:height, :width]
    return np.clip(natural(seed, height, width) + pattern, 0, 1).astype(np.float32)


def save(array: np.ndarray, path: Path, **options: object) -> Path:
    """Write (3, H, W) in [0, 1] in the format of the path's suffix, with Pillow's options."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.rint(array * 255).astype(np.uint8).transpose(1, 2, 0)
    PIL.Image.fromarray(levels).save(path, **options)
    return path


def write_dataset(
    folder: Path,
    n: int = 8,
    *,
    size: int = 64,
    seed: int = 0,
    split: str = "",
    dataset: str = "made",
    group_size: int = 1,
    suffix: str = ".png",
    fake: Callable[[int, int, int], np.ndarray] = upsampled,
) -> Path:
    """n natural (real) and n up-sampled (fake) images below real/ and fake/, with their manifest.

    Args:    n: images a class. size: side in pixels. seed: of the first image; another gives other images.
             split: of every row. group_size: how many successive images of a class share a group.
             suffix: of the files. fake: what makes the fakes of a seed, a height and a width.
    Returns: path of the manifest, folder/manifest.csv.
    """
    samples = []
    for label, name, make in ((REAL, "real", natural), (FAKE, "fake", fake)):
        for index in range(n):
            path = folder / name / f"{index:04d}{suffix}"
            save(make(10_000 * seed + 5_000 * label + index, size, size), path)
            samples.append(
                Sample(
                    path=path,
                    label=label,
                    dataset=dataset,
                    generator=("nearest" if fake is upsampled else fake.__name__) if label else "",
                    group=f"{dataset}-{seed}-{name}-{index // group_size}",
                    split=split,
                )
            )
    write(Manifest(tuple(samples)), folder / "manifest.csv")
    return folder / "manifest.csv"


def write_split_dataset(
    folder: Path,
    *,
    train: int = 8,
    valid: int = 16,
    test: int = 0,
    size: int = 48,
    seed: int = 0,
    fake: Callable[[int, int, int], np.ndarray] = upsampled,
) -> Path:
    """A data set with splits, one folder each.

    Args:    train, valid, test: images a class. size, seed, fake: as for `write_dataset`.
    Returns: path of the manifest, folder/manifest.csv.
    """
    from tellsign.data import read

    samples: list[Sample] = []
    for offset, (split, n) in enumerate((("train", train), ("valid", valid), ("test", test))):
        if n:
            part = write_dataset(folder / split, n, size=size, seed=3 * seed + offset, split=split, fake=fake)
            samples.extend(read(part))
    write(Manifest(tuple(samples)), folder / "manifest.csv")
    return folder / "manifest.csv"
