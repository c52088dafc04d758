"""Commands of `tellsign generators` that train a generator, and that have it make images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tellsign.cli import options
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact

Module = Annotated[
    str | None,
    typer.Option(
        "--module",
        help="A generator of your own, package.module:name, with the methods latents and images. Its code is "
        "run.",
    ),
]


def train(
    config: options.Config,
    data: options.Data,
    output: options.Output,
    tuned: Annotated[
        Path | None,
        typer.Option("--from", help="A generator that is tuned, a folder or a shipped one's name."),
    ] = None,
    module: Module = None,
    features: options.Features = None,
    weights: options.FeatureWeights = options.PRETRAINED,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. network.size=128.")
    ] = None,
    licence: Annotated[
        Path | None, typer.Option("--licence", help="A text that is written beside the weights as LICENSE.")
    ] = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Train a GAN or an auto-encoder, or tune a generator."""
    from tellsign import hub, terminal

    try:
        from tellsign.generators.config import read_config
        from tellsign.generators.frechet import feature_network
        from tellsign.generators.sources import source_of
        from tellsign.generators.training import train_generator
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    options.require_features(features, weights)
    asked = read_config(config, overrides or ())
    own = None if tuned is None else hub.generator_path(tuned)
    source = None if own is None and module is None else source_of(own, module)
    manifest = options.read_manifest(data)
    network = None if features is None else feature_network(features, weights)
    artifact = train_generator(
        asked,
        manifest,
        output,
        resume=resume,
        source=source,
        features=network,
        licence="" if licence is None else _text(licence),
        say=terminal.complain,
    )
    if json:
        print(options.as_json(_described(artifact)))


def sample(
    artifact: Annotated[
        Path, typer.Argument(metavar="GENERATOR", help="A folder that train wrote, or a shipped one's name.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder; manifest.csv is written into it.")
    ],
    n: Annotated[int | None, typer.Option("-n", min=1, help="Number of images; 100 by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first image; 0 by default, others follow.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A manifest, whose real images an auto-encoder restores.")
    ] = None,
    module: Module = None,
    json: options.Json = False,
) -> None:
    """Make images, each from a seed of its own; the same command goes on where it was stopped."""
    from tellsign import artifacts, hub

    loaded = artifacts.load(hub.generator_path(artifact))
    if data is not None:
        if n is not None or seed is not None or module is not None:
            raise ConfigError(
                "an auto-encoder restores each real image of --data; leave -n, --seed, --module out"
            )
        _restore(loaded, data, output, json=json)
        return
    _sample(loaded, output, 100 if n is None else n, seed or 0, module, json=json)


def _sample(loaded: Artifact, output: Path, n: int, seed: int, module: str | None, *, json: bool) -> None:
    from tellsign import terminal
    from tellsign.generators.sampling import write_samples

    run = None
    if module is not None:
        try:
            from tellsign.generators.sources import source_of, source_run
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        run = source_run(source_of(loaded.path, module))
    with terminal.progress("sample", n, wanted=True) as step:
        manifest = write_samples(loaded, output, n, seed=seed, run=run, module=module or "", on_image=step)
    options.describe(manifest, output / "manifest.csv")
    if json:
        print(
            options.as_json(
                {"generator": loaded.name, "n": len(manifest), "seed": seed, "output": str(output)}
            )
        )


def _restore(loaded: Artifact, data: Path, output: Path, *, json: bool) -> None:
    from tellsign import terminal
    from tellsign.generators.restoring import write_restored

    manifest = options.read_manifest(data)
    with terminal.progress("restore", None, wanted=True) as step:
        written, failed = write_restored(loaded, manifest, output, on_image=step)
    for path, reason in failed:
        terminal.complain_of({"path": str(path), "error": reason})
    options.describe(written, output / "manifest.csv")
    if json:
        print(options.as_json({"generator": loaded.name, "n": len(written), "output": str(output)}))
    if failed:
        raise typer.Exit(1)


def _described(artifact: Artifact) -> dict[str, object]:
    return {
        "name": artifact.spec["name"],
        "digest": artifact.digest,
        "path": str(artifact.path),
        "parameters": sum(array.size for array in artifact.arrays.values()),
        "metrics": artifact.spec["metrics"],
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--licence {path} cannot be read as text: {error}") from error


def _missing(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"generators are trained with {error.name}; install it with: pip install 'tellsign[train]'"
    )
