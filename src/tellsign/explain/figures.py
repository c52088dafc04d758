"""A drawing of an evidence page as inline SVG or as PNG.

In a page the colours become CSS variables, so that one drawing serves light, dark and print. matplotlib's
settings are replaced while a figure is drawn, under a lock, and put back: neither a user's matplotlibrc nor
another part of the program changes what is drawn, and the same input gives the same bytes.

Shapes: H W pixels.
"""

from __future__ import annotations

import base64
import io
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from xml.etree.ElementTree import Element

    from matplotlib.figure import Figure, FigureBase
    from numpy.typing import NDArray

# Blue and vermilion stay apart for every kind of colour vision; what has no answer has no hue.
# Each pair of text and ground has a contrast of at least 4.5 : 1.
LIGHT = {
    "paper": "#fffffe",
    "ground": "#f3f4f2",
    "ink": "#1c2127",
    "muted": "#59636e",
    "rule": "#d3d8dd",
    "real": "#0a5c99",
    "fake": "#b0440c",
    "unsure": "#5f6771",
}
DARK = {
    "paper": "#1b1f24",
    "ground": "#121518",
    "ink": "#e8eaed",
    "muted": "#a5afba",
    "rule": "#3b434c",
    "real": "#6db8f0",
    "fake": "#f59562",
    "unsure": "#b3bbc5",
}
WIDTH = 360  # of every drawing, in CSS pixels of a phone, so that letters 11 high stay legible there

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["muted"],
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": LIGHT["muted"],
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titlepad": 8,
    "axes.unicode_minus": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.facecolor": "none",
    "figure.titlesize": 13,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": LIGHT["rule"],
    "grid.linewidth": 0.6,
    "legend.borderpad": 0,
    "legend.columnspacing": 1.2,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "tellsign",
    "text.color": LIGHT["ink"],
    "text.parse_math": False,
    "xtick.color": LIGHT["muted"],
    "xtick.labelsize": 11,
    "ytick.color": LIGHT["rule"],
    "ytick.labelcolor": LIGHT["muted"],
    "ytick.labelsize": 11,
    "ytick.major.size": 0,
}
_LOCK = threading.RLock()


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """One drawing with its text."""

    name: str  # for file names and ids
    title: str
    caption: str  # how to read it
    finding: str  # what it shows here, with numbers; the text alternative
    draw: Callable[[FigureBase], None]
    height: int = 220  # in the units of WIDTH
    many_colours: bool = False  # more than a palette of 256 can hold


def svg(plot: Plot, *, prefix: str) -> str:
    """A plot as an SVG element for an HTML page.

    Args:    plot: what to draw.
             prefix: of every id in it, unique in the page.
    Returns: `<svg role="img">` with title and description; colours are CSS variables named as in LIGHT, type
             is the page's.
    """
    import xml.etree.ElementTree as ET

    with _figure(plot) as figure:
        file = io.BytesIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    root = ET.fromstring(file.getvalue())  # noqa: S314 - written above
    _plain(root)
    for parent in root.iter():
        for child in [child for child in parent if child.tag == "style"]:  # it would style the whole page
            parent.remove(child)
    _own_ids(root, prefix)
    for element in root.iter():
        _page_styled(element)
        if element.tag == "image":
            element.set("href", _smaller(element.attrib["href"]))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {
        "class": "plot",
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
    }
    for position, (tag, text) in enumerate((("title", plot.title), ("desc", plot.finding))):
        element = ET.Element(tag, {"id": f"{prefix}-{tag}"})
        element.text = text
        root.insert(position, element)
    text = ET.tostring(root, encoding="unicode")
    return re.sub(r">\s+<", "><", text)


def png(plot: Plot) -> bytes:
    """A plot as a PNG file of 1080 pixels width, on white, with its title.

    Args:    plot: what to draw.
    Returns: the file's bytes.
    """
    with _figure(plot, titled=True) as figure:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=216, facecolor=LIGHT["paper"], metadata={"Software": None})
    picture = PIL.Image.open(file).convert("RGB")
    if not plot.many_colours:
        picture = picture.quantize(256, dither=PIL.Image.Dither.NONE)
    return _encoded(picture, "PNG")


