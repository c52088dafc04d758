"""A residual network with a stem of three convolutions, for pictures and for maps of other networks.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, in the form in which He,
Yu, Keuper and Fritz, "Beyond the Spectrum: Detecting Deepfakes via Re-Synthesis", IJCAI 2021, classify
residuals: two convolutions of the stem have a stride, and the first two groups of blocks in place of the last
three. The network is timm's own; its strides and the start of its weights are set here.

Shapes: B batch, C channels, H W pixels of the input, h w cells of the last map: 1/32 of them, rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from tellsign.configuration import check_whole
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from torch.nn import Module

Stem = Literal["deep", "plain"]

WIDTHS, BLOCKS = (64, 128, 256, 512), (3, 4, 6, 3)  # of ResNet-50, a number for each group
DEEP_STRIDES = (2, 2, 1, 1)  # of the groups behind the deep stem


def residual_network(
    channels: int = 3,
    *,
    classes: int = 2,
    widths: Sequence[int] = WIDTHS,
    blocks: Sequence[int] = BLOCKS,
    stem: Stem = "deep",
) -> Module:
    """A ResNet of bottleneck blocks that starts from scratch; ResNet-50 unless told otherwise.

    Convolutions start from a normal distribution of variance 2 / (k² n), k the side of the kernel and n the
    number of output channels, and the last normalisation of a block at 1, where timm has 0. The network's
    `forward_features` gives its last map, (B, 4 × the last width, h, w), whose mean over the cells goes
    through the linear layer `fc`: the rows of its weights make class activation maps of it.

    Args:    channels: C.
             classes: number of logits.
             widths: of the 3 × 3 convolutions in the four groups. The deep stem has the first of them, and
             twice the first at its end. blocks: in the four groups.
             stem: "deep", or "plain": one convolution of 7 × 7, and the strides of torchvision.
    Returns: (B, C, H, W) → (B, classes), in training mode, its weights from the current state of PyTorch's
             random numbers.
    Raises:  ConfigError: there is no network of these sizes.
    """
    from timm.models.resnet import Bottleneck, ResNet

    check_whole("channels", channels, 1)
    check_whole("classes", classes, 1)
    check_sizes(widths, blocks, stem)
    block: Any = Bottleneck  # timm annotates it as an instance, and uses it as a class
    network: Any = ResNet(
        block,
        tuple(blocks),
        num_classes=classes,
        in_chans=channels,
        stem_type="deep" if stem == "deep" else "",
        stem_width=widths[0],
        channels=tuple(widths),
        zero_init_last=False,
    )
    if stem == "deep":
        network.conv1[3].stride = (2, 2)
        for number, stride in enumerate(DEEP_STRIDES, 1):
            _set_stride(network.get_submodule(f"layer{number}")[0], stride)
    found: Module = network
    return found


def check_sizes(widths: object, blocks: object, stem: object) -> None:
    """Raises ConfigError for what are no widths, blocks and stem of `residual_network`."""
    for name, sizes in (("widths", widths), ("blocks", blocks)):
        if isinstance(sizes, str) or not isinstance(sizes, Sequence) or len(sizes) != len(WIDTHS):
            raise ConfigError(
                f"{name} is a list of four numbers, one for each group of blocks, found {sizes!r}"
            )
        for size in sizes:
            check_whole(f"each of {name}", size, 1)
    if stem not in get_args(Stem):
        raise ConfigError(f"stem is one of {', '.join(get_args(Stem))}, found {stem!r}")


def _set_stride(block: Any, stride: int) -> None:
    """Of the first block of a group: of its 3 × 3 convolution, and of the one in its shortcut."""
    block.conv2.stride = (stride, stride)
    block.downsample[0].stride = (stride, stride)
