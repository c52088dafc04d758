"""What happens to images on their way, and what an adversary does to them."""

from tellsign.perturb.naming import Perturbation, parse, suite

__all__ = ["Perturbation", "parse", "suite"]
