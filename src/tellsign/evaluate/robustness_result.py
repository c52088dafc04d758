"""The result of attacks on a detector, and how it is printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.columns import aligned
from tellsign.scoring.names import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.metrics import Estimate
    from tellsign.perturb.attacks.evaluation import MaskingReport

LEGEND = """\
Clean → attacked, at the judge's own threshold. success: share of rightly decided images that flip.
Intervals: 95 % bootstrap over the manifest's groups."""


@dataclass(frozen=True, slots=True)
class Row:
    """One attack on one detector, and who judges its images."""

    attack: str
    source: str  # name@digest of the detector that the images were made for
    target: str  # of the one that judges them
    n: int  # images that the target scored both clean and attacked; all figures are of these
    clean_accuracy: Estimate | None  # at the target's threshold
    accuracy: Estimate | None
    clean_auroc: Estimate | None  # None where a class is missing
    auroc: Estimate | None
    success: float | None  # share of rightly decided images that flip; None where none was right

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        names = ("clean_accuracy", "accuracy", "clean_auroc", "auroc")
        estimates = {name: getattr(self, name) for name in names}
        return {
            "attack": self.attack,
            "source": self.source,
            "target": self.target,
            "n": self.n,
            **{name: None if value is None else value.to_dict() for name, value in estimates.items()},
            "success": self.success,
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """An image without a score somewhere, and why."""

    path: str  # escaped
    error: str


@dataclass(frozen=True, slots=True)
class Robustness:
    """All that was measured on one detector."""

    detector: str  # name@digest
    manifest: str  # digest of the samples
    seed: int
    n: int  # images asked for
    scored: int  # images that the detector gave a score, unchanged
    rows: tuple[Row, ...]  # those of the detector itself, and then those of the others
    left_out: tuple[tuple[str, str], ...]  # attack and why it wasn't run
    masking: MaskingReport | None
    masking_note: str  # what the checks were made on, or why they weren't
    failures: tuple[Failure, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        masking = self.masking and {"passed": self.masking.passed, **asdict(self.masking)}
        return {
            "detector": self.detector,
            "manifest": self.manifest,
            "seed": self.seed,
            "n": self.n,
            "scored": self.scored,
            "coverage": self.scored / self.n,
            "rows": [row.to_dict() for row in self.rows],
            "left_out": [{"attack": attack, "reason": reason} for attack, reason in self.left_out],
            "masking": masking,
            "masking_note": self.masking_note,
            "failures": [asdict(failure) for failure in self.failures],
        }

    def text(self) -> str:
        """For the terminal: a line an attack and target, then a line a check."""
        own = [row for row in self.rows if row.target == self.detector]
        others = [row for row in self.rows if row.target != self.detector]
        n_failed = len({failure.path for failure in self.failures})
        share = self.scored / self.n
        counts = f"{self.n} images: {self.scored} with a score ({share:.1%}), {n_failed} failed somewhere"
        lines = [
            f"Detector {printable(self.detector)} on manifest {self.manifest[:12]}, seed {self.seed}",
            counts,
            "",
            *_table(own, ("attack",)),
        ]
        if others:
            lines += ["", f"Transfer: images made for {printable(self.detector)}, judged by others"]
            lines += _table(others, ("attack", "target"))
        lines += ["", *LEGEND.splitlines()]
        if self.left_out:
            lines += ["", "Not run:"]
            lines += [f"  {printable(f'{attack}: {reason}')}" for attack, reason in self.left_out]
        return "\n".join([*lines, "", *_masking_lines(self.masking, self.masking_note)])


def _table(rows: Sequence[Row], names: tuple[str, ...]) -> list[str]:
    head = (*names, "n", "clean accuracy", "attacked accuracy", "clean AUROC", "attacked AUROC", "success")
    body = [
        (
            *(getattr(row, name) for name in names),
            str(row.n),
            *map(_shown, (row.clean_accuracy, row.accuracy, row.clean_auroc, row.auroc)),
            "–" if row.success is None else f"{row.success:.3f}",
        )
        for row in rows
    ]
    return aligned([head, *body], n_left=len(names))


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    interval = "" if np.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{interval}"


def _masking_lines(report: MaskingReport | None, note: str) -> list[str]:
    if report is None:
        return [f"Gradient masking: not checked: {printable(note)}"]
    lines = [f"Gradient masking ({note}): {'no sign found' if report.passed else 'SIGNS FOUND'}"]
    for check in report.checks:
        lines.append(f"  {'pass' if check.passed else 'FAIL'}  {check.name}: {check.expected}")
        lines.append("        " + ", ".join(f"{name} {value:.4g}" for name, value in check.numbers.items()))
    return lines
