"""The real images that generators are compared with: which are left out, and how far apart two halves are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generator_tiny import SIZE, options  # noqa: E402
from pictures import natural, save  # noqa: E402
from tellsign.data import Manifest  # noqa: E402
from tellsign.data.loading import Batch  # noqa: E402
from tellsign.generators.config import config_from  # noqa: E402
from tellsign.generators.luma import varied  # noqa: E402
from tellsign.generators.progress import reference  # noqa: E402
from tellsign.generators.reals import real_images  # noqa: E402
from tellsign.generators.step import Gan  # noqa: E402
from tellsign.generators.training import networks  # noqa: E402
from tellsign.image.network_input import NetworkInput  # noqa: E402
from tellsign.types import REAL, ConfigError, ManifestError, Sample  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

LOOK = NetworkInput(SIZE)
SKY = np.full((3, SIZE, SIZE), 0.9)


@pytest.fixture
def reals(tmp_path):
    """Six images of three places, the fourth of them of one colour."""
    arrays = [natural(i, SIZE, SIZE) for i in range(6)]
    arrays[3] = SKY
    paths = [save(array, tmp_path / f"{i}.png") for i, array in enumerate(arrays)]
    return Manifest(tuple(Sample(path, REAL, group=f"place-{i // 2}") for i, path in enumerate(paths)))


def test_an_image_of_one_colour_is_left_out_or_named(reals):
    said = []
    images, groups = real_images(reals, LOOK, 6, left_out=said.append)
    assert images.shape == (5, 3, SIZE, SIZE)
    assert groups == ["place-0", "place-0", "place-1", "place-2", "place-2"]
    (text,) = said
    assert text.endswith("3.png': the crop is of one colour, and has no spectrum")
    with pytest.raises(ManifestError, match=r"3\.png': the crop is of one colour.*on_bad = \"skip\""):
        real_images(reals, LOOK, 6)
    flat = Manifest(tuple(replace(sample) for sample in [list(reals)[3]]))
    with pytest.raises(ManifestError, match="none of 1 real images can be used"):
        real_images(flat, LOOK, 1, left_out=said.append)


def test_halves_of_reals_share_no_source():
    """Each place twice: halves of every other image would be the same, halves of places are not."""
    images = np.repeat(np.stack([natural(i, SIZE, SIZE) for i in range(8)]), 2, axis=0).astype(np.float32)
    places = [f"place-{i // 2}" for i in range(16)]
    assert reference(images, places, 16).noise > 0.5
    alone = reference(images[::2], [""] * 8, 8).noise
    assert alone == pytest.approx(reference(images[::2], ["one place"] * 8, 8).noise)
    with pytest.raises(ConfigError, match="two images or more, found 1"):
        reference(images[:1], [""], 8)


def test_reals_that_are_compared_with_each_other_are_taken_evenly():
    """Neighbours in a manifest are alike: the first half would be of one place."""
    places = np.stack([natural(i // 8, SIZE, SIZE) for i in range(16)]).astype(np.float32)
    shades = np.clip(places + np.linspace(0, 0.1, 16, dtype=np.float32)[:, None, None, None], 0, 1)
    whole, half = (reference(shades, [""] * 16, n).diversity for n in (16, 8))
    assert half.n == 8
    assert half.mean == pytest.approx(whole.mean, rel=0.2)


def test_what_has_a_spectrum():
    images = torch.stack([torch.full((3, 4, 4), 0.3), torch.rand(3, 4, 4), torch.zeros(3, 4, 4)])
    images[2, 1, 2, 2] = 1.0
    assert varied(images).tolist() == [False, True, True]


@pytest.mark.parametrize("loss", ["dcgan", "wgan-gp"])
@pytest.mark.parametrize("n_flat", [1, 4])
def test_a_discriminator_of_spectra_passes_over_crops_of_one_colour(loss, n_flat):
    config = config_from(options("gan", loss=loss, spectral_layers=1, training={"batch_size": 4}), where="x")
    parts = networks(config)
    optimisers = {name: torch.optim.Adam(part.parameters(), lr=1e-3) for name, part in parts.items()}
    gan = Gan(
        config,
        parts["generator"],
        parts["discriminator"],
        parts["spectral"],
        None,
        optimisers,
        torch.device("cpu"),
    )
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images[:n_flat] = 0.9
    figures = gan.step(Batch(images, torch.zeros(4, dtype=torch.int64), torch.arange(4), 4)).figures
    assert ("spectral_discriminator" in figures) == (n_flat < 4)
    assert all(np.isfinite(value) for value in figures.values())
