"""`tellsign generators`: trains generators, and says how far their spectra are from those of real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellsign.cli import generate, options
from tellsign.cli.lazy import PLAIN
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.generators.distance import Distance
    from tellsign.generators.frechet import Frechet
    from tellsign.generators.image_sets import SetProfiles

app = typer.Typer(no_args_is_help=True, **PLAIN, help="Train generators, measure and correct their spectra.")


@app.command("distance")
def distance(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="A folder of real images, or a manifest.")],
    fake: Annotated[Path, typer.Argument(metavar="FAKE", help="A folder of fakes, or a manifest.")],
    maximum: Annotated[
        float | None, typer.Option("--max", min=0, help="Exit code 1 when the distance exceeds so many dB.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the centre crops; by default that of the smallest image.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also write a PNG of the profiles.")
    ] = None,
    features: options.Features = None,
    weights: options.FeatureWeights = options.PRETRAINED,
    split: options.Split = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cloaking score's cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of intervals, halves and folds.")] = 0,
    json: options.Json = False,
) -> None:
    """Say how far apart the mean spectra of two sets are, and how well the fakes hide.

    Exit code 1: the distance exceeds --max, a file can't be used, or --features can't be had.
    """
    from tellsign import terminal
    from tellsign.generators import distance_report as report
    from tellsign.generators.distance import distance as run
    from tellsign.generators.image_sets import both_profiles, image_set
    from tellsign.scoring.names import escape
    from tellsign.types import FAKE, REAL

    options.require_features(features, weights)
    sets = [
        image_set(source, label, split=split, warn=terminal.complain)
        for source, label in ((real, REAL), (fake, FAKE))
    ]
    if split is not None and not any(sample.split for images in sets for sample in images):
        raise ConfigError(f"neither {real} nor {fake} has a split {split!r}; give a manifest with splits")
    with terminal.progress("distance", sum(map(len, sets)), wanted=True) as step:
        reals, fakes = both_profiles(sets[0], sets[1], side=size, on_done=step)
    result = run(reals, fakes, folds=folds, seed=seed)
    frechet = _frechet(reals, fakes, features, weights)
    if picture is not None:
        _write_picture(picture, result)
    found = report.to_dict(result, reals, fakes, frechet, path_text=escape)
    print(options.as_json(found) if json else report.text(result, reals, fakes, frechet))
    failed = reals.failed + fakes.failed
    for path, reason in failed:
        terminal.complain_of({"path": str(path), "error": reason})
    too_far = maximum is not None and result.value.value > maximum
    if too_far:
        terminal.complain(f"above --max {maximum:g}: {result.value.value:.3f} dB")
    missing = features is not None and frechet.value is None
    if missing:
        terminal.complain(f"no Fréchet distance: {frechet.note}")
    if too_far or failed or missing:
        raise typer.Exit(1)


@app.command("nearest")
def nearest(
    real: Annotated[
        Path, typer.Argument(metavar="REAL", help="Real images that it learnt from: a folder or a manifest.")
    ],
    fake: Annotated[Path, typer.Argument(metavar="FAKE", help="Images of the generator, all of one size.")],
    n: Annotated[
        int, typer.Option("-n", min=1, help="Generated images, and other real ones, at most.")
    ] = 256,
    resized: Annotated[
        bool, typer.Option("--resized", help="It learnt from the square in the middle, resized.")
    ] = False,
    picture: Annotated[Path | None, typer.Option("--picture", help="Also write a PNG of pairs.")] = None,
    json: options.Json = False,
) -> None:
    """Find the image that each generated one is nearest to among those that were learnt from.

    Of a manifest with splits, train is what was learnt from, and the real images of valid are measured beside
    the generated ones. Exit code 1: a file can't be used.
    """
    from tellsign import terminal
    from tellsign.generators import nearest_report as report
    from tellsign.generators.image_sets import image_set, reals_of
    from tellsign.generators.nearest import compared
    from tellsign.generators.sampling import write_image
    from tellsign.scoring.names import escape
    from tellsign.types import FAKE, REAL

    fakes = image_set(fake, FAKE, warn=terminal.complain).evenly(n)
    learnt, others = reals_of(image_set(real, REAL, warn=terminal.complain))
    failed: list[str] = []
    with terminal.progress("nearest", len(learnt), wanted=True) as step:
        result = compared(
            fakes,
            learnt,
            None if others == learnt else others.evenly(n),
            fit="resize" if resized else "crop",
            on_image=step,
            left_out=failed.append,
        )
    if picture is not None:
        write_image(picture, report.sheet(result))
    shown = options.as_json(report.to_dict(result, path_text=escape))
    print(shown if json else report.text(result, path_text=escape))
    for text in failed:
        terminal.complain(text)
    if failed:
        raise typer.Exit(1)


app.command("train")(generate.train)
app.command("sample")(generate.sample)


def _frechet(reals: SetProfiles, fakes: SetProfiles, name: str | None, weights: str) -> Frechet:
    from tellsign.generators import frechet

    if name is None:
        return frechet.Frechet(None, note="no network was given (--features)")
    try:
        network = frechet.feature_network(name, weights)
        rows = [frechet.features(part.images, network, side=part.side) for part in (reals, fakes)]
        return frechet.Frechet(frechet.frechet_distance(*rows), network.name, network.digest)
    except ConfigError as error:
        # What was measured without it is not lost.
        return frechet.Frechet(None, name, note=str(error))


def _write_picture(path: Path, result: Distance) -> None:
    from tellsign.explain.figures import png
    from tellsign.generators.distance_report import plot

    try:
        path.write_bytes(png(plot(result)))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
