"""A network with two inputs, from the files of a training to the detector that runs without PyTorch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pictures import natural, save, upsampled  # noqa: E402
from tellsign import artifacts, faces, hub  # noqa: E402
from tellsign.data import Manifest  # noqa: E402
from tellsign.data.augment import View  # noqa: E402
from tellsign.data.face_boxes import FaceBoxes  # noqa: E402
from tellsign.data.loading import Loader, evaluation_batches  # noqa: E402
from tellsign.detectors.graph import GraphDetector, GraphInput  # noqa: E402
from tellsign.engine.classifier import train_network  # noqa: E402
from tellsign.engine.export import ScoredNetwork, parity, save_network  # noqa: E402
from tellsign.engine.inference import network_run  # noqa: E402
from tellsign.engine.losses import adversarial, cross_entropy, focal, weighted  # noqa: E402
from tellsign.engine.scores import network_scores  # noqa: E402
from tellsign.features.sida import entries  # noqa: E402
from tellsign.image import decode  # noqa: E402
from tellsign.image.network_input import NetworkInput, described, resized, seen  # noqa: E402
from tellsign.scoring.attention import Attention  # noqa: E402
from tellsign.types import ArtifactError, ConfigError, ManifestError, Sample  # noqa: E402
from trainings import Tiny, options, splits  # noqa: E402

pytestmark = pytest.mark.usefixtures("no_curves")

SIZE = 16
LOOK = GraphInput(size=SIZE, max_crops=2, descriptor="sida")


class Described(torch.nn.Module):
    """(B, 3, S, S), (B, 2304) → (B, 2): a little of both."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.pixels = torch.nn.Conv2d(3, 2, 3)
            self.statistics = torch.nn.Linear(2304, 2)

    def forward(self, images: torch.Tensor, descriptor: torch.Tensor) -> torch.Tensor:
        return self.pixels(images).mean(dim=(2, 3)) + self.statistics(descriptor.clamp(-5, 5))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    sizes = [(40, 56), (32, 32), (64, 48), (33, 70), (41, 40)]
    samples = []
    for i, size in enumerate(sizes):
        make = upsampled if i % 2 else natural
        samples.append(Sample(save(make(i, *size), folder / f"{i}.png"), i % 2))
    return Manifest(tuple(samples))


def arrays_of(manifest):
    return [decode(sample.path).array for sample in manifest]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_training_sees_a_view_and_the_statistics_of_the_whole(manifest, workers, fit):
    view = View(SIZE, flip=True, jitter=0.1, fit=fit, descriptor="sida")
    order = np.array([4, 1, 0, 2, 3, 1])
    with Loader(manifest, view, seed=1, workers=workers) as loader:
        batches = list(loader.epoch(order, epoch=0, batch_size=4))
    found = {
        row: one for batch in batches for row, one in zip(batch.rows.tolist(), batch.descriptors, strict=True)
    }
    for row, array in enumerate(arrays_of(manifest)):
        np.testing.assert_array_equal(found[row], described(array, "sida"))
    assert [batch.images.shape for batch in batches] == [(4, 3, SIZE, SIZE), (2, 3, SIZE, SIZE)]


def test_without_jitter_a_resized_view_is_what_evaluation_sees(manifest):
    view = View(24, flip=False, fit="resize")
    (batch,) = Loader(manifest, view, seed=0).epoch(np.arange(5), epoch=0, batch_size=5)
    (whole,) = evaluation_batches(manifest, view.network_input(), batch_size=5)
    assert torch.equal(batch.images, whole.crops[:, 0])
    for image, array in zip(batch.images.numpy(), arrays_of(manifest), strict=True):
        np.testing.assert_array_equal(image, resized(array, 24))


