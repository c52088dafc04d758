"""The suite of perturbations against the library calls that it is made of, on two processes each.

The bare side makes the same calls of Pillow, simplejpeg, SciPy and NumPy on arrays that lie ready in each
library's own form, and throws the results away: no conversion between planes and interleaved bytes, no
rounding, no clipping, no checks, no drawing of parameters. Processor time is counted, as neither side waits
for anything: so another process on the same core weighs on neither.
"""

from __future__ import annotations

import io
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import simplejpeg
from scipy.ndimage import correlate1d

from tellsign.perturb import parse, suite
from tellsign.perturb.chains import Platform
from tellsign.perturb.operations import (
    SCREEN,
    SCREEN_SCALE,
    Blur,
    Crop,
    Jpeg,
    Noise,
    Resize,
    Screenshot,
    Webp,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZES = ((768, 1024), (1536, 2048))
N_IMAGES, WORKERS, REPEATS = 4, 2, 3


@lru_cache(maxsize=1)
def picture(height: int, width: int, number: int) -> np.ndarray:
    """(3, H, W) float32 at 8-bit levels, with the spectrum of a photograph."""
    rng = np.random.default_rng(number)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    waves = np.fft.rfft2(rng.standard_normal((3, height, width)), axes=(1, 2))
    waves /= np.maximum(np.hypot(fy, fx), 1 / max(width, height))
    planes = np.fft.irfft2(waves, s=(height, width), axes=(1, 2))
    planes = 128 + 50 * (0.9 * planes[:1] + 0.1 * planes) / planes.std()
    return (np.rint(planes.clip(0, 255)) / 255).astype(np.float32)


def perturbed(height: int, width: int, number: int) -> float:
    """Seconds that the suite takes for one image."""
    image = picture(height, width, number)
    start = time.process_time()
    for name in suite():
        parse(name).apply(image, key=str(number))
    return time.process_time() - start


class Bare:
    """The library calls of the suite on one image, timed alone."""

    def __init__(self, image: np.ndarray, number: int) -> None:
        self.image, self.number = image, number
        self.forms: dict[tuple[int, int], tuple[Any, list[Any]]] = {}
        self.seconds = 0.0

    def form(self, height: int, width: int) -> tuple[Any, list[Any]]:
        """(RGB picture, three float planes) of a size, made once and not timed."""
        if (height, width) not in self.forms:
            levels = np.rint(self.image * 255).astype(np.uint8).transpose(1, 2, 0)
            rgb = PIL.Image.fromarray(np.ascontiguousarray(levels)).resize((width, height))
            planes = [
                PIL.Image.fromarray(np.asarray(band, dtype=np.float32) / np.float32(255))
                for band in rgb.split()
            ]
            self.forms[height, width] = rgb, planes
        return self.forms[height, width]

    def resize(self, before: tuple[int, int], after: tuple[int, int], name: str) -> None:
        planes = self.form(*before)[1]
        start = time.process_time()
        for plane in planes:
            plane.resize(after[::-1], PIL.Image.Resampling[name])
        self.seconds += time.process_time() - start

    def jpeg(self, size: tuple[int, int], quality: int) -> None:
        rgb = self.form(*size)[0]
        start = time.process_time()
        stream = io.BytesIO()
        rgb.save(stream, "JPEG", quality=quality, subsampling="4:2:0")
        simplejpeg.decode_jpeg(stream.getvalue())
        self.seconds += time.process_time() - start

    def webp(self, size: tuple[int, int], quality: int) -> None:
        rgb = self.form(*size)[0]
        start = time.process_time()
        stream = io.BytesIO()
        rgb.save(stream, "WEBP", quality=quality)
        PIL.Image.open(stream).load()
        self.seconds += time.process_time() - start

    def blur(self, weights: np.ndarray) -> None:
        out = np.empty_like(self.image)
        start = time.process_time()
        if len(weights) > 1:
            for plane, blurred in zip(self.image, out, strict=True):
                correlate1d(plane, weights, axis=0, output=blurred, mode="mirror")
                correlate1d(blurred, weights, axis=1, output=blurred, mode="mirror")
        self.seconds += time.process_time() - start

    def noise(self) -> None:
        rng = np.random.default_rng(0)
        out = np.empty_like(self.image)
        start = time.process_time()
        rng.standard_normal(out=out, dtype=np.float32)
        self.seconds += time.process_time() - start

    def run(self, operations: Iterable[Any]) -> None:
        """The calls that the operations of one chain make."""
        size = self.image.shape[1:]
        for operation in operations:
            match operation:
                case Crop(fraction):
                    self.resize(scaled(size, 1 - fraction), size, "BICUBIC")
                case Blur():
                    self.blur(operation.weights())
                case Jpeg(quality):
                    self.jpeg(size, quality)
                case Webp(quality):
                    self.webp(size, quality)
                case Noise():
                    self.noise()
                case Resize(factor):
                    self.resize(size, scaled(size, factor), "BICUBIC")
                    self.resize(scaled(size, factor), size, "BICUBIC")
                case Platform(side, qualities):
                    small = scaled(size, min(1, side / max(size)))
                    if small != size:
                        self.resize(size, small, "LANCZOS")
                    for quality in qualities:
                        self.jpeg(small, quality)
                case Screenshot():
                    shown = scaled(size, min(SCREEN_SCALE, SCREEN[0] / size[0], SCREEN[1] / size[1]))
                    self.resize(size, shown, "BILINEAR")
                    if operation.jpeg is not None:
                        self.jpeg(shown, operation.jpeg)
                case _:
                    raise AssertionError(operation)


def scaled(size: tuple[int, ...], factor: float) -> tuple[int, int]:
    """Height and width times a factor, in whole pixels."""
    return round(size[0] * factor), round(size[1] * factor)


def bare(height: int, width: int, number: int) -> float:
    """Seconds that the library calls of the suite take for one image."""
    calls = Bare(picture(height, width, number), number)
    for name in suite():
        calls.run(parse(step).operation for step in parse(name).steps(key=str(number)))
    return calls.seconds


def seconds(task: Any, pool: ProcessPoolExecutor, height: int, width: int) -> float:
    """What two processes spend on all images."""
    jobs = [pool.submit(task, height, width, number) for number in range(N_IMAGES)]
    return sum(job.result() for job in jobs)


def rows() -> list[dict[str, Any]]:
    """The ratio for each size, as the median over interleaved repeats."""
    found = []
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for height, width in SIZES:
            seconds(perturbed, pool, height, width)  # imports, and memory that the system hands out
            pairs = [
                (seconds(bare, pool, height, width), seconds(perturbed, pool, height, width))
                for _ in range(REPEATS)
            ]
            each = statistics.median(ours for _, ours in pairs) / N_IMAGES
            found.append(
                {
                    "name": f"perturbation suite on {width} × {height} ({len(suite())} in {each:.1f} s), "
                    f"{WORKERS} processes, rate over bare library calls",
                    "value": statistics.median(library / ours for library, ours in pairs),
                    "target": 0.7,
                    "unit": "×",
                }
            )
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
