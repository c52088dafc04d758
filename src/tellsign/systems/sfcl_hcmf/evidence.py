"""What SFCL-HCMF can show of a crop with its network in PyTorch: where its streams looked, and which of the
2304 statistics moved the score.

Shapes: B batch, S side of a crop in pixels, C channels of the shallow maps, H blocks along a side of the
padded crop, N M positions of the deep maps of pixels and of frequencies, K = 2304 statistics.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tellsign.detectors.descriptor_evidence import HOW_TO_READ, influence_evidence, strongest
from tellsign.engine.inference import network_run
from tellsign.explain.attention import attention_evidence, run_score
from tellsign.explain.cam import grad_cam
from tellsign.features.dct import SIDE
from tellsign.features.sida import entries
from tellsign.nn.attention import image_tensor, resized
from tellsign.systems.sfcl_hcmf.model import DESCRIPTOR
from tellsign.systems.sfcl_hcmf.standardisation import Standardisation
from tellsign.types import FAKE, REAL, Evidence

if TYPE_CHECKING:
    from tellsign.explain.attention import CropEvidence, ScoredCrop
    from tellsign.systems.sfcl_hcmf.fusion import Hcma
    from tellsign.systems.sfcl_hcmf.model import SfclHcmf
    from tellsign.types import FloatArray

STREAM = "the spatial stream"
FLAT = 1e-6  # of the way of a gate's argument, below which its slope at the start is that of the whole way


class WithStatistics(nn.Module):
    """A network with the statistics of one picture beside every crop: (B, 3, S, S) → logits (B, 2)."""

    descriptor: Tensor | None  # (1, K)

    def __init__(self, network: SfclHcmf, descriptor: FloatArray | None) -> None:
        """Put the statistics beside.

        Args:    network: in evaluation mode.
                 descriptor: (K,); None for a network without SIDA.
        """
        super().__init__()
        self.network = network
        beside = None if descriptor is None else image_tensor(network, descriptor[None])
        self.register_buffer("descriptor", beside)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, 2)."""
        beside = None if self.descriptor is None else self.descriptor.expand(len(images), -1)
        found: Tensor = self.network(images, beside)
        return found


def network_evidence(network: SfclHcmf, size: int) -> CropEvidence:
    """What a network can show of a crop.

    Args:    network: in evaluation mode.
             size: S.
    Returns: a crop → the Grad-CAM of the spatial stream with its faithfulness, the maps of FAAE and HCMA, and
             the influence of the statistics; of those, what the network has.
    Raises:  ConfigError: captum is missing.
    """
    blank = None if network.descriptor is None else np.zeros(DESCRIPTOR, np.float32)
    # What is missing is known before any image is looked at.
    grad_cam(WithStatistics(network, blank), np.zeros((1, 3, size, size), np.float32))

    def evidence(crop: ScoredCrop) -> tuple[Evidence, ...]:
        own = WithStatistics(network, crop.descriptor)
        score = run_score(network_run(own, n_parts=0))
        held = "" if crop.descriptor is None else ", its statistics held as they are,"
        found = attention_evidence(
            STREAM,
            own,
            score,
            crop.pixels,
            where=crop.where,
            face=crop.face,
            scored=f"the whole network{held}",
            remark="It is read from the last map of the stream that sees the pixels, on its way to the score "
            "of the whole network; what the frequencies of blocks and the statistics say is not in it.",
        )
        with torch.no_grad():
            x_s, x_f = network.shallow(image_tensor(network, crop.pixels[None]))
            s, f = network.deep(x_s, x_f)
            if network.faae is not None and x_f is not None:
                found += (_faae(network.faae.attention(x_s, x_f), crop),)
            if network.hcma is not None and f is not None:
                found += _hcma(network.hcma, s, f, crop)
            if crop.descriptor is not None:
                (total,) = score(crop.pixels[None])
                parts = statistics_influence(network, s, f, image_tensor(network, crop.descriptor[None]))
                found += _statistics(network, parts, float(total), crop, crop.descriptor)
        return found

    return evidence


def statistics_influence(network: SfclHcmf, s: Tensor, f: Tensor | None, descriptor: Tensor) -> FloatArray:
    """What each statistic adds to the score, from scaled statistics of 0 on.

    Integrated gradients (Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017,
    eq. 1) along the straight line from 0 to the scaled statistics of an image, the pixels held; with
    scaling = "zscore" it starts from the mean of the training images. On that line a gate is the sigmoid of
    a number that grows evenly, so that the integral is known and nothing is approximated. Deviates: none.

    Args:    network: in evaluation mode, with SIDA.
             s, f: the deep maps of one crop, (1, ·, h, w) each, from `SfclHcmf.deep`.
             descriptor: (1, K) its statistics as they are.
    Returns: (K,) float64; their sum is what the statistics together add to the score.
    """
    assert network.descriptor is not None
    scaled = network.descriptor(descriptor)[0].double()
    towards_fake = (network.classifier.weight[FAKE] - network.classifier.weight[REAL]).double()
    if network.hcma is None or network.gate is None:  # the classifier sees them, behind the means of the maps
        slopes = towards_fake[-DESCRIPTOR:]
    else:
        weight, start = (one.double() for one in (network.gate.linear.weight, network.gate.linear.bias))
        way = weight @ scaled
        before, gained = torch.sigmoid(start), torch.sigmoid(start + way) - torch.sigmoid(start)
        flat = way.abs() < FLAT
        divisor = torch.where(flat, torch.ones_like(way), way)
        slope = torch.where(flat, before * (1 - before), gained / divisor)
        tokens: Tensor = network.hcma(s, f)
        slopes = (towards_fake * tokens.mean(dim=1)[0].double() * slope) @ weight
    found: FloatArray = (slopes * scaled).detach().cpu().numpy()
    return found


