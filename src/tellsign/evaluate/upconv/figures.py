"""Figures 1, 2, 10 and 15 to 19 of Durall et al. (CVPR 2020), drawn from labels and not from legends.

A figure's rows are numbers that it draws: mean and standard deviation of each class at a few bins. Where the
captions of the paper say variance, the band is the standard deviation, which has the unit of the mean.

Shapes: B samples, H W pixels, K values of a profile.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.upconv.features import (
    CELEBA,
    FACES_HQ,
    FFPP,
    PAPER,
    Features,
    Recipe,
    chosen,
    from_file,
    from_manifest,
    luma,
    needs,
    profile,
)
from tellsign.features import spectrum
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray, Sample

N_IMAGES = 1000  # of each class, as in the paper
N_POINTS = 200  # of each class in the plane of figure 19; the paper does not say how many it draws
PERPLEXITY, ITERATIONS = 4, 4000  # of t-SNE, as in the paper
N_BINS = 4  # that rows tell of
# Blue for reals, warm colours for fakes; told apart by lightness as well.
REAL_COLOURS, FAKE_COLOURS = (
    ("#1f5fa8", "#56a3dd", "#12355b"),
    ("#d1495b", "#edae49", "#7a1f2b", "#f08a4b", "#8a5a00"),
)
RING = "spatial frequency, bin"
LEGEND = (
    "Classes are drawn by the labels in the data. The legend of the authors' CelebA notebook is swapped: its "
    "curve named fake is label 0, the reals."
)


def fig1(name: str, inputs: Inputs) -> Result:
    """CelebA: reals and each generator. The lower half shows generators trained with the spectral loss."""
    note = "For the lower half give images of the regularised GANs as generators of their own."
    return _bands(name, "figure 1", CELEBA, inputs, kind=_by_generator, notes=(LEGEND, note))


def fig10(name: str, inputs: Inputs) -> Result:
    """Faces-HQ: each source."""
    return _bands(name, "figure 10", FACES_HQ, inputs, kind=_by_source)


def fig15(name: str, inputs: Inputs) -> Result:
    """Faces-HQ: reals and fakes."""
    return _bands(name, "figure 15", FACES_HQ, inputs)


def fig16(name: str, inputs: Inputs) -> Result:
    """FaceForensics++: reals and fakes."""
    return _bands(name, "figure 16", FFPP, inputs)


def fig17(name: str, inputs: Inputs) -> Result:
    """CelebA: reals and fakes."""
    return _bands(name, "figure 17", CELEBA, inputs, notes=(LEGEND,))


def _by_label(sample: Sample) -> str:
    return "fake" if sample.label == FAKE else "real"


def _by_generator(sample: Sample) -> str:
    return f"fake: {sample.generator or 'unnamed'}" if sample.label == FAKE else "real"


def _by_source(sample: Sample) -> str:
    return f"{_by_label(sample)}: {sample.dataset or 'unnamed'}"


def _bands(
    name: str,
    figure: str,
    recipe: Recipe,
    inputs: Inputs,
    *,
    kind: Callable[[Sample], str] = _by_label,
    notes: tuple[str, ...] = (),
) -> Result:
    features = _features(recipe, inputs, N_IMAGES, kind)
    classes = _classes(features, kind)
    drawn, axes = _blank("mean ± standard deviation", features)
    colours = _colours(list(classes))
    for label, rows in classes.items():
        _band(axes, features.profiles[rows], label=f"{label} ({len(rows)})", colour=colours[label])
    axes.set_xlabel(RING)
    axes.set_ylabel(_unit(recipe))
    axes.legend(frameon=False)
    rows_ = [row for label, rows in classes.items() for row in _band_rows(label, features.profiles[rows])]
    return Result(
        name, f"{PAPER}, {figure}", tuple(rows_), (f"Features: {features.origin}.", *notes), figure=drawn
    )


def _features(recipe: Recipe, inputs: Inputs, limit: int, kind: Callable[[Sample], str]) -> Features:
    if inputs.features is not None:
        return _subset(from_file(inputs.features, recipe), inputs, limit)
    if inputs.manifest is None:
        raise ConfigError(f"this figure {needs(recipe)}")
    own = chosen(inputs.manifest, recipe)
    return from_manifest(own, recipe, limit=_limit(inputs, limit), seed=inputs.seed, kind=kind)


def _subset(features: Features, inputs: Inputs, limit: int) -> Features:
    rng = np.random.default_rng(inputs.seed)
    classes = [rng.permutation(np.flatnonzero(features.labels == label)) for label in (REAL, FAKE)]
    rows = np.sort(np.concatenate([own[: _limit(inputs, limit)] for own in classes]))
    return Features(features.profiles[rows], features.labels[rows], f"{len(rows)} of {features.origin}")


def _limit(inputs: Inputs, default: int) -> int:
    return max(inputs.samples) if inputs.samples else default


def _classes(features: Features, kind: Callable[[Sample], str]) -> dict[str, NDArray[np.int64]]:
    """Rows of each class, reals first."""
    if features.samples:
        names = [kind(sample) for sample in features.samples]
    else:
        names = ["fake" if label == FAKE else "real" for label in features.labels]
    ordered = sorted(set(names), key=lambda name: (not name.startswith("real"), name))
    return {name: np.flatnonzero([other == name for other in names]) for name in ordered}


def _colours(names: list[str]) -> dict[str, str]:
    counts = {"real": 0, "fake": 0}
    colours = {}
    for name in names:
        label, palette = ("real", REAL_COLOURS) if name.startswith("real") else ("fake", FAKE_COLOURS)
        colours[name] = palette[counts[label] % len(palette)]
        counts[label] += 1
    return colours


def _band_rows(label: str, profiles: FloatArray) -> list[Row]:
    bins = np.linspace(0, profiles.shape[1] - 1, N_BINS + 1).round().astype(int)[1:]
    mean, deviation = profiles.mean(axis=0), profiles.std(axis=0)
    return [
        Row(label, f"bin {bin_}, {what}", None, float(values[bin_]), unit="profile")
        for bin_ in bins
        for what, values in (("mean", mean), ("deviation", deviation))
    ]


def fig2(name: str, inputs: Inputs) -> Result:
    """One image, its 2-D spectrum and its profile, of the largest central square."""
    if inputs.image is None:
        raise ConfigError("this figure needs an image: --image FILE")
    grey = luma(inputs.image)
    side = min(grey.shape)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    grey = grey[top : top + side, left : left + side]
    rings = spectrum.profile(grey[None], normalise="none")[0]
    drawn = _figure(11, 3.6)
    picture, plane, curve = drawn.subplots(1, 3)
    _image(picture, grey, f"{inputs.image.name}, {side} × {side} pixels")
    shown = plane.imshow(spectrum.log_spectrum(grey[None])[0], cmap="magma")
    plane.set_title("2-D spectrum, 20 ln |F|", fontsize=9)
    plane.set_axis_off()
    drawn.colorbar(shown, ax=plane, shrink=0.8)
    curve.plot(rings, color=REAL_COLOURS[0])
    curve.set_title("profile: mean over rings", fontsize=9)
    curve.set_xlabel(RING)
    curve.set_ylabel("20 ln |F|")
    return Result(
        name,
        f"{PAPER}, figure 2",
        tuple(_profile_rows(inputs.image.name, rings)),
        (f"The largest central square of {inputs.image.name}.",),
        figure=drawn,
    )


def fig18(name: str, inputs: Inputs) -> Result:
    """A real and two fakes of a manifest, or one image, with profiles by the recipe for FaceForensics++."""
    pictures = _examples(inputs)
    profiles = {label: profile(luma(path), FFPP) for label, path in pictures.items()}
    drawn = _figure(3.4 * max(2, len(pictures)), 6)
    grid = drawn.add_gridspec(2, len(pictures), height_ratios=(1, 1.1))
    curves = drawn.add_subplot(grid[1, :])
    colours = _colours(list(pictures))
    for column, (label, path) in enumerate(pictures.items()):
        _image(drawn.add_subplot(grid[0, column]), luma(path), label)
        curves.plot(profiles[label], label=label, color=colours[label])
    curves.set_xlabel(RING)
    curves.set_ylabel(_unit(FFPP))
    curves.legend(frameon=False)
    rows = [row for label, values in profiles.items() for row in _profile_rows(label, values)]
    note = "Profiles are of the middle third of each side, interpolated to 300 bins, over the first bin."
    return Result(name, f"{PAPER}, figure 18", tuple(rows), (note,), figure=drawn)


def _examples(inputs: Inputs) -> dict[str, Path]:
    if inputs.image is not None:
        return {inputs.image.name: inputs.image}
    if inputs.manifest is None:
        raise ConfigError("this figure needs --image FILE, or --data MANIFEST with one real and two fakes")
    own = chosen(inputs.manifest, FFPP)
    rng = np.random.default_rng(inputs.seed)
    found = {}
    for label, name, n in ((REAL, "real", 1), (FAKE, "fake", 2)):
        rows = rng.permutation([row for row, sample in enumerate(own) if sample.label == label])[:n].tolist()
        if len(rows) < n:
            raise ConfigError(
                f"this figure needs one real and two fakes; the manifest has {len(rows)} {name}"
            )
        for number, row in enumerate(rows, start=1):
            source = own[row].dataset or "unnamed"
            found[f"{name} {number} ({source})" if n > 1 else f"{name} ({source})"] = own[row].path
    return found


def fig19(name: str, inputs: Inputs) -> Result:
    """Profiles in a plane by t-SNE; a feature file of any data set will do."""
    if inputs.features is not None:
        features = _subset(from_file(inputs.features, None), inputs, N_POINTS)
    else:
        features = _features(FACES_HQ, inputs, N_POINTS, _by_label)
    if len(features) <= 3 * PERPLEXITY:
        raise ConfigError(f"t-SNE with perplexity {PERPLEXITY} needs more than {3 * PERPLEXITY} profiles")
    points = _plane(features.profiles, inputs.seed)
    drawn, axes = _blank(f"t-SNE, perplexity {PERPLEXITY}, {ITERATIONS} iterations", features)
    rows = []
    for label, own in (("real", features.labels == REAL), ("fake", features.labels == FAKE)):
        colour = _colours([label])[label]
        axes.scatter(
            points[own, 0], points[own, 1], s=12, color=colour, label=f"{label} ({own.sum()})", linewidths=0
        )
        rows += [
            Row(label, f"centre, axis {axis + 1}", None, float(points[own, axis].mean()), unit="position")
            for axis in (0, 1)
        ]
    axes.legend(frameon=False)
    axes.set_xticks([])
    axes.set_yticks([])
    rows.append(Row("all", "nearest point of the same class", None, _alike(points, features.labels)))
    notes = (f"Features: {features.origin}.", "Distances and directions in the plane have no unit.")
    return Result(name, f"{PAPER}, figure 19", tuple(rows), notes, figure=drawn)


def _plane(profiles: FloatArray, seed: int) -> FloatArray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # so few points gain nothing from threads, which wait for busy cores
        points = TSNE(perplexity=PERPLEXITY, max_iter=ITERATIONS, random_state=seed).fit_transform(profiles)
    return np.asarray(points, dtype=np.float64)


def _alike(points: FloatArray, labels: NDArray[np.int64]) -> float:
    """Share of points whose nearest neighbour in the plane has their label."""
    squared = np.square(points[:, None] - points[None]).sum(axis=-1)
    np.fill_diagonal(squared, np.inf)
    return float(np.mean(labels[squared.argmin(axis=1)] == labels))


def _profile_rows(label: str, values: FloatArray) -> list[Row]:
    bins = np.linspace(0, len(values) - 1, N_BINS + 1).round().astype(int)
    return [Row(label, f"bin {bin_}", None, float(values[bin_]), unit="profile") for bin_ in bins]


def _unit(recipe: Recipe) -> str:
    return "20 ln |F|, mean over a ring" + (" / first ring" if recipe.normalise == "first" else "")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _blank(title: str, features: Features) -> tuple[Figure, Axes]:
    drawn = _figure(7, 4.2)
    axes = drawn.subplots()
    axes.set_title("\n".join([title, *wrap(features.origin, 90)]), fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn, axes


def _band(axes: Axes, profiles: FloatArray, *, label: str, colour: str) -> None:
    bins, mean, deviation = np.arange(profiles.shape[1]), profiles.mean(axis=0), profiles.std(axis=0)
    axes.plot(bins, mean, color=colour, label=label)
    axes.fill_between(bins, mean - deviation, mean + deviation, color=colour, alpha=0.25, linewidth=0)


def _image(axes: Any, grey: FloatArray, title: str) -> None:
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