def test_faces_are_cut_out_of_the_files(manifest):
    """Of two images; the third shows none, the fourth could not be read when they were sought."""
    boxes = np.array([[4, 6, 24, 26], [0, 0, 20, 20], [0, 0, 0, 0], [0, 0, 0, 0], [10, 10, 30, 30]])
    sizes = np.array([[40, 56], [32, 32], [64, 48], [0, 0], [41, 40]])
    found = FaceBoxes(boxes, sizes)
    look = NetworkInput(20, region="face", descriptor="sida")
    (batch,) = evaluation_batches(manifest, look, batch_size=5, faces=found)
    assert batch.rows.tolist() == [0, 1, 3, 4]
    assert batch.bad == {2: "no face was found"}
    arrays = arrays_of(manifest)
    for row, crops, descriptor in zip(batch.rows.tolist(), batch.crops, batch.descriptors, strict=True):
        region = arrays[row] if row == 3 else faces.crop(arrays[row], faces.Box(*boxes[row])).image
        np.testing.assert_array_equal(crops, seen(region, look).crops)
        np.testing.assert_array_equal(descriptor, described(region, "sida"))
    view = View(20, flip=False, region="face")
    with Loader(manifest, view, seed=0, on_bad="skip", max_bad=1, faces=found) as loader:
        (batch,) = loader.epoch(np.arange(5), epoch=0, batch_size=5)
    assert loader.bad == {2: "no face was found"}
    for row, image in zip(batch.rows.tolist(), batch.images.numpy(), strict=True):
        region = arrays[row] if row == 3 else faces.crop(arrays[row], faces.Box(*boxes[row])).image
        windows = np.lib.stride_tricks.sliding_window_view(region, (20, 20), axis=(1, 2))
        assert (windows == image[:, None, None]).all(axis=(0, 3, 4)).any()


def test_a_look_at_faces_needs_them(manifest):
    with pytest.raises(ConfigError, match="no faces are given"):
        Loader(manifest, View(SIZE, region="face"), seed=0)
    with pytest.raises(ConfigError, match="no faces are given"):
        evaluation_batches(manifest, NetworkInput(SIZE, region="face"), batch_size=2)
    boxes = FaceBoxes(np.zeros((5, 4), np.int64), np.zeros((5, 2), np.int64))
    with pytest.raises(ConfigError, match="whole pictures alone"):
        Loader(manifest, View(SIZE, fit="resize"), seed=0, faces=boxes, shown=True)


def test_a_training_with_two_inputs_learns_from_both(tmp_path):
    model = Described()
    before = model.statistics.weight.detach().clone()
    settings = options(epochs=1, adversarial_eps=0.01)
    known = {"run": tmp_path / "run", "seed": 3, "identity": {}}
    result = train_network(model, *splits(tmp_path), View(SIZE, descriptor="sida"), settings, **known)
    assert np.isfinite(result.history[0]["loss"])
    assert not torch.equal(model.statistics.weight, before)


def test_a_training_on_faces_leaves_out_what_shows_none(tmp_path, monkeypatch):
    training, valid = splits(tmp_path)
    corners = [float(decode(sample.path).array[0, 0, 0]) for sample in training]
    limit = sorted(corners)[4]

    def boxes(image):
        """A face in the middle of all images but those with the darkest corners."""
        return (faces.Box(2, 2, 18, 18),) if image[0, 0, 0] >= limit else ()

    monkeypatch.setattr("tellsign.faces.boxes", boxes)
    said = []
    known = {"run": tmp_path / "run", "seed": 3, "identity": {}, "say": said.append}
    view = View(SIZE, region="face")
    train_network(Tiny(), training, valid, view, options(epochs=1), **known)
    dark = sum(corner < limit for corner in corners)
    assert dark > 0
    assert any(f"{dark} images of the training split show none" in text for text in said)
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: ())
    with pytest.raises(ManifestError, match="shows a face of the training split"):
        train_network(Tiny(), training, valid, view, options(epochs=1), **(known | {"run": tmp_path / "new"}))


