"""The 80/20 accuracies against scikit-learn itself, and the published numbers from the published features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("sklearn")

from tellsign.data import Manifest
from tellsign.evaluate.reproduce import Inputs, Result, reproduce
from tellsign.evaluate.upconv import confound, tables
from tellsign.evaluate.upconv.features import CELEBA, FFPP, Features, from_file, luma, profile
from tellsign.evaluate.upconv.splits import CLASSIFIERS, accuracies, interval, split
from tellsign.types import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

CELEBA_FILE, FFPP_FILE = Path("durall", "celeba_low_1000.npz"), Path("durall", "ffpp_test_1000.npz")


def synthetic(n: int = 120, *, distance: float = 1.0, samples: Sequence[Sample] = ()) -> Features:
    """Two overlapping clouds in 6 dimensions, fakes and reals in turn."""
    rng = np.random.default_rng(3)
    labels = np.arange(n) % 2
    profiles = rng.normal(size=(n, 6)) * 0.5 + distance * labels[:, None] * np.linspace(0, 1, 6)
    return Features(profiles, labels.astype(np.int64), "synthetic", tuple(samples))


def estimator(column: str) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    return {
        "SVM (RBF)": SVC(C=6.37, gamma=0.86),
        "SVM (linear)": SVC(kernel="linear"),
        "logistic regression": LogisticRegression(solver="liblinear", max_iter=1000),
    }[column]


@pytest.mark.parametrize("column", ["SVM (RBF)", "SVM (linear)", "logistic regression"])
def test_accuracies_are_those_of_scikit_learn(column: str) -> None:
    features = synthetic()
    found = accuracies(features, CLASSIFIERS[column], size=100, repeats=4, seed=7)
    expected = []
    for repeat in range(4):
        train, test = split(features, size=100, rng=np.random.default_rng((7, repeat)))
        model = estimator(column).fit(features.profiles[train], features.labels[train])
        expected.append(model.score(features.profiles[test], features.labels[test]))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0.5 < found.mean() < 1  # neither trivial nor hopeless, so that an error would show


def test_k_means_takes_the_better_naming_of_its_clusters() -> None:
    from sklearn.cluster import KMeans

    features = synthetic()
    found = accuracies(features, CLASSIFIERS["K-means"], size=100, repeats=4, seed=7)
    expected = []
    for repeat in range(4):
        train, test = split(features, size=100, rng=np.random.default_rng((7, repeat)))
        model = KMeans(2, n_init=10, random_state=7).fit(features.profiles[train])
        swap = np.mean(model.labels_ == features.labels[train]) < 0.5
        expected.append(np.mean((model.predict(features.profiles[test]) ^ swap) == features.labels[test]))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_split_is_balanced_disjoint_and_four_to_one() -> None:
    features = synthetic(300)
    train, test = split(features, size=100, rng=np.random.default_rng(0))
    assert (len(train), len(test)) == (80, 20)
    together = np.concatenate([train, test])
    assert len(np.unique(together)) == 100
    assert features.labels[together].sum() == 50
    other = np.concatenate(split(features, size=100, rng=np.random.default_rng(1)))
    assert set(other.tolist()) != set(together.tolist())  # a new sample each time, not only a new split


def test_no_group_is_on_both_sides_of_a_split() -> None:
    samples = [Sample(Path(f"{i}.png"), i % 2, group=f"g{i // 4}") for i in range(120)]
    features = synthetic(samples=samples)
    for seed in range(5):
        train, test = split(features, size=120, rng=np.random.default_rng(seed))
        groups = [{samples[row].group for row in rows.tolist()} for rows in (train, test)]
        assert not groups[0] & groups[1]
        assert 20 <= len(test) <= 30


def test_the_interval_is_students() -> None:
    from scipy.stats import t

    values = np.array([0.71, 0.74, 0.69, 0.75, 0.72])
    expected = t.interval(0.95, 4, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(5))
    np.testing.assert_allclose(interval(values), expected)
    assert interval(np.array([1.0, 1.0])) == (1.0, 1.0)
    assert interval(np.array([1.0, 0.9]))[1] == 1.0  # a share


def save(path: Path, features: Features) -> Path:
    np.savez(path, X=features.profiles, y=features.labels)
    return path


def cells(result: Result) -> dict[tuple[str, str], float | None]:
    return {(row.row, row.column): row.reproduced for row in result.rows}


def test_cells_without_enough_data_say_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    profiles = rng.normal(size=(60, 80)) + 3 * labels[:, None]
    file = save(tmp_path / "some.npz", Features(profiles, labels, ""))
    result = reproduce("upconv-table4", features=file, repeats=2)
    rows = {(row.row, row.column): row for row in result.rows}
    assert rows["20 samples", "SVM (linear)"].reproduced == 1.0
    assert rows["100 samples", "SVM (RBF)"].reproduced is None
    assert rows["100 samples", "SVM (RBF)"].published == 1.0
    assert "30 reals and 30 fakes" in rows["100 samples", "SVM (RBF)"].note
    again = reproduce("upconv-table4", features=file, repeats=2)
    assert again.to_dict() == result.to_dict()
    chosen = reproduce("upconv-table4", features=file, repeats=2, samples=(40,))
    assert {row.row for row in chosen.rows} == {"40 samples"}
    assert all(row.published is None and "not in the paper" in row.note for row in chosen.rows)


def video_frames(folder: Path) -> Manifest:
    """Frames of 12 videos of each class; a real and its fake share name and group. Fakes lack fine detail."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(12):
        for label, generator in ((0, ""), (1, "swap")):
            for frame in range(3):
                grey = rng.uniform(0, 255, (96, 96))
                if label:
                    grey = np.repeat(np.repeat(grey[::2, ::2], 2, axis=0), 2, axis=1)
                path = folder / f"{number}-{label}-{frame}.png"
                PIL.Image.fromarray(grey.astype(np.uint8)).save(path)
                samples.append(
                    Sample(
                        path,
                        label,
                        "ffpp",
                        generator,
                        group=f"g{number}",
                        video=f"{number:03d}",
                        frame=float(frame),
                    )
                )
    return Manifest(tuple(samples))


