"""What branches and ensembles say of changed images, by hand: crop by crop, with fusions written here again.

Shapes: B images, M crops, n branches, S side of a crop, H W pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pictures import natural, write_dataset
from tellsign.data import Manifest, read
from tellsign.image import decode, square_crops
from tellsign.metrics import auroc
from tellsign.perturb.attacks.gradient import fgsm
from tellsign.perturb.files import write_perturbed
from tellsign.perturb.naming import parse
from tellsign.types import FAKE, REAL, ConfigError, OutputError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.evaluate import comparisons  # noqa: E402 - need PyTorch
from tellsign.evaluate.cae_net import attacked, looks  # noqa: E402
from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS, Look  # noqa: E402
from tellsign.evaluate.perturbed import Looks, score_rows  # noqa: E402
from tellsign.systems.cae_net.config import CaeNetConfig  # noqa: E402
from tellsign.systems.cae_net.model import empty_ensemble  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE, WEIGHTS = 32, (0.5, 0.3, 0.2)
BRANCHES = {
    "a": {"backbone": "test_efficientnet"},
    "b": {"backbone": "test_resnet"},
    "c": {"backbone": "test_convnext", "input": "dwt"},
}


def look_at(max_crops):
    """Untrained networks, whose scores of two images differ by more than rounding."""
    config = CaeNetConfig(branches=BRANCHES, fusion_weights=WEIGHTS, size=SIDE, weights="scratch")
    torch.manual_seed(0)
    network = empty_ensemble(config).eval()
    with torch.no_grad():
        for branch in network.branches.values():
            branch.network.get_classifier().weight.mul_(100)
    return Look(network, WEIGHTS, SIDE, max_crops, torch.device("cpu"))


@pytest.fixture(scope="module")
def look():
    return look_at(2)


def fused(parts):
    """(n,) log-odds of a crop → those of the branches, of the weighted mean of probabilities, of the vote."""
    p = float(np.dot(WEIGHTS, 1 / (1 + np.exp(-parts))))
    return [*parts, np.log(p / (1 - p)), sorted(parts)[1]]


def by_hand(look, picture):
    """One crop after the other."""
    rows = []
    for crop in square_crops(picture, SIDE, look.max_crops):
        with torch.no_grad():
            logits = [look.network.branches[name](torch.from_numpy(crop[None])) for name in BRANCHES]
        rows.append(fused(np.array([float(found[0, 1] - found[0, 0]) for found in logits])))
    return np.mean(rows, axis=0)


def assert_columns(found, expected):
    assert list(found) == ["a", "b", "c", BY_WEIGHTS, BY_VOTE]
    for column, values in enumerate(found.values()):
        assert len(values) == len(expected)
        for value, row in zip(values, expected, strict=True):
            assert (value is None) == (row is None)
            if row is not None:
                assert value == pytest.approx(row[column], abs=1e-3)


@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_columns_are_in_the_order_of_the_images_whatever_is_missing_between(look, monkeypatch, at_once):
    monkeypatch.setattr(looks, "CROPS", at_once)
    large = [natural(row, 40, 40 + 25 * (row % 2)) for row in range(5)]
    images = [None, *large[:3], natural(9, 20, 40), *large[3:], None]
    assert {len(square_crops(picture, SIDE, 2)) for picture in large} == {1, 2}
    usable = [row for row, picture in enumerate(images) if picture is not None and picture.shape[1] >= SIDE]
    expected = [by_hand(look, picture) if row in usable else None for row, picture in enumerate(images)]
    assert np.std([expected[row] for row in usable], axis=0).min() > 0.01, "differences can be seen"
    assert_columns(look.columns(iter(images)), expected)


def test_no_image_that_can_be_used_is_no_number_and_no_warning(look):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_columns(look.columns(iter([None, natural(0, 20, 20)])), [None, None])
        assert_columns(look.columns(iter([])), [])


def test_crops_are_fused_before_they_are_averaged(look):
    parts = np.array([[2.0, -1.0, 0.5], [-3.0, 4.0, 1.0], [0.25, 0.5, 0.125]])
    found = look._means(parts, [2, 1])
    expected = np.array([fused(row) for row in parts])
    assert np.allclose(found, [(expected[0] + expected[1]) / 2, expected[2]])
    assert found[0, 4] == pytest.approx(0.75), "the vote of either crop, and not of the mean"


# perturbed images


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """With checksums, which are the keys of what is random, and a pair that is too small."""
    manifest = read(write_dataset(tmp_path_factory.mktemp("data"), 8, size=72))
    small = read(write_dataset(tmp_path_factory.mktemp("small"), 1, size=24, seed=3))
    return Manifest(tuple(replace(one, sha256=decode(one.path).meta.sha256) for one in (*manifest, *small)))


@pytest.mark.parametrize("name", ["noise:20", "jpeg:30", "crop:0.2"])
def test_a_perturbed_row_is_that_of_files_perturbed_beforehand(look, sample, tmp_path, monkeypatch, name):
    monkeypatch.setattr(comparisons, "RESAMPLES", 20)
    said = Looks(look.columns, "d" * 64, tmp_path / "studies", 5, lambda text: None)
    rows = score_rows(said.perturbed(sample, parse(name)), sample, name, by_class=(BY_WEIGHTS, BY_VOTE))
    found = {(row.row, row.column): row for row in rows}
    files = write_perturbed(sample, tmp_path / "files", parse(name), seed=5).manifest
    assert len(files) == len(sample)
    pictures = [decode(one.path).array for one in files]
    usable = [row for row, picture in enumerate(pictures) if min(picture.shape[1:]) >= SIDE]
    assert len(usable) == 16
    scores = np.array([by_hand(look, pictures[row]) for row in usable])
    labels = np.array([files[row].label for row in usable])
    for column, method in enumerate(("a", "b", "c", BY_WEIGHTS, BY_VOTE)):
        row = found[method, f"AUROC, {name}"]
        assert row.reproduced == pytest.approx(auroc(labels, scores[:, column])), method
        assert "2 of 18 images can't be used" in row.note
        if method in (BY_WEIGHTS, BY_VOTE):
            for title, label in (("real", REAL), ("fake", FAKE)):
                right = (scores[labels == label, column] >= 0) == (label == FAKE)
                assert found[method, f"{title} accuracy, {name}"].reproduced == pytest.approx(right.mean())


@pytest.mark.parametrize("reason", ["missing", "folder"])
def test_a_missing_finder_is_a_note_and_a_place_that_cannot_be_written_an_error(
    sample, tmp_path, monkeypatch, reason
):
    pytest.importorskip("captum")
    from tellsign.evaluate.cae_net.attention import known_faces

    def boxes(picture):
        if reason == "missing":
            raise ConfigError("dlib is not installed")
        return ()

    monkeypatch.setattr("tellsign.faces.boxes", boxes)
    given = SimpleNamespace(config=SimpleNamespace(size=SIDE), say=lambda text: None)
    cell = SimpleNamespace(folder=tmp_path)
    if reason == "missing":
        assert known_faces(given, cell, sample) == "dlib is not installed"
    else:
        (tmp_path / "studies").touch()
        with pytest.raises(OutputError, match="cannot write"):
            known_faces(given, cell, sample)


# attacked images


def margins(look, target, x):
    """(B, 3, H, W) → (B,) scores of the middle crops by a network or a fusion that is written here."""
    edge = [(side - SIDE) // 2 for side in x.shape[2:]]
    crops = x[:, :, edge[0] : edge[0] + SIDE, edge[1] : edge[1] + SIDE]
    logits = torch.stack([look.network.branches[name](crops) for name in BRANCHES], dim=1)
    parts = (logits[..., 1] - logits[..., 0]).double()
    if target == BY_WEIGHTS:
        p = torch.sigmoid(parts) @ torch.tensor(WEIGHTS, dtype=torch.float64)
        return torch.logit(p)
    return parts.median(dim=1).values if target == BY_VOTE else parts[:, list(BRANCHES).index(target)]


@pytest.mark.parametrize(
    ("target", "source", "judge"),
    [
        ("c", "c", "c"),
        (BY_WEIGHTS, BY_WEIGHTS, BY_WEIGHTS),
        (BY_VOTE, BY_VOTE, BY_VOTE),
        (attacked.TRANSFER, BY_WEIGHTS, BY_VOTE),
    ],
)
def test_fgsm_is_a_step_along_the_sign_of_the_gradient_of_the_one_that_is_attacked(
    sample, target, source, judge
):
    look, sample = look_at(1), sample[:-2]
    block = attacked.attacked(look, target, sample)
    assert block["rows"] == list(range(len(sample)))
    x = torch.from_numpy(np.stack([decode(one.path).array for one in sample])).requires_grad_()
    y = torch.tensor(sample.labels, dtype=torch.float64)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(margins(look, source, x), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    signs = np.where(np.array(sample.labels) == FAKE, 1, -1)
    for eps in (0.0, *attacked.EPS):
        with torch.no_grad():
            expected = margins(look, judge, (x + eps * gradient.sign()).clamp(0, 1)).numpy()
        found = attacked.attack_scores(block, eps or None)
        assert np.allclose(found, expected, rtol=0, atol=5e-3), eps
        # Towards the other class, by more than the tolerance.
        if eps == 0.01 and source == judge:
            assert (signs * (found - attacked.attack_scores(block, None))).mean() < -0.05


def test_the_steps_of_all_strengths_are_those_of_the_attack_that_others_use(sample):
    """One gradient serves all of them."""
    look, sample = look_at(1), sample[:-2]
    block = attacked.attacked(look, "a", sample)
    x = torch.from_numpy(np.stack([decode(one.path).array for one in sample]))
    score, y = look.targets()["a"], torch.tensor(sample.labels)
    for eps in attacked.EPS:
        step = fgsm(score, x, y, eps=eps, threshold=0.0)
        expected = torch.where(y == FAKE, step.margin, -step.margin).numpy()
        np.testing.assert_allclose(attacked.attack_scores(block, eps), expected, rtol=0, atol=1e-3)


def test_what_is_made_against_the_weights_is_not_what_is_made_against_the_vote(sample):
    look = look_at(1)
    own, transferred = (attacked.attacked(look, target, sample) for target in (BY_VOTE, attacked.TRANSFER))
    assert own["clean"] == transferred["clean"]
    assert np.abs(np.subtract(own["0.02"], transferred["0.02"])).max() > 0.05
