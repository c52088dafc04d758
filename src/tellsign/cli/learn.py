"""Training, evaluation, and what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tellsign.cli import options
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.calibration import CalibrationConfig
    from tellsign.data import Manifest

# Splits that nobody should calibrate on, and why.
SEEN = {
    "train": "a detector that was trained on these images scores them too well, and its thresholds will not "
    "hold on others",
    "test": "no number on these images says how good the detector is from now on; evaluate it on others",
}


def train(
    config: options.Config,
    data: options.Data,
    output: options.Output,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. config.crop=256.")
    ] = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Train any detector, choose and calibrate it on the validation split."""
    from tellsign import terminal
    from tellsign.train import train as run
    from tellsign.train_config import read_config

    asked = read_config(config, overrides or ())
    artifact = run(asked, options.read_manifest(data), output, resume=resume, say=terminal.complain)
    if artifact is None:  # of several processes that train together, the first one has it
        return
    _print_model(artifact.spec["name"], output, json=json)


def calibrate(
    detector: options.DetectorArgument,
    data: Annotated[Path, typer.Option("--data", help="A manifest, or a folder of your own real images.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write; by default the detector's own folder."),
    ] = None,
    method: Annotated[
        Literal["sigmoid", "platt", "isotonic", "temperature"],
        typer.Option(help="Of the probability; platt is another name of sigmoid. Not used with reals alone."),
    ] = "sigmoid",
    fpr: Annotated[
        str | None,
        typer.Option(
            help="Share of reals that may be called fake, or eer; 0.05, with reals alone the detector's own."
        ),
    ] = None,
    fnr: Annotated[
        float | None, typer.Option(help="Share of fakes that may be called real; as for --fpr.")
    ] = None,
    conformal: Annotated[
        float | None,
        typer.Option(help="Abstain so that each class gets the other's label at most so often, e.g. 0.1."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only samples of this split; by default valid, else those of none.")
    ] = None,
    refit_domain: Annotated[
        bool, typer.Option("--refit-domain", help="With reals alone: trust images like these as well.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Refit probability and operating point on other data; with reals alone, only the operating point."""
    from tellsign import artifacts, hub, local, terminal
    from tellsign.data.left_out import LeftOut
    from tellsign.train import calibrate as run
    from tellsign.types import REAL

    before = artifacts.load(hub.detector_path(detector))
    if output is None and before.path.resolve().is_relative_to(hub.SHIPPED.resolve()):
        raise ConfigError(
            f"{detector} is shipped with the package and stays as it is; give the new one a folder: -o FOLDER"
        )
    manifest = _calibration_data(data, split, before)
    left_out = LeftOut(say=terminal.complain)
    if set(manifest.labels) == {REAL}:
        config = _rule(local.stored_rule(before), fpr, fnr, conformal, method)
        fit = local.calibrate_on_reals(
            before, manifest, config, output, refit_domain=refit_domain, left_out=left_out
        )
        result = fit.to_dict()
        for line in local.text(fit):
            terminal.complain(line)
    else:
        if refit_domain:
            raise ConfigError(
                "--refit-domain goes with reals alone; with both classes the limit is always refitted"
            )
        rule = _rule(None, fpr, fnr, conformal, method)
        artifact = run(before, manifest, rule, output, left_out=left_out)
        result = {"cross_fitted": artifact.spec["cross_fitted"]}
        terminal.complain(local.cross_fitted_text(artifact))
    _print_model(before.spec["name"], output or before.path, json=json, **result)


def _calibration_data(data: Path, split: str | None, before: Artifact) -> Manifest:
    """A folder's images as reals, the split that was asked for, or what may be used without asking.

    Of the split valid, asked for or not, it is the part that the detector was not chosen on.
    """
    from tellsign import local, terminal

    if data.is_dir():
        if split is not None:
            raise ConfigError(f"--split goes with a manifest, and {data} is a folder of real images")
        skipped: list[Path] = []
        manifest = local.real_images(data, on_skip=skipped.append)
        if skipped:
            terminal.complain(f"{len(skipped)} files passed over, e.g. {str(skipped[0])!a}")
        return manifest
    manifest = options.read_manifest(data)
    part = options.only_split(manifest, data, split)
    if split not in (None, "valid"):
        if split in SEEN:
            terminal.complain(f"calibrating on the split {split}: {SEEN[split]}")
        return part
    part = local.calibration_part(manifest, before)
    is_own = local.is_own(manifest, before)
    if len(part) < len(manifest):
        name = f"of the split {part[0].split}" if part[0].split else "without a split"
        if is_own:
            name = "of the split valid that the detector was not chosen on"
        terminal.complain(
            f"calibrating on the {len(part)} rows {name}; {len(manifest) - len(part)} others are left alone"
        )
    if part[0].split == "valid" and not is_own:
        terminal.complain(
            "the detector was not trained on this very manifest: if it was chosen on images of this split, "
            "it scores them too well; calibrate on others"
        )
    return part


def _rule(
    stored: CalibrationConfig | None, fpr: str | None, fnr: float | None, conformal: float | None, method: Any
) -> CalibrationConfig:
    """The options as a configuration; what is not given is the detector's own, or the default."""
    from dataclasses import replace

    from tellsign.calibration import CalibrationConfig

    if fpr is not None and conformal is not None:
        raise ConfigError("--fpr and --conformal are two rules for one pair of thresholds; leave one out")
    config = replace(stored or CalibrationConfig(), method=method)
    rate: Any = options.rate(fpr)
    if rate is not None:
        config = replace(config, fpr=rate, conformal=None)
    if conformal is not None:
        config = replace(config, fpr=CalibrationConfig().fpr, conformal=conformal)
    if fnr is None:
        return config
    if config.conformal is not None or config.fpr == "eer":
        rule = "the equal error" if config.fpr == "eer" else f"the error level {config.conformal:g}"
        raise ConfigError(
            f"--fnr has no say in {rule}, which sets both thresholds; leave it out, or give --fpr"
        )
    return replace(config, fnr=fnr)


def evaluate(
    detector: options.DetectorArgument,
    data: options.Data,
    split: options.Split = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the predictions as Parquet.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as Markdown.")] = None,
    reliability: Annotated[
        Path | None, typer.Option(help="Draw how often the probability was right, as PNG.")
    ] = None,
    missing: Annotated[
        Literal["error", "exclude", "worst"],
        typer.Option(help="Samples without a score: stop, leave them out, or count them as wrong."),
    ] = "error",
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples for the intervals.")] = 1000,
    seed: options.Seed = 0,
    json: options.Json = False,
    fpr: options.Fpr = None,
    prior: options.Prior = None,
    faces: options.Faces = False,
    engine: options.Engine = "onnx",
    workers: options.Workers = 0,
    batch_size: options.BatchSize = 16,
    timeout: options.Timeout = 60.0,
    memory_limit: options.Memory = 4096,
) -> None:
    """Predictions of a detector on a manifest, and metrics: by source, generator and video."""
    from tellsign import hub, terminal
    from tellsign.evaluate import report as reports
    from tellsign.evaluate import report_text
    from tellsign.evaluate.reliability import check_picture, write_reliability
    from tellsign.scoring.predictions import predict
    from tellsign.scoring.scorer import Options, Scorer

    if reliability:
        check_picture(reliability)
    looked = Options(fpr=options.rate(fpr), prior=prior, faces=faces, engine=engine)
    scorer = Scorer(hub.detector_path(detector), looked)
    manifest = options.read_manifest(data, split)
    limits = options.limits(workers, batch_size, timeout, memory_limit, engine)
    with terminal.progress("evaluate", len(manifest), wanted=True) as step:
        predictions = predict(manifest, scorer, limits=limits, on_row=step)
    if output:
        predictions.write(output)
    failed = predictions.take(predictions.verdict == "")
    # Before the report, which may stop at them.
    for path, reason in zip(failed.path, failed.reason, strict=True):
        terminal.complain_of({"path": path, "error": reason})
    result = reports.report(
        predictions, split=split, missing=missing, n_resamples=resamples, seed=seed, workers=limits.workers
    )
    if report:
        report.write_text(report_text.markdown(result), encoding="utf-8")
    if reliability:
        write_reliability(predictions, reliability, prior=scorer.decision.prior)
    print(options.as_json(result) if json else report_text.text(result))
    if len(failed):
        raise typer.Exit(1)


def reproduce(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A table or figure; see --list.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List what can be reproduced.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="A manifest.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="A published feature file (.npz with X and y); of GANs a network for the Fréchet "
            "distance, as for `generators train`."
        ),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="An image, for figures of one.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write a figure as PNG; of names that train the folder of all that is trained, done once.",
        ),
    ] = None,
    samples: Annotated[
        list[int] | None, typer.Option(help="Numbers of samples; the paper's by default.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=2, help="Random splits; 10 by default.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML of a training, for names that train; by default small networks from scratch."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation, for names that train.")] = 5,
    others: Annotated[
        Path | None,
        typer.Option(
            help="A manifest of other sources, for cae-net-robustness, sfcl-table2, sfcl-sida, resynthesis-*."
        ),
    ] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """One table or figure of a paper, published and reproduced side by side."""
    from tellsign import terminal
    from tellsign.evaluate import reproduce as registry

    if listed or name is None:
        names = registry.names()
        print(
            options.as_json(names)
            if json
            else "\n".join(f"{key:<{max(map(len, names))}} {title}" for key, title in names.items())
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
        config=config,
        folds=folds,
        others=options.read_manifest(others) if others else None,
        say=terminal.complain,
    )
    print(options.as_json(result.to_dict()) if json else result.text())


def models(json: options.Json = False) -> None:
    """What is installed, with its card: detectors, then generators."""
    from tellsign import hub

    shipped = {"detector": hub.shipped_detectors(), "generator": hub.shipped_generators()}
    found = [
        {"kind": kind, **_model(name, path)}
        for kind, paths in shipped.items()
        for name, path in paths.items()
    ]
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


def _print_model(name: str, path: Path, *, json: bool, **result: Any) -> None:
    from tellsign import terminal

    model = _model(name, path) | result
    if json:
        print(options.as_json({key: value for key, value in model.items() if key != "card"}))
    else:
        terminal.complain(f"wrote {name}@{model['digest'][:12]} to {path}")
