"""Commands of `tellsign data` that write images: harmonised, restored, perturbed, or cut to faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellsign.cli import options
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data.face_export import Export
    from tellsign.data.harmonise import Harmonised
    from tellsign.data.resynthesise import Pairs, Restore
    from tellsign.perturb.files import Perturbed

RESYNTHESIS = "resynthesis"  # the system whose detectors restore images


def harmonise(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder; manifest.csv is written into it.")
    ],
    size: Annotated[int, typer.Option(min=16, help="Side of the native centre crop in pixels.")],
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEG.")],
    resize: Annotated[str | None, typer.Option(help="Resize with this filter instead of cropping.")] = None,
) -> None:
    """Give both classes one size and one JPEG quality, and strip metadata."""
    from tellsign.data.harmonise import harmonise as run

    result = run(options.read_manifest(source), output, size=size, quality=quality, resize=resize)
    _finish(result, output)


def faces(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest of videos and images.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder; a run that was stopped in it goes on.")
    ],
    frames: Annotated[int, typer.Option(min=1, help="Frames taken of a video, evenly spaced.")] = 270,
    margin: Annotated[float, typer.Option(help="Side of the square as a multiple of the face's.")] = 1.3,
    which: Annotated[
        str, typer.Option("--faces", help="Of several in a video: the largest track (largest), or all.")
    ] = "largest",
    whole_frames: Annotated[
        bool, typer.Option("--whole-frames", help="Write whole frames; no face is sought.")
    ] = False,
    balance: Annotated[
        str, typer.Option(help="none; repeat: more frames of real videos; sample: fewer of fake ones.")
    ] = "none",
    factor: Annotated[
        float | None, typer.Option(help="How many times, with --balance; by default as the manifest has it.")
    ] = None,
    jpeg: Annotated[
        int | None, typer.Option(min=1, max=100, help="JPEG of this quality, 4:4:4, instead of PNG.")
    ] = None,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
    workers: options.Workers = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one frame may take.")] = 300.0,
    json: options.Json = False,
) -> None:
    """Write the face crops of videos and images, with time stamps and a manifest of their own."""
    from tellsign import terminal
    from tellsign.data import read
    from tellsign.data.face_crops import CropOptions
    from tellsign.data.face_export import ExportOptions, export_faces

    asked = ExportOptions(
        n_frames=frames,
        balance=balance,
        factor=factor,
        crops=CropOptions(
            margin=margin,
            region="frame" if whole_frames else "face",
            which=which,
            jpeg_quality=jpeg,
            max_pixels=max_pixels,
        ),
    )
    # Not checked for files that are gone: each of them gets a row that says so.
    manifest = read(source, check_files=False)
    processes = options.limits(workers, 1, timeout, 0).workers
    try:
        with terminal.progress("faces", len(manifest), wanted=True) as step:
            result = export_faces(manifest, output, asked, workers=processes, stall=timeout, on_file=step)
    except KeyboardInterrupt:
        terminal.complain(f"interrupted; the same command goes on in {output}")
        raise typer.Exit(130) from None
    for path, reason in result.failed:
        terminal.complain_of({"path": str(path), "error": reason})
    _describe_faces(result)
    options.describe(result.manifest, output / "manifest.csv")
    if json:
        print(options.as_json(result.report))
    if result.failed:
        raise typer.Exit(1)


def _describe_faces(result: Export) -> None:
    from tellsign import terminal

    rows = {"all": result.report, **result.report["by"]["label"]}
    for name, row in rows.items():
        n = row["videos"] + row["images"]
        text = f"{row['with_crops']} of {n} files with crops ({row['coverage']:.1%})"
        if row["frame_coverage"] is not None:
            seen = f"{row['frames_with_face']} of {row['frames']} frames ({row['frame_coverage']:.1%})"
            text += f", a face in {seen}"
        terminal.complain(f"{name or 'no label'}: {text}, {row['crops']} crops")
    balance = result.report["balance"]
    if balance is not None and balance["short"]:
        found = " and ".join(
            f"{balance[name]['crops']} {name} crops of {balance[name]['planned']} planned frames"
            for name in ("real", "fake")
        )
        terminal.complain(
            f"the classes are not balanced: {found}. Balance takes other frames and repeats none; the "
            f"{balance['short']} videos have no more of them, or show no face. Ask for fewer --frames"
        )
    if result.n_unchanged:
        terminal.complain(f"{result.n_unchanged} files were done already")
    if result.faceless or result.failed:
        terminal.complain(
            f"{len(result.failed)} files failed, {len(result.faceless)} show no face; failed.csv lists them"
        )


def resynthesise(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest of real images.")],
    detector: Annotated[
        Path,
        typer.Option("--detector", "-d", help="A folder of the system resynthesis, whose network restores."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder; a run that was stopped in it goes on.")
    ],
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Write JPEG of this quality, 4:2:0, instead of PNG: that of reals which come as JPEG.",
        ),
    ] = None,
    split: options.Split = None,
    only_real: Annotated[
        bool, typer.Option("--only-real", help="Leave out rows that are not real instead of refusing them.")
    ] = False,
) -> None:
    """Write each real image beside its re-synthesis: pairs that differ in a network's trace alone."""
    from tellsign import terminal
    from tellsign.data.resynthesise import resynthesise as run
    from tellsign.types import REAL

    manifest = options.read_manifest(source, split)
    if only_real:
        manifest = manifest.filter(label=REAL)
    restore, name, identity = _restorer(detector)
    try:
        with terminal.progress("resynthesise", len(manifest), wanted=True) as step:
            result = run(
                manifest, output, restore, name=name, identity=identity, quality=quality, on_pair=step
            )
    except KeyboardInterrupt:
        terminal.complain(f"interrupted; the same command goes on in {output}")
        raise typer.Exit(130) from None
    if result.n_unchanged:
        terminal.complain(f"{result.n_unchanged} pairs were done already")
    _finish(result, output)