@pytest.mark.parametrize("loss", [cross_entropy, focal, weighted([0, 1, 1]), adversarial(cross_entropy, 0.1)])
def test_every_loss_hands_the_statistics_on(loss):
    given = []

    def model(images, descriptor):
        given.append(descriptor.clone())
        return images.mean(dim=(2, 3))[:, :2] + descriptor[:, :2]

    network = torch.nn.Module()
    network.forward = model
    images, descriptors = torch.rand(4, 3, 8, 8), torch.rand(4, 5)
    losses, _ = loss(network, images, torch.tensor([0, 1, 1, 0]), descriptors=descriptors)
    assert losses.shape == (4,)
    assert torch.equal(given[-1], descriptors)
    if len(given) == 2:  # the attacked half
        assert len(given[0]) == 2
        assert all(any(torch.equal(row, other) for other in descriptors) for row in given[0])


def test_scores_are_means_over_crops_with_the_image_s_own_statistics(manifest):
    model = Described()
    scores, bad = network_scores(model, manifest, LOOK.look, batch_size=3)
    assert bad == {}
    for score, array in zip(scores, arrays_of(manifest), strict=True):
        crops, descriptor = seen(array, LOOK.look)
        beside = torch.from_numpy(descriptor).expand(len(crops), -1)
        with torch.inference_mode():
            logits = model(torch.from_numpy(np.asarray(crops)), beside)
        assert score == pytest.approx(float((logits[:, 1] - logits[:, 0]).mean()), abs=1e-5)


@pytest.fixture(scope="module")
def folder(manifest, tmp_path_factory):
    inputs = [seen(array, LOOK.look) for array in arrays_of(manifest)]
    examples = np.stack([one.crops[0] for one in inputs])
    descriptors = np.stack([one.descriptor for one in inputs])
    spec = {"name": "described", "system": "toy", "config": {}, "preprocessing": LOOK.to_spec()}
    out = tmp_path_factory.mktemp("detector") / "d"
    return save_network(out, Described(), spec=spec, examples=examples, descriptors=descriptors)


def test_the_graph_has_two_inputs_and_scores_as_pytorch_does(folder, manifest):
    detector = GraphDetector(artifacts.load(folder))
    expected, _ = network_scores(Described(), manifest, LOOK.look)
    for score, array in zip(expected, arrays_of(manifest), strict=True):
        batch = {name: value[None] for name, value in detector.preprocess(array).items()}
        assert batch["descriptor"].shape == (1, 2304)
        assert detector.score(batch)[0] == pytest.approx(score, abs=1e-4)
        run = network_run(Described(), n_parts=0, device="cpu")
        crops = batch["crops"][0]
        own = run(crops, np.repeat(batch["descriptor"], len(crops), axis=0))[0].mean()
        assert own == pytest.approx(score, abs=1e-4)


def test_blocks_and_unusual_statistics_are_shown_without_pytorch(folder, manifest, tmp_path):
    """By distance to training images, where the artifact knows them."""
    image, made = natural(7, 40, 33), artifacts.load(folder)
    shown = [one.name for one in GraphDetector(made).explain(image)]
    assert shown == ["log spectrum", "score", "detail in blocks"]
    known = np.stack([described(array, "sida") for array in arrays_of(manifest)]).astype(np.float64)
    mean, std = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-3)
    more = {"descriptor.mean": mean, "descriptor.std": std}
    artifacts.save(tmp_path / "d", spec=made.spec, arrays={**made.arrays, **more}, graph=made.graph)
    detector = GraphDetector(artifacts.load(tmp_path / "d"))
    found = detector.explain(image)
    assert found[2].values.shape == (5, 4)
    z = (described(image, "sida") - mean) / std
    assert found[3].values == np.sum(np.abs(z) > 3)
    order = np.argsort(-np.abs(z))[:10]
    assert [one.name for one in found[4:]] == [str(entries()[place]) for place in order]
    assert [float(one.values) for one in found[4:]] == pytest.approx(z[order].tolist())
    assert f"the training images {mean[order[0]]:.3g} ± {std[order[0]]:.3g}" in found[4].caption


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        (np.zeros(5), np.ones(2304), "2304 finite numbers each, found the shapes \\(5,\\)"),
        (np.full(2304, np.nan), np.ones(2304), "2304 finite numbers"),
        (np.zeros(2304), np.zeros(2304), "'descriptor.std' should be positive"),
    ],
)
def test_what_is_known_of_training_images_is_checked(folder, tmp_path, mean, std, words):
    made = artifacts.load(folder)
    arrays = {**made.arrays, "descriptor.mean": mean, "descriptor.std": std}
    artifacts.save(tmp_path / "d", spec=made.spec, arrays=arrays, graph=made.graph)
    with pytest.raises(ArtifactError, match=words):
        GraphDetector(artifacts.load(tmp_path / "d"))