def test_videos_vote_with_their_frames(tmp_path: Path) -> None:
    manifest = video_frames(tmp_path)
    result = reproduce("upconv-table1", manifest=manifest, repeats=3)
    videos = {row.column: row for row in result.rows if "videos" in row.row}
    assert videos["SVM (RBF)"].published == 0.9
    assert videos["SVM (RBF)"].reproduced == 1.0
    assert videos["SVM (RBF), balanced"].reproduced == 1.0
    # CelebA is not in this manifest, so no other images stand in for it.
    assert {row.reproduced for row in result.rows if row.row.startswith("CelebA")} == {None}
    assert any("not comparable" in row.note for row in result.rows if "[57]" in row.row)


def test_videos_whose_frames_tell_nothing_are_guessed(tmp_path: Path) -> None:
    from dataclasses import replace

    manifest = video_frames(tmp_path)
    rng = np.random.default_rng(1)
    names = {(s.video, s.label) for s in manifest}
    flip = {key: int(rng.integers(2)) for key in sorted(names, key=str)}
    mixed = Manifest(tuple(replace(s, label=flip[s.video, s.label]) for s in manifest))
    result = reproduce("upconv-table1", manifest=mixed, repeats=4)
    found = next(row.reproduced for row in result.rows if "videos" in row.row)
    assert found is not None
    assert found < 0.9


def test_frames_without_video_names_do_not_vote(tmp_path: Path) -> None:
    from dataclasses import replace

    manifest = Manifest(tuple(replace(s, video="") for s in video_frames(tmp_path)))
    row = next(r for r in reproduce("upconv-table1", manifest=manifest, repeats=2).rows if "videos" in r.row)
    assert row.reproduced is None
    assert "column video" in row.note


@pytest.mark.data
def test_the_published_features_are_recomputed_from_their_images(data_root: Path) -> None:
    published = from_file(data_root / CELEBA_FILE, CELEBA)
    fakes = published.profiles[published.labels == 1]
    paths = sorted((data_root / "durall" / "fake_gan128").glob("*.jpg"))[:12]

    def distance(own: np.ndarray[Any, Any]) -> float:
        return float(np.abs(fakes - own).max(axis=1).min())

    assert max(distance(profile(luma(path), CELEBA)) for path in paths) < 1e-10
    # Colours converted to grey are not the stored luma, and this comparison notices.
    converted = [np.asarray(PIL.Image.open(path).convert("RGB").convert("L"), dtype=float) for path in paths]
    assert max(distance(profile(grey, CELEBA)) for grey in converted) > 1e-4


@pytest.mark.data
def test_table_4_from_the_published_features(data_root: Path) -> None:
    found = cells(
        reproduce("upconv-table4", features=data_root / CELEBA_FILE, samples=(2000, 100), repeats=4, seed=1)
    )
    full = {column: found["2000 samples", column] for column in CLASSIFIERS}
    assert full["SVM (RBF)"] == 1.0
    assert full["SVM (linear)"] >= 0.995
    assert full["logistic regression"] >= 0.99
    assert full["K-means"] == pytest.approx(0.96, abs=0.01)
    assert found["100 samples", "SVM (RBF)"] >= 0.97
    assert found["100 samples", "logistic regression"] == pytest.approx(0.95, abs=0.05)


@pytest.mark.data
def test_shuffled_features_are_worth_a_coin(data_root: Path, tmp_path: Path) -> None:
    published = from_file(data_root / CELEBA_FILE, CELEBA)
    rows = np.random.default_rng(0).permutation(len(published))
    shuffled = save(tmp_path / "shuffled.npz", Features(published.profiles[rows], published.labels, ""))
    found = cells(reproduce("upconv-table4", features=shuffled, samples=(400,), repeats=4))
    for column in CLASSIFIERS:
        assert found["400 samples", column] == pytest.approx(0.5, abs=0.1), column


