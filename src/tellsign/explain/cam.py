"""Class activation maps: which parts of an image made a network say fake.

Grad-CAM (Selvaraju et al., ICCV 2017), by captum, at the classifier's output for fake and not at the
features of the backbone, whose sum has nothing to do with the verdict. The layer is found by the family of
the backbone (`tellsign.nn.attention.cam_layer`). A network that looks at Haar sub-bands needs nothing more:
the cells of its map stand for equal parts of the sub-bands, and so of the image, over which the map is laid
as it is (half a pixel too large where a side of the image is odd). PyTorch and captum are imported when a map
is made.

Shapes: B batch, S pixels of a square image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import FAKE, ConfigError, ImageError

if TYPE_CHECKING:
    from tellsign.nn.attention import CamLayer
    from tellsign.types import FloatArray


def map_cells(network: Any, size: int) -> int:
    """How many cells a side of a network's map has; see `tellsign.nn.attention.map_cells`.

    Args:    network: a backbone of timm, or a module that holds one.
             size: side of its images in pixels.
    Returns: the number.
    Raises:  ConfigError: its architecture is unknown, or the `train` extra is missing.
    """
    found: int = _attention().map_cells(network, size)
    return found


def grad_cam(network: Any, images: FloatArray, *, layer: CamLayer | None = None) -> FloatArray:
    """What in each image speaks for fake, at the size of the image.

    The network is left as it was, gradients included.

    Args:    network: nn.Module in evaluation mode, images (B, 3, S, S) in [0, 1] → logits (B, 2).
             images: (B, 3, S, S) float in [0, 1].
             layer: that the map is made of; None: by the family of the backbone.
    Returns: (B, S, S) float32, at least 0; in no unit that two images share.
    Raises:  ConfigError: the network's architecture is unknown, it is in training mode, or the `train` extra
                 is missing.
             ImageError: images have another shape.
    """
    attention = _attention()
    try:
        from captum.attr import LayerGradCam
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    x = np.asarray(images)
    if x.ndim != 4 or x.shape[1] != 3:
        raise ImageError(f"expected images of shape (B, 3, S, S), found {x.shape}")
    if network.training:
        raise ConfigError("the network is in training mode, where images change each other: call .eval()")
    layer = attention.cam_layer(network) if layer is None else layer
    with attention.map_module(layer) as module:
        maps = LayerGradCam(network, module).attribute(
            attention.image_tensor(network, x), target=FAKE, relu_attributions=True
        )
    resized = attention.resized(maps[:, 0].detach().float(), *x.shape[2:])
    return np.asarray(resized.cpu().numpy())


def _attention() -> Any:
    try:
        from tellsign.nn import attention
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return attention


def _missing(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"class activation maps need {error.name}; install it with: pip install 'tellsign[train]'"
    )