def _faae(alpha: Tensor, crop: ScoredCrop) -> Evidence:
    """Alpha (1, C, H, H) as the weights of positions, 1 on average."""
    channels, blocks = alpha.shape[1:3]
    return Evidence(
        kind="heatmap",
        name="weights of FAAE",
        values=_over_the_blocks(blocks * alpha.mean(dim=1), crop),
        unit="times an even share",
        caption=f"How much is let in of what the frequencies of {blocks} × {blocks} blocks say, over "
        f"{crop.where}: the weights of the shallow fusion (FAAE), which adds it to the pixels, mean over "
        f"{channels} channels. 1 is an even share. The weights of a row of blocks always have the mean 1, so "
        "that places of one row can be compared, and rows can't. It shows where frequencies are listened to, "
        "and not what they say.",
    )


def _hcma(hcma: Hcma, s: Tensor, f: Tensor, crop: ScoredCrop) -> tuple[Evidence, ...]:
    """Which spectral positions are attended to, and which spatial ones choose; nothing of a single key.

    The attention of one spatial position adds up to 1 over the spectral ones, so that a sum over these would
    be the same everywhere.
    """
    attention = hcma.attention(*hcma.embedded(s, f))[0]  # (heads, N, M)
    M = attention.shape[-1]
    if M == 1:
        return ()
    taken = M * attention.mean(dim=(0, 1)).reshape(1, *f.shape[-2:])
    entropy = torch.special.entr(attention).sum(dim=-1).mean(dim=0)  # (N,)
    choosy = (1 - entropy / math.log(M)).reshape(1, *s.shape[-2:])
    side = crop.pixels.shape[-1]
    return (
        Evidence(
            kind="heatmap",
            name="attention of HCMA",
            values=_over_the_blocks(taken, crop),
            unit="times an even share",
            caption=f"From which of the {M} places of its map of frequencies the deep fusion (HCMA) takes "
            f"what it adds to the pixels, over {crop.where}: the mean over all places that ask, and over "
            f"{hcma.heads} heads. 1 is an even share. What is taken there may speak for real or for fake; "
            "this map does not say which.",
        ),
        Evidence(
            kind="heatmap",
            name="selectivity of HCMA",
            values=resized(choosy.float(), side, side)[0].cpu().numpy(),
            unit="0 even … 1 one place",
            caption=f"How choosy each place of the picture is when it asks the map of frequencies, over "
            f"{crop.where}: 0 takes from all {M} places alike, 1 from a single one (1 less the entropy of "
            f"its attention over that of an even one, mean over {hcma.heads} heads). Where it is near 0 "
            "everywhere, the attention of HCMA says next to nothing about this picture.",
        ),
    )


def _over_the_blocks(maps: Tensor, crop: ScoredCrop) -> FloatArray:
    """(1, h, w) over the blocks of a crop → (S, S), without the border that was reflected to whole blocks."""
    side = crop.pixels.shape[-1]
    border = -side % SIDE
    first = border // 2  # as `local.padded` lays it
    whole = resized(maps.float(), side + border, side + border)[0].cpu().numpy()
    return np.asarray(whole[first : first + side, first : first + side])


def _statistics(
    network: SfclHcmf, parts: FloatArray, score: float, crop: ScoredCrop, own: FloatArray
) -> tuple[Evidence, ...]:
    """The influence of the statistics by fineness, where it starts from, and the strongest by name."""
    z: FloatArray | None = None
    start = "statistics of 0, those of a picture without any detail"
    if isinstance(network.descriptor, Standardisation):
        start = "the mean statistics of the training images"
        z = network.descriptor(image_tensor(network, own[None]))[0].cpu().numpy()
    elif isinstance(network.descriptor, nn.LayerNorm):
        start = "statistics that are all alike"
    base = Evidence(
        kind="scalar",
        name=f"score with {start.partition(',')[0]}",
        values=np.asarray(score - parts.sum()),
        unit="log-odds",
        caption=f"What the network says of the same pixels with {start}. What the {DESCRIPTOR} statistics of "
        f"this {crop.region} add to it follows for the strongest; all together they lead to its score of "
        f"{score:.3g}. Above zero speaks for fake. The pixels are held: what they did to the score is not in "
        f"it. {HOW_TO_READ}",
    )
    strong = (
        Evidence(
            kind="scalar",
            name=f"influence of {entries()[place]}",
            values=np.asarray(parts[place]),
            unit="of the score",
            caption=f"This {crop.region} has {own[place]:.3g}"
            + ("" if z is None else f", {z[place]:+.2g} standard deviations from the training images' mean")
            + ".",
        )
        for place in strongest(parts)
    )
    bands = influence_evidence(
        parts, start=f"the same pixels with {start}", name="influence of the statistics"
    )
    return (bands, base, *strong)
