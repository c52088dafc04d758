"""Generators are trained by the engine's loop, resumed bit for bit, written, and sampled without PyTorch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generator_tiny import N_TRAIN, N_VALID, SIZE, options, tiny_source, write_reals  # noqa: E402
from tellsign import artifacts  # noqa: E402
from tellsign.data import read  # noqa: E402
from tellsign.data.loading import Batch  # noqa: E402
from tellsign.generators.artifact import saved_generator  # noqa: E402
from tellsign.generators.config import config_from  # noqa: E402
from tellsign.generators.restoring import write_restored  # noqa: E402
from tellsign.generators.sampling import latents_of, write_samples  # noqa: E402
from tellsign.generators.sources import source_of, source_run  # noqa: E402
from tellsign.generators.step import Gan, learn  # noqa: E402
from tellsign.generators.task import Factor  # noqa: E402
from tellsign.generators.training import networks, train_generator  # noqa: E402
from tellsign.image import decode  # noqa: E402
from tellsign.types import ArtifactError, ConfigError, ManifestError, OutputError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    return read(write_reals(tmp_path_factory.mktemp("reals")))


def trained(out, reals, kind, *, say=lambda text: None, source=None, resume=False, **more):
    config = config_from(options(kind, **more), where="the test")
    return train_generator(config, reals, out, say=say, source=source, resume=resume)


@pytest.fixture(scope="module")
def gan(reals, tmp_path_factory):
    """With everything that a GAN can have: five turns, a penalty, the spectral loss and discriminator."""
    out = tmp_path_factory.mktemp("gan") / "g"
    more = {"loss": "wgan-gp", "spectral": 0.5, "spectral_layers": 2}
    return trained(out, reals, "gan", **more, training={"batch_size": 10})


@pytest.fixture(scope="module")
def auto_encoder(reals, tmp_path_factory):
    out = tmp_path_factory.mktemp("ae") / "a"
    return trained(out, reals, "autoencoder", training={"epochs": 6, "learning_rate": 0.02, "batch_size": 8})


def test_a_gan_is_written_with_its_record(gan):
    run = gan.path.with_name("g.run")
    assert {path.name for path in (run / "samples").iterdir()} == {"epoch-00001.png", "epoch-00002.png"}
    assert gan.spec["kind"] == "generator"
    assert gan.spec["network"] == "gan"
    assert gan.spec["data"]["train"]["n"] == N_TRAIN
    names = {"spectral_distance", "spectral_kl", "pair_distance", "near_duplicates"}
    assert gan.spec["metrics"].keys() == names
    assert gan.spec["metrics"]["spectral_distance"] > 1  # two epochs teach nothing
    assert gan.graph is not None
    card = (gan.path / "CARD.md").read_text(encoding="utf-8")
    assert "A GAN (wgan-gp) of images of 16 × 16 pixels" in card
    assert "| distance of the mean spectrum" in card
    memory = gan.spec["memory"]
    assert memory.keys() == {"generated", "generated_least", "real", "real_least"}
    assert memory["generated"] > 0.05 < memory["real"]
    assert memory["generated_least"] <= memory["generated"]
    assert f"other real images {memory['real']:.3f}" in card
    beside = gan.spec["reals"]
    assert beside.keys() == {"n", "spectral_distance", "pair_distance", "near_duplicates"}
    assert beside["n"] == N_VALID
    row = f"{gan.spec['metrics']['spectral_distance']:.4g} | {beside['spectral_distance']:.4g} |"
    assert row in card
    assert "The licences of the images" in card
    assert not (gan.path / "LICENSE").exists()
    log = (run / "log.csv").read_text().splitlines()[0]
    for name in ("penalty", "generator", "discriminator", "spectral_discriminator", "spectral_kl"):
        assert name in log
    assert not {name for name in gan.arrays if not name.startswith("network.body")}


def test_an_image_depends_on_its_seed_alone(gan, tmp_path):
    first = write_samples(gan, tmp_path / "a", 20, seed=3)
    second = write_samples(gan, tmp_path / "b", 2, seed=21)
    assert [sample.path.name for sample in second] == ["0000000021.png", "0000000022.png"]
    digests = {sample.path.name: sample.sha256 for sample in first}
    assert digests["0000000021.png"] == second[0].sha256
    assert len(set(digests.values())) == 20
    assert {sample.label for sample in first} == {1}
    assert {sample.generator for sample in first} == {gan.name}
    assert read(tmp_path / "a" / "manifest.csv").digest() == first.digest()
    image = decode(first[0].path).array
    network = saved_generator(gan)
    with torch.inference_mode():
        expected = network.images(torch.from_numpy(latents_of(3, 4))[None])[0].numpy()
    np.testing.assert_allclose(image, expected, atol=0.5 / 255 + 1e-4)


def test_sampling_goes_on_where_it_was_stopped(gan, tmp_path):
    calls = []
    whole = write_samples(gan, tmp_path / "whole", 40)
    write_samples(gan, tmp_path / "part", 20)
    kept = tmp_path / "part" / "0000000007.png"
    before = kept.stat().st_mtime_ns
    (tmp_path / "part" / "0000000009.png").unlink()
    found = write_samples(gan, tmp_path / "part", 40, on_image=lambda: calls.append(1))
    assert [sample.sha256 for sample in found] == [sample.sha256 for sample in whole]
    assert kept.stat().st_mtime_ns == before
    assert len(calls) == 40


def test_a_folder_of_other_images_is_left_alone(gan, auto_encoder, tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(OutputError, match=r"holiday\.jpg"):
        write_samples(gan, tmp_path, 1)
    out = tmp_path / "out"
    write_samples(gan, out, 1)
    (out / "samples.json").write_text((out / "samples.json").read_text().replace(gan.name, "other@1"))
    with pytest.raises(OutputError, match="holds images of 'other@1'"):
        write_samples(gan, out, 1)
    (out / "samples.json").write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        write_samples(gan, out, 1)
    with pytest.raises(ConfigError, match="--data MANIFEST"):
        write_samples(auto_encoder, tmp_path / "new", 1)
    with pytest.raises(ConfigError, match="seed is a whole number from 0"):
        write_samples(gan, tmp_path / "new", 1, seed=-1)


def test_images_of_the_graph_and_of_a_module_are_not_mixed(gan, tmp_path):
    def run(block):
        return np.random.default_rng(block.start).random((len(block), 3, SIZE, SIZE))

    write_samples(gan, tmp_path / "graph", 3)
    write_samples(gan, tmp_path / "module", 3, run=run, module="mine:one")
    with pytest.raises(OutputError, match="in another way; give another -o"):
        write_samples(gan, tmp_path / "graph", 5, run=run, module="mine:one")
    for other in ({}, {"run": run, "module": "mine:two"}):
        with pytest.raises(OutputError, match="in another way; give another -o"):
            write_samples(gan, tmp_path / "module", 5, **other)
    assert len(write_samples(gan, tmp_path / "module", 5, run=run, module="mine:one")) == 5


def test_images_of_another_range_are_refused(gan, tmp_path):
    with pytest.raises(ArtifactError, match=r"from -1 to 0.5, expected \[0, 1\].*tanh"):
        write_samples(
            gan,
            tmp_path / "o",
            1,
            run=lambda block: np.linspace(-1, 0.5, len(block) * 3 * 64).reshape(-1, 3, 8, 8),
        )
    with pytest.raises(ArtifactError, match=r"shape \(16, 3, 8, 4\)"):
        write_samples(gan, tmp_path / "o", 1, run=lambda block: np.zeros((len(block), 3, 8, 4)))


def test_an_auto_encoder_restores_pairs(auto_encoder, reals, gan, tmp_path):
    assert auto_encoder.spec["metrics"]["mse"] < 0.04
    valid = reals.filter(split="valid")
    found, failed = write_restored(auto_encoder, valid, tmp_path / "pairs")
    assert not failed
    assert len(found) == 2 * N_VALID
    fakes, originals = found.filter(label=1), found.filter(label=0)
    assert [s.group for s in fakes] == [s.group for s in originals]
    assert len({s.group for s in found}) == N_VALID
    assert {s.split for s in found} == {"valid"}
    for fake, original, source in zip(fakes, originals, valid, strict=True):
        assert np.array_equal(decode(original.path).array, decode(source.path).array)
        assert 0 < np.square(decode(fake.path).array - decode(original.path).array).mean() < 0.06
    again, _ = write_restored(auto_encoder, valid, tmp_path / "pairs")
    assert again.digest() == found.digest()
    with pytest.raises(OutputError, match="made of other images or in another way"):
        write_restored(auto_encoder, reals.filter(split="train"), tmp_path / "pairs")
    with pytest.raises(ConfigError, match="takes latents and no images"):
        write_restored(gan, valid, tmp_path / "none")


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.parametrize(
    ("kind", "killed", "own"),
    [
        ("gan", 7, {}),
        ("autoencoder", 7, {}),
        # Eleven calls a step: five turns of two discriminators, one of the generator.
        ("gan", 30, {"loss": "wgan-gp", "spectral_layers": 1}),
        ("tune", 14, {"loss": "lsgan", "spectral_layers": 2}),
    ],
)
def test_a_killed_training_ends_where_the_uninterrupted_one_does(
    kind, killed, own, reals, tmp_path, monkeypatch
):
    training = {"checkpoint_seconds": 0, **({"batch_size": 10} if own else {})}
    more = {"spectral": 0.5, **own, "training": training, "source": tiny_source() if kind == "tune" else None}
    whole = trained(tmp_path / "whole", reals, kind, **more)

    class KilledError(Exception):
        pass

    from tellsign.generators import task

    calls, plain = [], task.learn

    def learn(*given, **options):
        calls.append(1)
        if len(calls) == killed:
            raise KilledError
        plain(*given, **options)

    from tellsign.generators import step

    for place in (task, step):
        monkeypatch.setattr(place, "learn", learn)
    with pytest.raises(KilledError):
        trained(tmp_path / "part", reals, kind, **more)
    with pytest.raises(ConfigError, match="--resume"):
        trained(tmp_path / "part", reals, kind, **more)
    resumed = trained(tmp_path / "part", reals, kind, resume=True, **more)
    assert resumed.arrays.keys() == whole.arrays.keys()
    for name, array in whole.arrays.items():
        assert np.array_equal(array, resumed.arrays[name]), name
    assert resumed.spec["metrics"] == whole.spec["metrics"]


@pytest.mark.parametrize("loss", ["dcgan", "lsgan", "dragan", "wgan-gp"])
@pytest.mark.parametrize("layers", [0, 1])
def test_a_step_moves_every_network_by_its_own_loss(loss, layers):
    """The generator once, its opponents as often as there are batches."""
    config = config_from(
        options("gan", loss=loss, spectral_layers=layers, training={"batch_size": 4}), where="x"
    )
    parts = networks(config)
    calls = dict.fromkeys(parts, 0)
    optimisers = {name: torch.optim.Adam(part.parameters(), lr=1e-3) for name, part in parts.items()}
    for name, optimiser in optimisers.items():

        def counted(*given, name=name, plain=optimiser.step):
            calls[name] += 1
            return plain(*given)

        optimiser.step = counted
    spectral = parts["spectral"] if layers else None
    gan = Gan(
        config, parts["generator"], parts["discriminator"], spectral, None, optimisers, torch.device("cpu")
    )
    before = {name: value.detach().clone() for name, value in parts.named_parameters()}
    images = torch.rand(12, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    step = gan.step(Batch(images, torch.zeros(12, dtype=torch.int64), torch.arange(12), 12))
    assert calls == {name: 1 if name == "generator" else 3 for name in parts}
    still = {name for name, value in parts.named_parameters() if torch.equal(before[name], value)}
    # A bias that is added to real and fake logits alike is no part of the difference of their means.
    last = {"discriminator.body.5.bias", *(["spectral.layers.0.bias"] if layers else [])}
    assert still == (last if loss == "wgan-gp" else set())
    figures = {"generator", "discriminator"} | ({"spectral_discriminator"} if layers else set())
    assert step.figures.keys() == figures | ({"penalty"} if loss in ("dragan", "wgan-gp") else set())
    assert step.n == 12
    assert step.loss == pytest.approx(step.figures["generator"] + step.figures["discriminator"])


def test_a_penalty_is_of_images_as_published(monkeypatch):
    """Between -1 and 1: of images in [0, 1] the norms would be twice as large."""
    from tellsign.generators import step

    seen = []

    def recorded(discriminator, real, fake, *, where):
        seen.append((discriminator, real, fake, where))
        return plain(discriminator, real, fake, where=where)

    plain = step.gradient_penalty
    monkeypatch.setattr(step, "gradient_penalty", recorded)
    config = config_from(options("gan", loss="dragan", training={"batch_size": 4}), where="x")
    parts = networks(config)
    optimisers = {name: torch.optim.Adam(part.parameters(), lr=1e-3) for name, part in parts.items()}
    gan = Gan(config, parts["generator"], parts["discriminator"], None, None, optimisers, torch.device("cpu"))
    images = torch.rand(4, 3, SIZE, SIZE)
    gan.step(Batch(images, torch.zeros(4, dtype=torch.int64), torch.arange(4), 4))
    ((discriminator, real, fake, where),) = seen
    torch.testing.assert_close(real, 2 * images - 1)
    assert float(fake.min()) < 0 < float(fake.max())
    assert where == "around"
    torch.testing.assert_close(discriminator(real), parts["discriminator"](images))


def test_a_gradient_that_is_not_finite_stops_the_training():
    network = torch.nn.Linear(1, 1)
    optimiser = torch.optim.Adam(network.parameters())
    before = network.weight.detach().clone()
    with pytest.raises(ConfigError, match="the gradient of a Linear is nan, where its loss is finite"):
        learn(network, (0 * network.weight.sum() + 0 * network.bias.sum()).sqrt(), optimiser)
    assert torch.equal(network.weight, before)


@pytest.mark.usefixtures("no_graphs")
def test_a_licence_lies_beside_the_weights(reals, tmp_path):
    config = config_from(options("autoencoder", training={"epochs": 1}), where="x")
    found = train_generator(config, reals, tmp_path / "a", licence="Mine alone.\n")
    assert (found.path / "LICENSE").read_text() == "Mine alone.\n"
    assert "a licence of their own" in (found.path / "CARD.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("no_graphs")
def test_a_factor_multiplies_the_loss_of_an_auto_encoder_alone(reals, tmp_path):
    config = config_from(options("autoencoder", training={"epochs": 1}), where="x")
    double = Factor("double", lambda restored, images: torch.tensor(2.0))
    one = Factor("one", lambda restored, images: torch.tensor(1.0))
    plain, same, doubled = (
        train_generator(config, reals, tmp_path / str(i), factor=factor)
        for i, factor in enumerate((None, one, double))
    )
    rows = [
        json.loads((found.path.with_name(f"{i}.run") / "log.json").read_text())["epochs"][0]
        for i, found in enumerate((plain, same, doubled))
    ]
    assert rows[0]["loss"] == rows[1]["loss"]
    assert rows[2]["loss"] > 1.5 * rows[0]["loss"]
    with pytest.raises(ConfigError, match="another"):
        train_generator(config, reals, tmp_path / "0", factor=double, resume=True)
    with pytest.raises(ConfigError, match="a factor is one of an auto-encoder's loss, and the kind is gan"):
        train_generator(config_from(options("gan"), where="x"), reals, tmp_path / "g", factor=one)


def test_a_loss_that_is_not_finite_stops_the_training():
    network = torch.nn.Linear(1, 1)
    optimiser = torch.optim.Adam(network.parameters())
    with pytest.raises(ConfigError, match="the loss of a Linear is nan"):
        learn(network, network(torch.full((1, 1), float("nan"))).sum(), optimiser)
    assert torch.isfinite(network.weight).all()


def test_what_does_not_go_together_is_refused(reals, tmp_path):
    config = config_from(options("tune", spectral=1.0), where="the test")
    with pytest.raises(ConfigError, match="none is given"):
        train_generator(config, reals, tmp_path / "t")
    with pytest.raises(ConfigError, match="begins anew"):
        train_generator(config_from(options("gan"), where="x"), reals, tmp_path / "t", source=tiny_source())
    few = config_from(options("gan", spectral=1.0, reals=99), where="x")
    with pytest.raises(ConfigError, match="at least 100 images, found 99"):
        train_generator(few, reals, tmp_path / "few")
    large = config_from(options("gan", network={"size": 32}), where="x")
    with pytest.raises(ManifestError, match=r"16 × 16 pixels.*at least 32 × 32"):
        train_generator(large, reals, tmp_path / "large")
    with pytest.raises(ManifestError, match="real images of the split train, and the manifest has none"):
        train_generator(config_from(options("gan"), where="x"), reals.filter(split="valid"), tmp_path / "n")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").touch()
    with pytest.raises(ArtifactError, match=r"mine\.txt"):
        train_generator(config_from(options("gan"), where="x"), reals, tmp_path / "o")


def test_a_source_is_named(gan, auto_encoder, tmp_path):
    with pytest.raises(ConfigError, match="nearly one grey"):  # two epochs have taught it nothing
        source_of(gan.path, None)
    last = "network.body.6.weight"
    bright = artifacts.save(
        tmp_path / "bright", spec=gan.spec, arrays={**gan.arrays, last: 100 * gan.arrays[last]}
    )
    found = source_of(bright.path, None)
    assert (found.name, found.size) == (bright.name, SIZE)
    images = source_run(found)(range(16, 32))
    assert images.shape == (16, 3, SIZE, SIZE)
    np.testing.assert_allclose(source_run(found)(range(16, 18)), images[:2], atol=1e-6)
    with pytest.raises(ConfigError, match="is an auto-encoder"):
        source_of(auto_encoder.path, None)
    with pytest.raises(ConfigError, match="name the generator"):
        source_of(None, None)


def test_no_detector_is_made_of_a_generator(gan, tmp_path):
    from tellsign.detectors import from_artifact

    with pytest.raises(ArtifactError, match="unknown kind of detector 'generator'"):
        from_artifact(gan)
    copy = shutil.copytree(gan.path, tmp_path / "c")
    (copy / "graph.onnx").unlink()
    with pytest.raises(ArtifactError, match="--module"):
        write_samples(artifacts.load(Path(copy)), tmp_path / "s", 1)
