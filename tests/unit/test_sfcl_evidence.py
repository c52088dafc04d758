"""What SFCL-HCMF shows of a crop: influences against integrals by hand, maps that are known, where they lie.

Shapes: B batch, S side of a crop, H blocks along a side, N M positions of the deep maps.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")
pytest.importorskip("timm")
pytest.importorskip("captum")

from pictures import natural, save  # noqa: E402
from sfcl_tiny import SIZE, descriptors, network, write_detector  # noqa: E402
from tellsign import faces  # noqa: E402
from tellsign.explain import page  # noqa: E402
from tellsign.explain.attention import ScoredCrop  # noqa: E402
from tellsign.explain.plots import evidence_plot  # noqa: E402
from tellsign.features.sida import entries  # noqa: E402
from tellsign.image.network_input import described, seen  # noqa: E402
from tellsign.nn.attention import resized  # noqa: E402
from tellsign.scoring.attention import Attention  # noqa: E402
from tellsign.scoring.explanation import explained  # noqa: E402
from tellsign.scoring.scorer import Options, Scorer  # noqa: E402
from tellsign.systems.sfcl_hcmf.evidence import network_evidence, statistics_influence  # noqa: E402
from tellsign.types import FAKE, REAL, ConfigError  # noqa: E402

STREAM = "attention of the spatial stream"
FAAE, TAKEN, CHOOSY = "weights of FAAE", "attention of HCMA", "selectivity of HCMA"
INFLUENCE = "influence of the statistics"
NETWORKS = {
    "full": {},
    "vector": {"hcma": {"tokens": "vector"}},
    "no hcma": {"fusion": "faae"},
    "concat": {"fusion": "concat"},
    "as they are": {"scaling": "none"},
    "layer": {"scaling": "layer"},
}


@pytest.fixture(autouse=True)
def short_curves(monkeypatch):
    monkeypatch.setattr("tellsign.explain.attention.STEPS", 2)
    monkeypatch.setattr("tellsign.explain.attention.RANDOM_MAPS", 1)


def crop_of(net, *, size=SIZE, face=None):
    beside = None if net.descriptor is None else descriptors(1)[0].numpy()
    return ScoredCrop(natural(0, size, size), beside, region="face", where="all of it", face=face)


def shown(net, **options):
    crop = crop_of(net, **options)
    return {one.name: one for one in network_evidence(net, crop.pixels.shape[-1])(crop)}


def log_odds(net, *inputs):
    with torch.no_grad():
        logits = net(*inputs)
    return (logits[:, FAKE] - logits[:, REAL]).numpy()


# the statistics


def deep(net):
    """Deep maps and statistics of one picture, and the picture, in float64."""
    image = torch.from_numpy(natural(0, SIZE, SIZE))[None].double()
    with torch.no_grad():
        return image, *net.deep(*net.shallow(image)), descriptors(1).double()


@pytest.mark.parametrize("name", NETWORKS)
def test_influences_are_integrated_gradients_by_hand(name):
    """By PyTorch's gradient at 400 points of the line, of the network's own logits."""
    net = network(**NETWORKS[name]).double()
    _, s, f, descriptor = deep(net)
    found = statistics_influence(net, s, f, descriptor)
    scaled = net.descriptor(descriptor).detach()
    net.descriptor = torch.nn.Identity()
    line = ((torch.arange(400) + 0.5) / 400)[:, None] * scaled
    line.requires_grad_()
    logits = net.logits(s.expand(400, -1, -1, -1), f.expand(400, -1, -1, -1), line)
    (gradient,) = torch.autograd.grad((logits[:, FAKE] - logits[:, REAL]).sum(), line)
    expected = (gradient.mean(dim=0) * scaled[0]).numpy()
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_influences_add_up_to_the_difference_of_the_scores(name):
    net = network(**NETWORKS[name]).double()
    image, s, f, descriptor = deep(net)
    start = {
        "as they are": torch.zeros_like(descriptor),
        "layer": torch.full_like(descriptor, 3.0),  # all alike
    }.get(name)
    if start is None:
        start = net.descriptor.mean[None]
    expected = log_odds(net, image, descriptor) - log_odds(net, image, start)
    assert abs(expected[0]) > 1e-5
    assert statistics_influence(net, s, f, descriptor).sum() == pytest.approx(expected[0], rel=1e-9)


def test_statistics_that_say_nothing_have_no_influence():
    """Those at their mean, and those that a gate does not hear: 0 over 0 is not taken."""
    net = network().double()
    image, s, f, descriptor = deep(net)
    assert not statistics_influence(net, s, f, net.descriptor.mean[None]).any()
    with torch.no_grad():
        net.gate.linear.weight[:5] = 0
        net.gate.linear.weight[:, 7] = 0
    found = statistics_influence(net, s, f, descriptor)
    assert np.isfinite(found).all()
    assert found[7] == 0
    difference = log_odds(net, image, descriptor) - log_odds(net, image, net.descriptor.mean[None])
    assert found.sum() == pytest.approx(difference[0], rel=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_evidence_adds_up_to_the_score_and_names_the_strongest(name):
    net = network(**NETWORKS[name])
    crop = crop_of(net)
    found = network_evidence(net, SIZE)(crop)
    x, beside = torch.from_numpy(crop.pixels)[None], torch.from_numpy(crop.descriptor)[None]
    (bands,) = (one for one in found if one.name == INFLUENCE)
    (start,) = (one for one in found if one.name.startswith("score with "))
    assert bands.values.shape == (1, 15)
    assert start.values + bands.values.sum() == pytest.approx(log_odds(net, x, beside)[0], abs=1e-5)
    with torch.no_grad():
        parts = statistics_influence(net, *net.deep(*net.shallow(x)), beside)
    order = np.argsort(-np.abs(parts))[:10]
    strong = [one for one in found if one.unit == "of the score"]
    assert [one.name for one in strong] == [f"influence of {entries()[place]}" for place in order]
    assert [float(one.values) for one in strong] == pytest.approx(parts[order].tolist(), rel=1e-4)
    assert f"This face has {crop.descriptor[order[0]]:.3g}" in strong[0].caption
    standardised = name not in {"as they are", "layer"}
    assert ("standard deviations" in strong[0].caption) == standardised
    assert ("training images" in start.name) == standardised
    assert evidence_plot(bands, None).finding.startswith("Counted from coarse to fine detail")


# the map of the pixels


def test_the_map_of_the_pixels_is_that_by_hand():
    """At the last map of the spatial stream, by PyTorch's gradient, with the statistics of the picture."""
    net = network()
    crop = crop_of(net)
    kept = []
    handle = net.spatial.network.bn2.register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = net(torch.from_numpy(crop.pixels)[None], torch.from_numpy(crop.descriptor)[None])
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, FAKE], kept[0])
    by_hand = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1).relu().detach()
    assert by_hand.max() > 0
    expected = resized(by_hand / resized(by_hand, SIZE, SIZE).max(), SIZE, SIZE)[0].numpy()
    found = shown(net)
    np.testing.assert_allclose(found[STREAM].values, expected, rtol=1e-3, atol=1e-4)
    # The curves begin, and end, at the score with these statistics.
    curves = found[f"faithfulness of {STREAM}"]
    score = float((logits[0, FAKE] - logits[0, REAL]).detach())
    assert curves.values[0, 0] == pytest.approx(score, abs=1e-4)
    assert curves.values[2, -1] == pytest.approx(score, abs=1e-4)
    assert "its statistics held" in curves.caption


