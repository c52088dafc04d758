"""Detectors × test sets × perturbations × attacks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tellsign.cli import options

if TYPE_CHECKING:
    from tellsign.evaluate.benchmark import BenchmarkResult


def benchmark(
    config: options.Config,
    output: options.Output,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. root=DATA or limit=20.")
    ] = None,
    missing: Annotated[
        Literal["error", "exclude", "worst"] | None,
        typer.Option(help="What metrics do where a score is missing; by default what CONFIG says."),
    ] = None,
    json: options.Json = False,
    workers: options.Workers = 0,
    batch_size: options.BatchSize = 16,
    timeout: options.Timeout = 60.0,
    memory_limit: options.Memory = 4096,
) -> None:
    """Run detectors on test sets, perturbed and attacked; run it again to go on where it was stopped.

    Where an attack needs a gradient, workers run PyTorch and have no memory limit.
    """
    from tellsign import terminal
    from tellsign.evaluate.benchmark import read, run
    from tellsign.evaluate.benchmark.report import write_report
    from tellsign.perturb.attacks import parse

    chosen = [*(overrides or ()), *([f"missing={missing}"] if missing else [])]
    grid = read(config, chosen)
    # PyTorch alone takes three quarters of the default limit, and a gradient what a network needs besides.
    engine = "torch" if any(parse(text).needs_gradient for text in grid.attacks) else "onnx"
    result = run(
        grid,
        output,
        limits=options.limits(workers, batch_size, timeout, memory_limit, engine),
        say=terminal.complain,
        progress=partial(terminal.progress, wanted=True),
        on_result=write_report,
    )
    print(options.as_json(result.to_dict()) if json else _text(result))
    terminal.complain(f"wrote {output}")
    for failure in result.failures:
        places = f" ({failure['places'][0]}{' and elsewhere' if failure['places'][1:] else ''})"
        terminal.complain_of({"path": failure["path"], "error": failure["reason"] + places})
    if result.failures:
        raise typer.Exit(1)


def _text(result: BenchmarkResult) -> str:
    """AUROC of every detector on every test set, one line a perturbation or attack."""
    from tellsign.evaluate.columns import aligned

    head = ("test", "perturbation", "attack", "level", "detector", "AUROC [95 % CI]", "n", "coverage")
    shown = [
        cell
        for cell in result.cells
        if cell["metric"] == "auroc" and cell["generator"] is None and cell["dataset"] is None
    ]
    return "\n".join(aligned([head, *map(_line, shown)], n_left=5))


def _line(cell: dict[str, Any]) -> tuple[str, ...]:
    value = cell["note"] if cell["value"] is None else f"{cell['value']:.3f}"
    if cell["ci"]:
        value += " [{:.3f}, {:.3f}]".format(*cell["ci"])
    coverage = "–" if cell["coverage"] is None else f"{cell['coverage']:.3f}"
    names = tuple(cell[key] for key in ("test", "perturbation", "attack", "level", "detector"))
    return (*names, value, str(cell["n"]), coverage)
