"""The wavelet branch alone with other inputs and networks, on one split: what the sub-bands are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tellsign.evaluate.cae_net.notes import chosen, multiplicity, scheduled, started, tested_on, trained
from tellsign.evaluate.cae_net.study import alone, study, wavelet_branch
from tellsign.evaluate.cae_net.tables import (
    COMPARISON,
    DECISION,
    ENSEMBLE,
    INTERVALS,
    NOT_IN_PAPER,
    PAPER,
    SUMMARISED,
    difference_rows,
    estimates,
    filled,
    pooled,
)
from tellsign.evaluate.published import printed, share_of
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.study import NEEDS, attempted, first_error

if TYPE_CHECKING:
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.published import Published
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study
    from tellsign.systems.cae_net.config import CaeNetConfig

NATIVE, ENLARGED, PIXELS = "sub-bands, native", "sub-bands, enlarged", "pixels"
# Small networks of the two kinds, and those of the paper, which are taken where the wavelet branch has them.
RESNET = {False: "test_resnet", True: "resnet34"}
CONVNEXT = {False: "test_convnext", True: "convnext_tiny"}
FREQUENCY = "frequency-method comparison"
COLUMNS = {"accuracy": "accuracy", "AUROC": "auroc"}  # column → key of `metrics.summary`
MISMATCH = (
    f"The paper ({SUMMARISED}) puts the loss by a mismatch of the sub-bands' dimensions at about 5 to 7 "
    "points of accuracy, and does not say how they enter the network."
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
    notes = (
        f"One network, {backbone}, alone; one split and one seed.",
        MISMATCH,
        *_notes(given, found, rows),
        chosen(inputs),
    )
    return Result(name, paper, tuple(rows), notes)


def frequency(name: str, inputs: Inputs) -> Result:
    """Two kinds of network on sub-bands, and one of them on the Fourier and the cosine spectrum."""
    given = study(inputs)
    values = {
        "ResNet, sub-bands": printed("cae-net", FREQUENCY, "ResNet-34 + wavelet"),
        "ConvNeXt, sub-bands": printed("cae-net", FREQUENCY, "ConvNeXt + wavelet"),
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
        *_notes(given, found, rows),
        chosen(inputs),
    )
    return Result(name, paper, tuple(rows), notes)


def frequency_configs(config: CaeNetConfig) -> dict[str, CaeNetConfig]:
    """The four configurations of the comparison, by the names of their rows.

    Args:    config: of the ensemble. Where its wavelet branch has the published network, so has the
             comparison; else small networks take the place of both. They start from the weights that a
             branch with the same network names, whatever else that branch is, or else from the system's.
    Returns: name → configuration with one branch.
    """
    branch = wavelet_branch(config)
    # A map of a spectrum lies over no picture, and one way of training is to suit all four.
    config = replace(config, training=replace(config.training, attention_weight=0.0))
    full = config.branches[branch].backbone == CONVNEXT[True]
    resnet, convnext = (
        {"backbone": kind[full], "options": {}, "weights": _weights(config, kind[full])}
        for kind in (RESNET, CONVNEXT)
    )
    return {
        "ResNet, sub-bands": alone(config, branch, resnet),
        "ConvNeXt, sub-bands": alone(config, branch, convnext),
        "ConvNeXt, Fourier spectrum": alone(config, branch, {**convnext, "input": "fft"}),
        "ConvNeXt, cosine spectrum": alone(config, branch, {**convnext, "input": "dct"}),
    }


def _weights(config: CaeNetConfig, backbone: str) -> str:
    """Those that a branch of a configuration names for a network; empty where none does: the system's."""
    return next((one.weights for one in config.branches.values() if one.backbone == backbone), "")


def _empty(values: Mapping[str, Published | None]) -> list[Row]:
    return [_row(key, column, value, NEEDS) for key, value in values.items() for column in COLUMNS]


def _row(key: str, column: str, value: Published | None, *reasons: str) -> Row:
    """A row without a measured value; of its columns the paper prints accuracies alone."""
    if column != "accuracy" or value is None:
        return Row(key, column, note="; ".join((NOT_IN_PAPER, *reasons)))
    remarks = (f"published by {SUMMARISED}", value.note, *reasons)
    return Row(key, column, share_of(value), note="; ".join(filter(None, remarks)))


def _rows(found: Mapping[str, Finished | str], values: Mapping[str, Published | None]) -> list[Row]:
    rows = []
    for key, cell in found.items():
        if isinstance(cell, str):
            rows += [_row(key, column, values[key], cell) for column in COLUMNS]
            continue
        table = pooled([cell.scores])
        measured = estimates(table, table.columns[ENSEMBLE])
        rows += [
            filled(_row(key, column, values[key]), measured[metric]) for column, metric in COLUMNS.items()
        ]
    return rows


def _notes(given: Study, found: Mapping[str, Finished | str], rows: Sequence[Row]) -> tuple[str, ...]:
    cells = [cell for cell in found.values() if not isinstance(cell, str)]
    config = cells[0].cell.config  # of one branch; the others differ from it in what the rows say
    return (
        f"{tested_on(given, cells[:1])} {trained(given, cells)}",
        f"Weights {started(config)}; {scheduled(config)}.",
        COMPARISON,
        INTERVALS,
        *multiplicity(rows),
        DECISION,
    )