def _restorer(detector: Path) -> tuple[Restore, str, str]:
    """The network of a detector that re-synthesises, its name, and what tells it from others."""
    from tellsign import artifacts, hub

    artifact = artifacts.load(hub.detector_path(detector))
    system = artifact.spec.get("system")
    if system != RESYNTHESIS:
        raise ConfigError(
            f"{artifact.name} is a detector of the system {system!r}, and a re-synthesiser is in those of "
            f"{RESYNTHESIS!r}: train one (tellsign train configs/resynthesis-small.toml)"
        )
    found = hub.system(RESYNTHESIS)  # names what is missing
    from tellsign.systems.resynthesis.restoring import restorer

    return restorer(found().residuals(artifact.path)), str(artifact.spec["name"]), artifact.digest


def perturb(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder; manifest.csv is written into it.")
    ],
    perturbation: Annotated[
        str, typer.Option(help="What is done, e.g. jpeg:75 or combined; see docs/perturbations.md.")
    ],
    only: Annotated[str | None, typer.Option(help="real or fake: leave the other class as it is.")] = None,
    seed: options.Seed = 0,
) -> None:
    """Write every image as a PNG with the pixels that a benchmark sees under a perturbation."""
    from tellsign.perturb import parse
    from tellsign.perturb.files import write_perturbed

    chosen = parse(perturbation)
    if only is not None:
        if only not in {"real", "fake"}:
            raise ConfigError(f"--only takes real or fake, found {only!r}")
        if chosen.classes != "both":
            raise ConfigError(f"{chosen.name} names a class already; leave --only out")
        chosen = parse(f"{only}@{chosen.name}")
    result = write_perturbed(options.read_manifest(source), output, chosen, seed=seed)
    _finish(result, output)


def equalisation(
    source: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="A manifest with both classes, all of one size.")
    ],
    output: options.Output,
    split: options.Split = None,
    means: Annotated[str, typer.Option(help="Of the amplitude, or of its log.")] = "amplitude",
) -> None:
    """Measure the gains that give fakes the spectrum of real images; for the perturbation equalise:FILE."""
    from tellsign import terminal
    from tellsign.perturb.equalise import Equalisation
    from tellsign.perturb.files import pixels
    from tellsign.types import FAKE, REAL

    manifest = options.read_manifest(source, split)
    fakes, reals = (pixels(manifest.filter(label=label)) for label in (FAKE, REAL))
    fitted = Equalisation.fit(fakes, reals, means=means)
    fitted.save(output)
    terminal.complain(f"wrote {output}, from {fitted.counts[0]} fake and {fitted.counts[1]} real images")


def _finish(result: Harmonised | Pairs | Perturbed, output: Path) -> None:
    """Write the manifest of what was written, and say what was not."""
    from tellsign import terminal
    from tellsign.data import write

    write(result.manifest, output / "manifest.csv")
    for path, reason in result.failed:
        terminal.complain_of({"path": str(path), "error": reason})
    options.describe(result.manifest, output / "manifest.csv")
    if result.failed:
        raise typer.Exit(1)
