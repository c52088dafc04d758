"""Pictures of the size that cameras make."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pictures import natural
from tellsign import hub
from tellsign.features.spectrum import grey, profile
from tellsign.image import decode
from tellsign.scoring.scorer import Scorer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A JPEG of 48 megapixels."""
    pixels = np.tile(natural(1, 1000, 1000), (1, 6, 8))
    buffer = io.BytesIO()
    Image.fromarray((255 * pixels.transpose(1, 2, 0)).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def test_48_megapixels(photograph: bytes, tmp_path) -> None:
    picture = decode(photograph)
    assert picture.array.shape == (3, 6000, 8000)
    (tmp_path / "large.jpg").write_bytes(photograph)
    (row,) = Scorer(hub.detector_path("spectrum")).rows([(tmp_path / "large.jpg", None)])
    assert row["error"] is None
    assert row["score"] is not None


@pytest.mark.parametrize("preset", ["official", "paper"])
def test_float32_keeps_the_profile_of_a_large_image(preset: str) -> None:
    torch = pytest.importorskip("torch")
    image = 255 * grey(natural(2, 4096, 4096).astype(np.float64))[None]
    exact = profile(image, preset=preset, normalise="none")
    single = profile(torch.from_numpy(image).float(), preset=preset, normalise="none")
    np.testing.assert_allclose(single.numpy(), exact, rtol=5e-4)
