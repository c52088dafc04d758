"""What the reliability plot draws and says."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tellsign.calibration import reliability
from tellsign.evaluate.reliability import check_picture, write_reliability
from tellsign.explain import figures
from tellsign.explain.reliability import reliability_plot
from tellsign.types import ConfigError

# Right where it says 20 %, wrong where it says 90 %.
LABELS = np.array([1] * 20 + [0] * 80 + [1] * 50 + [0] * 50)
PROBABILITY = np.repeat([0.2, 0.9], 100)
FOUND = reliability(LABELS, PROBABILITY)


def drawn(plot):
    with figures._figure(plot) as figure:
        figure.canvas.draw()
        return figure.axes


def test_dots_stand_where_said_and_so_meet():
    (axes,) = drawn(reliability_plot(FOUND))
    dots = {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines}
    assert dots["as was said"] == (pytest.approx([0.2]), [0.2])
    assert dots["not as was said"] == (pytest.approx([0.9]), [0.5])
    (diagonal,) = (line for line in axes.lines if line.get_label().startswith("_"))
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    intervals = axes.collections[1].get_segments()
    for segment, b in zip(intervals, FOUND.bins, strict=True):
        assert segment[:, 1].tolist() == [b.fakes.low, b.fakes.high]


def test_the_finding_has_the_numbers():
    plot = reliability_plot(FOUND, prior=0.25)
    assert "In 1 of 2 bins the interval misses" in plot.finding
    assert "differ by 20.0% on average" in plot.finding
    assert "90% on average, 50% of 100 images are fake (95 % interval 40% to 60%)" in plot.finding
    assert "35% of these 200 images are fake. The probabilities assume 25% fakes." in plot.caption
    assert "assume" not in reliability_plot(FOUND).caption
    good = reliability_plot(reliability(LABELS[:100], PROBABILITY[:100]))
    assert "In all 1 bins the interval holds" in good.finding


def test_it_is_drawn_as_svg_too():
    text = figures.svg(reliability_plot(FOUND), prefix="p")
    assert text.startswith("<svg")
    assert not any(colour in text for colour in figures.LIGHT.values())


def table(probability, source=""):
    """Predictions as far as the plot reads them."""

    class Table(SimpleNamespace):
        def take(self, rows):
            return Table(**{name: column[rows] for name, column in vars(self).items()})

        def __len__(self):
            return len(self.label)

    sources = np.broadcast_to(np.asarray(source), len(LABELS))
    return Table(label=LABELS, probability=probability, source=sources)


def test_rows_without_a_probability_are_left_out(tmp_path):
    path = tmp_path / "r.PNG"
    write_reliability(table(PROBABILITY), path, prior=0.5)
    picture = Image.open(io.BytesIO(path.read_bytes()))
    assert (picture.format, picture.width) == ("PNG", 1080)
    half = np.where(np.arange(200) < 100, PROBABILITY, np.nan)
    write_reliability(table(half), tmp_path / "half.png")
    assert (tmp_path / "half.png").read_bytes() == figures.png(
        reliability_plot(reliability(LABELS[:100], PROBABILITY[:100]))
    )
    with pytest.raises(ConfigError, match="none of 200 samples has a probability"):
        write_reliability(table(np.full(200, np.nan)), path)


def test_frames_of_a_video_are_one_trial(tmp_path):
    names = np.array([f"v{i // 4}" for i in range(len(LABELS))])
    write_reliability(table(PROBABILITY, names), tmp_path / "r.png")
    found = reliability(LABELS, PROBABILITY, groups=names.tolist())
    assert (tmp_path / "r.png").read_bytes() == figures.png(reliability_plot(found))
    assert found.bins != FOUND.bins


@pytest.mark.parametrize(
    ("name", "message"), [("r.svg", "as PNG"), ("r", "as PNG"), ("no/r.png", "no folder")]
)
def test_a_place_that_cannot_be_drawn_to_is_refused(tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        check_picture(tmp_path / name)
