"""What the tables of SFCL-HCMF say of themselves, and where the paper contradicts itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tellsign.evaluate.notes import head, tested_on, trained
from tellsign.evaluate.published import printed, records
from tellsign.evaluate.sfcl_hcmf.study import SMALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.published import Published
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study
    from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig

PAPER = "Qiao, Tian, Wang: SFCL-HCMF, arXiv 2504.17223"
KEY = "sfcl-hcmf"  # of the published values
METHOD = "SFCL-HCMF"
WITHIN = "FF++ c23"  # the set that the published detector is trained on
OTHER_METHOD = "another method, as the paper prints it; not trained here"
COMPARISON = (
    "Published: full-size networks, trained on 777,600 faces of FaceForensics++ at each of two compressions. "
    "Reproduced: the configuration and the images given. Compare what helps and what does not, and no levels."
)

Components = dict[str, bool]

value_of = partial(printed, KEY)


def described(given: Study, cells: Sequence[Finished]) -> str:
    """What the rows were measured on, and what was trained for them, in sentences.

    Args:    given: the study. cells: of its folds.
    Returns: the sentences; the seconds are those of all cells.
    """
    return f"{tested_on(given, cells)} {trained(given, cells)} {networks(given.config)}"


def networks(config: SfclHcmfConfig) -> str:
    """The networks of a configuration, what they start from and how long they learn, in a sentence."""
    spatial, local = config.spatial, config.local
    cnn_f = (
        f"CNN-F of width {local.width:g} with {local.middle} middle blocks, weights {local.weights}"
        if config.has_local
        else "no CNN-F"
    )
    absent = [name for name, there in (("SBCM", config.sbcm), ("SIDA", config.sida)) if not there]
    less = f"; without {' and '.join(absent)}" if absent else ""
    fusion = "" if config.fusion == "hcmf" else f"; fusion = {config.fusion}"
    return (
        f"Spatial stream {spatial.backbone}, weights {spatial.weights}; {cnn_f}{less}{fusion}; "
        f"{config.region} at {config.size} pixels, fit = {config.fit}; {config.training.epochs} epochs."
    )


def chosen(inputs: Inputs) -> str:
    """What the head of the configuration says of it."""
    return head(
        inputs.config or SMALL, inputs.config.name if inputs.config else "configs/sfcl-hcmf-small.toml"
    )


def ablated(table: str, components: Components) -> Published:
    """The record of an ablation's row.

    Args:    table: as the records have it. components: which parts it has.
    Returns: the record, in per cent of AUROC.
    """
    found = value_of(table, "ablation", "auc", components=components)
    assert found is not None
    return found


def claims(text: str) -> tuple[str, ...]:
    """What a section of the paper claims otherwise than its tables.

    Args:    text: the section, as the records have it.
    Returns: a sentence for each claim that the tables don't bear out.
    """
    return tuple(
        f"The paper's {record.table} claims {record.value:g} points as {record.method}; its own table gives "
        f"{record.recomputed:g}."
        for record in records(KEY, text, metric="difference_claimed")
        if not record.matches_to_0_1
    )
