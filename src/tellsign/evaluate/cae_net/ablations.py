"""The wavelet branch alone with other inputs and networks, on one split: what the sub-bands are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tellsign.evaluate.cae_net.study import NEEDS, alone, attempted, first_error, study, wavelet_branch
from tellsign.evaluate.cae_net.tables import (
    COMPARISON,
    DECISION,
    ENSEMBLE,
    INTERVALS,
    NOT_IN_PAPER,
    PAPER,
    difference_row,
    estimates,
    filled,
    pooled,
    published,
)
from tellsign.evaluate.reproduce import Result, Row

if TYPE_CHECKING:
    from tellsign.evaluate.cae_net.cells import Finished
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.systems.cae_net.config import CaeNetConfig

NATIVE, ENLARGED, PIXELS = "sub-bands, native", "sub-bands, enlarged", "pixels"
# Small networks of the two kinds, and those of the paper, which are taken where the wavelet branch has them.
RESNET = {False: "test_resnet", True: "resnet34"}
CONVNEXT = {False: "test_convnext", True: "convnext_tiny"}
FREQUENCY = "frequency-method comparison"
MISMATCH = (
    "The paper puts the loss by a mismatch of the sub-bands' dimensions at about 5 to 7 points of accuracy, "
    "and does not say how they enter the network."
)


def wavelet(name: str, inputs: Inputs) -> Result:
    """One network on native sub-bands, on enlarged ones, and on pixels."""
    given = study(inputs)
    paper = f"{PAPER}, limitations"
    if given is None:
        return Result(name, paper, tuple(_empty(dict.fromkeys((NATIVE, ENLARGED, PIXELS)))), (MISMATCH,))
    branch = wavelet_branch(given.config)
    configs = {
        NATIVE: alone(given.config, branch, dwt="native"),
        ENLARGED: alone(given.config, branch, dwt="dwt_resize"),
        PIXELS: alone(given.config, branch, {"input": "rgb"}),
    }
    names = {NATIVE: "wavelet-native", ENLARGED: "wavelet-enlarged", PIXELS: "wavelet-pixels"}
    found = {key: attempted(partial(given.cell, names[key], configs[key])) for key in configs}
    first_error(list(found.values()))
    rows = _rows(found, dict.fromkeys(found))
    rows += difference_rows(found, ((NATIVE, PIXELS), (ENLARGED, PIXELS), (NATIVE, ENLARGED)))
    backbone = given.config.branches[branch].backbone
    notes = (f"One network, {backbone}, alone; one split and one seed.", MISMATCH, *_notes(found))
    return Result(name, paper, tuple(rows), notes)


def frequency(name: str, inputs: Inputs) -> Result:
    """Two kinds of network on sub-bands, and one of them on the Fourier and the cosine spectrum."""
    given = study(inputs)
    values = {
        "ResNet, sub-bands": published(FREQUENCY, "ResNet-34 + wavelet", "accuracy"),
        "ConvNeXt, sub-bands": published(FREQUENCY, "ConvNeXt + wavelet", "accuracy"),
        "ConvNeXt, Fourier spectrum": None,
        "ConvNeXt, cosine spectrum": None,
    }
    paper = f"{PAPER}, {FREQUENCY}"
    if given is None:
        return Result(name, paper, tuple(_empty(values)), (COMPARISON,))
    configs = frequency_configs(given.config)
    cells = {key: f"frequency-{key.lower().replace(', ', '-').replace(' ', '-')}" for key in values}
    found = {key: attempted(partial(given.cell, cells[key], configs[key])) for key in values}
    first_error(list(found.values()))
    rows = _rows(found, values)
    first, second, fourier, cosine = values
    rows += difference_rows(found, ((second, first), (second, fourier), (second, cosine)))
    branch = wavelet_branch(given.config)
    networks = ", ".join(dict.fromkeys(config.branches[branch].backbone for config in configs.values()))
    notes = (
        (
            f"Networks: {networks}, alone; one split and one seed. Spectra are logarithms of the power of "
            "the whole crop, each colour standardised."
        ),
        *_notes(found),
    )
    return Result(name, paper, tuple(rows), notes)


def frequency_configs(config: CaeNetConfig) -> dict[str, CaeNetConfig]:
    """The four configurations of the comparison, by the names of their rows.

    Args:    config: of the ensemble. Where its wavelet branch has the published network, so has the
             comparison; else small networks take the place of both.
    Returns: name → configuration with one branch.
    """
    branch = wavelet_branch(config)
    # A map of a spectrum lies over no picture, and one way of training is to suit all four.
    config = replace(config, training=replace(config.training, attention_weight=0.0))
    full = config.branches[branch].backbone == CONVNEXT[True]
    resnet, convnext = ({"backbone": kind[full], "options": {}, "weights": ""} for kind in (RESNET, CONVNEXT))
    return {
        "ResNet, sub-bands": alone(config, branch, resnet),
        "ConvNeXt, sub-bands": alone(config, branch, convnext),
        "ConvNeXt, Fourier spectrum": alone(config, branch, {**convnext, "input": "fft"}),
        "ConvNeXt, cosine spectrum": alone(config, branch, {**convnext, "input": "dct"}),
    }


def _empty(values: dict[str, float | None]) -> list[Row]:
    return [
        Row(row, column, value if column == "accuracy" else None, note=NEEDS)
        for row, value in values.items()
        for column in ("accuracy", "AUROC")
    ]


def _rows(found: dict[str, Finished | str], values: dict[str, float | None]) -> list[Row]:
    rows = []
    for key, cell in found.items():
        for column, metric, value in (("accuracy", "accuracy", values[key]), ("AUROC", "auroc", None)):
            note = NOT_IN_PAPER if value is None else ""
            if isinstance(cell, str):
                rows.append(Row(key, column, value, note="; ".join(filter(None, (note, cell)))))
                continue
            table = pooled([cell.scores])
            estimate = estimates(table, table.columns[ENSEMBLE])[metric]
            rows.append(filled(Row(key, column, value, note=note), estimate))
    return rows


def difference_rows(found: Mapping[str, Finished | str], pairs: Sequence[tuple[str, str]]) -> list[Row]:
    """How much pairs of cells differ in the AUROC of the fused score, on the same test images.

    Args:    found: name → cell, or why there is none.
             pairs: of names.
    Returns: a row for each pair of which there are both; its note is the verdict.
    """
    rows = []
    for one, other in pairs:
        first, second = found[one], found[other]
        if isinstance(first, str) or isinstance(second, str):
            continue
        if first.scores.rows.tolist() != second.scores.rows.tolist():
            continue  # images that one of them could not use: nothing to pair
        table, values = pooled([first.scores]), second.scores.fused
        rows.append(difference_row(table, first.scores.fused, values, (one, other)))
    return rows


def _notes(found: dict[str, Finished | str]) -> tuple[str, ...]:
    cells = [cell for cell in found.values() if not isinstance(cell, str)]
    seconds = sum(cell.record["seconds"]["trainings"] for cell in cells)
    n = len(cells[0].scores.rows)
    return (
        f"Test images: {n} of fold 1. All trainings took {seconds:.0f} seconds.",
        COMPARISON,
        INTERVALS,
        DECISION,
    )
