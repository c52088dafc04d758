"""The card of a detector that was trained here: what it learnt from, how it was chosen, what nobody measured.

A card is no part of a detector's digest. The part on thresholds is written anew at each calibration; a card
without the line that says who wrote it is somebody's own, and stays as it is.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from tellsign.scoring.names import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    Groups = Mapping[str, tuple[int, int]]  # part of the data → groups of reals and of fakes

MARK = "*Written by Tellsign; a card of your own in its place is kept.*"
CALIBRATED = "## How it was calibrated"
UNSEEN = """\
- **Nothing on a test set.** The split test was not read: `tellsign evaluate` measures, for each source, on
  images that neither training nor choice nor calibration has seen.
"""
SEEN = """\
- **Nothing on images that it has not seen.** It was calibrated on images of the split test: what is measured
  on these flatters. `tellsign evaluate` measures, for each source, on others.
"""
UNMEASURED = """\
- Other generators and cameras than those above; pictures that were recompressed, resized or attacked
  (`tellsign benchmark`).
- Whether the classes of these data differ in more than the label, which a detector learns instead
  (`tellsign data audit`).
- *No sign found* is no proof that a picture is genuine.
"""
RULES = {
    "rates": "at most {fpr:.3g} of the reals called fake and {fnr:.3g} of the fakes real",
    "eer": "equal error of both classes, {fpr:.3g} of the reals and {fnr:.3g} of the fakes",
    "conformal": "conformal abstention, where at most {fpr:.3g} of the reals and {fnr:.3g} of the fakes "
    "get the other label",
}
WIDTH = 116  # of a line, in characters
PARTS = ("train", "select", "calibrate")
SHARES = {
    "coverage": "images with a verdict",
    "risk": "wrong verdicts",
    "fpr": "reals called fake",
    "fnr": "fakes called real",
}


def trained_card(spec: Mapping[str, Any], groups: Groups) -> str:
    """The card of a detector before its calibration.

    Args:    spec: of its detector.json.
             groups: of train, select and calibrate; unequal ones count as fewer.
    Returns: Markdown.
    """
    system = spec.get("system", spec["name"])
    return "\n".join(
        [
            f"# {_one_line(spec['name'])}",
            "",
            *([_one_line(spec["summary"]), ""] if spec.get("summary") else []),
            *_paragraph(
                f"A detector of the system `{_one_line(system)}`.",
                *(_one_line(remark) for remark in spec.get("remarks", ())),  # of the system itself
            ),
            MARK,  # never broken into two lines
            "",
            *_data(spec, groups),
            *_choice(spec),
        ]
    )


def refitted_card(card: str, spec: Mapping[str, Any]) -> str:
    """The card of a detector after a calibration.

    Args:    card: as it was; "" where there is none.
             spec: of its detector.json now.
    Returns: Markdown, with another part on the calibration; or the very card, where it is somebody's own.
    """
    if MARK not in card:
        return card
    return "\n".join([card.partition(CALIBRATED)[0].rstrip(), "", *_calibration(spec), _unmeasured(spec)])


def _unmeasured(spec: Mapping[str, Any]) -> str:
    parts = spec["calibration_data"], spec.get("local_reals", {})
    # Those from before splits were recorded name none.
    test = any("test" in part.get("splits", ()) for part in parts)
    return f"## What was not measured\n\n{SEEN if test else UNSEEN}{UNMEASURED}"


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _paragraph(*sentences: str) -> list[str]:
    text = " ".join(sentence for sentence in sentences if sentence)
    return [*wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False), ""]


def _data(spec: Mapping[str, Any], groups: Groups) -> list[str]:
    data, faces = spec["data"], spec.get("faces")
    rows = {
        _one_line(name).replace("|", r"\|"): [data[part]["by_dataset"].get(name, 0) for part in PARTS]
        for name in sorted({name for part in PARTS for name in data[part]["by_dataset"]})
    }
    rows |= {
        f"groups of {kind}": [groups[part][i] for part in PARTS] for i, kind in enumerate(("reals", "fakes"))
    }
    return [
        "## Training data",
        "",
        *_paragraph(
            f"Manifest `{data['manifest']}`.",
            "Images by data set and label: of the training, and of the two halves of the validation split.",
            "No group is in two of these parts; groups of unequal size are counted as fewer.",
        ),
        f"| data set / label | {' | '.join(PARTS)} |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {' | '.join(map(str, numbers))} |" for name, numbers in rows.items()),
        "",
        *_paragraph(
            f"It looks at faces: at {faces['n']} in {faces['images']} training images. {faces['left_out']} "
            "others, without a face that is large enough, were left out."
            if faces
            else "",
            "The licences of these data apply to the weights as well, as far as they reach;",
            "Tellsign does not know them.",
        ),
    ]


def _choice(spec: Mapping[str, Any]) -> list[str]:
    n_candidates, n = spec["metrics"]["n_candidates"], spec["data"]["select"]["n"]
    several = n_candidates > 1
    return [
        "## How it was chosen",
        "",
        *_paragraph(
            f"It is the best of {n_candidates} candidates" if several else "It is the only candidate",
            f"by AUROC on the half `select`: {spec['metrics']['auroc_select']:.3f}, n = {n}.",
            "A figure on which the best was chosen flatters." if several else "",
            "Its epochs and the fusion of its branches were chosen on these images, which flatters as well."
            if "fusion" in spec
            else "",
        ),
    ]


def _calibration(spec: Mapping[str, Any]) -> list[str]:
    point, groups, data = spec["operating_point"], spec["calibration_groups"], spec["calibration_data"]
    own, found = spec.get("local_reals"), spec.get("cross_fitted")
    lines = [
        CALIBRATED,
        "",
        *_paragraph(
            f"The probability: {spec['calibration']['method']}, on {data['n']} images of the manifest",
            f"`{data['manifest']}`, AUROC {spec['metrics']['auroc_calibrate']:.3f}.",
            _left_out(data),
            f"The thresholds: {RULES[point['rule']].format(**point)}, on {point['n_real']} reals of",
            f"{groups['real']} groups and {point['n_fake']} fakes of {groups['fake']}; fake from a score of",
            f"{point['high']:.6g} on, no sign found below {point['low']:.6g}.",
            f"These reals are {own['n']} images of a user's own. {_left_out(own)}".rstrip() if own else "",
            f"The domain check was set to let {spec['domain']['quantile']:g} of such images through.",
        ),
    ]
    if not found:
        return lines
    if "refused" in found:
        unknown = "How often it answers, and how often it is wrong, is unknown:"
        return [*lines, *_paragraph(unknown, f"{_one_line(found['refused'])}.")]
    return [
        *lines,
        "By cross-fitting on the same images, the domain check left out:",
        "",
        "| | share [95 % CI] | n |",
        "|---|---:|---:|",
        *(f"| {shown} | {_share(found[name])} |" for name, shown in SHARES.items()),
        "",
    ]


def _left_out(data: Mapping[str, Any]) -> str:
    return f"{data['left_out']} others could not be used." if data.get("left_out") else ""


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "– | 0"
    low, high = found["ci"]
    return f"{found['value']:.3f} [{low:.3f}, {high:.3f}] | {found['n']}"
