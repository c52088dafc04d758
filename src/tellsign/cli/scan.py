"""`tellsign scan` and `tellsign explain`: verdicts and evidence."""

from __future__ import annotations

import csv as csv_module
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tellsign.cli import options
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tellsign.explain import Explanation
    from tellsign.scoring.scorer import Row


def scan(
    paths: Annotated[
        list[str], typer.Argument(help="Images, videos, folders; or - for a list on standard input.")
    ],
    detector: options.Detector = "spectrum",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write rows to a .jsonl, .csv or .parquet file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the output's rows of unchanged files.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    json: options.Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    manifest: Annotated[
        bool, typer.Option("--manifest", help="PATHS are manifests; scan what they list.")
    ] = False,
    nul: Annotated[bool, typer.Option("-0", help="Names on standard input are separated by NUL.")] = False,
    fpr: options.Fpr = None,
    prior: options.Prior = None,
    faces: options.Faces = False,
    frames: options.Frames = 20,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
    workers: options.Workers = 0,
    batch_size: options.BatchSize = 16,
    timeout: options.Timeout = 60.0,
    memory_limit: options.Memory = 4096,
) -> None:
    """Verdicts for images, folders and videos."""
    from tellsign import hub, terminal
    from tellsign.scoring.scan import scan as run
    from tellsign.scoring.scorer import Options, Scorer
    from tellsign.scoring.store import Store

    if json and csv:
        raise ConfigError("--json and --csv exclude each other")
    if output is None and (resume or overwrite):
        raise ConfigError("--resume and --overwrite need an output file: -o FILE")
    scorer = Scorer(
        hub.detector_path(detector),
        Options(fpr=fpr, prior=prior, faces=faces, n_frames=frames, max_pixels=max_pixels),
    )
    inputs = _Inputs(paths, manifest=manifest, nul=nul)
    # A bar would tear a table apart that is printed on the same terminal.
    bar = sys.stderr.isatty() and not (output is None and sys.stdout.isatty())
    show = _nothing if output else _row_printer(json=json, csv=csv)
    store = (
        Store(output, settings=scorer.settings, resume=resume, overwrite=overwrite)
        if output
        else nullcontext(None)
    )
    with (
        store as kept,
        terminal.progress("scan", inputs.count() if bar else None, wanted=bar) as step,
    ):

        def on_row(row: Row) -> None:
            if row["error"]:
                terminal.complain_of(row)
            show(row)
            step()

        limits = options.limits(workers, batch_size, timeout, memory_limit)
        summary = run(inputs.paths(), scorer, limits=limits, store=kept, on_row=on_row)
    terminal.complain(terminal.summary_line(summary, inputs.n_skipped))
    if summary.n == 0:
        raise ConfigError("found no image or video to scan")
    if summary.failed:
        raise typer.Exit(1)


class _Inputs:
    """What the command line names, and how many files of folders it passed over."""

    def __init__(self, names: list[str], *, manifest: bool, nul: bool) -> None:
        self.names = names
        self.manifest = manifest
        self.nul = nul
        self.n_skipped = 0

    def paths(self) -> Iterator[Path]:
        from tellsign.scoring import inputs

        self.n_skipped = 0
        for name in self.names:
            if name == "-":
                yield from inputs.listed(sys.stdin.buffer, nul=self.nul)
            elif self.manifest:
                yield from (sample.path for sample in options.read_manifest(Path(name)))
            else:
                yield from inputs.files([name], on_skip=self._skip)

    def _skip(self, _path: Path) -> None:
        self.n_skipped += 1

    def count(self) -> int | None:
        """How many there are; None where that would use up a list that comes once."""
        return None if "-" in self.names else sum(1 for _ in self.paths())


def _nothing(_row: Row) -> None:
    """Rows go to a file, not to standard output."""


def _row_printer(*, json: bool, csv: bool) -> Callable[[Row], Any]:
    from tellsign import terminal
    from tellsign.scoring import store

    if json:
        return lambda row: print(store.json_line(row), flush=True)
    if csv:
        writer = csv_module.writer(sys.stdout, lineterminator="\n")
        writer.writerow(store.COLUMNS)
        return lambda row: writer.writerow(store.csv_cells(row))
    print(terminal.HEADER)
    return lambda row: print(terminal.verdict_line(row), flush=True)


def explain(
    paths: Annotated[list[str], typer.Argument(help="Images, videos and folders.")],
    output: options.Output = Path("explanation.html"),
    detector: options.Detector = "spectrum",
    pictures: Annotated[
        Path | None, typer.Option(help="Also write each plot as a PNG into this folder.")
    ] = None,
    full_metadata: Annotated[
        bool, typer.Option("--full-metadata", help="Also show GPS position, serial numbers and owner.")
    ] = False,
    json: options.Json = False,
    fpr: options.Fpr = None,
    prior: options.Prior = None,
    faces: options.Faces = False,
    frames: options.Frames = 20,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
) -> None:
    """The evidence as pictures and one self-contained HTML page."""
    from tellsign import hub, terminal
    from tellsign.explain import save_pictures, write_page
    from tellsign.scoring import inputs
    from tellsign.scoring.explanation import explained
    from tellsign.scoring.scorer import Options, Scorer

    scorer = Scorer(
        hub.detector_path(detector),
        Options(fpr=fpr, prior=prior, faces=faces, n_frames=frames, max_pixels=max_pixels),
    )
    show = _row_printer(json=json, csv=False)
    failed = 0

    def explanations() -> Iterator[Explanation]:
        nonlocal failed
        for path in inputs.files(paths):
            row, explanation = explained(scorer, path, full_metadata=full_metadata)
            if row["error"]:
                failed += 1
                terminal.complain_of(row)
            show(row)
            if pictures:
                save_pictures(explanation, pictures)
            yield explanation

    write_page(explanations(), output, title="Tellsign: the evidence", detector=scorer.artifact.name)
    terminal.complain(f"wrote {output}")
    if failed:
        raise typer.Exit(1)
