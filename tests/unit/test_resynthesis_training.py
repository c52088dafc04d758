"""What a training of re-synthesis refuses before it begins, and what it does not compute."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from resynthesis_tiny import config as tiny  # noqa: E402
from resynthesis_tiny import images, network, residuals  # noqa: E402
from tellsign.systems.resynthesis.joint import Joint, joint_loss  # noqa: E402
from tellsign.systems.resynthesis.model import new_classifier  # noqa: E402
from tellsign.systems.resynthesis.rdn import restored_by_tiles  # noqa: E402
from tellsign.systems.resynthesis.training import require_stage_statistics  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def checked(config, stage, n):
    made = residuals(n_stages=2)
    classifier = new_classifier(config, made, stage)
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    try:
        require_stage_statistics(classifier, made, stage, config, labels=[number % 2 for number in range(n)])
    finally:
        after = classifier.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(("batch_size", "n"), [(8, 17), (1, 4)])
def test_a_last_batch_of_one_image_with_one_number_a_channel_is_refused(batch_size, n):
    own = {"training": {"batch_size": batch_size}}
    with pytest.raises(ConfigError, match=r"one image, .* pixel at size = 32 .*another batch_size"):
        checked(tiny(size=32, **own), 0, n)
    with pytest.raises(ConfigError, match="stage2"):
        checked(tiny(size=48, **own), 2, n)


def test_what_can_be_normalised_is_not():
    checked(tiny(size=32), 0, 16)
    checked(tiny(size=48), 0, 17)  # a map of 2 × 2
    made = network((0,)).train()
    with pytest.raises(
        ValueError, match="more than 1 value"
    ):  # as PyTorch would say it in the middle of an epoch
        made(images(1, 32))


def test_a_frozen_re_synthesiser_restores_nothing_besides():
    config, made, seen = tiny(joint={"epochs": 1, "frozen": True}), network((0,)), []
    made.resynthesiser.register_forward_hook(lambda *_: seen.append(1))
    losses, figures = joint_loss(config, None)(Joint(made, restores=False), images(2), torch.tensor([0, 1]))
    assert len(seen) == 1  # for what is classified
    assert losses.shape == (2,)
    assert "reconstruction" not in figures


def test_a_side_of_a_tile_that_is_no_cell():
    for side in (0, 6):
        with pytest.raises(ConfigError, match=f"multiple of 4 pixels, found {side}"):
            restored_by_tiles(residuals().resynthesiser, images(1)[..., :12, :12], side=side)
