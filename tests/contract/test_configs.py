"""The configurations that ship, and those of the documentation, are read by what they are for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tellsign import perturb
from tellsign.evaluate.benchmark import BenchmarkConfig, read
from tellsign.perturb.attacks import parse
from tellsign.systems.spectrum.config import CLASSIFIERS, SpectrumConfig
from tellsign.types import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ("official", "paper")
TESTS = ("stylegan140k", "cnnd10", "sd3-ffhq", "realorai", "ciplab")
EPS = ("0.01", "0.02", "0.03")  # of CAE-Net


def spectrum_detectors(config: BenchmarkConfig) -> list[tuple[str, str]]:
    """Classifier and preset of each detector that is trained; its own configuration is checked, too."""
    trained = [detector.config for detector in config.detector if detector.config is not None]
    assert {found.system for found in trained} == {"spectrum"}
    options = [SpectrumConfig(**found.config) for found in trained]
    return [(found.classifier, found.preset) for found in options]


def test_the_benchmark_has_every_classifier_and_preset_on_every_test_set_under_the_whole_suite() -> None:
    config = read(ROOT / "configs" / "benchmark.toml")
    assert sorted(spectrum_detectors(config)) == sorted((c, p) for c in CLASSIFIERS for p in PRESETS)
    assert len(config.detector) == 8
    assert config.perturbations == perturb.suite()
    assert config.attacks == ("none",)
    assert config.tests == TESTS
    assert {detector.train for detector in config.detector} == {"training"}
    assert config.data["training"].sources[0].splits == ("train", "valid")
    assert all(found.harmonise == config.harmonise is not None for found in config.data.values())


def test_the_attacks_are_of_the_sizes_of_cae_net_on_detectors_of_the_benchmark() -> None:
    config = read(ROOT / "configs" / "benchmark-attacks.toml")
    assert spectrum_detectors(config) == [("linear_svm", "official"), ("rbf_svm", "official")]
    assert config.detector[-1].path == "spectrum"
    assert config.perturbations == ("none",)
    names = [parse(text).name for text in config.attacks]
    assert names == list(config.attacks)
    assert {f"{attack}:{eps}" for attack in ("fgsm", "pgd") for eps in EPS} < set(names)
    other = read(ROOT / "configs" / "benchmark.toml")
    assert [d for d in other.detector if d in config.detector] == list(config.detector[:2])
    assert config.data["stylegan140k"] == other.data["stylegan140k"]
    assert config.data["training"] == other.data["training"]


def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "b.toml").write_text(block, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"my-detector\.toml"):
        read(tmp_path / "b.toml")
    (tmp_path / "my-detector.toml").write_text('system = "spectrum"\n', encoding="utf-8")
    config = read(tmp_path / "b.toml")
    assert [detector.name for detector in config.detector] == ["shipped", "mine"]
    assert [perturb.parse(text).name for text in config.perturbations] == list(config.perturbations)
    assert [parse(text).name for text in config.attacks] == list(config.attacks)
    assert (config.attack_limit, config.missing, config.published) == (100, "error", ("upconv-spectrum",))
    assert [source.labels for source in config.data["faces"].sources] == [("fake",), ("real",)]
