"""Heat maps of an evidence page: spectra with their axes, and maps laid over the picture.

Shapes: H W values of a heat map, h w pixels of a picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from tellsign.explain import words
from tellsign.explain.figures import LIGHT, reduced

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import FigureBase
    from numpy.typing import NDArray

    from tellsign.types import Evidence, FloatArray

MAX_CELLS = 384  # side of a drawn heat map


def draw_heatmap(
    figure: FigureBase, evidence: Evidence, picture: NDArray[np.uint8] | None, *, frequencies: bool
) -> None:
    """A heat map with its colour bar.

    Args:    figure: empty, to draw on.
             evidence: of kind heatmap, values (H, W).
             picture: (h, w, 3) that the map is laid over, or None.
             frequencies: the map is a spectrum with DC at [H // 2, W // 2]; it gets axes.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    axes = figure.add_subplot()
    values = np.asarray(evidence.values, dtype=np.float64)
    cells = values if picture is not None else _pooled(values)
    finite = cells[np.isfinite(cells)]
    low, high = np.quantile(finite, (0.002, 0.9995)) if finite.size else (0.0, 1.0)
    signed = bool(not frequencies and low < 0 < high)
    if signed:
        high = max(-low, high)
        low = -high
    norm = Normalize(float(low), float(high) if high > low else float(low) + 1)
    if signed or picture is not None:
        stops = [LIGHT["real"]] * signed + ["#bfbfbf", LIGHT["fake"]]
        colours: Colormap = LinearSegmentedColormap.from_list("tint", stops)
    else:
        colours = colormaps["cividis"]
    if picture is not None:
        axes.imshow(_overlay(norm(values), picture, colours, signed=signed), interpolation="none")
    elif not frequencies:
        axes.imshow(cells, norm=norm, cmap=colours, interpolation="none")
    else:
        height, width = values.shape
        top, left = (height // 2 + 0.5) / height, (width // 2 + 0.5) / width  # DC's cell has 0 in its middle
        extent = (-left, 1 - left, 1 - top, -top)
        axes.imshow(cells, norm=norm, cmap=colours, extent=extent, interpolation="none", aspect="equal")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    ticks = (-0.4, -0.2, 0, 0.2, 0.4) if frequencies else ()
    axes.set_xticks(ticks, [words.number(tick) for tick in ticks])
    axes.set_yticks(ticks, [words.number(tick) for tick in ticks])
    axes.tick_params(length=0)
    if frequencies:
        axes.set_xlabel("horizontal cycles per pixel")
        axes.set_ylabel("vertical cycles per pixel")
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axes.inset_axes((1.04, 0, 0.035, 1)))
    bar.outline.set_visible(False)
    bar.ax.set_title(words.visible(evidence.unit), loc="right")


def _pooled(values: FloatArray) -> FloatArray:
    """A heat map of at most MAX_CELLS a side. The maximum of each block: a mean would hide single dots."""
    step = -(-max(values.shape) // MAX_CELLS)
    height, width = values.shape
    padded = np.pad(values, ((0, -height % step), (0, -width % step)), constant_values=-np.inf)
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    pooled = np.where(np.isfinite(blocks), blocks, -np.inf).max(axis=(1, 3))
    return np.where(np.isfinite(pooled), pooled, np.nan)


def _overlay(shares: FloatArray, picture: NDArray[np.uint8], colours: Any, *, signed: bool) -> FloatArray:
    """(H, W) shares of the colour range and a picture of any size → RGB: the grey picture, tinted."""
    base = reduced(PIL.Image.fromarray(np.ascontiguousarray(picture)).convert("L"), MAX_CELLS)
    filled = np.clip(np.nan_to_num(np.ma.filled(shares, np.nan), nan=0.5 if signed else 0.0), 0, 1)
    map_ = PIL.Image.fromarray(filled.astype(np.float32)).resize(base.size, PIL.Image.Resampling.BILINEAR)
    share = np.asarray(map_, dtype=np.float64)
    strength = 0.75 * (np.abs(2 * share - 1) if signed else share)[..., None]
    # Neither black nor white, so that the tint is seen everywhere.
    grey = 0.2 + 0.7 * np.asarray(base, dtype=np.float64)[..., None] / 255
    return np.asarray(grey * (1 - strength) + colours(share)[..., :3] * strength)
