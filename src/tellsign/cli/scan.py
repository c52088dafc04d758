"""`tellsign scan` and `tellsign explain`: verdicts and evidence."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tellsign.cli import options
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tellsign.explain import Explanation
    from tellsign.scoring.looks import Row

NOTHING = "found no image or video"


def scan(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Images, videos, folders; or - for a list on standard input."),
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
    nul: Annotated[
        bool, typer.Option("-0", help="Names on standard input end with NUL, and so do the table's lines.")
    ] = False,
    fpr: options.Fpr = None,
    prior: options.Prior = None,
    faces: options.Faces = False,
    frames: options.Frames = 20,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
    engine: options.Engine = "onnx",
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
    if "" in paths:
        raise ConfigError("a path is empty; write . for the current folder")
    looked = Options(
        fpr=options.rate(fpr), prior=prior, faces=faces, n_frames=frames, max_pixels=max_pixels, engine=engine
    )
    scorer = Scorer(hub.detector_path(detector), looked)
    inputs = _Inputs(paths, manifest=manifest, nul=nul)
    # A bar would tear a table apart that is printed on the same terminal.
    quiet = output is not None and not (json or csv)
    bar = sys.stderr.isatty() and (quiet or not sys.stdout.isatty())
    show = _nothing if quiet else _row_printer(json=json, csv=csv, nul=nul)
    store = (
        Store(output, settings=scorer.settings, resume=resume, overwrite=overwrite)
        if output
        else nullcontext(None)
    )
    with (
        _interruptible(output),
        store as kept,
        terminal.progress("scan", inputs.count() if bar else None, wanted=bar) as step,
    ):

        def on_row(row: Row) -> None:
            if row["error"]:
                terminal.complain_of(row)
            show(row)
            step()

        limits = options.limits(workers, batch_size, timeout, memory_limit, engine)
        summary = run(inputs.paths(), scorer, limits=limits, store=kept, on_row=on_row)
        if summary.n == 0:
            passed = f"; {inputs.n_skipped} files are neither" if inputs.n_skipped else ""
            raise ConfigError(f"{NOTHING} to scan{passed}")
    terminal.complain(terminal.summary_line(summary, inputs.n_skipped))
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
        from tellsign.data import read
        from tellsign.scoring import inputs

        self.n_skipped = 0
        for name in self.names:
            if name == "-":
                yield from inputs.files(inputs.listed(sys.stdin.buffer, nul=self.nul), on_skip=self._skip)
            elif self.manifest:
                # Not checked for files that are gone: each of them gets a row that says so.
                yield from (sample.path for sample in read(Path(name), check_files=False))
            else:
                yield from inputs.files([name], on_skip=self._skip)

    def _skip(self, _path: Path) -> None:
        self.n_skipped += 1

    def count(self) -> int | None:
        """How many there are; None where that would use up a list that comes once."""
        return None if "-" in self.names else sum(1 for _ in self.paths())


@contextmanager
def _interruptible(output: Path | None) -> Iterator[None]:
    """Ctrl-C ends the block with a word on what there is, and the exit code that shells expect."""
    from tellsign import terminal

    try:
        yield
    except KeyboardInterrupt:
        kept = output is not None and output.exists()
        rest = f"; the rows so far are in {output}, continue with --resume" if kept else ""
        terminal.complain(f"interrupted{rest}")
        raise typer.Exit(130) from None


def _nothing(_row: Row) -> None:
    """Rows go to a file, and nobody asked to see them as well."""


def _row_printer(*, json: bool, csv: bool = False, nul: bool = False) -> Callable[[Row], Any]:
    from tellsign import terminal
    from tellsign.scoring import names, store

    if json:
        return lambda row: print(store.json_line(row), flush=True)
    if nul and not csv:
        return _print_raw
    head, line = [terminal.HEADER], terminal.verdict_line
    if csv:
        shown = names.printable if sys.stdout.isatty() else str
        head, line = [store.csv_line()], lambda row: shown(store.csv_line(row))

    def show(row: Row) -> None:
        print(*head, line(row), sep="\n", flush=True)
        head.clear()  # it stands above the first row, and nowhere when there is none

    return show


def _print_raw(row: Row) -> None:
    """Label, probability and the file's name byte for byte, for `cut -z` and `xargs -0`."""
    from tellsign.scoring import names

    probability = "" if row["probability"] is None else f"{row['probability']:.4f}"
    record = f"{row['label'] or 'failed'}\t{probability}\t".encode()
    sys.stdout.buffer.write(record + os.fsencode(names.unescape(row["path"])) + b"\0")
    sys.stdout.flush()


def explain(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Images, videos and folders.")],
    output: options.Output = Path("explanation.html"),
    detector: options.Detector = "spectrum",
    pictures: Annotated[
        Path | None, typer.Option(help="Also write each plot as a PNG into this folder.")
    ] = None,
    attention: Annotated[
        bool,
        typer.Option(
            "--attention",
            help="Of a network, also show where each branch looked, and how far that is to be believed. "
            "Needs tellsign[train]; 170 evaluations of each branch for each input.",
        ),
    ] = False,
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
    from tellsign.scoring.attention import Attention
    from tellsign.scoring.explanation import explained
    from tellsign.scoring.scorer import Options, Scorer

    scorer = Scorer(
        hub.detector_path(detector),
        Options(fpr=options.rate(fpr), prior=prior, faces=faces, n_frames=frames, max_pixels=max_pixels),
    )
    looked_into = Attention(scorer) if attention else None
    show = _row_printer(json=json)
    failed = 0

    def explanations() -> Iterator[Explanation]:
        nonlocal failed
        for path in inputs.files(paths):
            row, explanation = explained(scorer, path, full_metadata=full_metadata, attention=looked_into)
            if row["error"]:
                failed += 1
                terminal.complain_of(row)
            show(row)
            if pictures:
                save_pictures(explanation, pictures)
            yield explanation

    found = explanations()
    first = next(found, None)
    if first is None:
        raise ConfigError(NOTHING)
    write_page(chain([first], found), output, title="Tellsign: the evidence", detector=scorer.artifact.name)
    terminal.complain(f"wrote {output}")
    if failed:
        raise typer.Exit(1)
