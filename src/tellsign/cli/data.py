"""`tellsign data`: make and prepare manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellsign.cli import options
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data import Manifest

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and prepare manifests of images.")


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
        manifest = index_csv(source, columns=pairs, skip_labels=skip_labels or ())
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


@app.command("split")
def split(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.")],
    output: options.Output,
    parts: Annotated[
        list[str], typer.Option("--part", help="NAME=SHARE, e.g. train=0.7; shares add up to 1.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffle.")] = 0,
    keep_test: Annotated[
        bool, typer.Option("--keep-test", help="Leave the rows of the split test as they are.")
    ] = False,
) -> None:
    """Split a manifest by group, with the share of each data set and label kept."""
    from tellsign.data import Manifest, write
    from tellsign.data.manifest import SPLITS

    manifest = options.read_manifest(source)
    shares = {
        name: options.number(share, "--part")
        for name, share in (options.pair(text, "--part") for text in parts)
    }
    if unknown := sorted(set(shares) - set(filter(None, SPLITS))):
        raise ConfigError(f"--part takes train, valid or test, found {unknown[0]!r}")
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


def _describe(manifest: Manifest, path: Path) -> None:
    from collections import Counter

    from tellsign import terminal
    from tellsign.data.manifest import LABEL_NAMES

    counts = Counter((s.dataset, LABEL_NAMES[s.label] or "no label", s.split or "no split") for s in manifest)
    for (dataset, label, split), n in sorted(counts.items()):
        terminal.complain(f"{n:6} {label:8} {split:8} {dataset}")
    terminal.complain(f"wrote {len(manifest)} rows to {path}, digest {manifest.digest()[:12]}")
