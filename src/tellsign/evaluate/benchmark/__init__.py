"""Detectors × test sets × perturbations × attacks: `run` fills the grid once."""

from tellsign.evaluate.benchmark.config import BenchmarkConfig, read
from tellsign.evaluate.benchmark.result import BenchmarkResult
from tellsign.evaluate.benchmark.run import run

__all__ = ["BenchmarkConfig", "BenchmarkResult", "read", "run"]