@pytest.mark.data
def test_table_5_grows_with_the_samples(data_root: Path) -> None:
    found = cells(
        reproduce("upconv-table5", features=data_root / FFPP_FILE, samples=(1000, 40), repeats=4, seed=1)
    )
    assert found["1000 samples", "SVM (RBF)"] == pytest.approx(0.90, abs=0.03)
    assert found["1000 samples", "logistic regression"] == pytest.approx(0.79, abs=0.04)
    assert found["40 samples", "SVM (RBF)"] < found["1000 samples", "SVM (RBF)"] - 0.05


@pytest.mark.data
def test_size_separates_reals_and_the_detector_calls_photographs_fake(data_root: Path) -> None:
    paths = sorted((data_root / "stylegan140k" / "real").glob("*.jpg"))[:150]
    photographs = Manifest(tuple(Sample(path, 0, "ffhq256", group=path.stem) for path in paths))
    inputs = Inputs(photographs, data_root / CELEBA_FILE, repeats=4)
    result = confound.confound("upconv-confound", inputs)
    found = {(row.row, row.column): row.reproduced for row in result.rows}
    name = "178 × 218 or 128 × 128, {}: 150 reals"
    for column, alone, reduced in (("SVM (RBF)", 0.7, 0.85), ("SVM (linear)", 0.65, 0.85)):
        # Far from chance by size alone, and further with what a reduction adds.
        assert found[name.format("size alone"), column] > alone
        assert found[name.format("size and reduction"), column] > reduced
        assert found[name.format("size and reduction"), column] > found[name.format("size alone"), column]
    assert all(row.published is None for row in result.rows)  # the paper has no such figures
    called = {column: value for (row, column), value in found.items() if "called fake" in row}
    assert called["SVM (RBF)"] > 0.95
    assert called["logistic regression"] > 0.8


def test_the_two_sizes_are_cut_from_one_picture_and_only_one_version_of_two_is_reduced() -> None:
    grey = np.random.default_rng(0).uniform(0, 255, (240, 250))
    photographs = [(Sample(Path("a.png"), 0), grey)]
    alone = confound.sizes(photographs, "size alone")
    np.testing.assert_array_equal(alone.profiles[0], profile(grey[11:229, 36:214], CELEBA))
    np.testing.assert_array_equal(alone.profiles[1], profile(grey[56:184, 61:189], CELEBA))
    assert alone.labels.tolist() == [0, 1]
    assert len(set(alone.groups)) == 1  # never on both sides of a split
    reduced = confound.sizes(photographs, "size and reduction")
    np.testing.assert_array_equal(reduced.profiles[0], alone.profiles[0])
    # White noise has a flat profile; a reduction takes its high frequencies.
    assert alone.profiles[1, 56:].mean() - reduced.profiles[1, 56:].mean() > 0.02


@pytest.mark.data
def test_without_a_difference_in_size_there_is_nothing_to_find(data_root: Path) -> None:
    """The control: two halves of the images at one size, and the same measurement finds chance."""
    paths = sorted((data_root / "stylegan140k" / "real").glob("*.jpg"))[:120]
    both = confound.sizes([(Sample(path, 0), luma(path)) for path in paths], "size alone")
    labels = np.arange(len(paths)) % 2
    large = Features(
        both.profiles[0::2],
        labels,
        "",
        tuple(Sample(path, int(y)) for path, y in zip(paths, labels, strict=True)),
    )
    found = accuracies(large, CLASSIFIERS["SVM (RBF)"], size=len(large), repeats=6, seed=0)
    assert found.mean() < 0.65


def test_the_recipe_for_faceforensics_reads_the_middle_third() -> None:
    rng = np.random.default_rng(0)
    grey = rng.uniform(0, 255, (90, 100))
    changed = grey.copy()
    changed[:30] = changed[60:] = 0
    changed[:, :33] = changed[:, 67:] = 0
    np.testing.assert_array_equal(profile(grey, FFPP), profile(changed, FFPP))
    changed[45, 50] += 50
    assert not np.array_equal(profile(grey, FFPP), profile(changed, FFPP))
    assert profile(grey, FFPP).shape == (300,)


def test_frames_that_vote_are_spread_over_the_video() -> None:
    samples = [Sample(Path(f"{i}.png"), 1, "ffpp", "swap", video="v", frame=float(i)) for i in range(100)]
    rng = np.random.default_rng(0)
    shuffled = Manifest(tuple(samples[i] for i in rng.permutation(100)))
    frames = tables._frames(shuffled, seed=0)
    times = [sample.frame for sample in frames]
    assert len(times) == 20
    assert (times[0], times[-1]) == (0.0, 99.0)
    assert max(np.diff(times)) <= 6
