"""What the plots of an evidence page draw, and in which colours."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tellsign.explain import figures, heatmaps, plots
from tellsign.types import Evidence

REAL, FAKE = np.linspace(-3, 1, 50), np.linspace(-1, 3, 40)
SPECTRUM = Evidence(
    "heatmap", "log spectrum", np.random.default_rng(0).normal(100, 5, (32, 32)), "20 ln |F|", "c"
)


def profile_rows(own, half=1.0):
    lower, upper = np.full(own.size, -half), np.full(own.size, half)
    labels = ("this image", "real, mean", "real, lower", "real, upper")
    return Evidence("curve", "profile", np.stack([own, 0 * own, lower, upper]), "u", "c", labels)


def drawn(plot):
    """The axes of a drawn plot."""
    with figures._figure(plot) as figure:
        figure.canvas.draw()
        return figure.axes


def test_a_drawing_takes_its_colours_from_the_page_and_styles_nothing_else():
    text = figures.svg(plots.evidence_plot(profile_rows(np.arange(9.0)), None), prefix="p")
    assert not any(colour in text for colour in figures.LIGHT.values())
    assert "var(--ink)" in text
    assert "<style" not in text
    assert "font-family" not in text


def test_influence_is_drawn_as_bars_of_its_values():
    values = np.array([0.5, -0.25, 0.0])
    plot = plots.evidence_plot(Evidence("curve", "influence", values[None], "u", "c", ("influence",)), None)
    (axes,) = drawn(plot)
    assert [bar.get_height() for bar in axes.patches] == values.tolist()
    colours = [bar.get_facecolor() for bar in axes.patches[:2]]
    assert [f"#{int(r * 255 + 0.5):02x}" for r, *_ in colours] == [
        figures.LIGHT[n][:3] for n in ("fake", "real")
    ]


def test_the_profile_is_drawn_with_its_distance_from_the_band():
    own = np.array([0.0, 1.0, 6.0])
    upper, lower = drawn(plots.evidence_plot(profile_rows(own, half=2.0), None))
    assert any(np.array_equal(line.get_ydata(), own) for line in upper.lines)
    assert any(np.array_equal(line.get_ydata(), own / 2) for line in lower.lines)
    assert lower.get_ylim()[1] >= 3


def test_unknown_curves_are_drawn_with_their_labels():
    evidence = Evidence("curve", "block DCT", np.arange(100.0).reshape(2, 50), "u", "c", ("one",))
    (axes,) = drawn(plots.evidence_plot(evidence, None))
    assert [line.get_label() for line in axes.lines] == ["one", "curve 2"]


@pytest.mark.parametrize(
    ("score", "text"), [(0.5, "this image: 0.5"), (99.0, "this image: 99 ▸"), (-99.0, "◂ this image: −99")]
)
def test_the_score_is_marked_and_a_far_one_at_the_edge(score, text):
    (axes,) = drawn(plots.score_plot(REAL, FAKE, low=0, high=1, score=score, noun="image"))
    assert text in [label.get_text() for label in axes.texts]
    left, right = axes.get_xlim()
    assert left <= axes.lines[-1].get_xdata()[0] <= right
    assert right - left < 12  # not squeezed by a score far off


def test_the_groups_of_scores_stand_above_and_below_the_axis():
    (axes,) = drawn(plots.score_plot(REAL, FAKE, low=0, high=1, score=0.5, noun="image"))
    real, fake = (patch.get_data().values for patch in axes.patches if hasattr(patch, "get_data"))
    assert (real.min(), real.max()) == (0, 1)
    assert (fake.min(), fake.max()) == (-1, 0)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["50\nreal", "40\ngenerated"]


def test_a_heat_map_lies_over_the_picture_the_right_way_round():
    values = np.zeros((4, 4))
    values[0, 3] = 1.0
    picture = np.full((80, 120, 3), 128, np.uint8)
    axes = drawn(plots.evidence_plot(Evidence("heatmap", "attention", values, "u", "c"), picture))[0]
    image = axes.images[0].get_array()
    assert image.shape == (80, 120, 3)
    tint = image[..., 0] - image[..., 2]
    assert np.unravel_index(tint.argmax(), tint.shape)[0] < 20
    assert np.unravel_index(tint.argmax(), tint.shape)[1] >= 90
    assert tint[60, 30] == pytest.approx(0, abs=1e-6)


def test_a_spectrum_is_not_laid_over_the_picture_and_keeps_single_dots():
    values = np.zeros((1000, 800))
    values[500, 401] = 7.0
    axes = drawn(plots.evidence_plot(replace(SPECTRUM, values=values), np.zeros((9, 9, 3), np.uint8)))[0]
    shown = axes.images[0].get_array()
    assert max(shown.shape) <= heatmaps.MAX_CELLS
    assert shown.max() == 7.0
    assert (shown == 7.0).sum() == 1


def test_thumbnails_keep_their_shape_and_are_never_enlarged():
    url, width, height = figures.jpeg_url(np.zeros((100, 1000, 3), np.uint8), 100)
    assert (width, height) == (100, 10)
    assert url.startswith("data:image/jpeg;base64,")
    assert figures.jpeg_url(np.zeros((3, 2, 3), np.uint8), 100)[1:] == (2, 3)


def test_an_embedded_heat_map_keeps_every_colour_in_its_palette():
    pixels = (
        np.random.default_rng(0)
        .integers(0, 255, (16, 3))[np.arange(400).reshape(20, 20) % 16]
        .astype(np.uint8)
    )
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGBA").save(file, "PNG")
    url = figures._smaller(figures._data_url(file.getvalue(), "png"))
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as found:
        assert found.mode == "P"
        assert np.array_equal(np.asarray(found.convert("RGB")), pixels)


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_as_wcag_defines_it():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < 4.5 < contrast("#767676", "#ffffff")


@pytest.mark.parametrize("scheme", [figures.LIGHT, figures.DARK])
def test_text_has_the_contrast_of_wcag_aa(scheme):
    for text in ("ink", "muted", "real", "fake", "unsure"):
        for ground in ("paper", "ground"):
            assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)