def test_the_share_in_a_face():
    half = faces.Box(0, 0, SIZE // 2, SIZE)
    found = shown(network(), face=half)
    values = found[STREAM].values
    share = found[f"{STREAM} inside the face"]
    assert float(share.values) == pytest.approx(values[:, : SIZE // 2].sum() / values.sum(), rel=1e-5)


# the maps of attention


@pytest.mark.parametrize("size", [96, 92, 89])
def test_a_weight_of_faae_lies_where_its_block_was(size, monkeypatch):
    """A crop of 92 pixels gets 2 on every side, one of 89 gets 3 above and 4 below."""
    net = network(size=size)
    row, column, C, H = 3, 5, net.faae.bn.num_features, 12
    alpha = torch.zeros(1, C, H, H)
    alpha[:, 0, row, column] = 1
    monkeypatch.setattr(net.faae, "attention", lambda x_s, x_f: alpha.expand(len(x_s), -1, -1, -1))
    values = shown(net, size=size)[FAAE].values
    assert values.shape == (size, size)
    rows, columns = np.nonzero(values > 0.999 * values.max())
    first = (96 - size) // 2
    assert (rows.mean(), columns.mean()) == (8 * row + 3.5 - first, 8 * column + 3.5 - first)
    # Half a pixel beside the middle of its block, both ways.
    assert values.max() == pytest.approx(H / C * (15 / 16) ** 2, rel=1e-5)


def attending(net, attention):
    """A network whose HCMA attends as it is told: (N, M)."""
    net.hcma.attention = lambda s, f: attention.expand(len(s), net.hcma.heads, -1, -1)
    return net


def test_what_hcma_takes_lies_where_it_was_taken():
    """All queries at one of 2 x 2 keys: 4 times an even share, at its quarter of the padded crop."""
    attention = torch.zeros(9, 4)
    attention[:, 2] = 1
    found = shown(attending(network(), attention))
    taken = found[TAKEN].values
    assert taken.shape == (SIZE, SIZE)
    assert taken[70:, :21] == pytest.approx(4)
    assert not taken[:20].any()
    assert not taken[:, 71:].any()
    assert found[CHOOSY].values == pytest.approx(1)


def test_an_even_attention_shows_that_it_says_nothing():
    found = shown(attending(network(), torch.full((9, 4), 0.25)))
    assert found[TAKEN].values == pytest.approx(1)
    assert found[CHOOSY].values == pytest.approx(0, abs=1e-6)


def test_the_place_that_chooses_is_the_one_that_asks():
    """One of 3 x 3 queries takes from a single key, one from two, the others from all."""
    attention = torch.full((9, 4), 0.25)
    attention[6] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    attention[2] = torch.tensor([0.5, 0.0, 0.0, 0.5])
    choosy = shown(attending(network(), attention))[CHOOSY].values
    assert choosy[-10:, :10] == pytest.approx(1)
    assert choosy[:10, -10:] == pytest.approx(0.5)
    assert choosy[-10:, -10:] == pytest.approx(0, abs=1e-6)


def test_the_maps_are_those_of_the_network():
    net = network()
    crop = crop_of(net)
    with torch.no_grad():
        x_s, x_f = net.shallow(torch.from_numpy(crop.pixels)[None])
        s, f = net.deep(x_s, x_f)
        alpha = net.faae.attention(x_s, x_f)[0].mean(dim=0).numpy()
        attention = net.hcma.attention(*net.hcma.embedded(s, f))[0].mean(dim=(0, 1)).reshape(2, 2).numpy()
    found = shown(net)
    # Beyond the middle of the outermost cells a map is flat.
    assert found[FAAE].values[0, 0] == pytest.approx(12 * alpha[0, 0], rel=1e-4)
    corners = found[TAKEN].values[[[0, 0], [-1, -1]], [[0, -1], [0, -1]]]
    np.testing.assert_allclose(corners, 4 * attention, rtol=1e-4)
    assert corners.mean() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "maps"),
    [
        ({}, [STREAM, FAAE, TAKEN, CHOOSY]),
        ({"sida": False}, [STREAM, FAAE, TAKEN, CHOOSY]),
        ({"fusion": "faae"}, [STREAM, FAAE]),
        ({"fusion": "hcma"}, [STREAM, TAKEN, CHOOSY]),
        ({"fusion": "concat"}, [STREAM]),
        ({"fusion": "spatial", "sbcm": False, "sida": False}, [STREAM]),
        ({"hcma": {"tokens": "vector"}}, [STREAM, FAAE]),  # one key: nothing attends
    ],
    ids=str,
)
def test_what_a_network_lacks_is_not_shown(options, maps):
    net = network(**options)
    found = shown(net)
    assert [name for name, one in found.items() if one.kind == "heatmap"] == maps
    assert (INFLUENCE in found) == (net.descriptor is not None)
    assert ("statistics held" in found[f"faithfulness of {STREAM}"].caption) == (net.descriptor is not None)
    assert all(np.isfinite(one.values).all() for one in found.values())


def test_a_map_of_one_position_has_no_attention():
    found = shown(network(size=32), size=32)
    assert [name for name, one in found.items() if one.kind == "heatmap"] == [STREAM, FAAE]


def test_the_network_is_left_as_it_was():
    net = network()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    first, again = (network_evidence(net, SIZE)(crop_of(net)) for _ in range(2))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_without_captum_the_extra_is_named_before_any_image(monkeypatch):
    for name in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"captum.*pip install 'tellsign\[train\]'"):
        network_evidence(network(), SIZE)


