"""The file of a generator's training: defaults of the papers, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from generator_tiny import options
from tellsign.generators.config import config_from, read_config
from tellsign.types import ConfigError


def test_defaults_are_those_of_the_papers():
    gan = config_from({"kind": "gan", "name": "g"}, where="x")
    assert (gan.beta1, gan.beta2) == (0.5, 0.999)
    assert (gan.training.batch_size, gan.training.learning_rate, gan.training.epochs) == (64, 2e-4, 25)
    assert (gan.network.latents, gan.spectral, gan.spectral_layers) == (128, 0, 0)
    assert config_from({"kind": "gan", "name": "g", "loss": "wgan-gp"}, where="x").training.epochs == 50
    restoring = config_from({"kind": "autoencoder", "name": "a"}, where="x")
    assert (restoring.beta1, restoring.training.learning_rate, restoring.training.epochs) == (0.9, 1e-3, 20)
    assert restoring.network.up == "transposed"


def test_a_file_with_overrides(tmp_path):
    text = 'kind = "gan"\nname = "g"\n[network]\nsize = 128\n[training]\nepochs = 3\n'
    (tmp_path / "g.toml").write_text(text)
    found = read_config(tmp_path / "g.toml", ["network.base=16", "loss=lsgan", "spectral=0.5"])
    assert (found.network.size, found.network.base, found.loss, found.spectral) == (128, 16, "lsgan", 0.5)
    assert found.training.epochs == 3


def test_only_what_changes_weights_is_decisive():
    one = config_from(options("gan", name="a", samples=8), where="x")
    other = config_from(options("gan", name="b", samples=9, training={"workers": 2}), where="x")
    assert one.decisive() == other.decisive()
    assert config_from(options("gan", spectral=1.0), where="x").decisive() != one.decisive()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kind": "vae", "name": "v"}, "kind is one of gan, autoencoder, tune, found 'vae'"),
        ({"kind": "gan"}, "lacks 'name'"),
        ({"kind": "gan", "name": ""}, "name is a name"),
        (options("gan", colour=1), "unknown key 'colour'"),
        (options("gan", spectral=-1), "spectral is a number 0 or more, found -1"),
        (options("gan", spectral=float("nan")), "spectral is a number"),
        (options("gan", beta1=1.0), "beta1 is a number from 0 to below 1"),
        (options("gan", spectral_layers=3), "spectral_layers is a whole number from 0 to 2"),
        (options("gan", loss="hinge"), "loss is one of dcgan, lsgan, wgan-gp, dragan"),
        (options("gan", network={"up": "nearest"}), r"\[network\]: unknown key 'up'"),
        (options("gan", network=5), r"\[network\] is a table"),
        (options("gan", training={"balance": "focal"}), "balance has no effect on a generator"),
        (options("gan", training={"patience": 2}), "patience has no effect"),
        (options("autoencoder", loss="lsgan"), "there is none: leave loss"),
        (options("autoencoder", spectral_layers=1), "an auto-encoder has no discriminator"),
        (options("autoencoder", network={"size": 17}), "size is even"),
        (options("tune"), "nothing is tuned"),
        (options("tune", spectral=1.0, loss="lsgan"), "there is none: leave loss"),
        (options("tune", spectral_layers=1, loss="dragan"), "tuned with loss dcgan or lsgan"),
        (options("tune", spectral=1.0, network={"size": 16}), "that of the generator that is tuned"),
        (options("gan", flip=1), "flip is true or false"),
        (options("gan", keep=5.0), "keep has no effect on the kind gan"),
        (options("autoencoder", network={"head_layers": 1, "head_kernel": 5.0}), "head_kernel is one of"),
        (options("gan", seed=-1), "seed"),
    ],
)
def test_what_can_not_be_carried_out_is_refused(given, reason):
    with pytest.raises(ConfigError, match=reason):
        config_from(given, where="the test")


@pytest.mark.parametrize(
    ("name", "kind", "loss"),
    [
        ("gan", "gan", "dcgan"),
        ("autoencoder", "autoencoder", "dcgan"),
        ("tune", "tune", "dcgan"),
        ("generators-gan", "gan", "dcgan"),
        ("generators-autoencoder", "autoencoder", "dcgan"),
        ("generator-scenes", "gan", "lsgan"),
    ],
)
def test_the_configurations_that_ship_are_read(name, kind, loss):
    found = read_config(Path(__file__).resolve().parents[2] / "configs" / f"{name}.toml")
    assert (found.kind, found.loss) == (kind, loss)
