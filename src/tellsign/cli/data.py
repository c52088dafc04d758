"""`tellsign data`: make and prepare manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellsign.cli import options
from tellsign.cli.lazy import PLAIN
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.data.face_export import Export

app = typer.Typer(no_args_is_help=True, **PLAIN, help="Make, check and prepare manifests of images.")


@app.command("index")
def index(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A folder with real/ and fake/ in it, or a CSV.")
    ],
    output: options.Output,
    columns: Annotated[list[str] | None, typer.Option("--column", help="OURS=THEIRS, for a CSV.")] = None,
    skip_labels: Annotated[
        list[str] | None, typer.Option("--skip-label", help="Leave out rows with this label.")
    ] = None,
    label_of: Annotated[
        list[str] | None, typer.Option("--label-of", help="LABEL=real or LABEL=fake, what a CSV means by it.")
    ] = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", help="Keep only these data sets.")
    ] = None,
    videos: Annotated[bool, typer.Option("--videos/--no-videos", help="Keep videos.")] = True,
    checksums: Annotated[bool, typer.Option("--checksums", help="Hash every file.")] = False,
) -> None:
    """Make a manifest from folders or from another table."""
    from tellsign import terminal
    from tellsign.data import write
    from tellsign.data.index import index_csv, index_folder, with_checksums
    from tellsign.scoring.inputs import IMAGE_SUFFIXES, SUFFIXES

    if source.is_dir():
        skipped: list[Path] = []
        suffixes = SUFFIXES if videos else IMAGE_SUFFIXES
        manifest = index_folder(source, suffixes=suffixes, on_skip=skipped.append)
        if skipped:
            terminal.complain(f"{len(skipped)} files passed over, e.g. {str(skipped[0])!a}")
    else:
        pairs = dict(options.pair(text, "--column") for text in columns or ())
        # No other suffix is left out: a row of a table that is no image should be known to its author.
        meant = dict(options.pair(text, "--label-of") for text in label_of or ())
        manifest = index_csv(
            source, columns=pairs, skip_labels=skip_labels or (), label_of=meant, warn=terminal.complain
        )
        if not videos:
            video_suffixes = SUFFIXES - IMAGE_SUFFIXES
            manifest = manifest.filter(lambda sample: sample.path.suffix.lower() not in video_suffixes)
    if datasets:
        unknown = sorted(set(datasets) - {sample.dataset for sample in manifest})
        if unknown:
            raise ConfigError(f"no data set {unknown[0]!r} in {source}")
        manifest = manifest.filter(dataset=datasets)
    if not manifest:
        raise ConfigError(f"nothing of {source} is left to write")
    if checksums:
        manifest = with_checksums(manifest)
    write(manifest, output)
    _describe(manifest, output)


@app.command("convert")
def convert(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set; see --list.")] = None,
    root: Annotated[Path | None, typer.Argument(metavar="ROOT", help="Its folder, as downloaded.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the data sets that are known.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, an option of the data set's converter.")
    ] = None,
    checksums: Annotated[bool, typer.Option("--checksums", help="Hash every file.")] = False,
    json: options.Json = False,
) -> None:
    """Make a manifest of a published data set, with its labels, groups and official splits."""
    from tellsign import terminal
    from tellsign.data import convert as converters
    from tellsign.data import write
    from tellsign.data.index import with_checksums

    if listed or name is None:
        names = converters.names()
        rows = (f"{key:<16} {title}" for key, title in names.items())
        print(options.as_json(names) if json else "\n".join(rows))
        return
    if root is None or output is None:
        missing = "ROOT" if root is None else "--output"
        raise ConfigError(f"{missing} is missing: tellsign data convert {name} ROOT --output MANIFEST.csv")
    chosen = dict(options.pair(text, "--set") for text in settings or ())
    if "warn" in chosen:
        raise ConfigError("--set: no converter has an option 'warn'; messages go to standard error")
    manifest = converters.convert(name, root, warn=terminal.complain, **chosen)
    if checksums:
        manifest = with_checksums(manifest)
    write(manifest, output)
    _describe(manifest, output)


@app.command("audit")
def audit(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.")],
    max_auroc: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=1, help="Exit code 1 when a cue's AUROC exceeds this; 0.6 is a good limit."
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Also write an HTML page with the culprits.")
    ] = None,
    split: options.Split = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and intervals.")] = 0,
    workers: options.Workers = 0,
    json: options.Json = False,
) -> None:
    """Say whether the classes can be told apart without looking for traces in the picture.

    Exit code 1: a cue's AUROC, pooled or of one data set, exceeds --max-auroc, or files can't be read.
    """
    from tellsign import terminal
    from tellsign.data.audit import LIMIT, exceeded, read_to_audit, text, to_dict
    from tellsign.data.audit import audit as run
    from tellsign.scoring.names import escape

    manifest = options.only_split(read_to_audit(source), source, split)
    processes = options.limits(workers, 1, 60, 0).workers
    with terminal.progress("audit", len(manifest), wanted=True) as step:
        limit = LIMIT if max_auroc is None else max_auroc
        result = run(manifest, workers=processes, folds=folds, seed=seed, limit=limit, on_done=step)
    print(options.as_json(to_dict(result, path_text=escape)) if json else text(result))
    for sample, reason in result.unreadable:
        terminal.complain_of({"path": str(sample.path), "error": reason})
    if page is not None:
        from tellsign.explain.audit_page import write_audit_page

        write_audit_page(result, page, title=f"Audit of {source.name}")
    too_high = exceeded(result, max_auroc) if max_auroc is not None else ()
    if too_high:
        terminal.complain(f"above --max-auroc {max_auroc:g}: {', '.join(too_high)}")
    if too_high or result.unreadable:
        raise typer.Exit(1)


@app.command("split")
def split(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.")],
    output: options.Output,
    parts: Annotated[
        list[str], typer.Option("--part", help="NAME=SHARE, e.g. train=0.7; shares add up to 1.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffle.")] = 0,
    keep_test: Annotated[
        bool,
        typer.Option("--keep-test", help="Leave the rows of the split test as they are; split the rest."),
    ] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Split all rows, whatever split they have.")] = False,
) -> None:
    """Split a manifest by group, with the share of each data set and label kept.

    Rows that have a split already need --keep-test or --anew: official splits are not replaced unasked.
    """
    from collections import Counter

    from tellsign.data import Manifest, write
    from tellsign.data.manifest import SPLITS

    manifest = options.read_manifest(source)
    shares = {
        name: options.number(share, "--part")
        for name, share in (options.pair(text, "--part") for text in parts)
    }
    if unknown := sorted(set(shares) - set(filter(None, SPLITS))):
        raise ConfigError(f"--part takes train, valid or test, found {unknown[0]!r}")
    if keep_test and anew:
        raise ConfigError("--keep-test keeps a split and --anew replaces all; leave one of them out")
    held = Counter(sample.split for sample in manifest if sample.split)
    if held and not (keep_test or anew):
        found = ", ".join(f"{held[name]} are {name}" for name in SPLITS if held[name])
        raise ConfigError(
            f"{sum(held.values())} of {len(manifest)} rows of {source} have a split already ({found}); keep "
            "what is test with --keep-test, or replace all with --anew"
        )
    kept = manifest.filter(split="test") if keep_test else Manifest(())
    rest = manifest.filter(lambda sample: not (keep_test and sample.split == "test"))
    if shared := {sample.group for sample in kept if sample.group} & {sample.group for sample in rest}:
        raise ConfigError(
            f"{len(shared)} groups are in the split test and outside of it, e.g. {min(shared)!a}; "
            "put their other rows into test too, or leave --keep-test out"
        )
    divided = rest.split(shares, seed=seed)
    result = Manifest(tuple(sample for part in divided.values() for sample in part) + kept.samples)
    write(result, output)
    _describe(result, output)


@app.command("harmonise")
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
    from tellsign import terminal
    from tellsign.data import write
    from tellsign.data.harmonise import harmonise as run

    result = run(options.read_manifest(source), output, size=size, quality=quality, resize=resize)
    write(result.manifest, output / "manifest.csv")
    for path, reason in result.failed:
        terminal.complain_of({"path": str(path), "error": reason})
    _describe(result.manifest, output / "manifest.csv")
    if result.failed:
        raise typer.Exit(1)


@app.command("faces")
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
    _describe(result.manifest, output / "manifest.csv")
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
    if result.n_unchanged:
        terminal.complain(f"{result.n_unchanged} files were done already")
    if result.faceless or result.failed:
        terminal.complain(
            f"{len(result.failed)} files failed, {len(result.faceless)} show no face; failed.csv lists them"
        )


@app.command("perturb")
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
    from tellsign import terminal
    from tellsign.data import write
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
    write(result.manifest, output / "manifest.csv")
    for path, reason in result.failed:
        terminal.complain_of({"path": str(path), "error": reason})
    _describe(result.manifest, output / "manifest.csv")
    if result.failed:
        raise typer.Exit(1)


@app.command("equalisation")
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


def _describe(manifest: Manifest, path: Path) -> None:
    from collections import Counter

    from tellsign import terminal
    from tellsign.data.manifest import LABEL_NAMES

    counts = Counter((s.dataset, LABEL_NAMES[s.label] or "no label", s.split or "no split") for s in manifest)
    for (dataset, label, split), n in sorted(counts.items()):
        terminal.complain(f"{n:6} {label:8} {split:8} {dataset}")
    terminal.complain(f"wrote {len(manifest)} rows to {path}, digest {manifest.digest()[:12]}")