def test_the_crop_with_the_highest_score_is_looked_into(folder, monkeypatch):
    """With the statistics of the whole beside each crop."""
    given = []

    class Toy:
        config_class = SimpleNamespace

        def __init__(self, config):
            self.evidence = lambda path: lambda crop: given.append(crop) or ()

    made = artifacts.load(folder)
    monkeypatch.setattr(hub, "system", lambda name: Toy)
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: ())
    attention = Attention(SimpleNamespace(artifact=made, detector=GraphDetector(made)))
    image = natural(3, 20, 60)
    crops, descriptor = seen(image, LOOK.look)
    beside = torch.from_numpy(descriptor).expand(len(crops), -1)
    with torch.no_grad():
        logits = Described()(torch.from_numpy(np.ascontiguousarray(crops)), beside)
    attention.evidence(image)
    assert len(crops) == 2
    np.testing.assert_array_equal(given[0].pixels, crops[int((logits[:, 1] - logits[:, 0]).argmax())])
    np.testing.assert_array_equal(given[0].descriptor, descriptor)
    assert "of 2 crops the one with the highest score" in given[0].where


def test_a_batch_without_the_statistics_is_refused(folder, manifest):
    detector = GraphDetector(artifacts.load(folder))
    batch = {name: value[None] for name, value in detector.preprocess(arrays_of(manifest)[0]).items()}
    for wrong in ({"crops": batch["crops"]}, batch | {"descriptor": batch["descriptor"][:, :-1]}):
        with pytest.raises(ArtifactError, match="descriptor of 2304 numbers"):
            detector.score(wrong)


def test_a_graph_with_another_input_is_refused(folder, tmp_path):
    made = artifacts.load(folder)
    spec = {**made.spec, "preprocessing": GraphInput(size=SIZE).to_spec()}
    artifacts.save(tmp_path / "d", spec=spec, arrays=made.arrays, graph=made.graph)
    with pytest.raises(ArtifactError, match="inputs"):
        GraphDetector(artifacts.load(tmp_path / "d")).start()


def test_examples_belong_to_what_the_detector_takes(tmp_path):
    spec = {"name": "d", "system": "toy", "config": {}, "preprocessing": LOOK.to_spec()}
    examples = np.random.default_rng(0).uniform(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    for descriptors in (None, np.zeros((3, 5), np.float32), np.zeros((2, 2304), np.float32)):
        with pytest.raises(ArtifactError, match="descriptor is sida, of 2304 numbers"):
            save_network(tmp_path / "d", Described(), spec=spec, examples=examples, descriptors=descriptors)
    plain = spec | {"preprocessing": GraphInput(size=SIZE).to_spec()}
    with pytest.raises(ArtifactError, match="descriptor is none"):
        save_network(
            tmp_path / "d", Described(), spec=plain, examples=examples, descriptors=np.zeros((3, 2304))
        )


def test_parity_looks_at_the_statistics(folder):
    """A graph of other weights for them is found out."""
    network = ScoredNetwork(Described()).eval().requires_grad_(False)
    graph = artifacts.load(folder).graph.read_bytes()  # of the same weights
    rng = np.random.default_rng(0)
    examples = rng.uniform(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    descriptors = rng.normal(size=(3, 2304)).astype(np.float32)
    assert parity(graph, network, examples, descriptors)[0] < 1e-5
    with torch.no_grad():
        network.network.statistics.weight[1, 7] += 0.1
    with pytest.raises(ArtifactError, match="does not compute what PyTorch does"):
        parity(graph, network, examples, descriptors)
