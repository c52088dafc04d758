"""The registry of reproductions: names, inputs that do and don't do, results, and figures."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tellsign.data import Manifest
from tellsign.evaluate import reproduce as registry
from tellsign.evaluate.columns import aligned
from tellsign.evaluate.published import share
from tellsign.evaluate.reproduce import REGISTRY, Result, Row, names, reproduce
from tellsign.evaluate.upconv.features import CELEBA, FACES_HQ, from_file, from_manifest, luma
from tellsign.features import spectrum
from tellsign.types import ConfigError, ImageError, ManifestError, Sample

TABLES = [name for name in REGISTRY if name.startswith(("upconv-table", "upconv-confound"))]


def feature_file(path: Path, *, n: int = 40, k: int = 80, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"X": rng.normal(size=(n, k)) + 2 * (np.arange(n) % 2)[:, None], "y": np.arange(n) % 2} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def pictures(folder: Path, *, n: int = 4, size: int = 48) -> Manifest:
    rng = np.random.default_rng(0)
    samples = []
    for number in range(n):
        path = folder / f"{number}.png"
        PIL.Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(path, number % 2, "celeba", "gan" if number % 2 else ""))
    return Manifest(tuple(samples))


def test_every_name_has_a_title_and_a_function() -> None:
    assert set(names()) == {
        *(f"upconv-table{n}" for n in (1, 3, 4, 5)),
        *(f"upconv-fig{n}" for n in (1, 2, 10, 15, 16, 17, 18, 19)),
        "upconv-confound",
        *(f"cae-net-{name}" for name in ("singles", "balancing", "retention", "wavelet", "frequency")),
        *(f"cae-net-{name}" for name in ("fgsm", "robustness", "cost", "roc", "confusion", "tsne")),
        "cae-net-options",
        *(f"sfcl-table{n}" for n in (1, 2, 3, 4)),
        *(f"sfcl-{name}" for name in ("sida", "dct-heatmap", "sida-plot")),
        *(
            f"resynthesis-{name}"
            for name in ("table1", "table2", "table3", "fig4", "fig6", "folds", "quality")
        ),
        *(f"upconv-fig{n}" for n in (5, 6, 7, 8, 11, 12, 13, 14, 20, 21, 22)),
        "upconv-fig1-trained",
        "upconv-theory",
        *(f"upconv-{name}" for name in ("loss", "pictures", "pictures-gan")),
        *(f"upconv-{name}" for name in ("detectors", "detectors-restored")),
    }
    for name, (title, target) in REGISTRY.items():
        assert title, name
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function)), name


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'upconv-table2' can be reproduced; there are upconv-table1,"):
        reproduce("upconv-table2")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"repeats": 1}, "repeats must be 2 or more.*found 1"),
        ({"samples": (2000, 9)}, r"10 or more: found \[2000, 9\]"),
        ({"samples": ()}, "10 or more"),
        ({"out": Path("x.png")}, "draws no picture"),
    ],
)
def test_options_that_cannot_be_carried_out(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        reproduce("upconv-table4", **options)


@pytest.mark.parametrize("option", ["features", "image", "repeats", "others"])
def test_an_option_that_would_do_nothing_is_refused(option: str) -> None:
    given: dict[str, Any] = {
        "features": Path("x.npz"),
        "image": Path("x.png"),
        "repeats": 10,
        "others": Manifest((Sample(Path("x.png"), 1),)),
    }
    with pytest.raises(ConfigError, match=f"cae-net-singles has no use for {option};"):
        reproduce("cae-net-singles", **{option: given[option]})
    with pytest.raises(ConfigError, match="has no use for features, image, repeats;"):
        reproduce("cae-net-robustness", **given)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_data_is_published_values_and_what_it_needs(name: str) -> None:
    pytest.importorskip("sklearn")
    found = reproduce(name).to_dict()
    assert found["name"] == name
    assert "CVPR 2020" in found["paper"]
    assert found["rows"]
    for row in found["rows"]:
        assert {"row", "column", "published", "reproduced", "ci", "note"} <= set(row)
        assert row["reproduced"] is None
        assert row["ci"] is None
        assert "--data" in row["note"] or "not comparable" in row["note"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("table", "method", "facts", "value"),
    [
        ("Table 4", "K-means", {"n_samples": 2000}, 0.96),
        ("Table 4", "Logistic regression", {"n_samples": 20}, 0.85),
        ("Table 5", "SVM", {"n_samples": 20}, 0.66),
        ("Table 3", "K-means", {"n_samples": 20}, 0.75),
        ("Table 1", "Yu et al. 2019 [57] (SVM)", {}, 0.9943),
        ("Table 1", "ours, video majority vote (SVM)", {}, 0.9),
        ("Table 1", "ours, single frames (K-means)", {}, None),  # a dash in the paper
        ("Table 4", "SVM", {"n_samples": 500}, None),
    ],
)
def test_published_values(table: str, method: str, facts: dict[str, Any], value: float | None) -> None:
    assert share("upconv-spectrum", table, method, **facts) == (
        None if value is None else pytest.approx(value)
    )


def test_tables_show_the_published_values() -> None:
    pytest.importorskip("sklearn")
    rows = {(row.row, row.column): row.published for row in reproduce("upconv-table4").rows}
    assert rows["100 samples", "K-means"] == 1.0
    assert rows["100 samples", "logistic regression"] == 0.95
    assert rows["2000 samples", "SVM (linear)"] == pytest.approx(0.9995)  # the notebook's
    assert rows["100 samples", "SVM (linear)"] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"X": None}, "no feature file.*X"),
        ({"X": np.zeros((40, 80, 1))}, r"X has shape \(40, 80, 1\)"),
        ({"y": np.zeros(40, dtype=int)}, "both labels"),
        ({"y": np.arange(39) % 2}, r"y \(39,\)"),
        ({"y": np.arange(40) % 3}, "both labels"),
        ({"X": np.full((40, 80), np.nan)}, "not finite"),
        ({"k": 300}, "profiles of 300 values; those of CelebA have 80"),
        ({"X": np.array([{}] * 40, dtype=object)}, "no feature file"),  # would need pickle
    ],
)
def test_feature_files_that_do_not_do(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        from_file(feature_file(tmp_path / "x.npz", **changes), CELEBA)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY"])
def test_a_file_that_is_no_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no feature file"):
        from_file(path, CELEBA)
    with pytest.raises(ConfigError, match="no feature file"):
        from_file(tmp_path / "missing.npz", CELEBA)


def test_images_that_do_not_do(tmp_path: Path) -> None:
    manifest = pictures(tmp_path)
    with pytest.raises(ManifestError, match="no label"):
        from_manifest(Manifest((*manifest, Sample(tmp_path / "0.png"))), CELEBA, limit=9, seed=0)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ManifestError, match="1 of 5 images cannot be used"):
        from_manifest(Manifest((*manifest, Sample(tmp_path / "bad.png", 1))), CELEBA, limit=9, seed=0)
    PIL.Image.new("L", (64, 64)).save(tmp_path / "other.png")
    mixed = Manifest((*manifest, Sample(tmp_path / "other.png", 1)))
    with pytest.raises(ConfigError, match="profiles of 2 lengths"):
        from_manifest(mixed, FACES_HQ, limit=9, seed=0)
    assert len(from_manifest(mixed, CELEBA, limit=9, seed=0)) == 5  # this recipe interpolates
    assert len(from_manifest(mixed, CELEBA, limit=1, seed=0)) == 2


def test_luma_of_a_jpeg_is_the_one_stored(tmp_path: Path) -> None:
    colour = np.zeros((16, 16, 3), dtype=np.uint8)
    colour[..., 0] = 255
    PIL.Image.fromarray(colour).save(tmp_path / "red.jpg", quality=95)
    grey = luma(tmp_path / "red.jpg")
    assert grey.shape == (16, 16)
    np.testing.assert_allclose(grey, 76, atol=1)  # 0.299 of 255
    with pytest.raises(ImageError, match=r"missing\.jpg cannot be read"):
        luma(tmp_path / "missing.jpg")


def test_without_scikit_learn_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("threadpoolctl", "sklearn", "sklearn.svm", "sklearn.linear_model", "sklearn.cluster"):
        monkeypatch.setitem(sys.modules, module, None)
    file = feature_file(tmp_path / "x.npz")
    with pytest.raises(ConfigError, match=r"needs scikit-learn.*tellsign\[train\]"):
        reproduce("upconv-table4", features=file, samples=(20,))


def test_another_missing_module_is_not_blamed_on_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.REGISTRY, "broken", ("broken", "tellsign.evaluate.no_such_module:table"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        reproduce("broken")


def test_text_aligns_rows_and_numbers_their_notes() -> None:
    rows = (
        Row("a", "x", 1.0, 0.987, (0.98, 0.99)),
        Row("bbb", "x", 0.5, None, None, "no data"),
        Row("c", "x", 0.5, None, None, "no data"),
        Row("d", "x", None, 1234.5678, None, "other", unit="profile"),
    )
    lines = Result("upconv-table4", "paper", rows, ("for all",)).text().splitlines()
    assert lines[0].startswith("upconv-table4: CelebA")
    body = [line.split() for line in lines[4:8]]
    assert body[0] == ["a", "x", "100.0", "%", "98.7", "%", "98.0", "to", "99.0", "%"]
    assert body[1] == ["bbb", "x", "50.0", "%", "n/a", "(1)"]
    assert body[2][-1] == "(1)"
    assert body[3] == ["d", "x", "n/a", "1235", "(2)"]
    assert lines[-3:] == ["(1) no data", "(2) other", "for all"]
    assert len({line.index(" x ") for line in lines[4:8]}) == 1


def test_columns_escape_what_cannot_be_printed() -> None:
    assert aligned([("a\x1b", "1"), ("b", "22")], n_left=1) == ["a\\x1b   1", "b      22"]


def test_a_figure_of_features_draws_its_classes_and_says_their_numbers(tmp_path: Path) -> None:
    file = feature_file(tmp_path / "x.npz")
    result = reproduce("upconv-fig17", features=file, out=tmp_path / "new" / "bands.png")
    assert result.picture == tmp_path / "new" / "bands.png"
    with PIL.Image.open(result.picture) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
    features = from_file(file, CELEBA)
    rows = {(row.row, row.column): row.reproduced for row in result.rows}
    for name, label in (("real", 0), ("fake", 1)):
        own = features.profiles[features.labels == label]
        assert rows[name, "bin 79, mean"] == pytest.approx(own[:, 79].mean())
        assert rows[name, "bin 40, deviation"] == pytest.approx(own[:, 40].std())
    found = result.to_dict()
    assert found["picture"] == str(result.picture)
    axes = result.figure.axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert set(drawn) == {"real (20)", "fake (20)"}
    np.testing.assert_allclose(drawn["fake (20)"], features.profiles[features.labels == 1].mean(axis=0))


def test_a_figure_is_written_into_a_folder_under_its_name_or_not_at_all(tmp_path: Path) -> None:
    file = feature_file(tmp_path / "x.npz", k=300)
    assert reproduce("upconv-fig16", features=file, out=tmp_path).picture == tmp_path / "upconv-fig16.png"
    result = reproduce("upconv-fig16", features=file)
    assert result.picture is None
    assert result.to_dict()["picture"] is None
    assert "not written" in result.text()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        reproduce("upconv-fig16", features=file, out=tmp_path / "file" / "x.png")


def test_generators_are_curves_of_their_own(tmp_path: Path) -> None:
    manifest = pictures(tmp_path, n=6)
    renamed = Manifest((replace(manifest[1], generator="other"), *manifest[2:]))
    result = reproduce("upconv-fig1", manifest=renamed)
    assert [row.row for row in result.rows][::8] == ["real", "fake: gan", "fake: other"]
    assert {row.row for row in reproduce("upconv-fig17", manifest=renamed).rows} == {"real", "fake"}
    sources = reproduce("upconv-fig10", manifest=renamed)
    assert {row.row for row in sources.rows} == {"real: celeba", "fake: celeba"}


def test_figures_without_data_say_what_they_need() -> None:
    for name in ("upconv-fig1", "upconv-fig10", "upconv-fig15", "upconv-fig16", "upconv-fig17"):
        with pytest.raises(ConfigError, match=r"needs the .* images"):
            reproduce(name)
    with pytest.raises(ConfigError, match="--image FILE"):
        reproduce("upconv-fig2")
    with pytest.raises(ConfigError, match="one real and two fakes"):
        reproduce("upconv-fig18")


def test_figures_of_images(tmp_path: Path) -> None:
    manifest = pictures(tmp_path)
    one = reproduce("upconv-fig2", image=manifest[0].path, out=tmp_path / "2.png")
    assert len(one.figure.axes) == 4  # picture, spectrum with its scale, profile
    rings = spectrum.profile(luma(manifest[0].path)[None], normalise="none")[0]
    assert [(row.column, row.reproduced) for row in one.rows][:: len(one.rows) - 1] == [
        ("bin 0", pytest.approx(rings[0])),
        (f"bin {len(rings) - 1}", pytest.approx(rings[-1])),
    ]
    three = reproduce("upconv-fig18", manifest=manifest, out=tmp_path / "18.png")
    assert {row.row for row in three.rows} == {"real (celeba)", "fake 1 (celeba)", "fake 2 (celeba)"}
    assert {row.reproduced for row in three.rows if row.column == "bin 0"} == {1.0}
    with pytest.raises(ConfigError, match="the manifest has 1 fake"):
        reproduce("upconv-fig18", manifest=manifest[:2])
    alone = reproduce("upconv-fig18", image=manifest[0].path)
    assert {row.row for row in alone.rows} == {"0.png"}


def test_two_clouds_are_two_clusters_in_the_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr("tellsign.evaluate.upconv.figures.ITERATIONS", 300)
    file = feature_file(tmp_path / "x.npz", n=60, k=80)
    result = reproduce("upconv-fig19", features=file, out=tmp_path)
    assert result.rows[-1].column == "nearest point of the same class"
    assert result.rows[-1].reproduced > 0.9
    shuffled = np.random.default_rng(1).permutation(np.arange(60) % 2)
    mixed = reproduce("upconv-fig19", features=feature_file(tmp_path / "y.npz", n=60, y=shuffled))
    assert mixed.rows[-1].reproduced < 0.75
    with pytest.raises(ConfigError, match="more than 12 profiles"):
        reproduce("upconv-fig19", features=feature_file(tmp_path / "z.npz", n=10))
