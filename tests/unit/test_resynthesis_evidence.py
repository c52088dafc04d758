"""What re-synthesis shows of a crop: residuals that are known, where they lie, and class activation maps."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("captum")

from pictures import natural  # noqa: E402
from resynthesis_tiny import network  # noqa: E402
from tellsign.explain.attention import ScoredCrop  # noqa: E402
from tellsign.explain.cam import grad_cam  # noqa: E402
from tellsign.systems.resynthesis.evidence import network_evidence  # noqa: E402
from tellsign.systems.resynthesis.model import StageClassifier  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIZE = 52  # of which 48 are looked at


@pytest.fixture(scope="module")
def shown():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tellsign.explain.attention.STEPS", 2)
        patch.setattr("tellsign.explain.attention.RANDOM_MAPS", 1)
        made, pixels = network((0, 2)), natural(3, SIZE, SIZE)
        crop = ScoredCrop(pixels, None, region="image", where="all of it", face=None)
        found = {one.name: one for one in network_evidence(made, SIZE)(crop)}
    return made, pixels, found


def test_each_stage_has_its_maps(shown):
    assert list(shown[2]) == [
        name
        for part in ("pixel", "stage2")
        for name in (
            f"residual of {part}",
            f"mean residual of {part}",
            f"attention of {part}",
            f"faithfulness of attention of {part}",
        )
    ]
    for one in shown[2].values():
        assert np.isfinite(one.values).all()
        assert one.caption.endswith(".")


def test_residuals_lie_where_they_are(shown):
    made, pixels, found = shown
    with torch.no_grad():
        own = made.residuals()(torch.from_numpy(pixels)[None], (0, 2))
    whole = found["residual of pixel"].values
    np.testing.assert_allclose(whole[2:50, 2:50], own[0][0].mean(dim=0), atol=1e-6)
    border = whole.copy()
    border[2:50, 2:50] = 0
    assert not border.any()
    assert float(found["mean residual of pixel"].values) == pytest.approx(float(own[0].mean()), rel=1e-5)
    second = found["residual of stage2"].values[2:50, 2:50]
    # Enlarged twofold: the mean of four pixels is near that of their position.
    np.testing.assert_allclose(
        second.reshape(24, 2, 24, 2).mean(axis=(1, 3))[1:-1, 1:-1].mean(),
        float(own[2][0].mean(dim=0)[1:-1, 1:-1].mean()),
        rtol=0.05,
    )


def test_the_map_is_the_class_activation_map_of_the_paper(shown):
    """The channels of the last map, weighted by the linear layer for fake, as far as positive."""
    made, pixels, _ = shown
    judge = StageClassifier(made.residuals(), made.classifiers["pixel"], 0).eval()
    (found,) = grad_cam(judge, pixels[None])
    with torch.no_grad():
        last = judge.classifier.forward_features(made.residuals()(torch.from_numpy(pixels)[None], (0,))[0])
        weights = judge.classifier.fc.weight[1]
        own = torch.einsum("c,chw->hw", weights, last[0]).relu()
    cells = own.numel()
    expected = torch.nn.functional.interpolate(
        own[None, None] / cells, size=(SIZE, SIZE), mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
