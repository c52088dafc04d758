"""The wavelet branch alone with other inputs and networks, on one split: what the sub-bands are worth."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tellsign.evaluate.ablations import Variant, ablation_table, blank_rows
from tellsign.evaluate.cae_net.choice import choice_note, unchosen
from tellsign.evaluate.cae_net.notes import chosen, scheduled, started
from tellsign.evaluate.cae_net.study import alone, study, wavelet_branch
from tellsign.evaluate.cae_net.tables import COMPARISON, PAPER, SUMMARISED
from tellsign.evaluate.comparisons import DECISION, INTERVALS, NOT_IN_PAPER, joined
from tellsign.evaluate.notes import multiplicity
from tellsign.evaluate.published import printed, share_of
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.study import NEEDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.evaluate.ablations import Ablation
    from tellsign.evaluate.published import Published
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study
    from tellsign.systems.cae_net.config import CaeNetConfig

NATIVE, ENLARGED, PIXELS = "sub-bands, native", "sub-bands, enlarged", "pixels"
# Small networks of the two kinds, and those of the paper, which are taken where the wavelet branch has them.
RESNET = {False: "test_resnet", True: "resnet34"}
CONVNEXT = {False: "test_convnext", True: "convnext_tiny"}
FREQUENCY = "frequency-method comparison"
MISMATCH = (
    f"The paper ({SUMMARISED}) puts the loss by a mismatch of the sub-bands' dimensions at about 5 to 7 "
    "points of accuracy, and does not say how they enter the network."
)


def wavelet(name: str, inputs: Inputs) -> Result:
    """One network on native sub-bands, on enlarged ones, and on pixels."""
    given = study(inputs)
    paper, blank = f"{PAPER}, limitations", partial(_row, {})
    if given is None:
        rows = blank_rows((NATIVE, ENLARGED, PIXELS), blank, NEEDS)
        return Result(name, paper, tuple(rows), (MISMATCH,))
    branch = wavelet_branch(given.config)
    variants = {
        NATIVE: Variant("wavelet-native", alone(given.config, branch, dwt="native")),
        ENLARGED: Variant("wavelet-enlarged", alone(given.config, branch, dwt="dwt_resize")),
        PIXELS: Variant("wavelet-pixels", alone(given.config, branch, {"input": "rgb"})),
    }
    pairs = ((NATIVE, PIXELS), (ENLARGED, PIXELS), (NATIVE, ENLARGED))
    table = ablation_table(given, variants, blank=blank, pairs=pairs)
    notes = (
        f"One network, {given.config.branches[branch].backbone}, alone; one split and one seed.",
        MISMATCH,
        *_notes(given, table),
        chosen(inputs),
    )
    return Result(name, paper, tuple(table.rows), notes)


def frequency(name: str, inputs: Inputs) -> Result:
    """Two kinds of network on sub-bands, and one of them on the Fourier and the cosine spectrum."""
    given = study(inputs)
    values = {
        "ResNet, sub-bands": printed("cae-net", FREQUENCY, "ResNet-34 + wavelet"),
        "ConvNeXt, sub-bands": printed("cae-net", FREQUENCY, "ConvNeXt + wavelet"),
        "ConvNeXt, Fourier spectrum": None,
        "ConvNeXt, cosine spectrum": None,
    }
    paper, blank = f"{PAPER}, {FREQUENCY}", partial(_row, values)
    if given is None:
        return Result(name, paper, tuple(blank_rows(values, blank, NEEDS)), (COMPARISON,))
    variants = {
        key: Variant(f"frequency-{key.lower().replace(', ', '-').replace(' ', '-')}", config)
        for key, config in frequency_configs(given.config).items()
    }
    first, second, fourier, cosine = values
    pairs = ((second, first), (second, fourier), (second, cosine))
    table = ablation_table(given, variants, blank=blank, pairs=pairs)
    branch = wavelet_branch(given.config)
    networks = ", ".join(dict.fromkeys(one.config.branches[branch].backbone for one in variants.values()))
    notes = (
        (
            f"Networks: {networks}, alone; one split and one seed. Spectra are logarithms of the power of "
            "the whole crop, each colour standardised."
        ),
        *_notes(given, table),
        chosen(inputs),
    )
    return Result(name, paper, tuple(table.rows), notes)


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


def _row(values: Mapping[str, Published | None], key: str, column: str) -> Row:
    """A row without a measured value; of its columns the paper prints accuracies alone."""
    value = values.get(key)
    if column != "accuracy" or value is None:
        return Row(key, column, note=NOT_IN_PAPER)
    remarks = joined(f"published by {SUMMARISED}", value.note or "")
    return Row(key, column, share_of(value), note=remarks)


def _notes(given: Study, table: Ablation) -> tuple[str, ...]:
    config = table.cells[0].cell.config  # of one branch; the others differ from it in what the rows say
    return (
        f"{table.described(given)}{choice_note(unchosen(given, table.cells[:1]))}",
        f"Weights {started(config)}; {scheduled(config)}.",
        COMPARISON,
        INTERVALS,
        *multiplicity(table.rows),
        DECISION,
    )
