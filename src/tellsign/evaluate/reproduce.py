"""The tables and figures of the papers by name: what was published beside what this package measures.

A published value never stands in for a missing measurement, or the other way round: a cell without data says
what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from tellsign.evaluate.columns import aligned
from tellsign.scoring.names import printable
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data import Manifest

Say = Callable[[str], None]

_TABLES = "tellsign.evaluate.upconv.tables"
_FIGURES = "tellsign.evaluate.upconv.figures"
_CAE = "tellsign.evaluate.cae_net"
_SFCL = "tellsign.evaluate.sfcl_hcmf"
_AE = "tellsign.evaluate.upconv.autoencoder"
_GANS = "tellsign.evaluate.upconv.gans"
_CORRECTION = "tellsign.evaluate.upconv.correction"
_DETECTION = "tellsign.evaluate.upconv.detection"
_RESYNTHESIS = "tellsign.evaluate.resynthesis"
_DRAWING = (_FIGURES, f"{_SFCL}.figures", f"{_AE}:theory")  # which draw what needs no training
_TRAINING = (
    _CAE,
    _SFCL,
    _AE,
    _GANS,
    _CORRECTION,
    _DETECTION,
    _RESYNTHESIS,
)  # whose output, but for those, is a folder of trainings
N_REPEATS = 10  # random splits, where nothing else is asked for
MIN_SAMPLES = 10  # two for testing, and both classes among the rest

# Name → title and where the function is that takes `Inputs` and returns a `Result`.
REGISTRY = {
    "upconv-table1": ("accuracy on Faces-HQ, CelebA and FaceForensics++", f"{_TABLES}:table1"),
    "upconv-table3": ("Faces-HQ: accuracy by number of samples", f"{_TABLES}:table3"),
    "upconv-table4": ("CelebA: accuracy by number of samples", f"{_TABLES}:table4"),
    "upconv-table5": ("FaceForensics++: accuracy by number of samples", f"{_TABLES}:table5"),
    "upconv-confound": (
        "what the published 100 % hides: the size of the images",
        "tellsign.evaluate.upconv.confound:confound",
    ),
    "upconv-fig1": ("CelebA: profiles of reals and of each GAN", f"{_FIGURES}:fig1"),
    "upconv-fig2": ("one image, its spectrum and its profile", f"{_FIGURES}:fig2"),
    "upconv-fig10": ("Faces-HQ: profiles of each source", f"{_FIGURES}:fig10"),
    "upconv-fig15": ("Faces-HQ: profiles of reals and fakes", f"{_FIGURES}:fig15"),
    "upconv-fig16": ("FaceForensics++: profiles of reals and fakes", f"{_FIGURES}:fig16"),
    "upconv-fig17": ("CelebA: profiles of reals and fakes", f"{_FIGURES}:fig17"),
    "upconv-fig18": ("FaceForensics++: one real and two fakes with their profiles", f"{_FIGURES}:fig18"),
    "upconv-fig19": ("Faces-HQ: profiles in a plane by t-SNE", f"{_FIGURES}:fig19"),
    "upconv-theory": ("two ways of doubling a signal, and their spectra", f"{_AE}:theory"),
    "upconv-fig5": ("auto-encoders: what one up-convolution does", f"{_AE}:fig5"),
    "upconv-fig6": ("auto-encoders: what it does to an image", f"{_AE}:fig6"),
    "upconv-fig7": ("auto-encoders: the spectral loss by its weight", f"{_AE}:fig7"),
    "upconv-fig8": ("auto-encoders: the spectral loss by filters behind it", f"{_AE}:fig8"),
    "upconv-fig20": ("auto-encoders: both losses over the training", f"{_AE}:fig20"),
    "upconv-fig21": ("auto-encoders: plain and corrected profiles", f"{_AE}:fig21"),
    "upconv-fig1-trained": ("GANs trained here: profiles, plain and regularised", f"{_GANS}:fig1"),
    "upconv-fig11": ("GANs trained here: samples, plain and regularised", f"{_GANS}:fig11"),
    "upconv-fig12": ("a DCGAN over its training: measures and samples", f"{_GANS}:fig12"),
    "upconv-fig13": ("DCGAN over its training, plain and regularised", f"{_GANS}:fig13"),
    "upconv-fig14": ("LSGAN over its training, plain and regularised", f"{_GANS}:fig14"),
    "upconv-fig22": ("a regularised DCGAN in four topologies", f"{_GANS}:fig22"),
    "upconv-loss": ("auto-encoders: the spectral loss and its released form", f"{_CORRECTION}:loss"),
    "upconv-pictures": ("auto-encoders: images and spectra, corrected", f"{_CORRECTION}:pictures"),
    "upconv-pictures-gan": ("a DCGAN: images and spectra, corrected", f"{_CORRECTION}:gan_pictures"),
    "upconv-detectors": ("detectors of plain fakes, on corrected ones", f"{_DETECTION}:gans"),
    "upconv-detectors-restored": (
        "the same on restored images, each beside its own original",
        f"{_DETECTION}:auto_encoders",
    ),
    "cae-net-singles": ("each branch, the ensemble and the spectrum detector", f"{_CAE}.tables:singles"),
    "cae-net-balancing": ("the multistage schedule and five others", f"{_CAE}.strategies:balancing"),
    "cae-net-retention": ("what is kept of each subset, stage by stage", f"{_CAE}.retention:retention"),
    "cae-net-wavelet": ("one network on sub-bands and on pixels", f"{_CAE}.ablations:wavelet"),
    "cae-net-frequency": ("two networks, sub-bands and two spectra", f"{_CAE}.ablations:frequency"),
    "cae-net-fgsm": ("FGSM on branches and ensembles", f"{_CAE}.attacked:fgsm"),
    "cae-net-options": ("attention regularisation and adversarial training", f"{_CAE}.options:options"),
    "cae-net-robustness": ("perturbations and other sources", f"{_CAE}.perturbed:robustness"),
    "cae-net-cost": ("parameters and multiply-accumulates", f"{_CAE}.cost:cost"),
    "cae-net-roc": ("ROC of branches and ensemble", f"{_CAE}.figures:roc"),
    "cae-net-confusion": ("confusion matrices of branches and ensemble", f"{_CAE}.figures:confusion"),
    "cae-net-tsne": ("penultimate features in a plane by t-SNE", f"{_CAE}.figures:tsne"),
    "sfcl-table1": ("within one data set, beside other methods", f"{_SFCL}.tables:table1"),
    "sfcl-table2": ("on other data sets, beside other methods", f"{_SFCL}.tables:table2"),
    "sfcl-table3": ("without SBCM, without HCMF, without SIDA", f"{_SFCL}.ablations:table3"),
    "sfcl-table4": ("with FAAE alone, with HCMA alone", f"{_SFCL}.ablations:table4"),
    "sfcl-sida": ("SIDA alone: perturbations, other sources and sizes", f"{_SFCL}.sida:sida"),
    "sfcl-dct-heatmap": ("cosine spectra of an image and of its blocks", f"{_SFCL}.figures:dct_heatmap"),
    "sfcl-sida-plot": ("SIDA's curves of reals and of fakes", f"{_SFCL}.figures:sida_plot"),
    "resynthesis-table1": ("CelebA-HQ: within and across generators", f"{_RESYNTHESIS}.tables:table1"),
    "resynthesis-table2": ("the same detectors on FFHQ", f"{_RESYNTHESIS}.tables:table2"),
    "resynthesis-table3": ("LSUN: bedrooms and churches", f"{_RESYNTHESIS}.tables:table3"),
    "resynthesis-fig4": ("how large the residuals of reals and fakes are", f"{_RESYNTHESIS}.histograms:fig4"),
    "resynthesis-fig6": ("a generator that none was trained on", f"{_RESYNTHESIS}.tables:fig6"),
    "resynthesis-folds": ("all methods on one data set, in folds", f"{_RESYNTHESIS}.crossed:crossed"),
    "resynthesis-quality": ("PSNR and SSIM beside interpolation", f"{_RESYNTHESIS}.quality:quality"),
}
_NO_USE = {  # figure → what it is not made from
    "sfcl-dct-heatmap": ("manifest", "features", "samples", "repeats"),
    "sfcl-sida-plot": ("features", "image", "repeats"),
}
_TESTING = tuple(name for name in REGISTRY if name.startswith("resynthesis-"))  # detectors that are there
_LOOK_AT_OTHERS = (
    *("cae-net-robustness", "sfcl-table2", "sfcl-sida"),
    *(name for name in _TESTING if name != "resynthesis-folds"),
)
_WITHOUT_NETWORK = ("sfcl-sida", *_TESTING)  # of those that train, or look at what was trained
_TRAIN_EXTRA = {"sklearn": "scikit-learn", "threadpoolctl": "scikit-learn", "torch": "torch", "timm": "timm"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a table or figure is made from."""

    manifest: Manifest | None = None
    features: Path | None = None  # a feature file, .npz with X and y; of GANs a network, by name or .onnx
    image: Path | None = None
    samples: tuple[int, ...] | None = None  # None: the paper's
    repeats: int = N_REPEATS  # random splits
    seed: int = 0
    folder: Path | None = None  # of what is trained
    config: Path | None = None  # of a training; None: the table's own
    folds: int = 5  # of a cross-validation
    others: Manifest | None = None  # images of other sources, on which nothing is trained
    say: Say = lambda text: None  # told of progress


