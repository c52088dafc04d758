"""Attention regularisation in training: the penalty by hand, on pixels and sub-bands, and in a whole run."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from looking_networks import Quadrant, logits_and_map, tiny  # noqa: E402
from pictures import natural, save  # noqa: E402
from tellsign import faces  # noqa: E402
from tellsign.data import Manifest  # noqa: E402
from tellsign.data.augment import View  # noqa: E402
from tellsign.engine.checkpoint import weights_digest  # noqa: E402
from tellsign.engine.classifier import train_network  # noqa: E402
from tellsign.engine.config import TrainingConfig  # noqa: E402
from tellsign.engine.losses import adversarial, attentive, cross_entropy, focal, training_loss  # noqa: E402
from tellsign.engine.scores import arithmetic  # noqa: E402
from tellsign.nn.attention import CamLayer, attention_outside, box_masks, cam_layer  # noqa: E402
from tellsign.systems.cae_net.config import CaeNetConfig  # noqa: E402
from tellsign.systems.cae_net.model import Branch  # noqa: E402
from tellsign.types import ConfigError, Sample  # noqa: E402
from trainings import Tiny, same  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 64
NO_FACE = [0, 0, 0, 0]


def pictures(n, side=SIDE):
    return torch.from_numpy(np.stack([natural(seed, side, side) for seed in range(n)]))


def test_a_network_that_looks_at_one_quadrant_pays_where_the_face_is_elsewhere():
    network, images = Quadrant(), pictures(4)
    network.features.register_forward_hook(lambda _m, _i, output: output.requires_grad_())
    half = SIDE // 2
    # A map of cells reaches half a cell beyond the quadrant.
    boxes = [[half - 2, 0, SIDE, half + 2], [0, 0, half - 2, SIDE], [0, half + 2, SIDE, SIDE], NO_FACE]
    loss = attentive(cross_entropy, 0.7, CamLayer(network.features))
    labels = torch.tensor([0, 1, 0, 1])
    found, figures = loss(network, images, labels, boxes=torch.tensor(boxes, dtype=torch.float32))
    plain, _ = cross_entropy(network, images, labels)
    torch.testing.assert_close(found - plain, 0.7 * torch.tensor([0.0, 1.0, 1.0, 0.0]))
    assert figures == {"attention_outside": pytest.approx(0.5)}


@pytest.mark.parametrize("dwt", [None, "native", "dwt_resize"])
def test_the_share_of_a_branch_on_pixels_and_sub_bands(dwt):
    """By hand: the map of the backbone, over what it sees, against a box of the image."""
    channels = 3 if dwt is None else 12
    backbone = tiny("test_resnet", channels=channels)
    statistics = {"mean": (0.3,) * channels, "std": (0.5,) * channels}
    branch, images = Branch(backbone, dwt=dwt, statistics=statistics).eval(), pictures(2, 192)
    boxes = torch.tensor([[0, 0, 96, 192], [48, 96, 190, 180]], dtype=torch.float32)
    config = TrainingConfig(attention_weight=2.0)
    labels = torch.tensor([0, 1])
    found, _ = training_loss(focal, branch, config)(branch, images, labels, boxes=boxes)
    _, maps = logits_and_map(backbone, branch.entry(images), cam_layer(backbone))
    cells = 192 // 32 // (2 if dwt == "native" else 1)
    assert maps.shape == (2, cells, cells)
    shares = attention_outside(maps, box_masks(boxes, 192, 192))
    assert shares.min() > 0
    torch.testing.assert_close(found, focal(branch, images, labels)[0] + 2 * shares)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_every_weight_gets_a_finite_gradient(name, precision):
    network, images = tiny(name).train(), pictures(2, 96)
    boxes = torch.tensor([[8, 8, 40, 56], NO_FACE], dtype=torch.float32)
    loss = adversarial(attentive(cross_entropy, 1.0, cam_layer(network)), 0.01)
    with arithmetic(torch.device("cpu"), precision):
        losses, figures = loss(network, images, torch.tensor([0, 1]), boxes=boxes)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert 0 <= figures["attention_outside"] <= 1
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_network_whose_layer_nobody_knows():
    with pytest.raises(ConfigError, match="which layer of Tiny a class activation map is made of"):
        training_loss(cross_entropy, Tiny(), TrainingConfig(attention_weight=1.0))


def test_maps_over_a_spectrum_are_refused():
    branches = {"a": {"backbone": "test_resnet"}, "b": {"backbone": "test_resnet", "input": "fft"}}
    options = {"branches": branches, "fusion": "fit", "weights": "scratch"}
    with pytest.raises(ConfigError, match="those of b lie over a spectrum"):
        CaeNetConfig(**options, training={"attention_weight": 0.1})
    CaeNetConfig(**options)


# a whole run


RED = np.array([1.0, 0.0, 0.0])[:, None, None]


def red_box(image):
    rows, columns = np.nonzero((np.abs(image - RED) < 0.01).all(axis=0))
    if not len(rows):
        return ()
    return (faces.Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1),)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A red face on the left. Fakes are bright on the right, beside the face, and in one stripe of it."""
    folder = tmp_path_factory.mktemp("data")
    samples = []
    for row in range(24):
        image = 0.5 * natural(row, 96, 96)
        image[:, 16:80, 0:40] = RED
        if row % 2:
            image[:, :, 60:] += 0.4
            image[:, 44:52, 4:36] = np.array([0.9, 0.1, 0.1])[:, None, None]
        samples.append(Sample(save(image, folder / f"{row}.png"), row % 2))
    return Manifest(tuple(samples[:16])), Manifest(tuple(samples[16:]))


