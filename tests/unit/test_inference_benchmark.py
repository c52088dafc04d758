"""What the benchmark of inference says of bf16: the change of AUROC and of verdicts, or why there is none."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def inference():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks import inference

        yield inference


def test_auroc_and_verdicts_by_hand(inference):
    """Four of six are called as before; of nine pairs all were ranked right, and two are not any more."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    before = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    after = np.array([0.0, 1.0, 3.5, 1.5, 4.0, 5.0])
    verdicts = {inference.PLAIN: before, inference.OPENVINO_BF16: after}
    area, flipped = inference.agreement_rows("x", labels, verdicts, None)
    assert area["value"] == pytest.approx(-1000 / 9)
    assert flipped["value"] == pytest.approx(100 * 2 / 6)
    same = inference.agreement_rows("x", labels, verdicts | {inference.OPENVINO_BF16: before}, None)
    assert [row["value"] for row in same] == [0, 0]


def test_labelled_crops_are_photographs_and_up_sampled_ones(inference):
    config = inference.configuration("cae-net-small")
    images, labels = inference.labelled_crops(config)
    assert images.shape == (inference.LABELLED, 3, config.size, config.size)
    assert labels.tolist() == [0, 1] * (inference.LABELLED // 2)
    for image, label in zip(images[:6], labels[:6], strict=True):
        twins = (image[:, ::2] == image[:, 1::2]).all() and (image[:, :, ::2] == image[:, :, 1::2]).all()
        assert twins == label


class Side:
    """The other end of a side's process."""

    def __init__(self, images, scores):
        self.images, self.scores, self.asked = images, scores, []

    def send(self, others):
        self.asked.append(self.images if others is None else others)

    def recv(self):
        return 0.5, self.scores(self.asked.pop())


@pytest.fixture
def tiny(inference, monkeypatch):
    """Sides whose scores are mean levels, and in bf16 something else; which of them can't run, and why."""
    reasons = {}
    config = inference.configuration("cae-net-small")
    monkeypatch.setattr(inference, "configuration", lambda name: config)
    monkeypatch.setattr(inference, "write_detector", lambda *_: None)
    monkeypatch.setattr(inference, "LABELLED", 2 * inference.BATCH)

    def level(images):
        return 100 * images.mean(axis=(1, 2, 3))

    @contextmanager
    def started(side, folder, images):
        coarse = side == inference.OPENVINO_BF16
        yield reasons.get(side) or Side(
            images, lambda found: np.round(level(found)) if coarse else level(found)
        )

    monkeypatch.setattr(inference, "started", started)
    return reasons, level, config


def of_bf16(inference):
    rows = {row["name"]: row for row in inference.rows() if inference.OPENVINO_BF16 in row["name"]}
    (area,) = [row for name, row in rows.items() if "change of AUROC" in name]
    (verdicts,) = [row for name, row in rows.items() if "verdicts that differ" in name]
    return area, verdicts


def test_where_there_is_bf16_it_is_compared_on_labelled_crops(inference, tiny):
    from tellsign.metrics import auroc

    _, level, config = tiny
    area, verdicts = of_bf16(inference)
    images, labels = inference.labelled_crops(config)
    exact = level(images)
    coarse, threshold = np.round(exact), np.median(exact)
    assert area["value"] == pytest.approx(1000 * (auroc(labels, coarse) - auroc(labels, exact)))
    flipped = np.mean((coarse >= threshold) != (exact >= threshold))
    assert flipped > 0
    assert verdicts["value"] == pytest.approx(100 * flipped)


def test_where_there_is_none_the_rows_say_why(inference, tiny):
    from benchmarks.__main__ import line

    tiny[0][inference.OPENVINO_BF16] = "this processor has no bf16"
    for row in of_bf16(inference):
        assert row["value"] is None
        assert "n/a" in line(row)[0]
        assert "no bf16" in line(row)[0]


def test_openvino_scores_other_crops_than_its_own_when_they_are_sent(inference, tmp_path):
    """The life of a side in this process, in float32, which every processor has."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    from multiprocessing import Pipe
    from threading import Thread

    from tellsign.systems.cae_net.config import CaeNetConfig

    branches = {"a": {"backbone": "test_vit", "options": {"patch_size": 8, "depth": 1}}}
    config = CaeNetConfig(branches=branches, fusion_weights=(1.0,), size=32, weights="scratch")
    images, _ = inference.labelled_crops(config)
    own = images[: inference.BATCH]
    detector = inference.write_detector(tmp_path / "d", config, own)
    found = {}
    for side in (inference.ONNX, inference.OPENVINO):
        ours, theirs = Pipe()
        life = Thread(target=inference.serve, args=(side, detector, own, theirs))
        life.start()
        assert ours.recv() is None
        for others in (None, images[-inference.BATCH :]):
            ours.send(others)
            found.setdefault(side, []).append(ours.recv()[1])
        ours.close()
        life.join(60)
        assert not life.is_alive()
    one, other = (np.concatenate(found[side]) for side in (inference.ONNX, inference.OPENVINO))
    assert np.allclose(one, other, atol=1e-4)
    assert not np.allclose(one[: inference.BATCH], one[inference.BATCH :], atol=1e-3)
