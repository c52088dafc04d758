"""Training, evaluation, and what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tellsign.cli import options


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.")],
    data: options.Data,
    output: options.Output,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. config.crop=256.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Train any detector, choose and calibrate it on the validation split."""
    from tellsign import terminal
    from tellsign.train import read_config
    from tellsign.train import train as run

    artifact = run(
        read_config(config, overrides or ()), options.read_manifest(data), output, say=terminal.complain
    )
    _print_model(artifact.spec["name"], output, json=json)


def calibrate(
    detector: options.DetectorArgument,
    data: options.Data,
    output: options.Output,
    method: Annotated[Literal["sigmoid", "isotonic"], typer.Option(help="Of calibration.")] = "sigmoid",
    fpr: Annotated[float, typer.Option(help="Share of real images that may be called fake.")] = 0.05,
    fnr: Annotated[float, typer.Option(help="Share of fakes that may be called real.")] = 0.05,
    split: options.Split = None,
    json: options.Json = False,
) -> None:
    """Refit probability and operating point of a detector on other data."""
    from tellsign import artifacts, hub
    from tellsign.train import CalibrationConfig
    from tellsign.train import calibrate as run

    config = CalibrationConfig(method=method, fpr=fpr, fnr=fnr)
    artifact = run(
        artifacts.load(hub.detector_path(detector)), options.read_manifest(data, split), config, output
    )
    _print_model(artifact.spec["name"], output, json=json)


def evaluate(
    detector: options.DetectorArgument,
    data: options.Data,
    split: options.Split = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the predictions as Parquet.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as Markdown.")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples for the intervals.")] = 1000,
    seed: options.Seed = 0,
    json: options.Json = False,
    fpr: options.Fpr = None,
    prior: options.Prior = None,
    faces: options.Faces = False,
    workers: options.Workers = 0,
    batch_size: options.BatchSize = 16,
    timeout: options.Timeout = 60.0,
    memory_limit: options.Memory = 4096,
) -> None:
    """Predictions of a detector on a manifest, and metrics per source, generator and video."""
    from tellsign import hub, terminal
    from tellsign.evaluate import report as reports
    from tellsign.scoring.predictions import predict
    from tellsign.scoring.scorer import Options, Scorer

    scorer = Scorer(hub.detector_path(detector), Options(fpr=fpr, prior=prior, faces=faces))
    manifest = options.read_manifest(data, split)
    limits = options.limits(workers, batch_size, timeout, memory_limit)
    with terminal.progress("evaluate", len(manifest), wanted=True) as step:
        predictions = predict(manifest, scorer, limits=limits, on_row=step)
    if output:
        predictions.write(output)
    result = reports.report(predictions, split=split, n_resamples=resamples, seed=seed)
    if report:
        report.write_text(reports.markdown(result), encoding="utf-8")
    print(options.as_json(result) if json else reports.text(result))
    failed = predictions.take(predictions.verdict == "")
    for path, reason in zip(failed.path, failed.reason, strict=True):
        terminal.complain_of({"path": path, "error": reason})
    if len(failed):
        raise typer.Exit(1)


def reproduce(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A table or figure; see --list.")] = None,
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
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """One table or figure of a paper, published and reproduced side by side."""
    from tellsign.evaluate import reproduce as registry

    if listed or name is None:
        names = registry.names()
        print(
            options.as_json(names)
            if json
            else "\n".join(f"{key:<16} {title}" for key, title in names.items())
        )
        return
    result = registry.reproduce(
        name,
        manifest=options.read_manifest(data) if data else None,
        features=features,
        image=image,
        out=output,
        samples=tuple(samples) if samples else None,
        repeats=repeats,
        seed=seed,
    )
    print(options.as_json(result.to_dict()) if json else result.text())


def models(json: options.Json = False) -> None:
    """What is installed, with its card."""
    from tellsign import hub

    found = [_model(name, path) for name, path in hub.shipped_detectors().items()]
    if json:
        print(options.as_json(found))
        return
    for model in found:
        print(f"{model['name']}@{model['digest'][:12]}  {model['path']}\n\n{model['card']}")


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
        print(options.as_json({key: value for key, value in model.items() if key != "card"}))
    else:
        terminal.complain(f"wrote {name}@{model['digest'][:12]} to {path}")