# from a file to the page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp("detector") / "tiny", region="face", fit="resize")


def test_a_face_is_shown_as_it_was_seen(folder, monkeypatch):
    """The square in its middle, resized; a box in it is resized along."""
    attention = Attention(Scorer(folder))
    given = []
    monkeypatch.setattr(attention, "_evidence", lambda crop: given.append(crop) or ())
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: (faces.Box(5, 10, 45, 50),))
    region = natural(5, 60, 50)
    attention.evidence(region)
    (crop,) = given
    inputs = seen(region, attention.detector.look)
    np.testing.assert_array_equal(crop.pixels, inputs.crops[0])
    np.testing.assert_array_equal(crop.descriptor, described(region, "sida"))
    assert crop.face == faces.Box(9, 9, 83, 83)
    assert crop.where == (
        "the 50 × 50 pixels from column 0 and row 5 on of the face, resized to 92 × 92 as the network "
        "sees them"
    )
    assert crop.region == "face"


def test_the_ground_of_each_map_is_the_crop_as_it_was_seen(folder, monkeypatch):
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: ())
    attention = Attention(Scorer(folder))
    region = natural(6, 300, 260)
    evidence, grounds = attention.evidence(region)
    assert list(grounds) == [STREAM, FAAE, TAKEN, CHOOSY]
    (crop,) = seen(region, attention.detector.look).crops
    for one in evidence:
        if one.kind == "heatmap":
            assert one.values.shape == (SIZE, SIZE)
            np.testing.assert_array_equal(grounds[one.name], np.round(255 * crop.transpose(1, 2, 0)))


def test_the_page_of_a_picture(tmp_path):
    folder = write_detector(tmp_path / "tiny", region="image", fit="resize")
    picture = save(natural(3, 100, 140), tmp_path / "p.png")
    scorer = Scorer(folder, Options(engine="torch"))
    row, explanation = explained(scorer, picture, full_metadata=False, attention=Attention(scorer))
    assert row["error"] is None
    (start,) = (one for one in explanation.verdict.evidence if one.name.startswith("score with "))
    (bands,) = (one for one in explanation.verdict.evidence if one.name == INFLUENCE)
    assert start.values + bands.values.sum() == pytest.approx(row["score"], abs=1e-4)
    text = "".join(page([explanation], title="t", detector=scorer.artifact.name))
    for title in (
        "Detail in blocks",
        *(name[:1].upper() + name[1:] for name in (STREAM, FAAE, TAKEN, CHOOSY)),
    ):
        assert f"<h4>{title}</h4>" in text
    assert "Influence of the statistics" in text
    assert (
        text.count("the 100 × 100 pixels from column 20 and row 0 on of the image, resized to 92 × 92") == 4
    )
    assert "influence of" in text
    assert "differences of" in text
