"""Where a network looks: the layer whose map says so, the map, and its share outside a face.

The map is Grad-CAM (Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, eqs. 1 and 2) at the classifier's output for fake, here as a tensor with a gradient,
so that a loss can push it. Maps to look at come from the same layer by captum, in `tellsign.explain.cam`.

Shapes: B batch, C channels of a layer, N tokens, h w cells of its map, H W pixels of an image.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from tellsign.types import FAKE, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tellsign.types import FloatArray

# timm's class → its last map before the classifier pools it. A vision transformer classifies by a token that
# stands for the whole image: behind its last block no patch has a gradient, so the patches are taken where
# they enter that block's attention.
FAMILIES = {
    "ConvNeXt": "norm_pre",
    "EfficientNet": "bn2",
    "MobileNetV3": "blocks",
    "ResNet": "layer4",
    "VisionTransformer": "blocks.{last}.norm1",
    "Xception": "act4",
}


@dataclass(frozen=True, slots=True, eq=False)
class CamLayer:
    """The layer of a network that a map is made of."""

    module: torch.nn.Module  # its output is (B, C, h, w), or tokens (B, N, C)
    prefix: int | None = None  # tokens that are no patches, in front of those that are; None: no tokens


def cam_layer(network: torch.nn.Module) -> CamLayer:
    """The layer of a network's Grad-CAM, by the family of its backbone.

    Args:    network: a backbone of timm, or a module that holds one.
    Returns: the last map that its classifier pools; for a vision transformer the tokens of its last block.
    Raises:  ConfigError: there is no backbone of a known family in it, or more than one.
    """
    found: dict[str, tuple[str, torch.nn.Module]] = {}
    for name, module in network.named_modules():
        if not any(name == outer or name.startswith(f"{outer}.") or not outer for outer in found):
            family = _family(module)
            if family is not None:
                found[name] = (family, module)
    if len(found) != 1:
        names = ", ".join(f"{name or 'itself'} ({family})" for name, (family, _) in found.items())
        raise ConfigError(
            f"cannot tell which layer of {type(network).__name__} a class activation map is made of: "
            f"expected one backbone of timm of the families {', '.join(FAMILIES)}, found "
            + (f"{len(found)}: {names}; pass one of them" if found else "none; pass a CamLayer")
        )
    family, backbone = next(iter(found.values()))
    if family != "VisionTransformer":
        return CamLayer(_submodule(backbone, FAMILIES[family]))
    blocks: Any = backbone.get_submodule("blocks")
    prefix = int(getattr(backbone, "num_prefix_tokens", 1))
    return CamLayer(_submodule(backbone, FAMILIES[family].format(last=len(blocks) - 1)), prefix)


@contextmanager
def map_module(layer: CamLayer) -> Iterator[torch.nn.Module]:
    """A module whose output, while the context is open, is the layer's map (B, C, h, w) on its way onwards.

    For a feature map it is the layer itself. Tokens are led through a module that lays the patches out as the
    grid that they came from.

    Args:    layer: from `cam_layer`.
    Yields:  the module, for a hook on its output.
    """
    if layer.prefix is None:
        yield layer.module
        return
    prefix, grid = layer.prefix, _PatchGrid()

    def through(_module: torch.nn.Module, _inputs: Any, tokens: torch.Tensor) -> torch.Tensor:
        patches = grid(tokens[:, prefix:]).flatten(2).transpose(1, 2)
        return torch.cat((tokens[:, :prefix], patches), dim=1)

    handle = layer.module.register_forward_hook(through)
    try:
        yield grid
    finally:
        handle.remove()


class Observed:
    """One forward pass of a network: what it said, and what its layer gave on the way."""

    def __init__(self) -> None:
        self.logits: list[torch.Tensor] = []
        self.features: list[torch.Tensor] = []

    def maps(self, *, create_graph: bool) -> torch.Tensor:
        """The Grad-CAM of the pass at the output for fake.

        Implements Selvaraju et al. (2017), eqs. 1 and 2. Deviates: none.

        Args:    create_graph: whether the map itself is differentiable, as a loss needs it.
        Returns: (B, h, w), at least 0 and in no particular unit.
        Raises:  ConfigError: the layer has no gradient, or its output is no map.
        """
        if len(self.features) != 1 or len(self.logits) != 1 or self.features[0].ndim != 4:
            shapes = ", ".join(str(tuple(one.shape)) for one in self.features) or "none"
            raise ConfigError(f"expected one map of shape (B, C, h, w) of the layer, found {shapes}")
        logits, features = self.logits[0], self.features[0]
        if not (features.requires_grad and logits.requires_grad):
            raise ConfigError(
                "the layer of the map has no gradient: its network is frozen, or gradients are off; "
                "maps to look at are made by tellsign.explain.cam"
            )
        (gradient,) = torch.autograd.grad(logits[:, FAKE].sum(), features, create_graph=create_graph)
        # In mixed precision both have 8 bits of mantissa, too few for a sum over hundreds of channels.
        gradient, features = (
            one.to(torch.promote_types(one.dtype, torch.float32)) for one in (gradient, features)
        )
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        maps = (weights * features).sum(dim=1).relu()
        return maps if create_graph else maps.detach()


@contextmanager
def observed(network: torch.nn.Module, layer: CamLayer, *, create_graph: bool = True) -> Iterator[Observed]:
    """Watch the one forward pass that is made while the context is open, whoever makes it.

    A transformer's attention is computed step by step where the maps shall be differentiable, since the fused
    kernels have no second derivative.

    Args:    network: images → logits (B, 2). layer: of it.
             create_graph: whether the maps shall be differentiable.
    Yields:  the pass, whose maps can be asked for once it is done.
    """
    seen = Observed()
    with map_module(layer) as module, _differentiable_attention() if create_graph else nullcontext():
        handles = [
            module.register_forward_hook(lambda _module, _inputs, output: seen.features.append(output)),
            network.register_forward_hook(lambda _module, _inputs, output: seen.logits.append(output)),
        ]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()


def map_cells(network: torch.nn.Module, size: int) -> int:
    """How many cells a side of a network's map has.

    Args:    network: a backbone of timm, or a module that holds one.
             size: side of its images in pixels.
    Returns: the number.
    Raises:  ConfigError: as for `cam_layer`.
    """
    blank = image_tensor(network, np.zeros((1, 3, size, size), np.float32))
    with torch.no_grad(), observed(network, cam_layer(network), create_graph=False) as seen:
        network(blank)
    return int(seen.features[0].shape[-1])


def image_tensor(network: torch.nn.Module, images: FloatArray) -> torch.Tensor:
    """Images as a tensor of the type that a network computes in, where it does so.

    Args:    network: whose first floating-point weight says both; without any, float32 on the CPU.
             images: (B, 3, H, W).
    Returns: (B, 3, H, W).
    """
    tensors = (one for one in (*network.parameters(), *network.buffers()) if one.is_floating_point())
    like = next(tensors, torch.empty(0, dtype=torch.float32))
    return torch.from_numpy(np.ascontiguousarray(images)).to(device=like.device, dtype=like.dtype)


def resized(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Maps at the size of their images, bilinearly; cells stand for equal parts of the image.

    Args:    maps: (B, h, w).
             height, width: H and W of the images.
    Returns: (B, H, W).
    """
    size = (height, width)
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def box_masks(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Which pixels lie in the face box of each image.

    Args:    boxes: (B, 4) left, top, right, bottom in pixels, the last two exclusive; they may stick out. A
                 box without an area says that no face is known: the whole image counts as inside.
             height, width: H and W of the images.
    Returns: (B, H, W) of float32, 1 inside and 0 outside.
    """
    left, top, right, bottom = boxes.to(torch.float32)[:, :, None].unbind(dim=1)
    rows = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None]
    unknown = (right <= left) | (bottom <= top)
    return (inside | unknown[:, :, None]).to(torch.float32)


def attention_outside(maps: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """The share of each map that lies outside the face: what attention regularisation makes small.

    Args:    maps: (B, h, w), at least 0, from `Observed.maps`.
             inside: (B, H, W), 1 inside the face and 0 outside, from `box_masks`.
    Returns: (B,) in [0, 1], differentiable; 0 for a map that is 0 everywhere, which looks at nothing.
    Raises:  ConfigError: there are not as many masks as maps.
    """
    if maps.ndim != 3 or inside.ndim != 3 or len(maps) != len(inside):
        raise ConfigError(
            f"expected maps (B, h, w) and as many masks (B, H, W), found {tuple(maps.shape)} and "
            f"{tuple(inside.shape)}"
        )
    full = resized(maps.to(inside.dtype), inside.shape[1], inside.shape[2])
    total = full.sum(dim=(1, 2))
    outside = (full * (1 - inside)).sum(dim=(1, 2))
    return outside / torch.where(total > 0, total, torch.ones_like(total))


class _PatchGrid(torch.nn.Module):
    """Patch tokens → the square grid that they came from."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """(B, N, C) → (B, C, h, h)."""
        side = math.isqrt(patches.shape[1])
        if side * side != patches.shape[1]:
            raise ConfigError(
                f"{patches.shape[1]} patches are no square grid: a map of a transformer needs square images"
            )
        return patches.transpose(1, 2).reshape(len(patches), -1, side, side)


def _family(module: torch.nn.Module) -> str | None:
    for kind in type(module).__mro__:
        if kind.__name__ in FAMILIES and kind.__module__.startswith("timm."):
            return kind.__name__
    return None


def _submodule(backbone: torch.nn.Module, path: str) -> torch.nn.Module:
    try:
        return backbone.get_submodule(path)
    except AttributeError as error:
        raise ConfigError(
            f"{type(backbone).__name__} has no layer {path!r} that a class activation map could be made of; "
            "pass a CamLayer"
        ) from error


def _differentiable_attention() -> Any:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)
