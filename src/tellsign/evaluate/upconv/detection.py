"""Whether corrected spectra hide fakes: detectors trained on plain fakes, tested on corrected ones.

Three detectors learn reals from the fakes of a plain generator: the spectrum detector, a ridge regression of
2-D cosine spectra, and a small residual network of pixels. They are tested on fakes of that generator that
they have not seen, and on those of the same generator with the spectral loss (+R) and with a discriminator of
spectra (+A). The loss works on three more layers; with them alone, a fourth generator shows what is due to
them. All images are PNG files of one size, made by one encoder.

A detector that tells everything tells nothing of what was corrected. So the same is done with auto-encoders,
where each fake shows the very crop that stands beside it as the real one.

Shapes: S side in pixels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts, hub
from tellsign.data import Manifest
from tellsign.data.picture import picture
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import INTERVALS, estimates, filled, labelled
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import content
from tellsign.evaluate.upconv.autoencoder import WEIGHT
from tellsign.evaluate.upconv.autoencoder import headed as headed_auto_encoder
from tellsign.evaluate.upconv.autoencoder import plain as plain_auto_encoder
from tellsign.evaluate.upconv.cells import NEEDS, study
from tellsign.evaluate.upconv.drawing import described, rows_of
from tellsign.evaluate.upconv.features import PAPER
from tellsign.evaluate.upconv.gans import headed, judged, plain, regularised
from tellsign.image.network_input import NetworkInput, seen
from tellsign.train import raw_scores
from tellsign.types import REAL, ConfigError, ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.upconv.cells import Finished, Study
    from tellsign.metrics import Estimate

LOSSES = ("dcgan", "lsgan")
VARIANTS = {"plain": plain, "three layers": headed, "+R": regularised, "+A": judged}
RESTORED = ("plain", "three layers", f"three layers, λ = {WEIGHT:g}")
DETECTORS = {"spectrum": "spectrum", "dct2d": "dct2d, ridge", "image": "residual network"}
PARTS = ("train", "valid", "test")
FEWEST = 10  # reals to test on
CEILING = 0.99  # from which on a cell shows nothing of how hard its fakes are
AT_CEILING = "at the ceiling: inconclusive"
NOTES = (
    "The paper has no such table. Detectors are trained on plain fakes and on reals.",
    "Tested on fakes of all kinds beside reals that neither they nor a generator learnt from.",
    "A score above 0 is called fake.",
    INTERVALS,
)


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """What detectors learn from, and what they are tested on."""

    train: Manifest  # reals and plain fakes
    valid: Manifest
    tests: dict[str, Manifest]  # by kind of fakes, the plain ones first


def gans(name: str, inputs: Inputs) -> Result:
    """DCGAN and LSGAN, each plain, with the layers of +R alone, +R and +A."""
    given = study(inputs, "gan")
    if given is None:
        return _empty(name, [f"{loss}, {variant}" for loss in LOSSES for variant in VARIANTS])
    rows: list[Row] = []
    reals = real_crops(given, inputs)
    for loss in LOSSES:
        cells = {variant: make(given, loss) for variant, make in VARIANTS.items()}
        rows += _rows(loss, cells, sampled(cells, reals), given)
    return Result(name, f"{PAPER}, section 4", tuple(rows), (*NOTES, described(given)))


def auto_encoders(name: str, inputs: Inputs) -> Result:
    """Auto-encoders, plain and corrected, whose fakes show what the reals show."""
    given = study(inputs, "autoencoder")
    if given is None:
        return _empty(name, [f"auto-encoder, {kind}" for kind in RESTORED])
    made = (
        plain_auto_encoder(given, "transposed"),
        headed_auto_encoder(given, "transposed", 0.0),
        headed_auto_encoder(given, "transposed", WEIGHT),
    )
    cells = dict(zip(RESTORED, made, strict=True))
    sets = restored(cells, all_reals(given, inputs))
    rows = _rows("auto-encoder", cells, sets, given)
    return Result(name, f"{PAPER}, section 4", tuple(rows), (*NOTES, described(given)))


def all_reals(given: Study, inputs: Inputs) -> Manifest:
    """The reals of a study with the splits train, valid and test.

    Args:    given: the study. inputs: whose manifest may have the split test; else half of valid is taken.
    Returns: the rows.
    Raises:  ConfigError: there are too few to test on.
    """
    assert inputs.manifest is not None
    train, valid = (given.manifest.filter(split=part) for part in PARTS[:2])
    test = inputs.manifest.filter(label=REAL, split="test")
    if not len(test):
        parts = valid.split({"valid": 0.5, "test": 0.5}, seed=inputs.seed)
        valid, test = parts["valid"], parts["test"]
    if min(len(valid), len(test)) < FEWEST:
        raise ConfigError(
            f"detectors are tested on {FEWEST} real images or more, found {len(valid)} of the split valid "
            f"and {len(test)} of test; give a larger manifest"
        )
    return Manifest((*train, *valid, *test))


def real_crops(given: Study, inputs: Inputs) -> Manifest:
    """The reals as PNG files of the generators' size, as the fakes are.

    Args:    given: the study. inputs: as for `all_reals`.
    Returns: the rows, with the splits train, valid and test.
    Raises:  ConfigError: there are too few. OutputError: they can't be written.
    """
    from tellsign.generators.sampling import write_image

    reals = all_reals(given, inputs)
    network: Any = given.config.network
    look = NetworkInput(network.size, fit=given.config.fit)
    folder = given.folder / f"reals-{_digest([asdict(look), content(reals)])}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row, sample in enumerate(reals):
        file = folder / f"{row:06d}.png"
        if not file.exists():
            try:
                write_image(file, np.asarray(seen(picture(sample).array, look).crops[0]))
            except ImageError as error:
                given.say(f"{str(sample.path)!a} is left out: {error}")
                continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(replace(sample, path=file, sha256=digest, video="", frame=None))
    return Manifest(tuple(rows))


def sampled(cells: dict[str, Finished], reals: Manifest) -> Sets:
    """As many fakes as reals, of seeds of their own in each part.

    Args:    cells: kind → GAN, the plain one first. reals: with the splits train, valid and test.
    Returns: the sets.
    Raises:  OutputError: fakes can't be written.
    """
    from tellsign.generators.sampling import write_samples

    parts = {part: reals.filter(split=part) for part in PARTS}
    starts = dict(zip(PARTS, np.cumsum([0, *map(len, parts.values())]).tolist(), strict=False))

    def mixed(cell: Finished, part: str) -> Manifest:
        n = len(parts[part])
        fakes = write_samples(cell.generator, cell.folder / "fakes", n, seed=starts[part])
        return Manifest((*parts[part], *(replace(sample, split=part) for sample in fakes)))

    first = next(iter(cells.values()))
    tests = {kind: mixed(cell, "test") for kind, cell in cells.items()}
    return Sets(mixed(first, "train"), mixed(first, "valid"), tests)


def restored(cells: dict[str, Finished], reals: Manifest) -> Sets:
    """Pairs of a crop and its restoration.

    Args:    cells: kind → auto-encoder, the plain one first. reals: with the splits train, valid and test.
    Returns: the sets.
    Raises:  OutputError: images can't be written. ManifestError: none can be restored.
    """
    from tellsign.generators.restoring import write_restored

    pairs = {
        kind: write_restored(cell.generator, reals, cell.folder / "pairs")[0] for kind, cell in cells.items()
    }
    first = next(iter(pairs.values()))
    tests = {kind: found.filter(split="test") for kind, found in pairs.items()}
    return Sets(first.filter(split="train"), first.filter(split="valid"), tests)


def configurations(size: int) -> dict[str, Any]:
    """Small detectors of crops of a size.

    Args:    size: S.
    Returns: name of a system → its configuration.
    """
    from tellsign.engine.config import TrainingConfig
    from tellsign.systems.baselines.config import Dct2dConfig, ImageConfig
    from tellsign.systems.spectrum.config import SpectrumConfig

    training = TrainingConfig(
        epochs=12,
        batch_size=32,
        learning_rate=1e-3,
        optimiser="adamw",
        weight_decay=0.05,
        schedule="cosine",
        cache=False,
    )
    return {
        "spectrum": SpectrumConfig(
            crop=size, max_crops=1, normalise="none", standardise=True, c=3.0, gamma=0.03
        ),
        "dct2d": Dct2dConfig(classifier="ridge", size=size),
        "image": ImageConfig(size=size, widths=(16, 24, 32, 48), blocks=(1, 1, 1, 1), training=training),
    }


def _rows(title: str, cells: dict[str, Finished], sets: Sets, given: Study) -> list[Row]:
    rows = [
        row
        for kind, cell in cells.items()
        for row in rows_of(f"{title}, {kind}", [cell], ("spectral_distance",))
    ]
    size = next(iter(cells.values())).size
    for system, config in configurations(size).items():
        found = _measured(title, system, config, sets, given)
        rows += [
            filled(Row(f"{title}, {kind}", f"{DETECTORS[system]}: {metric}", note=_note(one[key])), one[key])
            for kind, one in found.items()
            for key, metric in (("accuracy", "accuracy"), ("auroc", "AUROC"))
        ]
    return rows


def _note(found: Estimate | None) -> str:
    return AT_CEILING if found is not None and found.value >= CEILING else ""


def _measured(
    title: str, system: str, config: Any, sets: Sets, given: Study
) -> dict[str, dict[str, Estimate | None]]:
    """Kind of fakes → metrics of a detector that learnt the plain ones."""
    own = {
        "system": system,
        "config": json.loads(json.dumps(asdict(config))),
        "train": content(sets.train),
        "valid": content(sets.valid),
        "seed": given.config.seed,
    }
    folder = given.folder / f"detector-{system}-{_digest(own)}"

    def scored(test: Manifest) -> list[float]:
        path = _trained(folder / "detector", system, config, sets, given)
        return [float(score) for score in raw_scores(artifacts.load(path), test)[0]]

    found = {}
    for kind, test in sets.tests.items():
        identity = {"detector": own, "test": content(test)}
        scores = kept(folder, "scores", identity, partial(scored, test))
        table = labelled(test, range(len(test)))
        found[kind] = estimates(table, np.array(scores, dtype=np.float64))
        given.say(f"{title}, {DETECTORS[system]}, {kind}: {len(test)} images")
    return found


def _trained(path: Path, system: str, config: Any, sets: Sets, given: Study) -> Path:
    """A detector, trained unless it was before."""
    if not (path / artifacts.SPEC_FILE).is_file():
        given.say(f"{path.parent.name}: {system} on {len(sets.train)} images")
        hub.system(system)(config).fit(
            sets.train, sets.valid, out=path, seed=given.config.seed, say=lambda text: given.say(f"  {text}")
        )
    return path


def _digest(own: Any) -> str:
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def _empty(name: str, labels: list[str]) -> Result:
    rows = [
        Row(label, f"{detector}: accuracy", note=NEEDS) for label in labels for detector in DETECTORS.values()
    ]
    return Result(name, f"{PAPER}, section 4", tuple(rows), NOTES[:2])
