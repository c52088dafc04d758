"""The two options of a training, measured: three real cells of tiny networks on pictures with a red face."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cae_net_tiny import without_graph, write_config
from pictures import natural, save, upsampled
from tellsign import faces
from tellsign.data import Manifest
from tellsign.evaluate.reproduce import reproduce
from tellsign.image import decode, square_crops
from tellsign.metrics import auroc
from tellsign.types import FAKE, REAL, ConfigError, Sample

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("captum")
pytest.importorskip("onnxscript")
from looking_networks import logits_and_map  # noqa: E402 - needs PyTorch
from tellsign.evaluate import comparisons  # noqa: E402
from tellsign.evaluate.cae_net import attacked, attention, faithful, options  # noqa: E402
from tellsign.evaluate.cae_net.looks import BY_VOTE, BY_WEIGHTS  # noqa: E402
from tellsign.evaluate.cae_net.study import configuration, scores_on  # noqa: E402
from tellsign.evaluate.comparisons import Pooled, mean_over_groups  # noqa: E402
from tellsign.evaluate.folds import folds  # noqa: E402
from tellsign.evaluate.samples import evenly  # noqa: E402
from tellsign.evaluate.study import Study  # noqa: E402
from tellsign.nn.attention import attention_outside, box_masks, cam_layer  # noqa: E402
from tellsign.systems.cae_net.model import Branch, new_branch  # noqa: E402
from tellsign.systems.cae_net.system import CaeNetSystem  # noqa: E402
from trainings import Tiny  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE, CROP = 72, 64
RED = np.array([1.0, 0.0, 0.0])[:, None, None]
BRANCHES = ("deit", "wavelet")
NAMES = (options.BASE, options.ATTENTION, options.ADVERSARIAL)
PAIRS = tuple(f"{option} - {options.BASE}" for option in options.OPTIONS)
SMALL = {
    "size = 32": f"size = {CROP}",
    "epochs = 2\nb": "epochs = 1\nb",
    'fusion = "fit"': 'fusion = "weights"\nfusion_weights = [0.6, 0.4]',
    '[config.branches.efficientnet]\nbackbone = "test_efficientnet"\nflip = true\nstage_epochs = 1\n': "",
}


def place(row):
    """Where the face of an image is, of which every fourth has none; some stick out of the middle crop."""
    return None if row % 4 == 3 else (row % 30, 40 - row % 40, row % 30 + 34, 70 - row % 40)


def red_box(image):
    rows, columns = np.nonzero((np.abs(image - RED) < 0.01).all(axis=0))
    if not len(rows):
        return ()
    return (faces.Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1),)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder, samples = tmp_path_factory.mktemp("data"), []
    for label, make in ((REAL, natural), (FAKE, upsampled)):
        for row in range(36):
            picture = 0.9 * make(5000 * label + row, SIDE, SIDE)
            if place(row):
                left, top, right, bottom = place(row)
                picture[:, top:bottom, left:right] = RED
            path = save(picture, folder / f"{label}-{row}.png")
            samples.append(Sample(path, label, "made", "nearest" if label else "", f"{label}-{row // 2}"))
    return Manifest(tuple(samples))


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        without_graph(patch)
        patch.setattr("tellsign.faces.boxes", red_box)
        patch.setattr(comparisons, "RESAMPLES", 50)
        patch.setattr(faithful, "N_IMAGES", 4)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config"), SMALL)


def table(manifest, config, cells, name="cae-net-options", **more):
    said = []
    given = {"manifest": manifest, "config": config, "out": cells, "folds": 3, "samples": (14,)}
    found = reproduce(name, **{**given, "say": said.append, **more})
    return {(row.row, row.column): row for row in found.rows}, said, found


@pytest.fixture(scope="module")
def done(manifest, config, tmp_path_factory):
    """Rows, what was said, the result, and the folder of cells."""
    cells = tmp_path_factory.mktemp("cells")
    return *table(manifest, config, cells), cells


@pytest.fixture(scope="module")
def sample(manifest):
    return evenly(folds(manifest, 3, seed=0)[0].test, 14)


@pytest.fixture(scope="module")
def detectors(done):
    names = dict(zip(NAMES, ("fold-1-of-3", "attention-regularisation", "adversarial-training"), strict=True))
    return {name: next(done[3].glob(f"{slug}-*")) / "detector" for name, slug in names.items()}


def faces_of(sample):
    """Row → box in the middle crop, from where the faces were drawn."""
    found, edge = {}, (SIDE - CROP) // 2
    for number, one in enumerate(sample):
        drawn = place(int(one.path.stem.split("-")[1]))
        if drawn:
            found[number] = [min(max(value - edge, 0), CROP) for value in drawn]
    return found


def copied(cells, to, *slugs):
    """Some cells, without where faces are and what their detectors look at."""
    for slug in slugs:
        (folder,) = cells.glob(f"{slug}-*")
        shutil.copytree(folder, to / folder.name, ignore=shutil.ignore_patterns("faces-*", "attention-*"))
    return to


# three trainings


def test_every_column_of_the_three_trainings_is_measured(done):
    rows, _, result, _ = done
    columns = ["AUROC", "accuracy, clean", *(f"accuracy, FGSM {eps}" for eps in (0.01, 0.02, 0.03))]
    columns += [f"attention in the face, {branch}" for branch in BRANCHES]
    wanted = {(name, column) for name in NAMES for column in columns}
    wanted |= {(pair, f"{column}, difference") for pair in PAIRS for column in columns}
    gains = [f"{gain} gain, {branch}" for gain in ("deletion", "insertion") for branch in BRANCHES]
    wanted |= {(name, column) for name in NAMES for column in gains}
    assert set(rows) == wanted | {(options.EVEN, "attention in the face")}
    for key, row in rows.items():
        assert row.published is None
        assert row.reproduced is not None, key
        if key[0] == options.BASE and key[1] in columns[:5]:
            assert row.note.startswith("published values: cae-net-singles and cae-net-fgsm")
        elif key[0] in NAMES:
            assert row.note.startswith("not in the paper")
    assert "attention_weight = 1." in result.notes[0]
    assert "adversarial_eps = 0.01." in result.notes[0]


def test_the_trainings_differ_in_the_option_and_in_nothing_else(done, detectors):
    records = {
        name: json.loads((path.parent / "record.json").read_bytes())["identity"]
        for name, path in detectors.items()
    }
    trainings = {name: record["config"].pop("training") for name, record in records.items()}
    assert records[options.BASE] == records[options.ATTENTION] == records[options.ADVERSARIAL]
    assert trainings[options.ATTENTION] == {**trainings[options.BASE], "attention_weight": 1.0}
    assert trainings[options.ADVERSARIAL] == {**trainings[options.BASE], "adversarial_eps": 0.01}
    assert len(list(done[3].glob("*/record.json"))) == 3


def test_the_first_training_and_its_attack_are_those_of_the_other_tables(done, manifest, config):
    rows, _, _, cells = done
    other, said, _ = table(manifest, config, cells, "cae-net-fgsm")
    assert not any("epoch" in text for text in said)
    assert any(text.startswith("FGSM: deit") for text in said)
    assert not any(text.startswith("FGSM: ensemble by weights,") for text in said), "it is kept"
    for column in ("accuracy, clean", "accuracy, FGSM 0.02"):
        one, same = rows[options.BASE, column], other["ensemble by weights", column]
        assert (one.reproduced, one.ci) == (same.reproduced, same.ci)


def test_again_nothing_is_trained_sought_or_attacked(done, manifest, config, monkeypatch):
    monkeypatch.setattr("tellsign.faces.boxes", lambda picture: pytest.fail("sought again"))
    _, said, result = table(manifest, config, done[3])
    assert not said
    assert result.to_dict() == done[2].to_dict()
    assert sum("faces: sought in 14 test images" in text for text in done[1]) == 1, "once for all three"


def test_differences_are_those_of_the_option_to_none(done):
    rows = done[0]
    for option in options.OPTIONS:
        for column in ("AUROC", "accuracy, clean", "accuracy, FGSM 0.03"):
            pair = rows[f"{option} - {options.BASE}", f"{column}, difference"]
            own = rows[option, column].reproduced - rows[options.BASE, column].reproduced
            assert pair.reproduced == pytest.approx(own)
            assert pair.note in ("undecided", f"{option} is better", f"{options.BASE} is better")
            if pair.ci and pair.ci[0] <= 0 <= pair.ci[1]:
                assert pair.note == "undecided"


# what is measured


def test_auroc_and_accuracy_under_attack_by_hand(done, detectors, manifest, sample):
    rows = done[0]
    whole = folds(manifest, 3, seed=0)[0].test
    for name, path in detectors.items():
        module = CaeNetSystem().module(path)

        def batch(part):
            x = torch.from_numpy(np.stack([decode(one.path).array for one in part])).float()
            return x, torch.tensor(part.labels, dtype=torch.float32)

        x, y = batch(whole)
        with torch.no_grad():
            area = auroc(y.numpy(), module(x).double().numpy())
        assert rows[name, "AUROC"].reproduced == pytest.approx(area)
        x, y = batch(sample)
        x.requires_grad_()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(module(x), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        for column, eps in (("accuracy, clean", 0.0), ("accuracy, FGSM 0.02", 0.02)):
            with torch.no_grad():
                called = module((x + eps * gradient.sign()).clamp(0, 1)) >= 0
            share = float((called == y.bool()).float().mean())
            assert rows[name, column].reproduced == pytest.approx(share), (name, column)


def test_the_share_in_the_face_by_hand(done, detectors, sample):
    """By the differentiable map of the loss and not by captum, and by boxes where the faces were drawn."""
    rows, boxes = done[0], faces_of(sample)
    assert 5 < len(boxes) < len(sample)
    assert any(0 in box or CROP in box for box in boxes.values()), "none is cut off"
    crops = np.concatenate([square_crops(decode(sample[row].path).array, CROP, 1) for row in boxes])
    x, inside = torch.from_numpy(crops).float(), box_masks(torch.tensor(list(boxes.values())), CROP, CROP)
    means = inside.mean(dim=(1, 2)).double().numpy()
    assert rows[options.EVEN, "attention in the face"].reproduced == pytest.approx(means.mean())
    n_maps = 0
    for branch in BRANCHES:
        column, shares = f"attention in the face, {branch}", {}
        for name, path in detectors.items():
            network = CaeNetSystem().branches(path)[branch]
            _, maps = logits_and_map(network, x, cam_layer(network))
            found = 1 - attention_outside(maps, inside).detach().double().numpy()
            blank = (maps == 0).all(dim=(1, 2)).numpy()
            shares[name] = np.where(blank, np.nan, found)
            n_maps += int((~blank).sum())
            row = rows[name, column]
            assert f"{(~blank).sum()} images with a face" in row.note
            assert (f"{blank.sum()} whose map is zero" in row.note) == bool(blank.any())
            assert row.reproduced == pytest.approx(np.nanmean(shares[name]), abs=1e-4)
            assert row.ci[0] <= row.reproduced <= row.ci[1]
        for option in options.OPTIONS:
            pair = rows[f"{option} - {options.BASE}", f"{column}, difference"]
            own = shares[option] - shares[options.BASE]
            assert pair.reproduced == pytest.approx(np.nanmean(own), abs=1e-4)
            assert pair.note.endswith(f"; {np.isfinite(own).sum()} images")
            verdict = "more" if pair.ci[0] > 0 else "less" if pair.ci[1] < 0 else "undecided"
            assert pair.note.startswith(verdict)
    assert n_maps > 4 * len(boxes)


def test_maps_that_are_zero_are_counted_and_have_no_share(
    done, manifest, config, sample, tmp_path, monkeypatch
):
    cells = copied(done[3], tmp_path / "cells", "fold-1", "attention", "adversarial")

    def red_of_the_bright(network, images):
        bright = images[:, 1].mean(axis=(1, 2)) > level
        return (np.abs(images - RED) < 0.01).all(axis=1) * bright[:, None, None].astype(np.float32)

    crops = [square_crops(decode(sample[row].path).array, CROP, 1)[0] for row in faces_of(sample)]
    greens = [crop[1].mean() for crop in crops]
    level = np.median(greens)
    n = sum(green > level for green in greens)
    assert 0 < n < len(greens)
    monkeypatch.setattr(attention, "grad_cam", red_of_the_bright)
    rows, _, _ = table(manifest, config, cells)
    row = rows[options.BASE, "attention in the face, deit"]
    assert row.reproduced == pytest.approx(1)
    assert f"{n} images with a face, and {len(greens) - n} whose map is zero everywhere" in row.note
    pair = rows[PAIRS[0], "attention in the face, deit, difference"]
    assert (pair.reproduced, pair.note) == (0, f"undecided; {n} images")
    level = 1.0
    shutil.rmtree(cells)
    rows, _, _ = table(manifest, config, copied(done[3], cells, "fold-1", "attention", "adversarial"))
    assert rows[options.BASE, "attention in the face, deit"].reproduced is None
    assert rows[PAIRS[1], "attention in the face, deit, difference"].note.startswith("no image of which both")


def test_a_mean_is_resampled_by_groups():
    values, labels = np.repeat([0.0, 1.0], 50), np.zeros(100, dtype=int)

    def mean(values, groups):
        return mean_over_groups(values, Pooled(labels, groups, {}, np.zeros(100)))

    apart = mean(values, tuple(map(str, range(100))))
    assert apart.value == 0.5
    assert 0.3 < apart.low < 0.5 < apart.high < 0.7
    two = mean(values, ("a",) * 50 + ("b",) * 50)
    assert (two.value, two.low, two.high) == (0.5, 0.0, 1.0)
    assert np.isnan(mean(values, ("a",) * 100).low)
    assert mean_over_groups(values[:0], Pooled(labels[:0], (), {}, np.zeros(0))) is None


# what can't be made


@pytest.mark.parametrize("finder", ["nothing", "missing"])
def test_without_faces_the_penalty_is_not_trained_and_the_rest_stands(
    done, manifest, config, tmp_path, monkeypatch, finder
):
    def boxes(picture):
        if finder == "missing":
            raise ConfigError("faces are found by dlib, which is not installed")
        return ()

    monkeypatch.setattr("tellsign.faces.boxes", boxes)
    cells = copied(done[3], tmp_path, "fold-1", "adversarial")
    rows, said, _ = table(manifest, config, cells)
    assert not any("epoch" in text for text in said)
    reason = "dlib, which is not" if finder == "missing" else "no face is found in 14 test images"
    for column in ("AUROC", "accuracy, FGSM 0.01", "attention in the face, deit"):
        row = rows[options.ATTENTION, column]
        assert row.reproduced is None
        assert reason in row.note
    assert "not trained: " in rows[options.ATTENTION, "AUROC"].note
    for name in (options.BASE, options.ADVERSARIAL):
        assert rows[name, "AUROC"].reproduced == done[0][name, "AUROC"].reproduced
        assert reason in rows[name, "attention in the face, wavelet"].note
    assert not [key for key in rows if key[0] == PAIRS[0]]
    assert rows[PAIRS[1], "AUROC, difference"] == done[0][PAIRS[1], "AUROC, difference"]


def test_without_captum_the_maps_alone_are_missing(done, manifest, config, monkeypatch):
    def missing(*_):
        raise ConfigError("class activation maps need captum; install it with: pip install 'tellsign[train]'")

    monkeypatch.setattr(attention, "grad_cam", missing)
    rows, _, _ = table(manifest, config, done[3])
    for (name, column), row in rows.items():
        if column.startswith("attention in the face, ") or " gain, " in column:
            assert row.reproduced is None
            assert "need captum" in row.note
        else:
            assert row == done[0][name, column]


def test_a_training_that_fails_leaves_the_others(done, manifest, config, tmp_path, monkeypatch):
    cells = copied(done[3], tmp_path, "fold-1", "attention")

    def stops(*_, **__):
        raise ConfigError("the loss is nan at epoch 1")

    monkeypatch.setattr(CaeNetSystem, "fit", stops)
    rows, _, _ = table(manifest, config, cells)
    assert "the loss is nan" in rows[options.ADVERSARIAL, "attention in the face, deit"].note
    assert rows[PAIRS[0], "AUROC, difference"] == done[0][PAIRS[0], "AUROC, difference"]
    assert not [key for key in rows if key[0] == PAIRS[1]]


def test_the_vote_is_compared_with_the_weights_before_and_after_adversarial_training(sample, monkeypatch):
    """An attack that turns five decisions of the weights and two of the vote, and none after the training."""
    signs = np.where(np.array(sample.labels) == FAKE, 1.0, -1.0)

    def block(given, cell, look, target, images):
        n_turned = 0 if cell == options.ADVERSARIAL else {BY_WEIGHTS: 5, BY_VOTE: 2}.get(target, 3)
        attacked_scores = (signs * np.where(np.arange(len(signs)) < n_turned, -1, 1)).tolist()
        rows = list(range(len(images)))
        return {"rows": rows, "clean": signs.tolist()} | {str(eps): attacked_scores for eps in attacked.EPS}

    monkeypatch.setattr(options, "attack_block", block)
    look = SimpleNamespace(rules={BY_WEIGHTS: "weights", BY_VOTE: "vote"})
    found = {
        name: options.Measured(
            name,
            block(None, name, look, BY_WEIGHTS, sample),
            {},
            {},
            options._blocks(None, name, look, sample) if name in options.VOTED else {},
        )
        for name in NAMES
    }
    rows = {(row.row, row.column): row for row in options._attack_rows(found, found[options.BASE], sample)}
    column, n = "accuracy, FGSM 0.02, difference", len(sample)
    for option, vote, transfer in ((options.BASE, 3 / n, 2 / n), (options.ADVERSARIAL, 0, 0)):
        weights = f"{BY_WEIGHTS}, {option}"
        assert rows[f"{BY_VOTE}, {option} - {weights}", column].reproduced == pytest.approx(vote)
        assert rows[f"{attacked.TRANSFER}, {option} - {weights}", column].reproduced == pytest.approx(
            transfer
        )
        assert rows[f"{BY_VOTE}, {option} - {weights}", "accuracy, clean, difference"].reproduced == 0
    assert not [name for name, _ in rows if BY_VOTE in name and options.ATTENTION in name]
    two = SimpleNamespace(rules={BY_WEIGHTS: "weights"})
    assert options._blocks(None, options.BASE, two, sample) == {}, "two branches have no majority"


@pytest.mark.parametrize("option", ["attention_weight", "adversarial_eps"])
def test_an_option_that_is_on_already_has_nothing_to_be_compared_with(manifest, tmp_path, option):
    config = write_config(tmp_path, {"workers = 0": f"workers = 0\n{option} = 0.5"})
    with pytest.raises(ConfigError, match=f"{option} = 0.5: this table compares .* leave it out"):
        table(manifest, config, tmp_path / "cells")
    assert not (tmp_path / "cells").exists()


def test_branches_without_a_map_say_why(manifest, tmp_path):
    config = configuration(write_config(tmp_path, {**SMALL, 'input = "dwt"': 'input = "fft"'}))
    unknown = Branch(Tiny(), dwt=None, statistics={"mean": (0.5,) * 3, "std": (0.5,) * 3}).eval()
    branches = {name: new_branch(config, name).eval() for name in ("deit", "wavelet")} | {"other": unknown}
    look = SimpleNamespace(network=SimpleNamespace(branches=branches), size=CROP)
    assert attention.no_map(look, "deit") == ""
    assert attention.no_map(look, "wavelet").startswith("wavelet looks at a spectrum")
    assert "which layer of" in attention.no_map(look, "other")
    given = Study(manifest, "cae-net", config, scores_on, tmp_path, 3, 0, None, None, print)
    with pytest.raises(ConfigError, match="those of wavelet lie over a spectrum"):
        options.option_cell(replace(given), options.ATTENTION)
