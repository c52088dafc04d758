"""The local stream against SciPy's DCT, three-dimensional convolutions, and timm's Xception.

Shapes: B batch, S side of a crop, h blocks along a side.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from safetensors.torch import save_file  # noqa: E402 - needs PyTorch

from sfcl_tiny import images  # noqa: E402
from tellsign.systems.sfcl_hcmf.local import ENTRY, CnnF, Coefficients, Sbcm  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

FIRST = [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0)]  # of the zigzag
STATISTICS = {"mean": tuple(range(192)), "std": tuple(range(1, 193))}


def test_the_coefficients_are_those_of_the_padded_image_block_by_block():
    crops = images(2, size=44)  # 5.5 blocks: 2 pixels on each side
    found = Coefficients(STATISTICS)(crops).numpy()
    assert found.shape == (2, 3, 64, 6, 6)
    r, g, b = np.moveaxis(np.pad(crops.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect"), 1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    shifted = np.stack([y - 128 / 255, 0.5 * (b - y) / 0.886, 0.5 * (r - y) / 0.701], axis=1)
    blocks = shifted.astype(np.float64).reshape(2, 3, 6, 8, 6, 8)
    expected = dctn(blocks, axes=(3, 5), norm="ortho")
    for channel in range(3):
        for place, (u, v) in enumerate(FIRST):
            number = 64 * channel + place
            standardised = (expected[:, channel, :, u, :, v] - number) / (number + 1)
            assert np.allclose(found[:, channel, place], standardised, atol=1e-5), (channel, u, v)


def test_sbcm_is_three_convolutions_in_three_dimensions():
    torch.manual_seed(0)
    sbcm = Sbcm()
    layers = []
    for channels, out, kernel, padding in ((3, 16, 7, 0), (16, 32, 5, 0), (32, 64, 3, 1)):
        stride = 2 if padding else 3
        layers += [
            torch.nn.Conv3d(channels, out, (kernel, 1, 1), (stride, 1, 1), (padding, 0, 0)),
            torch.nn.BatchNorm3d(out),
            torch.nn.ReLU(),
        ]
    reference = torch.nn.Sequential(*layers)
    own = list(sbcm.state_dict().values())
    state = dict(zip(reference.state_dict(), own, strict=True))
    reference.load_state_dict(
        {key: state[key].reshape(one.shape) for key, one in reference.state_dict().items()}
    )
    x = torch.randn(2, 3, 64, 5, 4)
    assert torch.allclose(sbcm(x), reference(x), atol=1e-5)  # with the statistics of the batch
    assert torch.allclose(sbcm.eval()(x), reference.eval()(x), atol=1e-5)


@pytest.fixture(scope="module")
def xception(tmp_path_factory):
    """Timm's own with weights as if trained, and the file they are in."""
    torch.manual_seed(3)
    network = timm.create_model("legacy_xception").eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
    path = tmp_path_factory.mktemp("weights") / "xception.safetensors"
    save_file(network.state_dict(), path)
    return network, path


def test_cnn_f_is_the_rest_of_a_pretrained_xception(xception):
    network, path = xception
    torch.manual_seed(5)
    cnn_f = CnnF(weights=str(path)).eval()
    given, own = network.state_dict(), cnn_f.state_dict()
    taken = {key for key, tensor in own.items() if key in given and torch.equal(tensor, given[key])}
    assert own.keys() - taken == {
        "block2.rep.1.conv1.weight",
        "block2.rep.1.pointwise.weight",
        "block2.skip.weight",
    }
    assert all(key.startswith(ENTRY) for key in own.keys() - taken)
    assert {key.split(".")[0] for key in given.keys() - own.keys()} == {
        "conv1",
        "bn1",
        "conv2",
        "bn2",
        "block1",
        "fc",
    }
    for name in ("conv1", "bn1", "act1", "conv2", "bn2", "act2", "block1"):
        setattr(network, name, torch.nn.Identity())
    network.block2.rep[1], network.block2.skip = cnn_f.block2.rep[1], cnn_f.block2.skip
    x = torch.randn(1, 192, 8, 8)
    with torch.no_grad():
        assert torch.equal(cnn_f(x), network.forward_features(x))


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="are for another architecture than Xception"):
        CnnF(weights=str(tmp_path / "w.safetensors"))
