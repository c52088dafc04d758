"""What the published 100 % on CelebA hides: there, every fake has 128 × 128 pixels and every real 178 × 218.

The same detector is trained to tell *real* images of the two sizes apart: what it gets right owes nothing to
any generator. The smaller version is cut out of the larger one, so that the two differ in size alone, or
reduced from it, which changes the spectrum too and is nearer to the paper, whose generators learnt from
images cropped and resized to 128 × 128. And the detector that reaches the published accuracy is shown
genuine photographs of any size.

Shapes: B samples, H W pixels, K values of a profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.upconv.features import CELEBA, PAPER, Features, from_file, luma, profile
from tellsign.evaluate.upconv.splits import CLASSIFIERS, accuracies, interval, scores
from tellsign.groups import sources
from tellsign.image import resize
from tellsign.metrics import summary
from tellsign.systems.spectrum.model import fit
from tellsign.types import REAL, ImageError, ManifestError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray, Sample

REAL_SIZE, FAKE_SIZE = (218, 178), (128, 128)  # height and width of the CelebA reals and of the fakes
N_IMAGES, MIN_IMAGES = 1000, 50
QUESTION = "178 × 218 or 128 × 128"
Smaller = Literal["size alone", "size and reduction"]  # what the 128 × 128 version of an image differs in
NO_FAKES = (
    "The rows of sizes hold no fake at all, and the paper has none like them. Size alone: the 128 × 128 "
    "version is the middle of the 178 × 218 one, pixel for pixel. Size and reduction: it is the central "
    "178 × 178 reduced by Pillow's bicubic filter, which changes the spectrum as well."
)
REALS_CALLED_FAKE = (
    "In the rows of reals called fake, each of them is an error; their intervals are from a bootstrap over "
    "groups of images, the others are Student's t over the repeats."
)
COLUMNS = ("SVM (RBF)", "SVM (linear)", "logistic regression")


def confound(name: str, inputs: Inputs) -> Result:
    """Real images of two sizes told apart, and genuine photographs judged by the published features.

    Args:    name: of the result.
             inputs: a manifest with real images, the CelebA feature file, or both. `samples` is the number of
             images (1000).
    Returns: one row a classifier for the sizes, and one for each data set of photographs and classifier.
    Raises:  ConfigError, ManifestError: an input cannot be used.
    """
    limit = max(inputs.samples) if inputs.samples else N_IMAGES
    photographs = _photographs(inputs.manifest, limit, inputs.seed) if inputs.manifest is not None else None
    notes = [NO_FAKES, REALS_CALLED_FAKE]
    if photographs:
        notes.append(
            f"{len(photographs)} real images; {len(_large(photographs))} are large enough for 178 × 218."
        )
    rows = [*_size_rows(photographs, inputs), *_photograph_rows(photographs, inputs)]
    return Result(name, f"{PAPER}, against table 4", tuple(rows), tuple(notes))


Photographs = list[tuple["Sample", "FloatArray"]]  # with their grey levels (H, W)


def _photographs(manifest: Manifest, limit: int, seed: int) -> Photographs:
    """Random real images of a manifest, as many of each data set as fit."""
    real = manifest.filter(label=REAL)
    datasets = sorted({sample.dataset for sample in real})
    rng = np.random.default_rng(seed)
    rows = []
    for dataset in datasets:
        own = [row for row, sample in enumerate(real) if sample.dataset == dataset]
        rows.append(rng.permutation(own).tolist())
    turns = sorted((turn, row) for own in rows for turn, row in enumerate(own))
    found, failed = [], []
    for _, row in turns[:limit]:
        try:
            found.append((real[row], luma(real[row].path)))
        except ImageError as error:
            failed.append(f"  {error}")
    if failed:
        raise ManifestError(
            f"{len(failed)} images cannot be used; filter them out:\n" + "\n".join(failed[:10])
        )
    return found


def _large(photographs: Photographs) -> Photographs:
    return [(sample, grey) for sample, grey in photographs if _fits(grey)]


def _fits(grey: FloatArray) -> bool:
    return bool(grey.shape[0] >= REAL_SIZE[0] and grey.shape[1] >= REAL_SIZE[1])


def sizes(photographs: Photographs, smaller: Smaller) -> Features:
    """Both versions of every image: 178 × 218 cut out, labelled 0, and 128 × 128, labelled 1.

    Args:    photographs: samples with grey levels of at least 178 × 218 pixels.
             smaller: "size alone" cuts the 128 × 128 out as well; "size and reduction" reduces the square
             of 178 × 178.
    Returns: (2 B, K) profiles by the recipe for CelebA; an image's two versions share a group.
    """
    profiles, samples = [], []
    for sample, grey in photographs:
        version = _centre(grey, *REAL_SIZE)
        other = _centre(version, *FAKE_SIZE) if smaller == "size alone" else _reduced(version)
        profiles += [profile(version, CELEBA), profile(other, CELEBA)]
        samples += [sample, sample]
    labels = np.tile(np.array([0, 1], dtype=np.int64), len(photographs))
    return Features(np.stack(profiles), labels, "real images of two sizes", tuple(samples))


def _reduced(version: FloatArray) -> FloatArray:
    square = _centre(version, REAL_SIZE[1], REAL_SIZE[1])
    small = 255 * resize(np.stack([square / 255] * 3), *FAKE_SIZE, filter="bicubic")[0]
    return np.asarray(small, dtype=np.float64)


def _centre(grey: FloatArray, height: int, width: int) -> FloatArray:
    top, left = (grey.shape[0] - height) // 2, (grey.shape[1] - width) // 2
    return grey[top : top + height, left : left + width]


def _size_rows(photographs: Photographs | None, inputs: Inputs) -> list[Row]:
    large = _large(photographs or [])
    if len(large) < MIN_IMAGES:
        reason = f"needs real images of at least 178 × 218 pixels, {MIN_IMAGES} or more: --data MANIFEST"
        questions = [f"{QUESTION}, {smaller}" for smaller in get_args(Smaller)]
        return [Row(question, column, note=reason) for question in questions for column in COLUMNS]
    rows = []
    for smaller in get_args(Smaller):
        features = sizes(large, smaller)
        rows += _accuracy_rows(f"{QUESTION}, {smaller}: {len(large)} reals", features, inputs)
        datasets = [sample.dataset for sample in features.samples]
        for dataset in sorted(set(datasets)):
            own = np.array([name == dataset for name in datasets])
            if MIN_IMAGES <= own.sum() / 2 < len(large):
                samples = tuple(sample for sample in features.samples if sample.dataset == dataset)
                part = Features(features.profiles[own], features.labels[own], features.origin, samples)
                name = f"{QUESTION}, {smaller}: {len(part) // 2} of {dataset or 'unnamed'}"
                rows += _accuracy_rows(name, part, inputs)
    return rows


def _accuracy_rows(name: str, features: Features, inputs: Inputs) -> list[Row]:
    rows = []
    for column in COLUMNS:
        config, size = CLASSIFIERS[column], len(features)
        found = accuracies(features, config, size=size, repeats=inputs.repeats, seed=inputs.seed)
        rows.append(Row(name, column, None, float(found.mean()), interval(found)))
    return rows


def _photograph_rows(photographs: Photographs | None, inputs: Inputs) -> list[Row]:
    if not photographs or inputs.features is None:
        reason = "needs the CelebA features and real images: --features celeba_low_1000.npz --data MANIFEST"
        return [Row("reals called fake", column, note=reason) for column in COLUMNS]
    published = from_file(inputs.features, CELEBA)
    fitted = {
        column: fit(published.profiles, published.labels, CLASSIFIERS[column], seed=inputs.seed)
        for column in COLUMNS
    }
    rows = []
    for dataset in sorted({sample.dataset for sample, _ in photographs}):
        own = [(sample, grey) for sample, grey in photographs if sample.dataset == dataset]
        profiles = np.stack([profile(grey, CELEBA) for _, grey in own])
        for column in COLUMNS:
            estimate = summary(
                np.zeros(len(own), dtype=np.int64),
                scores(fitted[column], profiles),
                threshold=0.0,
                groups=sources(sample for sample, _ in own),
                seed=inputs.seed,
            )["fpr"]
            assert estimate is not None
            known = estimate.to_dict()["ci"]
            name = f"{dataset or 'unnamed'}: {len(own)} reals called fake"
            rows.append(Row(name, column, None, estimate.value, tuple(known) if known else None))
    return rows
