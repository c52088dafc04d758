"""What an evidence page says in words, against answers known beforehand."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tellsign.explain import words
from tellsign.types import Evidence

SPECTRUM = Evidence(
    "heatmap", "log spectrum", np.random.default_rng(0).normal(100, 5, (32, 32)), "20 ln |F|", "c"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b.png", "a b.png"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\udcff", "a\\udcff"),
        ("a\nb", "a\\nb"),
        ("写真\u3000مقابلة", "写真\u3000مقابلة"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(text, shown):
    assert words.visible(text) == shown


def test_lines_are_kept_where_asked_and_other_controls_are_not():
    assert words.visible("a\r\nb\x07", lines=True) == "a\nb\\x07"


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.62, "62 %"),
        (0.0, "under 0.1 %"),
        (0.0004, "under 0.1 %"),
        (0.016, "1.6 %"),
        (0.05, "5 %"),
        (0.0996, "10 %"),
        (0.99, "99 %"),
        (0.996, "over 99 %"),
        (1.0, "over 99 %"),
    ],
)
def test_a_probability_never_claims_certainty(share, shown):
    assert words.percent(share).replace("\u00a0", " ") == shown


def test_numbers_have_a_true_minus_and_no_negative_zero():
    assert [words.number(x) for x in (-0.5, 0.12345, 12345.6, -1e-30 * 0, np.nan, -np.inf)] == [
        "−0.5",
        "0.123",
        "12346",
        "0",
        "not a number",
        "−∞",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00.0"), (59.96, "1:00.0"), (62.5, "1:02.5"), (-1, "0:00.0")]
)
def test_time_stamps(seconds, shown):
    assert words.clock(seconds) == shown


def test_the_score_is_compared_with_both_groups_in_counts():
    real, fake = np.arange(200.0), np.arange(100.0, 150.0)
    found = words.score_finding(real, fake, low=1, high=2, score=197.0).replace("\u00a0", " ")
    assert "Of 200 real images, 3 (1.5 %) scored as high or higher." in found
    assert "Of 50 generated images, all scored as low or lower." in found
    assert "none scored as high" in words.score_finding(real, fake, low=1, high=2, score=1e6)


def profile_rows(own, half=1.0):
    lower, upper = np.full(own.size, -half), np.full(own.size, half)
    labels = ("this image", "real, mean", "real, lower", "real, upper")
    return Evidence("curve", "profile", np.stack([own, 0 * own, lower, upper]), "u", "c", labels)


def test_a_profile_that_leaves_the_band_is_said_to_with_its_numbers():
    own = np.zeros(11)
    own[[5, 10]] = 1.5, -4.0
    found = words.curve_finding(profile_rows(own)).replace("\u00a0", " ")
    assert "outside the range at 2 of 11 frequencies (18 %" in found
    assert "at 100 % of the way from coarse to fine detail: 4 standard deviations below it" in found
    assert "inside the range at all 11" in words.curve_finding(profile_rows(np.zeros(11)))


def test_a_profile_without_finite_values_is_not_called_inside():
    rows = profile_rows(np.full(4, np.nan))
    assert words.curve_finding(rows) == "There are no finite values."


def test_the_most_influential_bands_are_named():
    found = words.curve_finding(
        Evidence("curve", "influence", np.array([[0.0, 2.0, -3.0]]), "u", "c", ("influence",))
    )
    assert "band 2 of 3 raises the score most, by 2" in found
    assert "band 3 of 3 lowers the score most, by 3" in found


def test_a_repeated_pattern_is_found_in_a_spectrum_and_a_line_is_not():
    values = np.random.default_rng(0).normal(0, 1, (64, 64))
    values[32, :] += 40  # the bright line of a photograph
    values[32 - 16, 32 + 8] += 30
    found = words.heatmap_finding(replace(SPECTRUM, values=values), frequencies=True)
    assert "0.125 horizontal and 0.25 vertical cycles per pixel stand out most" in found
    by, usual = map(
        float, re.search(r"by ([\d.]+), where 999 of 1000 reach less than ([\d.]+)\.", found).groups()
    )
    assert by > 25 > 10 > usual


def test_the_highest_place_of_a_map_is_named():
    values = np.zeros((10, 20))
    values[9, 0] = 5
    found = words.heatmap_finding(Evidence("heatmap", "m", values, "u", "c"), frequencies=False)
    assert "2.5\u00a0% from the left and 95\u00a0% from the top" in found