def run(data, folder, weight, checkpoint_seconds=60.0, **more):
    training, valid = data
    model = tiny("test_resnet", seed=1)
    config = TrainingConfig(
        epochs=4,
        batch_size=8,
        learning_rate=2e-3,
        workers=0,
        device="cpu",
        attention_weight=weight,
        checkpoint_seconds=checkpoint_seconds,
    )
    options = {"run": folder, "seed": 3, "identity": {"detector": "toy"}, **more}
    result = train_network(model, training, valid, View(size=96, flip=True), config, **options)
    return result, model


@pytest.fixture
def sought(monkeypatch):
    calls = []

    def boxes(image):
        calls.append(image.shape)
        return red_box(image)

    monkeypatch.setattr("tellsign.faces.boxes", boxes)
    monkeypatch.setattr("tellsign.engine.recorder.write_curves", lambda run, journal: None)
    return calls


def test_the_option_moves_attention_into_the_face(data, tmp_path, sought):
    said = []
    plain, _ = run(data, tmp_path / "plain", 0.0)
    assert not sought, "faces were sought although nobody asked"
    assert not (tmp_path / "plain" / "faces.jsonl").exists()
    assert all("attention_outside" not in row for row in plain.history)
    little, _ = run(data, tmp_path / "little", 1e-6, say=said.append)
    much, _ = run(data, tmp_path / "much", 3.0)
    assert len(sought) == 32, "once an image and run, and not in every epoch"
    assert any("faces: found in 16 of 16 images" in text for text in said)
    outside = [[row["attention_outside"] for row in result.history] for result in (little, much)]
    assert outside[1][-1] < 0.6 * outside[0][-1]
    # Without a weight to speak of, the run is the plain one.
    assert little.best["auroc"] == pytest.approx(plain.best["auroc"], abs=0.1)


def test_a_run_that_is_ended_goes_on_bit_for_bit(data, tmp_path, sought):
    """Within the second epoch of two steps, with the file of faces that it has left."""

    class Ended(BaseException):
        pass

    calls = 0

    def ends(model, images, labels):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Ended
        return cross_entropy(model, images, labels)

    whole, model = run(data, tmp_path / "whole", 1.0)
    n = len(sought)
    assert n
    with pytest.raises(Ended):
        run(data, tmp_path / "ended", 1.0, loss=ends, checkpoint_seconds=0.0)
    assert len(sought) == 2 * n
    assert max(path.name for path in (tmp_path / "ended" / "checkpoints").iterdir()) == "00001-00000003"
    resumed, again = run(data, tmp_path / "ended", 1.0)
    assert len(sought) == 2 * n, "faces that are known are not sought again"
    assert same(resumed) == same(whole)
    assert all("attention_outside" in row for row in resumed.history)
    assert weights_digest(again) == weights_digest(model)
    plain, _ = run(data, tmp_path / "plain", 0.0)
    assert same(plain) != same(whole)


def test_a_file_of_faces_is_shared(data, tmp_path, sought):
    file = tmp_path / "faces.jsonl"
    first, _ = run(data, tmp_path / "a", 1.0, faces=file)
    again, _ = run(data, tmp_path / "b", 1.0, faces=file)
    assert len(sought) == 16
    assert first.best == again.best
    assert not (tmp_path / "b" / "faces.jsonl").exists()
