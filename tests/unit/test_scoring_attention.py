"""The evidence of networks: the crop that was scored, the face in it, curves and words."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("captum")
pytest.importorskip("onnxscript")

from looking_networks import tiny  # noqa: E402
from network import CAE_SIZE, write_cae_net, write_network  # noqa: E402
from pictures import natural  # noqa: E402
from tellsign import faces, hub  # noqa: E402
from tellsign.explain.attention import attention_evidence  # noqa: E402
from tellsign.explain.cam import grad_cam, map_cells  # noqa: E402
from tellsign.explain.plots import evidence_plot  # noqa: E402
from tellsign.explain.words import FAITHFULNESS, curve_finding  # noqa: E402
from tellsign.image import crop_corners, square_crops  # noqa: E402
from tellsign.scoring.attention import Attention, face_in  # noqa: E402
from tellsign.scoring.scorer import Scorer  # noqa: E402
from tellsign.systems.cae_net.system import CaeNetSystem  # noqa: E402
from tellsign.types import ConfigError, Evidence  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """Of a detector that looks at up to 4 crops."""
    folder = write_cae_net(tmp_path_factory.mktemp("network") / "cae-net", max_crops=4)
    return Attention(Scorer(folder))


def test_the_crop_with_the_highest_score_is_shown(attention, monkeypatch):
    region = natural(5, 100, 180)
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: ())
    evidence, grounds = attention.evidence(region)
    look = attention.detector.look
    crops = square_crops(region, look.size, look.max_crops)
    assert len(crops) > 1
    scores = [attention.detector.score({"crops": crop[None, None].astype(np.float32)})[0] for crop in crops]
    best = int(np.argmax(scores))
    top, left = crop_corners(100, 180, look.size, look.max_crops)[best]
    expected = np.round(255 * region[:, top : top + CAE_SIZE, left : left + CAE_SIZE]).transpose(1, 2, 0)
    assert set(grounds) == {"attention of pixels", "attention of bands"}
    for ground in grounds.values():
        np.testing.assert_array_equal(ground, expected.astype(np.uint8))
    names = [one.name for one in evidence]
    assert names == [
        "attention of pixels",
        "faithfulness of attention of pixels",
        "attention of bands",
        "faithfulness of attention of bands",
    ]
    assert f"column {left} and row {top}" in evidence[0].caption
    assert f"of {len(crops)} crops" in evidence[0].caption
    network = CaeNetSystem().branches(attention.detector.artifact.path)["bands"]
    (values,) = grad_cam(network, crops[best : best + 1].astype(np.float32))
    np.testing.assert_allclose(evidence[2].values, values / values.max(), rtol=1e-3, atol=1e-4)


def test_the_share_inside_a_face(attention, monkeypatch):
    region = natural(5, CAE_SIZE, CAE_SIZE)
    half = faces.Box(-10, 0, CAE_SIZE // 2, CAE_SIZE)
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: (half,))
    evidence, _ = attention.evidence(region)
    shares = {one.name: one for one in evidence if one.kind == "scalar"}
    assert set(shares) == {"attention of pixels inside the face", "attention of bands inside the face"}
    maps = {one.name: one.values for one in evidence if one.kind == "heatmap"}
    for name, share in shares.items():
        values = maps[name.removesuffix(" inside the face")]
        assert float(share.values) == pytest.approx(values[:, : CAE_SIZE // 2].sum() / values.sum(), rel=1e-5)
        assert "covers 50%" in share.caption.replace("\u00a0", "").replace(" %", "%")


def test_a_face_in_a_crop(monkeypatch):
    found = (faces.Box(0, 0, 10, 10, 3.0), faces.Box(40, 15, 80, 60, 2.0), faces.Box(25, 25, 35, 35, 1.0))
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: found)
    region = natural(0, 100, 100)
    assert face_in(region, 20, 30, 32) == faces.Box(10, 0, 32, 32)
    assert face_in(region, 60, 0, 32) is None


@pytest.mark.parametrize(("left", "shown"), [(24, True), (25, False)])
def test_a_sliver_of_a_face_is_none_as_in_training(monkeypatch, left, shown):
    """Of 10 columns of the box 3 lie in the crop, or 2: a quarter is asked for. Then the next face counts."""
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: (faces.Box(left + 8, 5, left + 18, 25, 2.0),))
    found = face_in(natural(0, 100, 100), 0, 3, 32)
    assert (found == faces.Box(29, 5, 32, 25)) if shown else (found is None)
    other = (faces.Box(left + 8, 5, left + 18, 25, 2.0), faces.Box(10, 10, 20, 20, 1.0))
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: other)
    assert face_in(natural(0, 100, 100), 0, 3, 32) == (found or faces.Box(7, 10, 17, 20))


def test_a_face_larger_than_a_crop_needs_a_quarter_of_the_crop(monkeypatch):
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: (faces.Box(-200, -200, 9, 100),))
    assert face_in(natural(0, 100, 100), 0, 0, 32) == faces.Box(0, 0, 9, 32)
    assert face_in(natural(0, 100, 100), 0, 2, 32) is None


def test_a_map_of_nothing_says_so():
    network = tiny("test_resnet")
    head = network.get_classifier()
    with torch.no_grad():
        head.weight.zero_()
    found = attention_evidence(
        "it",
        network,
        lambda images: np.zeros(len(images)),
        natural(0, 64, 64),
        where="all",
        face=faces.Box(0, 0, 9, 9),
    )
    assert [one.kind for one in found] == ["heatmap", "curve"]
    assert "zero everywhere" in found[0].caption
    assert not found[0].values.any()


def test_cells_of_a_map():
    assert map_cells(tiny("test_resnet"), 224) == 7
    assert map_cells(tiny("test_vit"), 160) == 10


@pytest.mark.parametrize(
    ("deleted", "inserted", "words"),
    [(1.0, 3.0, "Both speak for"), (1.0, 1.0, "One speaks for"), (3.0, 1.0, "Neither speaks for")],
)
def test_words_and_plot_of_the_curves(deleted, inserted, words):
    rows = [np.full(17, level) for level in (deleted, 2.0, inserted, 2.0)]
    evidence = Evidence(
        kind="curve", name="f", values=np.stack(rows), unit="log-odds", caption="", labels=FAITHFULNESS
    )
    text = curve_finding(evidence)
    assert words in text
    assert "2 in random order (lower is better)" in text
    plot = evidence_plot(evidence, None)
    from matplotlib.figure import Figure

    figure = Figure()
    plot.draw(figure)
    above, below = figure.axes
    assert [line.get_ydata()[0] for line in (*above.lines, *below.lines)] == [deleted, 2, inserted, 2]
    assert list(above.lines[0].get_xdata()[[0, -1]]) == [0, 1]


def test_a_system_that_cannot_be_looked_into(tmp_path, monkeypatch):
    from network import PairsSystem

    monkeypatch.setattr(hub, "system", lambda name: PairsSystem)
    scorer = Scorer(write_network(tmp_path / "pairs"))
    with pytest.raises(ConfigError, match="'pairs' has no networks"):
        Attention(scorer)


def test_branches_that_all_look_at_spectra(tmp_path, monkeypatch):
    monkeypatch.setattr("tellsign.systems.cae_net.system._over_the_picture", lambda *_: {})
    with pytest.raises(ConfigError, match="look at spectra"):
        Attention(Scorer(write_cae_net(tmp_path / "d")))