@dataclass(frozen=True, slots=True)
class Row:
    """One cell of a table, or one number of those that a figure draws."""

    row: str
    column: str
    published: float | None = None
    reproduced: float | None = None
    ci: tuple[float, float] | None = None
    note: str = ""  # why there is no value, or how it may be compared
    unit: str = "share"  # of the three numbers; "share" is shown as per cent

    def to_dict(self) -> dict[str, Any]:
        """The keys row, column, published, reproduced, ci, note and unit."""
        return {
            "row": self.row,
            "column": self.column,
            "published": self.published,
            "reproduced": self.reproduced,
            "ci": None if self.ci is None else list(self.ci),
            "note": self.note,
            "unit": self.unit,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A reproduced table or figure."""

    name: str
    paper: str  # where it was published
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # what holds for all rows
    figure: Any = None  # matplotlib.figure.Figure
    picture: Path | None = None  # where the figure was written

    def to_dict(self) -> dict[str, Any]:
        """{"name", "paper", "rows", "notes"}, and "picture" for a figure."""
        found: dict[str, Any] = {
            "name": self.name,
            "paper": self.paper,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
        }
        if self.figure is not None:
            found["picture"] = None if self.picture is None else str(self.picture)
        return found

    def text(self) -> str:
        """The rows as an aligned table, their notes numbered below it."""
        return _text(self)


def names() -> dict[str, str]:
    """Name → title of everything that can be reproduced."""
    return {name: title for name, (title, _) in REGISTRY.items()}


def reproduce(
    name: str,
    *,
    manifest: Manifest | None = None,
    features: Path | None = None,
    image: Path | None = None,
    out: Path | None = None,
    samples: tuple[int, ...] | None = None,
    repeats: int | None = None,
    seed: int = 0,
    config: Path | None = None,
    folds: int = 5,
    others: Manifest | None = None,
    say: Say = lambda text: None,
) -> Result:
    """One table or figure of a paper.

    Args:    name: one of `names()`.
             manifest: images to take the features from, by the paper's recipe for that data set.
             features: a feature file instead: .npz with X (B, K) and y (B,), 1 = fake. Of GANs that are
             trained the network for their Fréchet distance, a name in timm or an .onnx file.
             image: for figures of one image.
             out: where a figure is written as PNG: a file, or an existing folder. None writes nothing. Of
             names that train the folder of all that is trained, and of figures; another run finds there what
             this one has done.
             samples: sizes of a table's samples; images per class of a figure. None: the paper's.
             repeats: random splits of which a table gives the mean; None: 10.
             seed: of the draws, splits and K-means; of trainings.
             config: TOML of a training, for names that train; so are
             folds: of the cross-validation, of which the first is the one split of other tables, and
             others: images of other sources, on which nothing is trained.
             say: told of progress.
    Returns: published and reproduced values, side by side; a cell without data has a note that says why.
    Raises:  ConfigError: there is no such name, an input cannot be used or is of no use for this name, or
             the `train` extra is missing.
             ManifestError: an image of the manifest cannot be used.
    """
    if name not in REGISTRY:
        raise ConfigError(f"nothing called {name!a} can be reproduced; there are {', '.join(REGISTRY)}")
    if repeats is not None and repeats < 2:
        raise ConfigError(f"repeats must be 2 or more, to say how much the result varies: found {repeats}")
    if samples is not None and (not samples or min(samples) < MIN_SAMPLES):
        raise ConfigError(f"samples are numbers of {MIN_SAMPLES} or more: found {list(samples)}")
    if folds < 2:
        raise ConfigError(f"folds must be 2 or more: found {folds}")
    draws = REGISTRY[name][1].startswith(_DRAWING)
    trains = REGISTRY[name][1].startswith(_TRAINING) and not draws
    if not trains and (config is not None or others is not None):
        raise ConfigError(f"{name} trains no network: leave out the configuration and the other images")
    idle: tuple[str, ...] = ("features", "image", "repeats") if trains else _NO_USE.get(name, ())
    if REGISTRY[name][1].startswith(_GANS):
        idle = idle[1:]
    idle += () if name in _LOOK_AT_OTHERS else ("others",)
    idle += ("config",) if name in _WITHOUT_NETWORK else ()
    idle += ("samples",) if name in _TESTING else ()
    given: dict[str, Any] = {"manifest": manifest, "features": features, "image": image, "samples": samples}
    given |= {"repeats": repeats, "config": config, "others": others}
    if useless := [option for option in idle if given[option] is not None]:
        raise ConfigError(f"{name} has no use for {', '.join(useless)}; leave out what would do nothing")
    if out is not None and not trains and not draws:
        raise ConfigError(
            f"{name} draws no picture that could be written to {printable(str(out))}; use --json"
        )
    module, function = REGISTRY[name][1].split(":")
    build: Callable[[str, Inputs], Result] = getattr(import_module(module), function)
    folder = out if trains else None
    n = N_REPEATS if repeats is None else repeats
    inputs = Inputs(manifest, features, image, samples, n, seed, folder, config, folds, others, say)
    try:
        result = build(name, inputs)
    except ModuleNotFoundError as error:
        package = _TRAIN_EXTRA.get((error.name or "").split(".")[0])
        if package is None:
            raise
        raise ConfigError(
            f"{name} needs {package}; install it with: pip install 'tellsign[train]'"
        ) from error
    if out is None or (trains and result.figure is None):
        return result
    return replace(result, picture=_saved(result, out, into=trains or out.is_dir()))


def _saved(result: Result, out: Path, *, into: bool) -> Path:
    path = out / f"{result.name}.png" if into else out
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        result.figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise ConfigError(f"cannot write {printable(str(path))}: {error}") from error
    return path


def _text(result: Result) -> str:
    notes = list(dict.fromkeys(row.note for row in result.rows if row.note))
    header = ("", "", "published", "reproduced", "95 % interval", "note")
    cells = [_cells(row, notes) for row in result.rows]
    # A figure's numbers have no published ones to stand beside.
    empty = {column for column in (2, 4, 5) if all(row[column] in ("", "n/a") for row in cells)}
    shown = [[c for column, c in enumerate(row) if column not in empty] for row in (header, *cells)]
    title = f"{result.name}: {REGISTRY[result.name][0]}" if result.name in REGISTRY else result.name
    lines = [title, result.paper, "", *aligned(shown, n_left=2), ""]
    remarks = [f"({number}) {note}" for number, note in enumerate(notes, start=1)] + list(result.notes)
    lines += [fill(printable(remark), 100, subsequent_indent="    ") for remark in remarks]
    if result.figure is not None:
        lines.append(f"Picture: {printable(str(result.picture or 'not written; name a file for it'))}")
    return "\n".join(lines)


def _cells(row: Row, notes: list[str]) -> tuple[str, ...]:
    interval = ""
    if row.ci is not None:
        low, high = (_shown(value, row.unit) for value in row.ci)
        interval = f"{low.removesuffix(' %')} to {high}"
    values = (_shown(row.published, row.unit), _shown(row.reproduced, row.unit))
    return (row.row, row.column, *values, interval, f"({notes.index(row.note) + 1})" if row.note else "")


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "n/a"
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.4g}"
