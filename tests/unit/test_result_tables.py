"""Tables of results: what they say in Markdown, CSV and LaTeX."""

import csv
import io

import numpy as np
import pytest

from tellsign.evaluate.benchmark.plots import matrix_plot, robustness_plot, roc, roc_plot
from tellsign.evaluate.benchmark.tables import Table, Value, pivot, select
from tellsign.explain.figures import png, svg


def cell(detector, test, value, **more):
    ci = None if value is None else [value - 0.1, value + 0.1]
    return {
        "detector": detector,
        "test": test,
        "metric": "auroc",
        "value": value,
        "ci": ci,
        "coverage": 1.0,
    } | more


CELLS = [
    cell("a", "x", 0.5),
    cell("a", "y", 0.75),
    cell("b", "x", None, note="one class"),
    cell("b", "y", 0.25),
]
GOOD, BAD = (roc(np.array([0, 1]), np.array(scores)) for scores in ([0.0, 1.0], [1.0, 0.0]))


def table(cells=CELLS, **options):
    return pivot(cells, name="t", title="T", rows="detector", columns="test", **options)


def test_a_pivot_puts_each_cell_in_its_place():
    found = table()
    assert found.columns == ("x", "y")
    assert [name for name, _ in found.rows] == ["a", "b"]
    assert found.rows[0][1] == (Value(0.5, (0.4, 0.6)), Value(0.75, (0.65, 0.85)))
    assert found.rows[1][1][0].text() == "one class"


def test_means_are_over_the_cells_of_a_row_and_only_complete_ones():
    domains = {("a", "x"): "in", ("a", "y"): "cross", ("b", "x"): "cross", ("b", "y"): "in"}
    cells = [one | {"domain": domains[one["detector"], one["test"]]} for one in CELLS]
    found = table(cells, means={"all": None, "in": ["in"], "cross": ["cross"]})
    assert found.columns == ("x", "y", "all", "in", "cross")
    means = [[value.value for value in values[2:]] for _, values in found.rows]
    assert means == [[0.625, 0.5, 0.75], [None, 0.25, None]]


def test_a_place_without_a_cell_says_so():
    assert table(CELLS[:1] + CELLS[3:]).rows[0][1][1].text() == "n/a"


def test_two_cells_for_one_place_are_an_error():
    with pytest.raises(ValueError, match="two cells for row 'a' and column 'x'"):
        table([*CELLS, CELLS[0]])


def test_partial_coverage_stands_beside_the_number():
    (_, (value,)), *_ = table([cell("a", "x", 0.5, coverage=0.9)]).rows
    assert value.text() == "0.500 [0.400, 0.600] (90% scored)"


def test_select_takes_cells_by_all_keys():
    assert select(CELLS, detector="a", test="y") == [CELLS[1]]
    assert select(CELLS, attack=None) == CELLS


def test_markdown_has_a_line_for_each_row():
    lines = table(caption="C.").markdown().splitlines()
    assert lines[0] == "### T"
    assert "| a | 0.500 [0.400, 0.600] | 0.750 [0.650, 0.850] |" in lines
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_markdown_keeps_a_bar_in_a_name_inside_its_cell():
    line = table([cell("a|b", "x", 0.5)]).markdown().splitlines()[-1]
    assert line.startswith(r"| a\|b |")


def test_csv_keeps_every_digit_and_is_no_formula():
    rows = list(csv.DictReader(io.StringIO(table([cell("=1+1", "x", 1 / 3)]).csv())))
    assert rows[0]["row"] == "'=1+1"
    assert float(rows[0]["value"]) == 1 / 3
    assert float(rows[0]["low"]) == 1 / 3 - 0.1


def test_csv_of_a_missing_value_has_its_reason():
    rows = list(csv.DictReader(io.StringIO(table().csv())))
    assert (rows[2]["value"], rows[2]["note"]) == ("", "one class")


def test_latex_escapes_what_tex_reads():
    found = table([cell("50%_a&b", "x#1", 0.5)], caption="{1}^~\\").latex()
    assert r"50\%\_a\&b & 0.500 [0.400, 0.600] \\" in found
    assert r"x\#1" in found
    assert r"\{1\}\textasciicircum{}\textasciitilde{}\textbackslash{}" in found


def test_a_negative_number_is_a_minus_in_text_and_a_number_in_csv():
    found = Table("t", "T", "d", ("x",), (("a", (Value(-0.25, (-0.5, 0.0)),)),))
    assert "−0.250 [−0.500, 0.000]" in found.markdown()
    assert "$-$0.250" in found.latex()
    assert ",-0.25," in found.csv()


def test_roc_passes_tied_scores_together():
    fpr, tpr = roc(np.array([0, 1, 0, 1]), np.array([1.0, 1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(fpr, [0, 0, 0.5, 1])
    np.testing.assert_array_equal(tpr, [0, 0.5, 1, 1])


def test_the_area_under_roc_is_the_auroc():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.integers(0, 30, 200).astype(float)
    fpr, tpr = roc(labels, scores)
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    "plot",
    [
        roc_plot("x", {"a": GOOD, "b": BAD}),
        robustness_plot("x", "JPEG", pivot(CELLS, name="r", title="R", rows="test", columns="detector")),
        matrix_plot(table()),
    ],
    ids=lambda plot: plot.name,
)  # fmt: skip
def test_plots_are_drawn_and_say_what_they_show(plot):
    assert png(plot).startswith(b"\x89PNG")
    assert svg(plot, prefix="p") == svg(plot, prefix="p")
    assert plot.finding


def test_findings_state_the_numbers():
    curve = roc(np.array([0, 0, 1, 1]), np.array([0.0, 1.0, 0.5, 2.0]))
    assert roc_plot("x", {"a": curve}).finding == "At 5 % false positives a finds the most fakes (50%)."
    assert "From 0.25 (b on y) to 0.75 (a on y)" in matrix_plot(table()).finding


def test_markdown_of_names_is_no_markup():
    text = table([cell("<img src=x>\n\n# a", "x", 0.5)], caption="a < b").markdown()
    assert "<img" not in text
    assert "&lt;img src=x&gt; # a" in text
    assert "a &lt; b" in text
