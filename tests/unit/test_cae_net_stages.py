"""The multistage schedule: disjoint subsets, what a stage sees, and the table of what is kept."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.types import FAKE, REAL, ManifestError, OutputError, Sample

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.systems.cae_net.stages import (  # noqa: E402 - needs PyTorch
    PICTURE,
    TABLE,
    fake_subsets,
    read_retention,
    real_curves,
    retention,
    stage_manifests,
    write_retention,
)


def made(n_real=12, n_fake=60, group_size=1, generators=("a",), sizes=None):
    """A manifest without files; successive rows share a group, generators in turn or with given sizes."""
    names = [name for name, size in zip(generators, sizes or (), strict=False) for _ in range(size)]
    samples = [Sample(Path(f"real/{i}"), REAL, group=f"r{i // group_size}") for i in range(n_real)]
    samples += [
        Sample(
            Path(f"fake/{i}"),
            FAKE,
            generator=names[i] if names else generators[i % len(generators)],
            group=f"f{i // group_size}",
            split="train",
        )
        for i in range(n_fake)
    ]
    return Manifest(tuple(samples))


def paths(manifest):
    return [sample.path for sample in manifest]


@pytest.mark.parametrize(("n_fake", "stages", "group_size"), [(60, 5, 1), (61, 5, 1), (60, 4, 3), (7, 7, 1)])
def test_every_fake_is_in_one_subset_and_groups_stay_together(n_fake, stages, group_size):
    training = made(n_fake=n_fake, group_size=group_size)
    subsets = fake_subsets(training, stages=stages, by="random", seed=3)
    assert len(subsets) == stages
    every = [path for subset in subsets for path in paths(subset)]
    assert Counter(every) == Counter(paths(training.filter(label=FAKE)))
    sizes = [len(subset) for subset in subsets]
    assert max(sizes) - min(sizes) <= group_size
    groups = [{sample.group for sample in subset} for subset in subsets]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_samples_stay_as_they_are():
    training = made()
    (subset, *_) = fake_subsets(training, stages=5, by="random", seed=0)
    assert set(subset) <= set(training)


def test_the_seed_decides_the_subsets():
    training = made()
    one, two, three = (fake_subsets(training, stages=5, by="random", seed=seed) for seed in (0, 0, 1))
    assert one == two
    assert one != three


def test_each_subset_has_its_share_of_every_generator_unless_parted_by_it():
    training = made(generators=("a", "b", "c"))
    for subset in fake_subsets(training, stages=5, by="random", seed=0):
        assert Counter(s.generator for s in subset) == {"a": 4, "b": 4, "c": 4}


def test_by_generator_none_is_in_two_subsets():
    training = made(n_fake=60, generators=("a", "b", "c", "d"), sizes=(30, 10, 10, 10))
    subsets = fake_subsets(training, stages=2, by="generator", seed=0)
    assert [Counter(s.generator for s in subset) for subset in subsets] == [
        {"a": 30},
        {"b": 10, "c": 10, "d": 10},
    ]
    several = fake_subsets(training, stages=4, by="generator", seed=0)
    assert [len(subset) for subset in several] == [30, 10, 10, 10]


@pytest.mark.parametrize(
    ("training", "stages", "by", "message"),
    [
        (
            made(n_fake=4),
            5,
            "random",
            "4 fakes cannot be parted into 5 subsets; add fakes, or set stages to 4",
        ),
        (made(n_fake=0), 5, "random", "0 fakes cannot be parted"),
        (made(n_fake=12, group_size=4), 5, "random", "12 fakes lie in 3 groups, which stay together"),
        (made(generators=("a", "b")), 5, "generator", r"2 generators \(a, b\) cannot be parted into 5"),
        (made(generators=("a", "")), 2, "generator", "30 of 60 fakes have no generator, e.g. .*fake"),
    ],
)
def test_too_few_for_the_subsets(training, stages, by, message):
    with pytest.raises(ManifestError, match=message):
        fake_subsets(training, stages=stages, by=by, seed=0)


def test_every_stage_sees_all_reals_and_its_own_fakes():
    training = made()
    subsets = fake_subsets(training, stages=5, by="random", seed=0)
    stages = stage_manifests(training, subsets, reals="repeat", seed=0)
    assert [stage.number for stage in stages] == [1, 2, 3, 4, 5]
    for stage, subset in zip(stages, subsets, strict=True):
        assert paths(stage.training.filter(label=REAL)) == paths(training.filter(label=REAL))
        assert paths(stage.training.filter(label=FAKE)) == paths(subset)
        assert (stage.n_real, stage.n_fake) == (12, 12)


def test_disjoint_reals_are_parted_too():
    training = made()
    subsets = fake_subsets(training, stages=5, by="random", seed=0)
    stages = stage_manifests(training, subsets, reals="disjoint", seed=0)
    reals = [path for stage in stages for path in paths(stage.training.filter(label=REAL))]
    assert Counter(reals) == Counter(paths(training.filter(label=REAL)))
    assert all(2 <= stage.n_real <= 3 for stage in stages)


def test_reals_that_are_too_few_or_missing():
    training = made(n_real=3)
    subsets = fake_subsets(training, stages=5, by="random", seed=0)
    with pytest.raises(ManifestError, match=r"3 reals cannot be parted into 5 subsets; set reals = .repeat."):
        stage_manifests(training, subsets, reals="disjoint", seed=0)
    with pytest.raises(ManifestError, match="found no reals"):
        stage_manifests(training.filter(label=FAKE), subsets, reals="repeat", seed=0)


class Brightness(torch.nn.Module):
    """Calls a crop fake where its mean level is above a limit."""

    def forward(self, images):
        score = images.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-score, score], dim=1)


def levels(folder, name, values, label):
    """Flat pictures of given levels."""
    samples = []
    for index, value in enumerate(values):
        path = save(np.full((3, 20, 20), value, np.float32), folder / name / f"{index}.png")
        samples.append(Sample(path, label, group=f"{name}{index}"))
    return Manifest(tuple(samples))


@pytest.fixture
def table(tmp_path):
    """What the model keeps: the answers are known by the brightness of the pictures."""
    parts = {
        "subsets": (
            levels(tmp_path, "f1", [0.9, 0.9, 0.9, 0.1], FAKE),
            levels(tmp_path, "f2", [0.9, 0.1], FAKE),
        ),
        "reals": (levels(tmp_path, "r", [0.1, 0.2, 0.8], REAL),),
        "valid": Manifest(
            (*levels(tmp_path, "vr", [0.1, 0.3], REAL), *levels(tmp_path, "vf", [0.4, 0.9, 0.2], FAKE))
        ),
    }
    config = CaeNetConfig(size=16, training={"workers": 0})
    return [retention(Brightness(), stage, **parts, config=config) for stage in (1, 2)]


def test_what_is_kept_is_counted(table):
    first, second = table
    assert first.subsets == (0.75, 0.5)
    assert first.n_subsets == (4, 2)
    assert first.seen == (True, False)
    assert second.seen == (True, True)
    assert (first.reals, first.n_reals) == (pytest.approx(2 / 3), 3)
    assert (first.valid_reals, first.valid_fakes) == (1.0, pytest.approx(1 / 3))
    assert (first.valid_accuracy, first.n_valid) == (pytest.approx(3 / 5), 5)
    assert first.valid_auroc == pytest.approx(5 / 6)
    assert (first.n_valid_reals, first.real_parts, first.n_real_parts) == (2, (), ())


def test_reals_that_stages_part_are_measured_apart(tmp_path):
    """Those of the first stage are trained on after it, those of the second are to come."""
    reals = [levels(tmp_path, "r1", [0.1, 0.8], REAL), levels(tmp_path, "r2", [0.1, 0.2, 0.3, 0.9], REAL)]
    fakes = levels(tmp_path, "f", [0.9], FAKE)
    valid = Manifest((*levels(tmp_path, "v", [0.1], REAL), *fakes))
    given = {"subsets": (fakes, fakes), "reals": reals, "valid": valid}
    config = CaeNetConfig(size=16, training={"workers": 0})
    first, second = (retention(Brightness(), stage, **given, config=config) for stage in (1, 2))
    assert (first.real_parts, first.n_real_parts) == ((0.5, 0.75), (2, 4))
    assert (first.reals, first.n_reals) == (pytest.approx(4 / 6), 6)
    (name, _, trained_on), (other, _, to_come) = real_curves([first, second])
    assert (name, other) == ("reals trained on", "reals to come")
    assert trained_on == [0.5, pytest.approx(4 / 6)]
    assert to_come[0] == 0.75
    assert np.isnan(to_come[1])


def test_a_table_that_was_written_before_parts_were_told_apart_is_read(table, tmp_path):
    import json
    from dataclasses import asdict

    old = [
        {
            key: value
            for key, value in asdict(row).items()
            if "real_parts" not in key and key != "n_valid_reals"
        }
        for row in table
    ]
    (tmp_path / TABLE).write_text(json.dumps({"stages": old}))
    found = read_retention(tmp_path / TABLE)
    assert found[0].reals == table[0].reals
    assert (found[0].real_parts, found[0].n_valid_reals) == ((), 0)
    assert real_curves(found) == [("reals of the training", "k--", [row.reals for row in table])]


def test_the_table_comes_back_and_is_drawn(table, tmp_path):
    file = tmp_path / "run" / TABLE
    assert read_retention(file) == []
    write_retention(file, table[:1], title="made")
    write_retention(file, table, title="made")
    assert read_retention(file) == table
    assert (file.with_name(PICTURE)).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in file.parent.iterdir()} == {TABLE, PICTURE}
    file.write_text("{}")
    with pytest.raises(ManifestError, match="remove it, and it is made again"):
        read_retention(file)


@pytest.mark.parametrize("step", ["open", "replace", "savefig"])
def test_a_table_that_cannot_be_written_says_so_and_the_old_one_is_whole(table, tmp_path, monkeypatch, step):
    from matplotlib.figure import Figure

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "run" / TABLE
    write_retention(file, table[:1], title="made")
    before = (file.with_name(PICTURE)).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Figure if step == "savefig" else Path, step, full)
        with pytest.raises(
            OutputError, match=r"retention.json \(No space left.*trainings .* are whole; make"
        ):
            write_retention(file, table, title="made")
    assert read_retention(file) == table[:1]
    assert file.with_name(PICTURE).read_bytes() == before
    assert {path.name for path in file.parent.iterdir()} == {TABLE, PICTURE}
    write_retention(file, table, title="made")
    assert read_retention(file) == table


def test_large_subsets_are_sampled_evenly_and_always_alike():
    part = made(n_real=0, n_fake=95)
    sampled = part.evenly(10)
    assert len(sampled) == 10
    assert (sampled[0], sampled[9]) == (part[0], part[94])
    assert part.evenly(10) == sampled
    assert part[:7].evenly(10) == part[:7]


def test_a_picture_that_cannot_be_read_does_not_count(tmp_path):
    fakes = levels(tmp_path, "f", [0.9, 0.9, 0.1], FAKE)
    fakes[2].path.write_bytes(b"no picture")
    valid = Manifest((*levels(tmp_path, "vr", [0.1], REAL), *levels(tmp_path, "vf", [0.9], FAKE)))
    config = CaeNetConfig(size=16, training={"workers": 0})
    reals = levels(tmp_path, "r", [0.1], REAL)
    found = retention(Brightness(), 1, subsets=(fakes,), reals=[reals], valid=valid, config=config)
    assert (found.subsets, found.n_subsets) == ((1.0,), (2,))


def test_pictures_are_looked_at_in_native_crops(tmp_path):
    """The middle of a large picture decides, and not the picture made small."""
    picture = natural(0, 60, 60) * 0
    picture[:, 20:40, 20:40] = 0.95
    sample = Sample(save(picture, tmp_path / "a.png"), FAKE, group="a")
    valid = Manifest((sample, Sample(save(picture * 0, tmp_path / "b.png"), REAL, group="b")))
    config = CaeNetConfig(size=16, training={"workers": 0})
    reals, fakes = (valid.filter(label=label) for label in (REAL, FAKE))
    found = retention(Brightness(), 1, subsets=(fakes,), reals=[reals], valid=valid, config=config)
    assert found.subsets == (1.0,)
    assert found.valid_accuracy == 1.0
