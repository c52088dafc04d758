"""What a network takes of an image: crops, resized squares, and statistics of the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pictures import natural
from tellsign.detectors.graph import GraphInput
from tellsign.features.colour import ycbcr
from tellsign.features.dct import block_dct
from tellsign.features.sida import sida
from tellsign.image import centre_crop, resize, square_crops
from tellsign.image.network_input import NetworkInput, described, resized, seen
from tellsign.types import ConfigError, TooSmallError

IMAGE = natural(0, 45, 70)


def test_native_crops_are_untouched():
    found = seen(IMAGE, NetworkInput(32, 2))
    assert found.descriptor is None
    np.testing.assert_array_equal(found.crops, square_crops(IMAGE, 32, 2))
    np.testing.assert_array_equal(seen(IMAGE, NetworkInput(32)).crops[0], centre_crop(IMAGE, 32))


@pytest.mark.parametrize("size", [32, 45, 96])
def test_the_square_in_the_middle_is_resized(size):
    found = seen(IMAGE, NetworkInput(size, fit="resize")).crops
    expected = resize(centre_crop(IMAGE, 45), size, size, filter="bilinear")
    np.testing.assert_array_equal(found, expected[None])


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_statistics_are_those_of_the_whole_at_native_size(fit):
    found = seen(IMAGE, NetworkInput(32, fit=fit, descriptor="sida")).descriptor
    whole = IMAGE[None, :, :40, :64].astype(np.float32)  # whole blocks
    np.testing.assert_array_equal(found, sida(block_dct(ycbcr(whole)))[0])
    assert found.dtype == np.float32
    assert NetworkInput(32, descriptor="sida").n_descriptor == len(found)
    assert NetworkInput(32).n_descriptor == 0


def test_what_is_too_small_is_not_enlarged_unless_that_is_asked_for():
    with pytest.raises(TooSmallError, match=r"the face is 70 × 45 pixels, .* at least 64 × 64"):
        seen(IMAGE, NetworkInput(64, region="face"))
    assert resized(IMAGE[:, :16, :16], 64).shape == (3, 64, 64)
    with pytest.raises(TooSmallError, match="15"):
        resized(IMAGE[:, :15], 64)
    with pytest.raises(TooSmallError, match="16 x 16"):
        described(IMAGE[:, :15, :40], "sida")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 15}, "size is a whole number of at least 16"),
        ({"size": 32.0}, "size"),
        ({"max_crops": 0}, "max_crops"),
        ({"fit": "stretch"}, "fit is crop or resize"),
        ({"descriptor": "hog"}, "descriptor is none or sida"),
        ({"region": "eye"}, "region is image or face"),
        ({"fit": "resize", "max_crops": 2}, "max_crops is 1"),
    ],
)
def test_what_is_no_look(options, words):
    with pytest.raises(ConfigError, match=words):
        NetworkInput(**options)
    with pytest.raises(ConfigError, match=words):
        GraphInput(**options)


def test_an_artifact_keeps_how_its_network_looks():
    look = GraphInput("face", 380, fit="resize", descriptor="sida")
    assert GraphInput.from_spec(json.loads(json.dumps(look.to_spec()))) == look
    assert look.look == NetworkInput(380, 1, "resize", "sida", "face")
    assert (look.domain.crop, look.domain.length, look.domain.region) == (None, 64, "face")
    assert GraphInput().to_spec().keys() == {"region", "size", "max_crops", "profile"}