def jpeg_url(pixels: NDArray[np.uint8], side: int, *, quality: int = 80) -> tuple[str, int, int]:
    """A picture reduced for a page.

    Args:    pixels: (H, W, 3).
             side: longest side in pixels; a smaller picture keeps its size.
             quality: of the JPEG.
    Returns: data URL, width, height.
    """
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    picture = reduced(picture, side)
    return _data_url(_encoded(picture, "JPEG", quality=quality), "jpeg"), *picture.size


def reduced(picture: PIL.Image.Image, side: int) -> PIL.Image.Image:
    """A picture whose longest side is at most `side` pixels."""
    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    width, height = (max(1, round(scale * length)) for length in picture.size)
    return picture.resize((width, height), PIL.Image.Resampling.LANCZOS)


@contextmanager
def _figure(plot: Plot, *, titled: bool = False) -> Iterator[Figure]:
    import matplotlib.style
    from matplotlib.figure import Figure

    with _LOCK, matplotlib.style.context(_STYLE, after_reset=True):
        title_height = 26 if titled else 0
        figure = Figure(figsize=(WIDTH / 72, (title_height + plot.height) / 72), layout="constrained")
        if titled:
            parts: Any = figure.subfigures(2, 1, height_ratios=(title_height, plot.height))
            parts[0].text(0.02, 0.3, plot.title, size=13, weight="bold")
            plot.draw(parts[1])
        else:
            plot.draw(figure)
        yield figure


def _plain(root: Element) -> None:
    """Names without XML namespaces, which HTML has no use for."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name.startswith("{")]:
            element.set(name.rpartition("}")[2], element.attrib.pop(name))


def _own_ids(root: Element, prefix: str) -> None:
    """Ids that no other drawing in the page has; those that nothing refers to are dropped."""
    used = {element.attrib["href"][1:] for element in root.iter("use")}
    used |= set(re.findall(r"url\(#([^)]+)\)", " ".join(v for e in root.iter() for v in e.attrib.values())))
    new = {name: f"{prefix}-{index}" for index, name in enumerate(sorted(used))}
    for element in root.iter():
        if (found := element.attrib.pop("id", None)) in new:
            element.set("id", new[found])
        for name, value in element.attrib.items():
            if name == "href" and value.startswith("#"):
                element.set(name, f"#{new[value[1:]]}")
            elif "url(#" in value:
                element.set(name, re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{new[m.group(1)]})", value))


def _page_styled(element: Element) -> None:
    style = element.attrib.get("style", "")
    for name, colour in LIGHT.items():
        style = style.replace(colour, f"var(--{name})")
    if element.tag == "text":
        style = re.sub(r"font-family:[^;]*;?", "", style)
    if style:
        element.set("style", style.strip())
    for name in ("d", "x", "y", "transform", "points"):
        if name in element.attrib:
            short = re.sub(r"(\.\d\d)\d+", r"\1", element.attrib[name])
            element.set(name, re.sub(r"\s+", " ", short).strip())


def _smaller(url: str) -> str:
    """An embedded picture with a palette, or as JPEG where it has more colours than that holds."""
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    pixels = np.asarray(picture.convert("RGBA"))
    if (pixels[..., 3] < 255).any():
        return url
    codes = pixels[..., :3].astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    colours, indices = np.unique(codes, return_inverse=True)
    if colours.size > 256:
        return _data_url(_encoded(picture.convert("RGB"), "JPEG", quality=82), "jpeg")
    palette = PIL.Image.fromarray(indices.reshape(codes.shape).astype(np.uint8))
    palette.putpalette([int(c) >> shift & 255 for c in colours for shift in (16, 8, 0)])
    return _data_url(_encoded(palette, "PNG"), "png")


def _encoded(picture: PIL.Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, optimize=True, **options)
    return file.getvalue()


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
