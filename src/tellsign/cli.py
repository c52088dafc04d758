"""The command line: parse, call, print.

Exit codes: 0 done; 1 done, but some inputs failed; 2 wrong usage, configuration or data. Results go to
standard output, everything else to standard error. Heavy imports wait for the command that needs them.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tellsign import __version__
from tellsign.types import ConfigError, TellsignError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tellsign.data import Manifest
    from tellsign.scoring.scorer import Row

app = typer.Typer(
    name="tellsign",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Tells real photographs and videos from generated and manipulated ones, and shows its evidence.",
)
data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and prepare manifests of images.")
app.add_typer(data, name="data")

Detector = Annotated[str, typer.Option("--detector", "-d", help="A shipped detector's name or a folder.")]
DetectorArgument = Annotated[str, typer.Argument(help="A shipped detector's name or a folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Fpr = Annotated[
    float | None,
    typer.Option(help="Share of real images that may be called fake; the detector's own by default."),
]
Prior = Annotated[
    float | None, typer.Option(help="Share of fakes you expect among your images; moves the probability.")
]
Faces = Annotated[bool, typer.Option("--faces", help="Look at the faces instead of the whole image.")]
Frames = Annotated[int, typer.Option(min=1, help="Frames looked at in a video.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger images and frames before decoding them.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes, one thread each; 0: one for each core.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Files that a worker scores together.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds for one file.")]
Memory = Annotated[
    int, typer.Option("--memory-limit", min=0, help="MiB of memory for a worker; 0: no limit.")
]
Data = Annotated[Path, typer.Option("--data", help="A manifest (see `tellsign data index`).")]
Out = Annotated[Path, typer.Option("--output", "-o", help="Where to write.")]


class Table(str, Enum):
    """How `scan` prints."""

    table = "table"
    json = "json"
    csv = "csv"


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def scan(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Images, videos, folders, a manifest with --manifest, or - for a list on standard input."
        ),
    ],
    detector: Detector = "spectrum",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write rows to a .jsonl, .csv or .parquet file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the rows of unchanged files in the output.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    manifest: Annotated[
        bool, typer.Option("--manifest", help="PATHS are manifests; scan what they list.")
    ] = False,
    nul: Annotated[bool, typer.Option("-0", help="Names on standard input are separated by NUL.")] = False,
    fpr: Fpr = None,
    prior: Prior = None,
    faces: Faces = False,
    frames: Frames = 20,
    max_pixels: MaxPixels = 100_000_000,
    workers: Workers = 0,
    batch_size: BatchSize = 16,
    timeout: Timeout = 60.0,
    memory_limit: Memory = 4096,
) -> None:
    """Verdicts for images, folders and videos."""
    from contextlib import nullcontext

    from tellsign import hub, terminal
    from tellsign.scoring import inputs
    from tellsign.scoring.scan import scan as run
    from tellsign.scoring.scorer import Options, Scorer
    from tellsign.scoring.store import Store
    from tellsign.scoring.workers import Limits

    if json and csv:
        raise ConfigError("--json and --csv exclude each other")
    if output is None and (resume or overwrite):
        raise ConfigError("--resume and --overwrite need an output file: -o FILE")
    options = Options(fpr=fpr, prior=prior, faces=faces, n_frames=frames, max_pixels=max_pixels)
    scorer = Scorer(hub.detector_path(detector), options)
    limits = Limits(
        workers=workers or _cores(), batch_size=batch_size, timeout=timeout, memory=memory_limit << 20
    )
    skipped: list[int] = [0]

    def sources() -> Iterator[Path]:
        skipped[0] = 0
        for path in paths:
            if path == "-":
                yield from inputs.listed(sys.stdin.buffer, nul=nul)
            elif manifest:
                yield from (sample.path for sample in _manifest(Path(path)))
            else:
                yield from inputs.files([path], on_skip=lambda _path: skipped.__setitem__(0, skipped[0] + 1))

    shows_rows = output is None
    bar = sys.stderr.isatty() and not (shows_rows and sys.stdout.isatty())
    total = sum(1 for _ in sources()) if bar and "-" not in paths else None
    show = _row_printer(Table.json if json else Table.csv if csv else Table.table) if shows_rows else None
    store = (
        Store(output, settings=scorer.settings, resume=resume, overwrite=overwrite)
        if output
        else nullcontext(None)
    )
    with store as kept, terminal.progress("scan", total, wanted=bar) as step:

        def on_row(row: Row) -> None:
            if row["error"]:
                terminal.complain(f"{terminal.printable(row['path'])}: {terminal.printable(row['error'])}")
            if show:
                show(row)
            step()

        summary = run(sources(), scorer, limits=limits, store=kept, on_row=on_row)
    terminal.complain(terminal.summary_line(summary, skipped[0]))
    if summary.n == 0:
        raise ConfigError("found no image or video to scan")
    if summary.failed:
        raise typer.Exit(1)


def _row_printer(table: Table) -> Any:
    import csv as csv_module

    from tellsign import terminal
    from tellsign.scoring import store

    if table is Table.json:
        return lambda row: print(store.json_line(row), flush=True)
    if table is Table.csv:
        writer = csv_module.writer(sys.stdout, lineterminator="\n")
        writer.writerow(store.COLUMNS)
        return lambda row: (writer.writerow(store.csv_cells(row)), sys.stdout.flush())
    print(terminal.HEADER)
    return lambda row: print(terminal.verdict_line(row), flush=True)


@app.command()
def explain(
    paths: Annotated[list[str], typer.Argument(help="Images, videos and folders.")],
    output: Out = Path("explanation.html"),
    detector: Detector = "spectrum",
    pictures: Annotated[
        Path | None, typer.Option(help="Also write each plot as a PNG into this folder.")
    ] = None,
    full_metadata: Annotated[
        bool, typer.Option("--full-metadata", help="Also show GPS position, serial numbers and owner.")
    ] = False,
    json: Json = False,
    fpr: Fpr = None,
    prior: Prior = None,
    faces: Faces = False,
    frames: Frames = 20,
    max_pixels: MaxPixels = 100_000_000,
) -> None:
    """The evidence as pictures and one self-contained HTML page."""
    from tellsign import hub, terminal
    from tellsign.explain import page
    from tellsign.scoring import inputs, store
    from tellsign.scoring.explanation import explained
    from tellsign.scoring.scorer import Options, Scorer

    options = Options(fpr=fpr, prior=prior, faces=faces, n_frames=frames, max_pixels=max_pixels)
    scorer = Scorer(hub.detector_path(detector), options)
    failed = 0

    def explanations() -> Iterator[Any]:
        nonlocal failed
        for path in inputs.files(paths):
            row, explanation = explained(scorer, path, full_metadata=full_metadata)
            if row["error"]:
                failed += 1
                terminal.complain(f"{terminal.printable(row['path'])}: {terminal.printable(row['error'])}")
            print(store.json_line(row) if json else terminal.verdict_line(row), flush=True)
            if pictures:
                page.save_pictures(explanation, pictures)
            yield explanation

    page.write_page(explanations(), output, title="Tellsign: the evidence", detector=scorer.artifact.name)
    terminal.complain(f"wrote {output}")
    if failed:
        raise typer.Exit(1)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file.")],
    data: Data,
    output: Out,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. config.crop=256.")
    ] = None,
    json: Json = False,
) -> None:
    """Train any detector, choose and calibrate it on the validation split."""
    from tellsign import terminal
    from tellsign.train import read_config
    from tellsign.train import train as run

    artifact = run(read_config(config, overrides or ()), _manifest(data), output, say=terminal.complain)
    _print_model(artifact.spec["name"], output, json=json)


@app.command()
def calibrate(
    detector: DetectorArgument,
    data: Data,
    output: Out,
    method: Annotated[str, typer.Option(help="sigmoid or isotonic.")] = "sigmoid",
    fpr: Annotated[float, typer.Option(help="Share of real images that may be called fake.")] = 0.05,
    fnr: Annotated[float, typer.Option(help="Share of fakes that may be called real.")] = 0.05,
    split: Annotated[str | None, typer.Option(help="Only samples of this split.")] = None,
    json: Json = False,
) -> None:
    """Refit probability and operating point of a detector on other data."""
    from tellsign import artifacts, hub
    from tellsign.train import CalibrationConfig
    from tellsign.train import calibrate as run

    config = CalibrationConfig(method=method, fpr=fpr, fnr=fnr)
    artifact = run(artifacts.load(hub.detector_path(detector)), _manifest(data, split), config, output)
    _print_model(artifact.spec["name"], output, json=json)


@app.command()
def evaluate(
    detector: DetectorArgument,
    data: Data,
    split: Annotated[str | None, typer.Option(help="Only samples of this split.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the predictions as Parquet.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as Markdown.")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    json: Json = False,
    fpr: Fpr = None,
    prior: Prior = None,
    faces: Faces = False,
    workers: Workers = 0,
    batch_size: BatchSize = 16,
    timeout: Timeout = 60.0,
    memory_limit: Memory = 4096,
) -> None:
    """Predictions of a detector on a manifest, and metrics per source, generator and video."""
    from tellsign import hub, terminal
    from tellsign.evaluate import report as reports
    from tellsign.scoring.predictions import predict
    from tellsign.scoring.scorer import Options, Scorer
    from tellsign.scoring.workers import Limits

    scorer = Scorer(hub.detector_path(detector), Options(fpr=fpr, prior=prior, faces=faces))
    manifest = _manifest(data, split)
    limits = Limits(workers or _cores(), batch_size, timeout, memory_limit << 20)
    with terminal.progress("evaluate", len(manifest), wanted=True) as step:
        predictions = predict(manifest, scorer, limits=limits, on_row=step)
    if output:
        predictions.write(output)
    result = reports.report(predictions, split=split, n_resamples=resamples, seed=seed)
    if report:
        report.write_text(reports.markdown(result), encoding="utf-8")
    print(_json(result) if json else reports.text(result))
    failed = predictions.take(predictions.verdict == "")
    for path, reason in zip(failed.path, failed.reason, strict=True):
        terminal.complain(f"{terminal.printable(path)}: {terminal.printable(reason)}")
    if len(failed):
        raise typer.Exit(1)


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="A table or figure; see --list.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List what can be reproduced.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="A manifest.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="A published feature file (.npz with X and y).")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="An image, for figures of one.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a figure as PNG.")] = None,
    samples: Annotated[
        list[int] | None, typer.Option(help="Numbers of samples; the paper's by default.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=2, help="Random splits.")] = 10,
    seed: int = 0,
    json: Json = False,
) -> None:
    """One table or figure of a paper, published and reproduced side by side."""
    from tellsign.evaluate import reproduce as registry

    if listed or name is None:
        names = registry.names()
        print(_json(names) if json else "\n".join(f"{key:<16} {title}" for key, title in names.items()))
        return
    result = registry.reproduce(
        name,
        manifest=_manifest(data) if data else None,
        features=features,
        image=image,
        out=output,
        samples=tuple(samples) if samples else None,
        repeats=repeats,
        seed=seed,
    )
    print(_json(result.to_dict()) if json else result.text())


@app.command()
def models(json: Json = False) -> None:
    """What is installed, with its card."""
    from tellsign import hub

    found = [_model(name, path) for name, path in hub.shipped_detectors().items()]
    if json:
        print(_json(found))
        return
    for model in found:
        print(f"{model['name']}@{model['digest'][:12]}  {model['path']}\n\n{model['card']}")


@data.command("index")
def data_index(
    source: Annotated[Path, typer.Argument(help="A folder with real/ and fake/ in it, or a CSV.")],
    output: Out,
    columns: Annotated[list[str] | None, typer.Option("--column", help="OURS=THEIRS, for a CSV.")] = None,
    skip_labels: Annotated[
        list[str] | None, typer.Option("--skip-label", help="Leave out rows with this label.")
    ] = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", help="Keep only these data sets.")
    ] = None,
    videos: Annotated[bool, typer.Option("--videos/--no-videos", help="Keep videos.")] = True,
    checksums: Annotated[bool, typer.Option("--checksums", help="Hash every file.")] = False,
) -> None:
    """Make a manifest from folders or from another table."""
    from tellsign.data import index, write
    from tellsign.scoring.inputs import IMAGE_SUFFIXES, SUFFIXES

    suffixes = SUFFIXES if videos else IMAGE_SUFFIXES
    if source.is_dir():
        manifest = index.index_folder(source, suffixes=suffixes, checksums=checksums)
    else:
        pairs = dict(_pair(text, "--column") for text in columns or ())
        manifest = index.index_csv(
            source, columns=pairs, skip_labels=skip_labels or (), suffixes=suffixes, checksums=checksums
        )
    if datasets:
        unknown = sorted(set(datasets) - {sample.dataset for sample in manifest})
        if unknown:
            raise ConfigError(f"no data set {unknown[0]!r} in {source}")
        manifest = manifest.filter(dataset=datasets)
    write(manifest, output)
    _describe(manifest, output)


@data.command("split")
def data_split(
    source: Annotated[Path, typer.Argument(help="A manifest.")],
    output: Out,
    parts: Annotated[
        list[str], typer.Option("--part", help="NAME=SHARE, e.g. train=0.7; shares add up to 1.")
    ],
    seed: Annotated[int, typer.Option(help="Of the shuffle.")] = 0,
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Leave the rows of the split test as they are.")
    ] = False,
) -> None:
    """Split a manifest by group, with the share of each data set and label kept."""
    from tellsign.data import Manifest, write

    manifest = _manifest(source)
    shares = {name: _number(share, "--part") for name, share in (_pair(text, "--part") for text in parts)}
    kept = manifest.filter(split="test") if keep_test else Manifest(())
    rest = manifest.filter(lambda sample: not (keep_test and sample.split == "test"))
    split = rest.split(shares, seed=seed)
    result = Manifest(tuple(sample for part in split.values() for sample in part) + kept.samples)
    write(result, output)
    _describe(_manifest(output), output)


@data.command("harmonise")
def data_harmonise(
    source: Annotated[Path, typer.Argument(help="A manifest.")],
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
    from tellsign.data.harmonise import harmonise

    result = harmonise(_manifest(source), output, size=size, quality=quality, resize=resize)
    write(result.manifest, output / "manifest.csv")
    for path, reason in result.failed:
        terminal.complain(f"{terminal.printable(str(path))}: {reason}")
    _describe(result.manifest, output / "manifest.csv")
    if result.failed:
        raise typer.Exit(1)


def _manifest(path: Path, split: str | None = None) -> Manifest:
    from tellsign.data import read

    manifest = read(path)
    if split is not None:
        found = sorted({sample.split for sample in manifest})
        manifest = manifest.filter(split=split)
        if not manifest:
            raise ConfigError(f"{path} has no split {split!r}; it has {found}")
    return manifest


def _describe(manifest: Manifest, path: Path) -> None:
    from collections import Counter

    from tellsign import terminal
    from tellsign.data.manifest import LABEL_NAMES

    counts = Counter((s.dataset, LABEL_NAMES[s.label] or "no label", s.split or "no split") for s in manifest)
    for (dataset, label, split), n in sorted(counts.items()):
        terminal.complain(f"{n:6} {label:8} {split:8} {dataset}")
    terminal.complain(f"wrote {len(manifest)} rows to {path}, digest {manifest.digest()[:12]}")


def _model(name: str, path: Path) -> dict[str, Any]:
    from tellsign import artifacts

    artifact = artifacts.load(path)
    card = path / artifacts.CARD_FILE
    return {
        "name": name,
        "digest": artifact.digest,
        "path": str(path),
        "card": card.read_text(encoding="utf-8") if card.is_file() else "",
        "parameters": sum(array.size for array in artifact.arrays.values()),
        "metrics": artifact.spec.get("metrics", {}),
    }


def _print_model(name: str, path: Path, *, json: bool) -> None:
    from tellsign import terminal

    model = _model(name, path)
    if json:
        print(_json({key: value for key, value in model.items() if key != "card"}))
    else:
        terminal.complain(f"wrote {name}@{model['digest'][:12]} to {path}")


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{option} takes NAME=VALUE, found {text!r}")
    return name, value


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{option} takes a number, found {text!r}") from None


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Run the command line; every error of the package becomes one message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except TellsignError as error:
        print(f"tellsign: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # The reader has gone (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
