"""Figures of trained detectors: t-SNE of penultimate features, confusion matrix, ROC.

Shapes: B images, F features, N rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.cae_net.looks import Look, look_of
from tellsign.evaluate.cae_net.notes import chosen, described
from tellsign.evaluate.cae_net.study import study
from tellsign.evaluate.cae_net.tables import COMPARISON, ENSEMBLE, PAPER, method_rows, pooled
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import DECISION, INTERVALS, NOT_IN_PAPER, Pooled, estimates
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import content, evenly, pictures
from tellsign.evaluate.study import NEEDS
from tellsign.metrics import confusion_matrix
from tellsign.systems.cae_net.config import BRANCHES
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray

N_IMAGES = 400  # in a plane, half of each class
NEIGHBOURS = 10
PERPLEXITY = 30.0
COLOURS = {REAL: "#1f5fa8", FAKE: "#d1495b"}
CALLED = {(REAL, REAL): "real called real", (REAL, FAKE): "real called fake"}
CALLED |= {(FAKE, REAL): "fake called real", (FAKE, FAKE): "fake called fake"}


def roc(name: str, inputs: Inputs) -> Result:
    """The ROC curve of each branch and of the ensemble, by cross-validation."""
    given = study(inputs)
    if given is None:
        rows = [row for method in (*BRANCHES, ENSEMBLE) for row in method_rows(method, {}, NEEDS)]
        kept_rows = [row for row in rows if not row.column.startswith("accuracy")]
        return Result(name, f"{PAPER}, ROC", tuple(kept_rows))
    cells = [given.whole(fold.number) for fold in given.folds]
    table = pooled([cell.scores for cell in cells])
    rows = [
        row
        for method, values in table.columns.items()
        for row in method_rows(method, estimates(table, values))
        if not row.column.startswith("accuracy")
    ]
    notes = (COMPARISON, INTERVALS, described(given, cells), chosen(inputs))
    return Result(name, f"{PAPER}, ROC", tuple(rows), notes, figure=_roc_figure(table))


def confusion(name: str, inputs: Inputs) -> Result:
    """How many images of either class branches and ensemble call real and fake, by cross-validation."""
    given = study(inputs)
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        rows = [Row(m, called, note=note) for m in (*BRANCHES, ENSEMBLE) for called in CALLED.values()]
        return Result(name, f"{PAPER}, confusion matrix", tuple(rows))
    cells = [given.whole(fold.number) for fold in given.folds]
    table = pooled([cell.scores for cell in cells])
    counts = {m: confusion_matrix(table.labels, v, threshold=0.0) for m, v in table.columns.items()}
    rows = []
    for method, found in counts.items():
        for (truth, answer), called in CALLED.items():
            n = int(found[truth, answer])
            rows.append(Row(method, called, reproduced=n / int(found[truth].sum()), note=NOT_IN_PAPER))
            rows.append(Row(method, f"{called}, images", reproduced=n, note=NOT_IN_PAPER, unit="images"))
    notes = (described(given, cells), chosen(inputs), DECISION)
    return Result(name, f"{PAPER}, confusion matrix", tuple(rows), notes, figure=_confusion_figure(counts))


def tsne(name: str, inputs: Inputs) -> Result:
    """The penultimate features of each branch, and of all together, in a plane."""
    given = study(inputs)
    if given is None:
        note = f"{NOT_IN_PAPER}; {NEEDS}"
        rows = [Row(m, "neighbours of the same class", note=note) for m in (*BRANCHES, ENSEMBLE)]
        return Result(name, f"{PAPER}, t-SNE", tuple(rows))
    cell = given.whole()
    sample = evenly(cell.cell.test, given.samples or N_IMAGES)
    identity = {"detector": cell.record["detector"], "images": content(sample), "seed": given.seed}

    def made() -> Any:
        given.say(f"t-SNE of {len(sample)} images")
        rows, features = penultimate(look_of(cell), sample)
        return {
            "rows": rows,
            "planes": {m: plane(values, seed=given.seed).tolist() for m, values in features.items()},
            "neighbours": {
                m: same_class(values, np.array(sample.labels)[rows]) for m, values in features.items()
            },
        }

    found = kept(cell.folder / "studies", "tsne", identity, made)
    labels = np.array(sample.labels)[found["rows"]]
    rows = [
        Row(method, "neighbours of the same class", reproduced=share, note=NOT_IN_PAPER)
        for method, share in found["neighbours"].items()
    ]
    notes = (
        (
            f"Share of the {NEIGHBOURS} nearest neighbours, among the standardised features and not in the "
            f"plane, that are of an image's own class; about {by_chance(labels):.0%} by chance. "
            f"{len(labels)} images of the test part, their middle crops. Distances and sizes of groups in "
            "the plane mean nothing."
        ),
        described(given, [cell]),
        chosen(inputs),
    )
    return Result(name, f"{PAPER}, t-SNE", tuple(rows), notes, figure=_plane_figure(found["planes"], labels))


def penultimate(look: Look, sample: Manifest) -> tuple[list[int], dict[str, FloatArray]]:
    """What goes into each branch's last layer, of the middle crop of every image.

    Args:    look: the networks. sample: images.
    Returns: rows of the images that can be used, and branch, or ensemble for all side by side, → (B, F)
             standardised.
    """
    import torch

    from tellsign import image

    rows: list[int] = []
    found: dict[str, list[FloatArray]] = {name: [] for name in look.branches}
    for row, picture in enumerate(pictures(sample)):
        if picture is None or min(picture.shape[1:]) < look.size:
            continue
        crop = image.square_crops(picture, look.size, 1)
        rows.append(row)
        with torch.inference_mode():
            pixels = torch.from_numpy(crop).float().to(look.device)
            for name, branch in look.network.branches.items():
                network = branch.network
                layer = network.forward_features(branch.entry(pixels))
                last = network.forward_head(layer, pre_logits=True)
                found[name].append(last.flatten().double().cpu().numpy())
    features = {name: _standardised(np.stack(values)) for name, values in found.items()}
    # Each branch weighs the same, however many features it has.
    joined = [values / np.sqrt(values.shape[1]) for values in features.values()]
    return rows, {**features, ENSEMBLE: np.concatenate(joined, axis=1)}


def plane(features: FloatArray, *, seed: int) -> FloatArray:
    """(B, F) → (B, 2) by t-SNE. Raises ModuleNotFoundError where scikit-learn is missing."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    found: FloatArray = TSNE(
        n_components=2, perplexity=perplexity, init="pca", random_state=seed
    ).fit_transform(features.astype(np.float32))
    return found


