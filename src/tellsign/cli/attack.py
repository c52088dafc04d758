"""Attacks on one detector."""

from __future__ import annotations

from typing import Annotated

import typer

from tellsign.cli import options


def attack(
    detector: options.DetectorArgument,
    data: options.Data,
    split: options.Split = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="E.g. pgd:0.01, may be repeated; by default FGSM, PGD and Square."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Images a class, drawn by the seed; by default all.")
    ] = None,
    transfer: Annotated[
        list[str] | None,
        typer.Option(help="Another detector that judges the same changed images; may be repeated."),
    ] = None,
    masking: Annotated[
        bool, typer.Option("--masking/--no-masking", help="Check whether the gradient misleads attacks.")
    ] = True,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Attack a detector: accuracy and AUROC before and after, transfer, and signs of gradient masking."""
    from tellsign import hub, terminal
    from tellsign.data.index import with_checksums
    from tellsign.evaluate.benchmark.sets import DataSet, capped
    from tellsign.evaluate.robustness import DEFAULT_ATTACKS, robustness

    paths = [hub.detector_path(name) for name in (detector, *(transfer or ()))]
    manifest = options.read_manifest(data, split)
    if limit is not None:  # those that a benchmark of this seed would take, which ranks by content
        manifest = capped(DataSet(data.name, with_checksums(manifest)), limit, seed=seed).manifest
    with terminal.progress("attack", len(manifest), wanted=True) as step:
        result = robustness(
            paths[0],
            manifest,
            attacks=attacks or DEFAULT_ATTACKS,
            transfer=paths[1:],
            masking=masking,
            seed=seed,
            on_image=step,
        )
    for failure in result.failures:
        terminal.complain_of({"path": failure.path, "error": failure.error})
    print(options.as_json(result.to_dict()) if json else result.text())
    if result.failures:
        raise typer.Exit(1)
