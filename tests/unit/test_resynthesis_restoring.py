"""A re-synthesiser as a function of images: the same by tiles as in one piece.

Shapes: H W pixels.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from pictures import natural  # noqa: E402
from tellsign.systems.resynthesis.config import NetworkConfig  # noqa: E402
from tellsign.systems.resynthesis.model import Residuals  # noqa: E402
from tellsign.systems.resynthesis.rdn import ResidualDenseNetwork  # noqa: E402
from tellsign.systems.resynthesis.restoring import restorer  # noqa: E402


@pytest.fixture(scope="module")
def residuals():
    torch.manual_seed(0)
    return Residuals(ResidualDenseNetwork(NetworkConfig(features=4, growth=4, blocks=1, layers=2)), None)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 96), (112, 48)])
def test_an_image_is_restored_as_in_one_piece(residuals, height, width):
    image = natural(0, height, width)
    image.flags.writeable = False
    found = restorer(residuals, side=32)(image)
    with torch.inference_mode():
        expected = residuals.restored(torch.tensor(image)[None])[0].numpy()
    assert (found.shape, found.dtype) == ((3, height, width), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - image).max() > 0.01
