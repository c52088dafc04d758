"""Adversarial attacks: changes too small to see that make a detector err.

`parse` reads an attack from text and `Attack.run` carries it out. The functions behind it are in `gradient`
and `square`, what is measured with them in `evaluation`. Nothing here imports PyTorch before it is needed.
"""

from __future__ import annotations

from tellsign.perturb.attacks.attack import Attack, parse
from tellsign.perturb.attacks.score import detector_score

__all__ = ["Attack", "detector_score", "parse"]
