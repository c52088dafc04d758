"""CAE-Net's tables: published values by version, what is measured from scores, and what can't be.

Cells are stand-ins here, whose scores are known.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cae_net_tiny import write_config
from study_cells import made, rows_of, stand_in
from tellsign.data import Manifest
from tellsign.evaluate.reproduce import REGISTRY, reproduce
from tellsign.lock import locked
from tellsign.metrics import auroc, eer
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, OutputError, Sample

pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.evaluate import comparisons
from tellsign.evaluate.cae_net import attacked, choice, looks, strategies, study
from tellsign.evaluate.cae_net.ablations import frequency_configs
from tellsign.evaluate.cae_net.figures import by_chance, same_class
from tellsign.evaluate.cae_net.retention import stage_rows
from tellsign.evaluate.cells import Finished, Scores
from tellsign.evaluate.folds import thinned
from tellsign.evaluate.study import Study
from tellsign.groups import sources
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.systems.cae_net.stages import Retention, write_retention

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name for name in REGISTRY if name.startswith("cae-net")]


def scored(cell: Any) -> Finished:
    """A stand-in for a training: the fused score is nearly always right, branches less often."""
    labels, rng = np.array(cell.test.labels), np.random.default_rng(len(cell.name))
    parts = {
        name: labels - 0.5 + rng.normal(scale=scale, size=len(labels))
        for name, scale in zip(cell.config.branches, (0.6, 2.0, 0.8), strict=False)
    }
    fused = labels - 0.5 + rng.normal(scale=0.3, size=len(labels))
    scores = Scores(np.arange(len(labels)), labels, tuple(sources(cell.test)), fused, parts)
    record = {
        "left_out": 0,
        "detector": "d" * 64,
        "seconds": {"trainings": 10.0},
        "fusion": {"kind": "fit", "weights": dict.fromkeys(cell.config.branches, 1 / 3)},
    }
    return Finished(cell, Path("cells") / cell.name, scores, record)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(comparisons, "RESAMPLES", 100)


@pytest.fixture
def trained(monkeypatch):
    """The cells that a table asks for."""
    return stand_in(monkeypatch, scored)


def table(name, tmp_path, **options):
    config = write_config(tmp_path)
    return reproduce(name, **{"manifest": made(), "out": tmp_path / "cells", "config": config, **options})


# published


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"cae-net-cost"}))
def test_without_data_every_row_says_what_it_needs(name):
    found = reproduce(name).to_dict()
    assert "2502.10682" in found["paper"]
    assert found["rows"]
    for row in found["rows"]:
        assert row["reproduced"] is None
        assert row["ci"] is None
        assert "--data MANIFEST -o FOLDER" in row["note"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_singles_stand_beside_the_values_of_each_version():
    rows = rows_of(reproduce("cae-net-singles"))
    expected = {
        "efficientnet": (86.11, 90.79, 88.9),
        "deit": (89.16, 89.32, 89.32),
        "convnext": (91.24, 89.49, 87.76),
        "ensemble": (94.46, 94.63, 93.23),
    }
    for method, values in expected.items():
        for version, value in zip(("v3", "v2", "v1"), values, strict=True):
            assert rows[method, f"accuracy, {version}"].published == pytest.approx(value / 100), method
    for version, value in (("v3", 97.6), ("v2", 97.37), ("v1", 97.44)):
        assert rows["ensemble", f"AUROC, {version}"].published == pytest.approx(value / 100)
    assert rows["ensemble", "EER, v2"].published == pytest.approx(0.0472)
    assert "ResNet-34" in rows["efficientnet", "accuracy, v1"].note
    assert "ResNet-34" not in rows["efficientnet", "accuracy, v2"].note


def test_other_tables_have_their_published_values():
    rows = rows_of(reproduce("cae-net-frequency"))
    assert rows["ResNet, sub-bands", "accuracy"].published == pytest.approx(0.8044)
    assert rows["ResNet, sub-bands", "accuracy"].note.startswith("published by v3; needs")
    assert rows["ConvNeXt, sub-bands", "accuracy"].published == pytest.approx(0.8949)
    assert "published by v3; 89.49 is the v2 single" in rows["ConvNeXt, sub-bands", "accuracy"].note
    assert "not in the paper" in rows["ConvNeXt, sub-bands", "AUROC"].note
    rows = rows_of(reproduce("cae-net-fgsm"))
    assert rows["convnext", "accuracy, FGSM 0.01"].published == pytest.approx(0.0645)
    assert "published by v3" in rows["convnext", "accuracy, FGSM 0.01"].note
    assert rows["convnext", "accuracy, FGSM 0.02"].published is None
    assert "v3: about 13 to 20 % at 0.01 to 0.03" in rows["ensemble by weights", "accuracy, FGSM 0.02"].note
    clean = {"efficientnet": 0.8611, "deit": 0.8916, "convnext": 0.9124, "ensemble by weights": 0.9446}
    for target, value in clean.items():
        assert rows[target, "accuracy, clean"].published == pytest.approx(value)
        assert "published by v3" in rows[target, "accuracy, clean"].note
    assert rows["ensemble by vote", "accuracy, clean"].published is None
    assert "not in the paper" in rows["ensemble by vote", "accuracy, clean"].note


def test_the_costs_are_those_of_the_specification(tmp_path):
    rows = rows_of(reproduce("cae-net-cost", config=ROOT / "configs" / "cae-net.toml"))
    column = "parameters, convolutions and linear, M"
    assert rows["total", column].published == 117.4
    assert rows["total", column].reproduced == pytest.approx(117.39, abs=0.005)
    assert rows["total", "parameters, all, M"].reproduced == pytest.approx(117.65, abs=0.005)
    assert rows["total", "multiply-accumulates, G"].published == 24.8
    assert rows["total", "multiply-accumulates, G"].reproduced == pytest.approx(22.4, abs=0.06)
    assert rows["efficientnet", "multiply-accumulates, G"].reproduced == pytest.approx(0.385, abs=0.001)
    assert len(rows) == 12, "the full configuration is the published one and has no rows of its own"


# configurations


def test_what_is_trained_without_a_configuration_is_the_committed_small_one():
    assert study.SMALL.read_text() == (ROOT / "configs" / "cae-net-small.toml").read_text()
    assert study.configuration(None).branches["wavelet"].input == "dwt"


def test_the_spectrum_detector_is_configured_as_the_committed_one():
    from tellsign import artifacts, hub
    from tellsign.systems.spectrum.config import SpectrumConfig

    tree = tomllib.loads((ROOT / "configs" / "spectrum.toml").read_text())
    shipped = artifacts.load(hub.detector_path("spectrum")).spec["config"]
    assert SpectrumConfig(**shipped) == SpectrumConfig(**tree["config"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'system = "spectrum"\nname = "x"',
            "is a configuration of the system 'spectrum'; expected 'cae-net'",
        ),
        ('system = "cae-net"\nname = "x"\n[grid]\nsize = [1, 2]', "has a .grid.; a table is made with one"),
        ('system = "cae-net"\nname = "x"\n[config]\nsizes = 3', "unknown key 'sizes'"),
    ],
)
def test_configurations_that_do_not_do(tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        reproduce("cae-net-singles", manifest=made(), out=tmp_path, config=tmp_path / "c.toml")


def test_inputs_that_do_not_do(tmp_path):
    with pytest.raises(ConfigError, match="-o FOLDER"):
        reproduce("cae-net-singles", manifest=made())
    with pytest.raises(ConfigError, match="folds must be 2 or more"):
        reproduce("cae-net-singles", folds=1)
    with pytest.raises(ConfigError, match="trains no network"):
        reproduce("upconv-table4", config=tmp_path / "c.toml")
    film = Manifest((*made(), Sample(tmp_path / "film.mp4", FAKE)))
    with pytest.raises(ManifestError, match="video"):
        table("cae-net-singles", tmp_path, manifest=film)
    pixels = write_config(tmp_path / "other", {'input = "dwt"': 'input = "rgb"'})
    with pytest.raises(ConfigError, match="none of the branches efficientnet, deit, wavelet looks at sub-b"):
        table("cae-net-wavelet", tmp_path, config=pixels)


# singles


def test_singles_are_pooled_over_folds_without_leaks(trained, tmp_path):
    result = table("cae-net-singles", tmp_path, folds=3)
    rows = rows_of(result)
    assert [cell.name for cell in trained] == ["fold-1-of-3", "fold-2-of-3", "fold-3-of-3"]
    tested = [sample.path for cell in trained for sample in cell.test]
    assert sorted(tested) == sorted(sample.path for sample in made())
    for cell in trained:
        own = set(sources(cell.test))
        assert not own & set(sources(cell.train))
        assert not own & set(sources(cell.valid))
    labels = np.concatenate([cell.test.labels for cell in trained])
    fused = np.concatenate([scored(cell).scores.fused for cell in trained])
    area = rows["ensemble", "AUROC, v3"]
    assert area.published == pytest.approx(0.976)
    assert area.reproduced == pytest.approx(auroc(labels, fused))
    assert area.ci[0] <= area.reproduced <= area.ci[1]
    right = np.mean((fused >= 0) == labels)
    assert rows["ensemble", "accuracy, v2"].reproduced == pytest.approx(right)
    means = [auroc(cell.test.labels, scored(cell).scores.fused) for cell in trained]
    assert rows["ensemble", "AUROC, mean of folds"].reproduced == pytest.approx(np.mean(means))


def test_the_difference_to_the_spectrum_detector_has_a_verdict(trained, tmp_path):
    row = rows_of(table("cae-net-singles", tmp_path, folds=2))[
        "ensemble - spectrum detector", "AUROC, difference"
    ]
    assert row.reproduced > 0.05
    assert row.ci[0] > 0
    assert row.note == "ensemble is better"


def test_every_branch_has_an_equal_error_and_a_difference_to_the_spectrum_detector(trained, tmp_path):
    result = table("cae-net-singles", tmp_path, folds=2)
    rows = rows_of(result)
    labels = np.concatenate([cell.test.labels for cell in trained])
    noise = [
        np.random.default_rng(fold).normal(scale=0.9, size=len(cell.test))
        for fold, cell in enumerate(trained, 1)
    ]
    spectrum = labels + np.concatenate(noise)
    for branch in ("efficientnet", "deit", "wavelet"):
        scores = np.concatenate([scored(cell).scores.parts[branch] for cell in trained])
        error = rows[branch, "EER"]
        assert error.reproduced == pytest.approx(eer(labels, scores))
        assert error.ci[0] <= error.reproduced <= error.ci[1]
        pair = rows[f"{branch} - spectrum detector", "AUROC, difference"]
        assert pair.reproduced == pytest.approx(auroc(labels, scores) - auroc(labels, spectrum))
        assert pair.ci[0] <= pair.reproduced <= pair.ci[1]
    assert rows["ensemble", "EER, v2"].published == pytest.approx(0.0472)
    assert rows["spectrum detector", "EER"].reproduced == pytest.approx(eer(labels, spectrum))


def test_a_table_says_of_itself_what_was_trained_and_how_many_differences_there_are(trained, tmp_path):
    text = " ".join(table("cae-net-singles", tmp_path, folds=2).notes)
    assert "7 differences, each judged at 95 %" in text, (
        "four to the spectrum detector, three to the ensemble"
    )
    assert "Seed 0; 2 detectors trained in 20 s on a machine of which there is no record." in text
    assert "weights scratch; strategy plain, 2 epochs; fusion fit." in text
    assert "margin of its classifier" in text
    assert "The configuration, tiny.toml, does not say on which images it was chosen." in text
    assert "what deit reached here says nothing" in text
    n = len(trained[0].train)
    assert f"with {n} images a transformer" in text
    shown = table("cae-net-singles", tmp_path, folds=2, config=None).notes
    head = study.SMALL.read_text().splitlines()[0].removeprefix("# ")
    assert any("cae-net-small.toml, says of itself" in note and head in note for note in shown)


def test_images_that_chose_the_configuration_are_left_out_in_rows_of_their_own(
    trained, tmp_path, monkeypatch
):
    images = made()
    known = frozenset(sample.sha256[: choice.N_DIGITS] for sample in list(images)[::4])
    monkeypatch.setattr(choice, "choosing_images", lambda: known)
    result = table("cae-net-singles", tmp_path, folds=2, config=None, manifest=images)
    rows = rows_of(result)
    kept = [s.sha256[: choice.N_DIGITS] not in known for cell in trained for s in cell.test]
    labels = np.concatenate([cell.test.labels for cell in trained])[kept]
    fused = np.concatenate([scored(cell).scores.fused for cell in trained])[kept]
    row = rows["ensemble", choice.REST]
    assert row.reproduced == pytest.approx(auroc(labels, fused))
    assert rows["ensemble", "AUROC, v3"].ci != row.ci
    pair = rows["ensemble - spectrum detector", f"{choice.REST}, difference"]
    assert pair.reproduced == pytest.approx(
        row.reproduced - rows["spectrum detector", choice.REST].reproduced
    )
    text = " ".join(result.notes)
    assert "11 differences, each judged at 95 %" in text, "four of them without these images"
    assert "chosen on 30 of these test images" in text
    assert choice.REST in text
    own = table("cae-net-singles", tmp_path, folds=2, manifest=images)
    assert not [row for row in own.rows if choice.REST in row.column], "another configuration"


def test_a_difference_that_may_be_none_is_undecided():
    labels = np.repeat([0, 1], 20)
    one, other = (np.random.default_rng(seed).normal(size=40) + 0.3 * labels for seed in (1, 2))
    pooled = comparisons.Pooled(labels, tuple(map(str, range(40))), {}, np.zeros(40))
    row = comparisons.difference_row(pooled, one, other, ("a", "b"))
    assert row.ci[0] < 0 < row.ci[1]
    assert row.note == "undecided"
    assert row.reproduced == pytest.approx(auroc(labels, one) - auroc(labels, other))


def test_where_the_spectrum_detector_cannot_be_fitted_its_row_says_why(trained, tmp_path, monkeypatch):
    def small(self, fold):
        raise ManifestError("images are smaller than 128 pixels")

    monkeypatch.setattr(Study, "spectrum_scores", small)
    result = table("cae-net-singles", tmp_path, folds=2)
    row = rows_of(result)["spectrum detector", "AUROC"]
    assert row.reproduced is None
    assert "smaller than 128" in row.note
    assert not [row for row in result.rows if "- spectrum" in row.row]


# strategies


def test_tables_look_at_whole_images(tmp_path):
    config = write_config(tmp_path, {"[config]\n": '[config]\nregion = "face"\n'})
    with pytest.raises(ConfigError, match=r'region = "face": .* look at whole images; cut the faces first'):
        reproduce("cae-net-singles", manifest=made(n=20), out=tmp_path / "cells", config=config)


def test_every_strategy_shows_as_many_images(tmp_path):
    training = thinned(made(n=100), ratio=5, seed=0)
    assert (training.labels.count(REAL), training.labels.count(FAKE)) == (20, 100)
    config = study.configuration(write_config(tmp_path, {"epochs = 2\nb": "epochs = 30\nb"}))
    shown = {}
    for strategy in strategies.STRATEGIES:
        views = strategies.strategy_views(config, training, strategy)
        (shown[strategy],) = {one.total for one in views.values()}
        own = strategies.strategy_config(config, training, strategy)
        epochs = {name: own.stage_training(name).epochs for name in own.branches}
        assert epochs == {name: one.epochs for name, one in views.items()}, strategy
    assert shown["plain"] == 30 * 120
    for strategy, total in shown.items():
        assert total == pytest.approx(30 * 120, rel=0.03), strategy


def test_a_multistage_configuration_keeps_its_own_schedule_and_sets_the_measure():
    training = thinned(made(n=100), ratio=5, seed=0)
    config = CaeNetConfig()  # 5, 5 and 4 epochs in each of 5 stages
    same = strategies.strategy_config(config, training, strategies.REPEAT)
    assert same == config
    plain = strategies.strategy_config(config, training, "plain")
    # 120 images are 200 views in five stages, since the reals are shown in each of them.
    epochs = {name: plain.stage_training(name).epochs for name in plain.branches}
    assert epochs == {"efficientnet": 8, "deit": 8, "convnext": round(4 * 200 / 120)}
    assert strategies.strategy_config(plain, training, strategies.DISJOINT).branches["convnext"].epochs == 0
    disjoint = strategies.strategy_config(config, training, strategies.DISJOINT)
    # 120 fakes and reals are 200 views in five stages with all reals, and 120 where the reals are parted.
    epochs = {name: branch.stage_epochs for name, branch in disjoint.branches.items()}
    assert epochs == {"efficientnet": round(5 * 200 / 120), "deit": 8, "convnext": round(4 * 200 / 120)}
    assert epochs["convnext"] == 7


def test_branches_of_other_epochs_keep_their_share_in_every_strategy():
    """ConvNeXt with its 4 epochs a stage is shown 800 images, the others with 5 a thousand."""
    training, config = thinned(made(n=100), ratio=5, seed=0), CaeNetConfig()
    shown = {name: strategies.strategy_views(config, training, name) for name in strategies.STRATEGIES}
    own = strategies.own_views(config, training)
    assert {name: views.total for name, views in own.items()} == {
        "efficientnet": 1000, "deit": 1000, "convnext": 800,
    }  # fmt: skip
    assert {name: views.total for name, views in shown["plain"].items()} == {
        "efficientnet": 960, "deit": 960, "convnext": 840,
    }  # fmt: skip
    assert "But these" not in strategies.views_note(own, shown, config.stages), "all within a twentieth"
    longer = {**shown, "plain": dict.fromkeys(own, strategies.Views(120, 8))}
    note = strategies.views_note(own, longer, config.stages)
    assert note.endswith("But these show, of the configuration's own: plain to convnext 1.20 times.")
    choices = strategies.choices_note(shown, config.stages)
    assert (
        "5 of efficientnet and 5 of deit and 4 of convnext in each of 5 stages (multistage, reals repeat)"
        in choices
    )
    assert "8 of efficientnet and 8 of deit and 7 of convnext (plain; weighted; focal)" in choices


def test_balancing_compares_the_multistage_schedule_with_every_other(trained, tmp_path):
    result = table("cae-net-balancing", tmp_path)
    rows = rows_of(result)
    assert len(trained) == 7
    for cell in trained:
        labels = cell.train.labels
        assert labels.count(FAKE) == pytest.approx(5 * labels.count(REAL), abs=5)
        assert cell.test == trained[0].test
        assert cell.train == trained[0].train
    assert {cell.config.strategy for cell in trained} == {
        "multistage", "plain", "weighted", "over", "under", "focal",
    }  # fmt: skip
    cell = next(cell for cell in trained if cell.config.strategy == "focal")
    labels, fused = np.array(cell.test.labels), scored(cell).scores.fused
    real = rows["focal", "real accuracy"]
    assert real.reproduced == pytest.approx(np.mean(fused[labels == REAL] < 0))
    assert real.ci[0] <= real.reproduced <= real.ci[1]
    fake = rows["focal", "fake accuracy"].reproduced
    assert rows["focal", "balanced accuracy"].reproduced == pytest.approx((real.reproduced + fake) / 2)
    sentence = next(note for note in result.notes if note.startswith("Test images"))
    assert "7 detectors trained in 70 s" in sentence
    assert "strategy" not in sentence
    assert f"{len(trained[0].test)} of fold 1 of 5" in sentence
    pair = rows["multistage, reals repeat - focal", "AUROC, difference"]
    assert pair.note in ("undecided", "focal is better", "multistage, reals repeat is better")
    assert len([row for row in result.rows if row.column == "AUROC, difference"]) == 6


def test_cells_that_could_not_use_the_same_images_are_not_paired(monkeypatch, tmp_path):
    """As many images as the others, and one of them another."""

    def finished_cell(cell, root, *, say):
        found, out = scored(cell), 3 if cell.config.strategy == "over" else 5
        rows = np.delete(found.scores.rows, out)
        parts = {name: values[rows] for name, values in found.scores.parts.items()}
        groups = tuple(found.scores.groups[row] for row in rows)
        scores = Scores(rows, found.scores.labels[rows], groups, found.scores.fused[rows], parts)
        return replace(found, scores=scores)

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", finished_cell)
    rows = rows_of(table("cae-net-balancing", tmp_path))
    assert rows["over", "AUROC"].reproduced is not None
    assert rows["multistage, reals repeat - focal", "AUROC, difference"].ci
    for column in ("AUROC, difference", "balanced accuracy, difference"):
        row = rows["multistage, reals repeat - over", column]
        assert (row.reproduced, row.ci) == (None, None)
        assert "not paired" in row.note


def test_how_many_epochs_there_are_to_choose_from_is_said(trained, tmp_path):
    config = write_config(tmp_path, {"epochs = 2\nb": "epochs = 30\nb"})
    result = reproduce("cae-net-balancing", manifest=made(n=100), out=tmp_path / "cells", config=config)
    epochs = {}
    for cell in trained:
        one = cell.config
        (n,) = {one.stage_training(branch).epochs for branch in one.branches}
        epochs[one.strategy, one.reals] = n
    (note,) = [note for note in result.notes if "epochs to choose" in note or "more to choose from" in note]
    assert f"{epochs['under', 'repeat']} (under)" in note
    assert f"{epochs['plain', 'repeat']} (plain; weighted; focal)" in note
    assert f"{epochs['over', 'repeat']} (over)" in note
    for reals in ("repeat", "disjoint"):
        n = epochs["multistage", reals]
        assert f"{n} in each of 2 stages (multistage, reals {reals})" in note
    assert epochs["under", "repeat"] > epochs["plain", "repeat"] > epochs["over", "repeat"]


@pytest.mark.parametrize("name", ["cae-net-balancing", "cae-net-retention", "cae-net-wavelet"])
def test_a_folder_that_is_held_or_cannot_be_written_stops_the_command(name, trained, monkeypatch, tmp_path):
    """It is no property of a strategy, and no reason to train all the others."""
    asked = []

    def finished_cell(cell, root, *, say):
        asked.append(cell)
        with locked(tmp_path / "cell"):
            return scored(cell)

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", finished_cell)
    with locked(tmp_path / "cell"), pytest.raises(OutputError, match="another run is writing"):
        table(name, tmp_path)
    assert len(asked) == 1


def test_a_cell_that_cannot_be_made_leaves_the_others_and_says_why(monkeypatch, tmp_path):
    def finished_cell(cell, root, *, say):
        if cell.config.reals == "disjoint":
            raise ManifestError("3 reals cannot be parted into 5 subsets")
        return scored(cell)

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", finished_cell)
    rows = rows_of(table("cae-net-balancing", tmp_path))
    assert "cannot be parted" in rows["multistage, reals disjoint", "AUROC"].note
    assert rows["multistage, reals disjoint", "AUROC"].reproduced is None
    assert rows["over", "AUROC"].reproduced is not None

    def none(cell, root, *, say):
        raise ManifestError("no image can be used")

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", none)
    with pytest.raises(ConfigError, match="no image can be used"):
        table("cae-net-balancing", tmp_path)


# ablations


def test_the_wavelet_table_trains_one_network_on_three_inputs(trained, tmp_path):
    rows = rows_of(table("cae-net-wavelet", tmp_path))
    assert len({cell.digest for cell in trained}) == 3
    assert all(list(cell.config.branches) == ["wavelet"] for cell in trained)
    assert [(c.config.branches["wavelet"].input, c.config.dwt) for c in trained] == [
        ("dwt", "native"),
        ("dwt", "dwt_resize"),
        ("rgb", "dwt_resize"),
    ]
    assert rows["sub-bands, native - pixels", "AUROC, difference"].ci


def test_the_frequency_table_has_published_networks_for_the_published_configuration(tmp_path):
    full = frequency_configs(CaeNetConfig())
    found = [(one.branches["convnext"].backbone, one.branches["convnext"].input) for one in full.values()]
    assert found == [
        ("resnet34", "dwt"), ("convnext_tiny", "dwt"), ("convnext_tiny", "fft"), ("convnext_tiny", "dct"),
    ]  # fmt: skip
    small = frequency_configs(study.configuration(write_config(tmp_path)))
    assert {one.branches["wavelet"].backbone for one in small.values()} == {"test_resnet", "test_convnext"}
    for one in (*full.values(), *small.values()):
        assert CaeNetConfig(**asdict(one)) == one


def test_given_weights_of_both_networks_of_the_frequency_table_are_used(tmp_path):
    """A file for ConvNeXt, and one for the ResNet in a branch that only names it."""
    files = {name: str(tmp_path / f"{name}.safetensors") for name in ("convnext", "resnet")}
    branches = {
        **CaeNetConfig().branches,
        "convnext": replace(CaeNetConfig().branches["convnext"], weights=files["convnext"]),
        "resnet": {"backbone": "resnet34", "weights": files["resnet"]},
    }
    found = frequency_configs(CaeNetConfig(branches=branches, fusion="fit"))
    weights = {name: one.branch_weights("convnext") for name, one in found.items()}
    assert weights.pop("ResNet, sub-bands") == files["resnet"]
    assert set(weights.values()) == {files["convnext"]}
    without = {name: branch for name, branch in branches.items() if name != "resnet"}
    found = frequency_configs(CaeNetConfig(branches=without))
    assert found["ResNet, sub-bands"].branch_weights("convnext") == "pretrained"


def test_frequency_rows(trained, tmp_path):
    result = table("cae-net-frequency", tmp_path)
    rows = rows_of(result)
    assert len(trained) == 4
    assert rows["ResNet, sub-bands", "accuracy"].published == pytest.approx(0.8044)
    assert rows["ResNet, sub-bands", "accuracy"].reproduced is not None
    text = " ".join(result.notes)
    assert "Seed 0; 4 detectors trained in 40 s" in text
    assert "Weights scratch; strategy plain, 2 epochs." in text
    assert "3 differences, each judged" in text


# retention


def stage(number, **changes):
    values = {
        "stage": number,
        "subsets": (0.9, 0.5),
        "n_subsets": (10, 10),
        "seen": (True, number > 1),
        "reals": 0.8,
        "n_reals": 20,
        "valid_accuracy": 0.7,
        "valid_reals": 0.75,
        "valid_fakes": 0.65,
        "valid_auroc": 0.85,
        "n_valid": 40,
    }
    return Retention(**(values | changes))


def test_retention_shows_every_subset_after_every_stage(monkeypatch, tmp_path):
    def finished_cell(cell, root, *, say):
        found = replace(scored(cell), folder=tmp_path / cell.name)
        for branch in cell.config.branches:
            file = found.run / branch / "retention.json"
            apart = {"real_parts": (0.6, 0.8), "n_real_parts": (8, 12), "n_valid_reals": 21}
            more = apart if cell.config.reals == "disjoint" else {}
            write_retention(file, [stage(1, **more), stage(2, subsets=(0.4, 0.95), **more)], title=branch)
        return found

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", finished_cell)
    result = table("cae-net-retention", tmp_path)
    rows = rows_of(result)
    first = "multistage, reals repeat, deit, stage 1"
    assert rows[first, "subset 1, trained on"].reproduced == 0.9
    assert rows[first, "subset 2, to come"].reproduced == 0.5
    assert rows[first.replace("1", "2"), "subset 1, trained on"].reproduced == 0.4
    assert rows[first, "reals, trained on"].reproduced == 0.8
    assert rows[first, "validation reals"].note.endswith("40 images of both classes")
    disjoint = first.replace("repeat", "disjoint")
    assert rows[disjoint, "reals 1, trained on"].reproduced == 0.6
    assert rows[disjoint, "reals 2, to come"].reproduced == 0.8
    assert rows[disjoint, "reals 2, to come"].note.endswith("12 images")
    assert rows[disjoint.replace("stage 1", "stage 2"), "reals 2, trained on"].reproduced == 0.8
    assert rows[disjoint, "validation reals"].note.endswith("; 21 images")
    assert rows[disjoint, "validation fakes"].note.endswith("; 19 images")
    assert len(result.rows) == 3 * 2 * (6 + 7)
    assert result.picture == tmp_path / "cells" / "cae-net-retention.png"
    assert result.picture.is_file()
    assert len(result.figure.axes) == 6
    assert not [note for note in result.notes if "Test images" in note], "none is shown"
    assert any("2 detectors trained in 20 s" in note for note in result.notes)
    assert any("only validation reals compare" in note for note in result.notes)


def test_reals_that_an_older_table_has_together_are_said_to_be_of_both_kinds():
    found = {row.column: row for row in stage_rows("x", stage(1), disjoint=True)}
    assert found["reals, trained on and to come together"].reproduced == 0.8
    assert "reals, trained on" not in found


# figures


def test_confusion_counts_all_images_and_draws_them(trained, tmp_path):
    result = table("cae-net-confusion", tmp_path, folds=2)
    rows = rows_of(result)
    for method in ("deit", "ensemble"):
        counts = [
            rows[method, f"{a} called {b}, images"].reproduced
            for a in ("real", "fake")
            for b in ("real", "fake")
        ]
        assert sum(counts[:2]) == sum(counts[2:]) == 60
        assert rows[method, "real called fake"].reproduced == pytest.approx(counts[1] / 60)
    texts = [text.get_text() for axes in result.figure.axes for text in axes.texts]
    assert len(texts) == 16
    assert result.to_dict()["picture"] == str(tmp_path / "cells" / "cae-net-confusion.png")


def test_the_roc_curve_has_the_area_of_its_row(trained, tmp_path):
    result = table("cae-net-roc", tmp_path, folds=2)
    rows = rows_of(result)
    curves = {line.get_label(): line.get_xydata() for line in result.figure.axes[0].lines}
    for method, column in (("deit", "AUROC"), ("ensemble", "AUROC, v3")):
        x, y = curves[method].T
        assert np.trapezoid(y, x) == pytest.approx(rows[method, column].reproduced)
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert not [row for row in result.rows if row.column.startswith("accuracy")]


def test_neighbours_of_the_same_class():
    labels = np.repeat([0, 1], 20)
    apart = np.random.default_rng(0).normal(size=(40, 3)) + 100 * labels[:, None]
    assert same_class(apart, labels) == 1.0
    together = np.random.default_rng(0).normal(size=(40, 3))
    assert 0.3 < same_class(together, labels) < 0.7


def test_neighbours_by_chance_are_those_of_anyone():
    labels = np.repeat([0, 1], [3, 1])
    others = [labels[other] == labels[row] for row in range(4) for other in range(4) if other != row]
    assert by_chance(labels) == pytest.approx(np.mean(others)) == pytest.approx(0.5)
    assert by_chance(np.repeat([0, 1], [700, 300])) == pytest.approx(0.7**2 + 0.3**2, abs=1e-3)


# FGSM


def test_fgsm_asks_for_all_targets_and_shows_the_vote_against_the_weighted_ensemble():
    rows = rows_of(reproduce("cae-net-fgsm"))
    assert {row for row, _ in rows} == {
        "efficientnet",
        "deit",
        "convnext",
        "ensemble by weights",
        "ensemble by vote",
    }
    assert len(rows) == 5 * (1 + len(attacked.EPS))


def test_the_vote_is_compared_with_the_weights_on_the_same_images():
    """Each of ten images by its group: the vote is right on two more after an attack, and on none before."""
    sample = made(n=5)
    right = np.where(np.array(sample.labels) == FAKE, 1.0, -1.0)
    worse, worst = right.copy(), right.copy()
    worse[:3] *= -1
    worst[:5] *= -1
    rows = list(range(10))

    def block(attacked_scores):
        return {"rows": rows, "clean": right.tolist()} | dict.fromkeys(
            map(str, attacked.EPS), attacked_scores.tolist()
        )

    blocks = {looks.BY_WEIGHTS: block(worst), looks.BY_VOTE: block(worse), attacked.TRANSFER: block(worst)}
    found = {(row.row, row.column): row for row in attacked.vote_rows(blocks, sample, ", it")}
    pair = "ensemble by vote, it - ensemble by weights, it"
    assert found[pair, "accuracy, clean, difference"].reproduced == 0
    attack = found[pair, "accuracy, FGSM 0.02, difference"]
    assert attack.reproduced == pytest.approx(0.2)
    assert attack.ci[0] <= 0.2 <= attack.ci[1]
    same = f"{attacked.TRANSFER}, it - ensemble by weights, it"
    assert found[same, "accuracy, FGSM 0.02, difference"].reproduced == 0
    assert len(found) == 4 + 3
    assert attacked.vote_rows({looks.BY_WEIGHTS: block(worst)}, sample) == []
