"""A finished benchmark as files for readers: page, Markdown, CSV, LaTeX, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tellsign.evaluate import published
from tellsign.evaluate.benchmark import page
from tellsign.evaluate.benchmark.sections import sections

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.evaluate.benchmark.result import BenchmarkResult

    Block = dict[str, Any]


def write_report(result: BenchmarkResult) -> list[Path]:
    """Write everything that people read into the benchmark's folder.

    Args:    result: of a run.
    Returns: the files: index.html, tables.md, tables/*.csv and *.tex, plots/*.png.
    Raises:  ConfigError: a file can't be written, or a paper that should stand beside is not known.
    """
    found = sections(
        result.cells,
        result.comparisons,
        facts=facts(result),
        plain=result.plain,
        published=[
            record for paper in result.config["published"] for record in published.records(paper=paper)
        ],
    )
    return page.write(result.name[:1].upper() + result.name[1:], found, result.out)


def facts(result: BenchmarkResult) -> list[tuple[str, str]]:
    """What was run, in names and values.

    Args:    result: of a run.
    Returns: pairs in the order of the page.
    """
    known = result.provenance
    runs = [run for run in result.runs if run["perturbation"] == run["attack"] == "none"]
    lines = []
    for detector in known["detectors"]:
        learnt = ", ".join(detector["datasets"] or ["data it does not name"])
        unchecked = (
            "; NOT CHECKED: whether test images are among them" if detector["leaks"] == "unknown" else ""
        )
        lines.append((detector["name"], f"{detector['artifact']}, learnt from {learnt}{unchecked}"))
    for test in known["tests"]:
        excluded = sorted({run["excluded"] for run in runs if run["test"] == test["name"]})
        left_out = (
            f"; {'/'.join(map(str, excluded))} left out, which a detector learnt from"
            if any(excluded)
            else ""
        )
        lines.append((test["name"], _set_words(test) + left_out))
    lines += [(f"{entry['name']} (learnt from)", _set_words(entry)) for entry in known["training"]]
    notes = {
        (entry["name"], note): None
        for key in ("tests", "training")
        for entry in known[key]
        for note in entry["notes"]
    }
    lines += [(f"{name} (note)", note) for name, note in notes]
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    return [
        *lines,
        ("samples without a score", _MISSING[result.config["missing"]]),
        ("seed, resamples", f"{known['seed']}, {known['resamples']}"),
        ("versions", versions),
    ]


_MISSING = {
    "error": "none",
    "exclude": "are left out; the share that was scored stands beside a number",
    "worst": "count as wrong: a fake as the least, a real as the most suspicious",
}


def _set_words(entry: Block) -> str:
    generators = f"; fakes of {', '.join(entry['generators'])}" if entry["generators"] else ""
    return (
        f"{entry['n_real']} real and {entry['n_fake']} fake of {', '.join(entry['datasets'])}{generators}; "
        f"manifest {entry['digest'][:12]}"
    )
