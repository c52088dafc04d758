"""Residuals that are kept: the same as computed anew, found again, and refused where they never would be.

Shapes: B batch, S side of a crop.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from pictures import natural, save, write_split_dataset  # noqa: E402
from resynthesis_tiny import SIZE, images, residuals  # noqa: E402
from resynthesis_tiny import config as tiny  # noqa: E402
from tellsign.data import Manifest, read  # noqa: E402
from tellsign.systems.resynthesis import training  # noqa: E402
from tellsign.systems.resynthesis.cached import FOLDER, KeptResiduals, require_whole_images  # noqa: E402
from tellsign.types import ConfigError, OutputError, Sample  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


class Counting:
    """Residuals that count the images they are computed of."""

    def __init__(self, made):
        self.made, self.n = made, 0
        made.resynthesiser.register_forward_hook(self.count)

    def count(self, _network, inputs, _result):
        self.n += len(inputs[0])


@pytest.mark.parametrize("stage", [0, 2])
def test_a_residual_is_computed_once_and_found_again(tmp_path, stage):
    made = residuals(n_stages=2)
    seen = Counting(made)
    with torch.no_grad():
        expected = made(images(4), (stage,))[stage]
    seen.n = 0
    kept = KeptResiduals(made, stage, tmp_path)
    torch.testing.assert_close(kept(images(4)), expected)
    assert seen.n == 4
    order = torch.tensor([2, 0, 3, 1])
    again = KeptResiduals(made, stage, tmp_path)(
        images(4)[order].contiguous(memory_format=torch.channels_last)
    )
    assert seen.n == 4
    torch.testing.assert_close(again, expected[order])
    kept(images(4).flip(3))
    assert seen.n == 8


def test_a_residual_does_not_depend_on_its_batch_to_the_last_bit(tmp_path):
    made = residuals()
    together = KeptResiduals(made, 0, tmp_path / "a")(images(6))
    alone = torch.cat([KeptResiduals(made, 0, tmp_path / "b")(one[None]) for one in images(6)])
    assert torch.equal(together, alone)


def test_other_weights_stages_and_ways_of_shrinking_have_their_own(tmp_path):
    places = {
        KeptResiduals(made, stage, tmp_path).folder
        for made in (
            residuals(n_stages=1),
            residuals(n_stages=1, seed=1),
            residuals(n_stages=1, downsampling="bicubic"),
        )
        for stage in (0, 1)
    }
    assert len(places) == 6
    normal = residuals(n_stages=1)
    before = KeptResiduals(normal, 1, tmp_path).folder
    normal.perceptual.normalise = True
    assert KeptResiduals(normal, 1, tmp_path).folder != before


def test_what_is_damaged_is_computed_anew(tmp_path):
    made = residuals()
    kept = KeptResiduals(made, 0, tmp_path)
    expected = kept(images(1))
    (file,) = tmp_path.rglob("*.npy")
    for content in (b"", b"no array", file.read_bytes()[:-100]):
        file.write_bytes(content)
        assert torch.equal(kept(images(1)), expected)
    assert len(list(tmp_path.rglob("*"))) == 3  # a folder in a folder, and the file: no draft


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"can't be kept in .*cached = true"):
        KeptResiduals(residuals(), 0, tmp_path / "file")(images(1))


def test_images_that_are_cut_at_another_place_each_time_are_refused(tmp_path):
    sizes = {"fits": (SIZE, SIZE), "small": (SIZE - 8, 90), "wide": (SIZE, SIZE + 1)}
    samples = {n: Sample(save(natural(0, *size), tmp_path / f"{n}.png"), 0) for n, size in sizes.items()}
    require_whole_images(Manifest((samples["fits"], samples["small"])), tiny(cached=True))
    with pytest.raises(ConfigError, match=r"wide\.png' of 49 × 48 pixels.*48 × 48.*harmonise"):
        require_whole_images(Manifest((samples["fits"], samples["wide"])), tiny(cached=True))
    with pytest.raises(ConfigError, match="cached is true or false, found 1"):
        tiny(cached=1)


def test_classifiers_learn_the_same_from_residuals_that_are_kept(tmp_path, monkeypatch):
    data = read(write_split_dataset(tmp_path / "data", train=6, valid=4, size=SIZE))
    parts = [data.filter(split=name) for name in ("train", "valid")]
    config = tiny(cached=True, training={"epochs": 3, "batch_size": 4})

    def learnt(name):
        made = residuals()
        seen = Counting(made)
        training.validation_parts(parts[1], config, seed=0)
        found, _ = training.trained_classifiers(
            made, *parts, config, run=tmp_path / name, seed=0, say=lambda text: None
        )
        return found["pixel"].state_dict(), seen.n

    kept, n_kept = learnt("kept")
    assert n_kept <= 12 * 2 + 8  # each of the training as it is and mirrored, each of the validation once
    assert not (tmp_path / "kept" / FOLDER).exists()
    monkeypatch.setattr("tellsign.systems.resynthesis.cached._read", lambda file: None)
    computed, n_computed = learnt("computed")
    assert n_computed == 3 * 20
    assert all(torch.equal(kept[name], tensor) for name, tensor in computed.items())
    with pytest.raises(ConfigError, match="cut at another place"):
        training.validation_parts(parts[1], tiny(cached=True, size=32), seed=0)
