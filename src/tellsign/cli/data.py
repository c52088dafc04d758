"""`tellsign data`: make and prepare manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellsign.cli import images, options
from tellsign.cli.lazy import PLAIN
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.data import Manifest

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
    from tellsign.data import write
    from tellsign.data.index import with_checksums

    if source.is_dir():
        for_tables = (("--column", columns), ("--skip-label", skip_labels), ("--label-of", label_of))
        if given := [name for name, texts in for_tables if texts]:
            raise ConfigError(
                f"{given[0]} says how a CSV is read, and {source} is a folder, which says it by names of "
                "its folders; leave it out, or give a CSV"
            )
        manifest = _of_folder(source, videos=videos)
    else:
        manifest = _of_table(source, columns or (), skip_labels or (), label_of or (), videos=videos)
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
    options.describe(manifest, output)


def _of_folder(source: Path, *, videos: bool) -> Manifest:
    from tellsign import terminal
    from tellsign.data.index import index_folder
    from tellsign.scoring.inputs import IMAGE_SUFFIXES, SUFFIXES

    skipped: list[Path] = []
    manifest = index_folder(source, suffixes=SUFFIXES if videos else IMAGE_SUFFIXES, on_skip=skipped.append)
    if skipped:
        terminal.complain(f"{len(skipped)} files passed over, e.g. {str(skipped[0])!a}")
    return manifest


def _of_table(
    source: Path, columns: Sequence[str], skip_labels: Sequence[str], label_of: Sequence[str], *, videos: bool
) -> Manifest:
    from tellsign import terminal
    from tellsign.data.index import index_csv
    from tellsign.video import VIDEO_SUFFIXES

    skipped: list[Path] = []
    manifest = index_csv(
        source,
        columns=dict(options.pair(text, "--column") for text in columns),
        skip_labels=skip_labels,
        label_of=dict(options.pair(text, "--label-of") for text in label_of),
        warn=terminal.complain,
        on_skip=skipped.append,
    )
    if skipped:
        terminal.complain(f"{len(skipped)} rows left out for their labels (--skip-label)")
    if videos:
        return manifest
    # No other suffix is left out: a row of a table that is no image should be known to its author.
    kept = manifest.filter(lambda sample: sample.path.suffix.lower() not in VIDEO_SUFFIXES)
    if len(kept) < len(manifest):
        terminal.complain(f"{len(manifest) - len(kept)} rows left out that are videos (--no-videos)")
    return kept


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
    options.describe(manifest, output)


@app.command("audit")
def audit(
    source: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.")],
    max_auroc: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=1,
            help="Exit code 1 when a cue's AUROC exceeds this, or has no value; 0.6 is a good limit.",
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

    Exit code 1: a cue's AUROC, pooled or of one data set, exceeds --max-auroc, or there is none to compare
    with it; or files can't be read.
    """
    from tellsign import terminal
    from tellsign.data import read
    from tellsign.data.audit import LIMIT, exceeded, text, to_dict, unjudged
    from tellsign.data.audit import audit as run
    from tellsign.scoring.names import escape

    # What any other command refuses is a finding here.
    manifest = options.only_split(read(source, check_files=False, check_splits=False), source, split)
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
    without = unjudged(result) if max_auroc is not None else ()
    if without:
        terminal.complain(f"no value to compare with --max-auroc {max_auroc:g}: {'; '.join(without)}")
    if too_high or without or result.unreadable:
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

    from tellsign.data import Manifest, read, write
    from tellsign.data.manifest import SPLITS
    from tellsign.groups import sources

    # Splits that are replaced may be any: this is what mends groups across them.
    manifest = read(source, check_splits=not anew)
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
    if shared := {*sources(kept)} & {*sources(rest)} - {""}:
        raise ConfigError(
            f"{len(shared)} groups are in the split test and outside of it, e.g. {min(shared)!a}; "
            "put their other rows into test too, or leave --keep-test out"
        )
    divided = rest.split(shares, seed=seed)
    result = Manifest(tuple(sample for part in divided.values() for sample in part) + kept.samples)
    write(result, output)
    options.describe(result, output)


app.command("harmonise")(images.harmonise)
app.command("faces")(images.faces)
app.command("resynthesise")(images.resynthesise)
app.command("perturb")(images.perturb)
app.command("equalisation")(images.equalisation)