def same_class(features: FloatArray, labels: FloatArray) -> float:
    """The mean share of an image's nearest neighbours that are of its class.

    Args:    features: (B, F). labels: (B,).
    Returns: a share.
    """
    squares = np.square(features).sum(axis=1)
    distances = squares[:, None] + squares - 2 * features @ features.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(labels) - 1)]
    return float(np.mean(labels[nearest] == labels[:, None]))


def by_chance(labels: FloatArray) -> float:
    """The mean share of an image's neighbours that are of its class where they are anyone.

    Args:    labels: (B,) 0 real, 1 fake, two or more.
    Returns: a share: about p² + q² of shares p and q of the classes, a little less since none is its own.
    """
    counts = np.bincount(labels)
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


def _standardised(features: FloatArray) -> FloatArray:
    deviation = features.std(axis=0)
    found: FloatArray = (features - features.mean(axis=0)) / np.where(deviation > 1e-12, deviation, 1.0)
    return found


def _roc_figure(table: Pooled) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.2, 5), layout="constrained")
    axes = drawn.add_subplot()
    for method, values in table.columns.items():
        order = np.argsort(-values, kind="stable")
        fake = (table.labels == FAKE)[order]
        # Tied scores are one step.
        last = np.append(np.diff(values[order]) != 0, True)
        rates = [np.append(0, np.cumsum(part)[last] / part.sum()) for part in (~fake, fake)]
        axes.plot(*rates, label=method, linewidth=2 if method == ENSEMBLE else 1)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set_xlabel("share of reals called fake")
    axes.set_ylabel("share of fakes called fake")
    axes.set_aspect("equal")
    axes.legend(frameon=False, loc="lower right")
    return drawn


def _confusion_figure(counts: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(2.6 * len(counts), 2.8), layout="constrained")
    for axes, (method, found) in zip(
        drawn.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True
    ):
        shares = found / found.sum(axis=1, keepdims=True)
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for truth, answer in CALLED:
            share = shares[truth, answer]
            axes.text(
                answer,
                truth,
                f"{found[truth, answer]}\n{share:.0%}",
                ha="center",
                va="center",
                color="white" if share > 0.5 else "black",
            )
        axes.set_xticks([REAL, FAKE], ["called real", "called fake"])
        axes.set_yticks([REAL, FAKE], ["real", "fake"])
        axes.set_title(method)
    return drawn


def _plane_figure(planes: dict[str, Any], labels: FloatArray) -> Any:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(3.2 * len(planes), 3.3), layout="constrained")
    for axes, (method, points) in zip(
        drawn.subplots(1, len(planes), squeeze=False)[0], planes.items(), strict=True
    ):
        places = np.asarray(points)
        for label, marker in ((REAL, "o"), (FAKE, "x")):
            own = places[labels == label]
            axes.scatter(
                own[:, 0], own[:, 1], s=12, marker=marker, c=COLOURS[label], label="fake" if label else "real"
            )
        axes.set_title(method)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(frameon=False, fontsize="small")
    return drawn
