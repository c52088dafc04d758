"""Batches: the same for any number of workers and ranks, and when resumed; files that can't be used."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch")

from pictures import natural, save  # noqa: E402
from tellsign.data import Manifest, loading  # noqa: E402
from tellsign.data import pixels as pixels_module  # noqa: E402
from tellsign.data.augment import View, augmented  # noqa: E402
from tellsign.data.loading import Loader, evaluation_batches  # noqa: E402
from tellsign.data.pixels import pixels  # noqa: E402
from tellsign.image import decode, square_crops  # noqa: E402
from tellsign.image.network_input import NetworkInput  # noqa: E402
from tellsign.types import ConfigError, ImageError, ManifestError, Sample  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

VIEW = View(size=32, rotation=8, jitter=0.1)
NATIVE = View(size=32)
N = 11


def manifest_of(folder: Path, n: int = N, **sizes: int) -> Manifest:
    """Real at even rows, fake at odd ones; sizes differ where none is given."""
    paths = [folder / f"{i:03d}.png" for i in range(n)]
    for i, path in enumerate(paths):
        save(natural(i, sizes.get("height", 34 + i), sizes.get("width", 50 - i)), path)
    return Manifest(tuple(Sample(path, i % 2) for i, path in enumerate(paths)))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return manifest_of(tmp_path_factory.mktemp("images"))


@pytest.fixture
def own_manifest(tmp_path: Path) -> Manifest:
    """One whose files a test may spoil."""
    return manifest_of(tmp_path / "images", 6)


def spoil(manifest: Manifest, row: int) -> Path:
    path = manifest[row].path
    path.write_bytes(path.read_bytes()[:200])
    return path


def small(manifest: Manifest, row: int) -> Path:
    return save(natural(0, 31, 40), manifest[row].path)


def flat(batches):
    """Batches as plain arrays, the images of all one after the other."""
    batches = list(batches)
    return (
        np.concatenate([batch.images.numpy() for batch in batches]),
        [batch.rows.tolist() for batch in batches],
        [batch.labels.tolist() for batch in batches],
        [batch.n_global for batch in batches],
    )


def same(first, second) -> bool:
    return first[1:] == second[1:] and np.array_equal(first[0], second[0])


ORDER = np.array([4, 0, 10, 2, 4, 7, 1, 9, 3, 5, 4, 8, 6])


@pytest.fixture(scope="module")
def expected(manifest):
    """What one process gives, epoch by epoch."""
    loader = Loader(manifest, VIEW, seed=3)
    return [flat(loader.epoch(ORDER, epoch=epoch, batch_size=5)) for epoch in range(2)]


def test_a_batch_is_what_its_definition_says(manifest, expected):
    images, rows, labels, n_global = expected[1]
    assert rows == [ORDER[:5].tolist(), ORDER[5:10].tolist(), ORDER[10:].tolist()]
    assert labels == [[row % 2 for row in batch] for batch in rows]
    assert n_global == [5, 5, 3]
    assert images.dtype == np.float32
    for position, row in enumerate(ORDER):
        image = decode(manifest[int(row)].path).array
        view = augmented(image, VIEW, np.random.default_rng([3, 1, position]))
        np.testing.assert_array_equal(images[position], view)


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same(manifest, expected, workers):
    before = set(multiprocessing.active_children())
    with Loader(manifest, VIEW, seed=3, workers=workers) as loader:
        for epoch in range(2):
            assert same(flat(loader.epoch(ORDER, epoch=epoch, batch_size=5)), expected[epoch])
            assert len(set(multiprocessing.active_children()) - before) == workers, "they did not stay"
    assert set(multiprocessing.active_children()) <= before, "workers are left"


def test_another_seed_or_epoch_gives_other_images(manifest, expected):
    other = flat(Loader(manifest, VIEW, seed=4).epoch(ORDER, epoch=0, batch_size=5))
    assert other[1:] == expected[0][1:]
    assert not same(other, expected[0])
    assert not same(expected[1], expected[0])


def test_native_crops_are_the_same_from_workers(manifest):
    """They travel as 8-bit levels."""
    plain = flat(Loader(manifest, NATIVE, seed=0).epoch(ORDER, epoch=0, batch_size=4))
    with Loader(manifest, NATIVE, seed=0, workers=1) as loader:
        assert same(flat(loader.epoch(ORDER, epoch=0, batch_size=4)), plain)
    for position, row in enumerate(ORDER):
        image = decode(manifest[int(row)].path).array
        crop = augmented(image, NATIVE, np.random.default_rng([0, 0, position]))
        np.testing.assert_array_equal(plain[0][position], crop)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_every_batch(manifest, expected, world):
    """13 entries in batches of 5: the last has 3, so that some of 5 ranks get nothing of it."""
    loader = Loader(manifest, VIEW, seed=3)
    ranks = [
        list(loader.epoch(ORDER, epoch=0, batch_size=5, rank=rank, world=world)) for rank in range(world)
    ]
    whole = list(loader.epoch(ORDER, epoch=0, batch_size=5))
    assert {len(batches) for batches in ranks} == {3}
    for batch, *shares in zip(whole, *ranks, strict=True):
        assert sum(len(share.rows) for share in shares) == batch.n_global == len(batch.rows)
        for rank, share in enumerate(shares):
            assert share.n_global == batch.n_global
            for name in ("images", "labels", "rows"):
                assert torch.equal(getattr(share, name), getattr(batch, name)[rank::world])
            assert share.images.shape[1:] == (3, 32, 32)


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_in_the_middle(manifest, expected, workers):
    with Loader(manifest, VIEW, seed=3, workers=workers) as loader:
        later = flat(loader.epoch(ORDER, epoch=1, batch_size=5, start=2))
        whole = expected[1]
        assert same(later, (whole[0][10:], *(part[2:] for part in whole[1:])))
        assert list(loader.epoch(ORDER, epoch=1, batch_size=5, start=3)) == []


def test_a_repetition_looks_different_and_its_position_decides(manifest):
    loader = Loader(manifest, NATIVE, seed=0)
    images = flat(loader.epoch(np.full(8, 10), epoch=0, batch_size=8))[0]
    assert len({image.tobytes() for image in images}) == 8
    shifted = flat(loader.epoch(np.array([3, 10, 10]), epoch=0, batch_size=8))[0]
    np.testing.assert_array_equal(shifted[1:], images[1:3])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_abandoned_epoch_disturbs_no_other(manifest, expected, workers):
    with Loader(manifest, VIEW, seed=3, workers=workers) as loader:
        abandoned = loader.epoch(ORDER, epoch=0, batch_size=2)
        next(abandoned)
        assert same(flat(loader.epoch(ORDER, epoch=1, batch_size=5)), expected[1])
        with pytest.raises(ConfigError, match="another was begun"):
            next(abandoned)
        suspended = loader.epoch(ORDER, epoch=0, batch_size=2)
        next(suspended)
    with pytest.raises(ConfigError, match="closed"):
        next(suspended)
    assert same(flat(loader.epoch(ORDER, epoch=0, batch_size=5)), expected[0]), "closed is not broken"
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_random_state_of_the_run_is_left_alone(manifest, workers):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with Loader(manifest, VIEW, seed=0, workers=workers) as loader:
        list(loader.epoch(ORDER, epoch=0, batch_size=5))
    list(evaluation_batches(manifest, NetworkInput(32, 2), batch_size=4, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_what_is_done_to_the_order_later_changes_nothing(manifest, expected):
    order = ORDER.copy()
    batches = Loader(manifest, VIEW, seed=3).epoch(order, epoch=0, batch_size=5)
    order[:] = 0
    assert same(flat(batches), expected[0])


def test_waiting_is_measured(manifest, monkeypatch):
    """By a clock that goes on by 2 s for each image that is decoded, and by 5 s for each step."""
    now = [0.0]

    def slow(*source: object) -> np.ndarray:
        now[0] += 2
        return pixels(*source)

    monkeypatch.setattr(loading.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("tellsign.data.decoders.pixels", slow)
    loader = Loader(manifest, NATIVE, seed=0)
    for number, _ in enumerate(loader.epoch(ORDER, epoch=0, batch_size=5), start=1):
        assert loader.waited == 2 * min(5 * number, len(ORDER))
        now[0] += 5
    assert loader.waited == 2 * len(ORDER)
    list(loader.epoch(ORDER[:4], epoch=1, batch_size=2))
    assert loader.waited == 8, "each epoch for itself"


# The cache


@pytest.mark.parametrize("view", [NATIVE, VIEW])
@pytest.mark.parametrize("workers", [0, 1])
def test_cached_is_the_same(manifest, tmp_path, monkeypatch, view, workers):
    plain = [flat(Loader(manifest, view, seed=3).epoch(ORDER, epoch=i, batch_size=5)) for i in range(2)]
    with Loader(manifest, view, seed=3, workers=workers, cache=tmp_path / "new" / "cache") as loader:
        for epoch in range(2):
            assert same(flat(loader.epoch(ORDER, epoch=epoch, batch_size=5)), plain[epoch])
    entries = [path for path in (tmp_path / "new" / "cache").rglob("*") if path.is_file()]
    assert len(entries) == N, "an entry a file, and no drafts"
    monkeypatch.setattr(pixels_module, "decode", lambda path: pytest.fail(f"{path} was decoded again"))
    again = Loader(manifest, view, seed=3, cache=tmp_path / "new" / "cache")
    assert same(flat(again.epoch(ORDER, epoch=0, batch_size=5)), plain[0])


def test_a_changed_file_is_decoded_again(own_manifest, tmp_path):
    path, cache = own_manifest[0].path, tmp_path / "cache"
    first = np.array(pixels(path, cache))
    status = path.stat()
    save(natural(77, 34, 50), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = pixels(path, cache)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second / np.float32(255), decode(path).array)
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    pixels(path, cache)
    assert len(list(cache.rglob("*.npy"))) == 3, "another size of the file is another content"


def test_more_than_eight_bits_are_kept(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (40, 40), dtype=np.uint16)
    path = tmp_path / "deep.png"
    PIL.Image.fromarray(deep).save(path)
    expected = decode(path).array
    for _ in range(2):
        found = pixels(path, tmp_path / "cache")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
    save(natural(0, 40, 40), tmp_path / "shallow.png")
    assert pixels(tmp_path / "shallow.png", tmp_path / "cache").dtype == np.uint8
    mixed = Manifest((Sample(path, 0), Sample(tmp_path / "shallow.png", 1)))
    for cache in (None, tmp_path / "cache"):
        (batch,) = Loader(mixed, View(40, flip=False), seed=0, cache=cache).epoch(
            np.arange(2), epoch=0, batch_size=2
        )
        np.testing.assert_array_equal(batch.images[0], expected)
        np.testing.assert_array_equal(batch.images[1], decode(tmp_path / "shallow.png").array)


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: b"", lambda data: b"\0" * len(data)])
def test_a_spoilt_entry_is_made_again(own_manifest, tmp_path, harm):
    path = own_manifest[0].path
    expected = np.array(pixels(path, tmp_path / "cache"))
    (entry,) = (tmp_path / "cache").rglob("*.npy")
    entry.write_bytes(harm(entry.read_bytes()))
    np.testing.assert_array_equal(pixels(path, tmp_path / "cache"), expected)


def test_pickled_objects_are_not_loaded_from_a_cache(own_manifest, tmp_path):
    path = own_manifest[0].path
    expected = np.array(pixels(path, tmp_path / "cache"))
    (entry,) = (tmp_path / "cache").rglob("*.npy")
    np.save(entry, np.array([[[print]]] * 3, dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(pixels(path, tmp_path / "cache"), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cache_that_cannot_be_written(own_manifest, tmp_path, workers):
    (tmp_path / "file").touch()
    with (
        Loader(own_manifest, NATIVE, seed=0, workers=workers, cache=tmp_path / "file") as loader,
        pytest.raises(ConfigError, match=r"can't be written to .*train without cache"),
    ):
        list(loader.epoch(np.arange(6), epoch=0, batch_size=2))


def test_a_disk_that_is_full_leaves_no_draft(own_manifest, tmp_path, monkeypatch):
    def full(file, array, **_):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        pixels(own_manifest[0].path, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_memory_does_not_grow_with_the_files(tmp_path):
    """Neither arrays nor mapped files are kept: the peak of 48 images is that of 12."""
    many = manifest_of(tmp_path / "images", 48, height=64, width=64)
    maps = Path("/proc/self/maps")
    peaks = []
    for n in (12, 48):
        loader = Loader(many, NATIVE, seed=0, cache=tmp_path / "cache")
        list(loader.epoch(np.arange(n), epoch=0, batch_size=4))
        tracemalloc.start()
        for _ in loader.epoch(np.arange(n), epoch=1, batch_size=4):
            if sys.platform == "linux":
                assert str(tmp_path / "cache") not in maps.read_text()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 4 * 3 * 32 * 32 * 4, "a batch is not even seen"
    assert peaks[1] < 1.2 * peaks[0]


def test_a_cached_array_cannot_be_written_to(own_manifest, tmp_path):
    found = pixels(own_manifest[0].path, tmp_path / "cache")
    with pytest.raises(ValueError, match="read-only"):
        found[...] = 0
    assert (str(tmp_path / "cache") in Path("/proc/self/maps").read_text()) or sys.platform != "linux"


# Files that can't be used


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("harm", "reason"), [(spoil, "cannot be decoded"), (small, "smaller than the 32 × 32")]
)
def test_a_bad_file_stops_the_run(own_manifest, tmp_path, harm, reason, workers):
    path = harm(own_manifest, 3)
    with Loader(own_manifest, NATIVE, seed=0, workers=workers, cache=tmp_path / "cache") as loader:
        batches = loader.epoch(np.arange(6), epoch=0, batch_size=2)
        assert next(batches).rows.tolist() == [0, 1]
        with pytest.raises(ManifestError, match=reason) as caught:
            next(batches)
    assert str(path) in str(caught.value)
    assert "skip" in str(caught.value)
    assert list(loader.bad) == [3]


def test_a_missing_file_stops_the_run(own_manifest):
    own_manifest[5].path.unlink()
    for cache in (None, own_manifest[0].path.parent / "cache"):
        with pytest.raises(ManifestError, match="no such file"):
            list(Loader(own_manifest, NATIVE, seed=0, cache=cache).epoch(np.arange(6), epoch=0, batch_size=6))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_files_are_left_out(own_manifest, workers):
    whole = list(Loader(own_manifest, VIEW, seed=0).epoch(np.arange(6), epoch=0, batch_size=2))
    spoil(own_manifest, 3), spoil(own_manifest, 4), small(own_manifest, 5)
    with Loader(own_manifest, VIEW, seed=0, workers=workers, on_bad="skip", max_bad=3) as loader:
        batches = list(loader.epoch(np.arange(6), epoch=0, batch_size=2))
        assert [batch.rows.tolist() for batch in batches] == [[0, 1], [2], []]
        assert [batch.labels.tolist() for batch in batches] == [[0, 1], [0], []]
        assert [batch.n_global for batch in batches] == [2, 2, 2], "as planned"
        assert batches[2].images.shape == (0, 3, 32, 32)
        assert torch.equal(batches[0].images, whole[0].images)
        assert torch.equal(batches[1].images, whole[1].images[:1]), "the others' augmentation is as it was"
        assert {row: reason.split()[0] for row, reason in loader.bad.items()} == {
            3: "this",
            4: "this",
            5: "the",
        }
        # The same files in another epoch are no more of them.
        assert len(list(loader.epoch(np.arange(6), epoch=1, batch_size=3))) == 2
        assert len(loader.bad) == 3


def test_more_bad_files_than_allowed(own_manifest):
    spoil(own_manifest, 1), spoil(own_manifest, 4)
    loader = Loader(own_manifest, NATIVE, seed=0, on_bad="skip", max_bad=1)
    batches = loader.epoch(np.arange(6), epoch=0, batch_size=3)
    assert next(batches).rows.tolist() == [0, 2]
    with pytest.raises(ManifestError, match=r"2 files .* max_bad is 1; .*004\.png"):
        next(batches)


def test_no_bad_file_is_allowed_unless_said(own_manifest):
    spoil(own_manifest, 1)
    with pytest.raises(ManifestError, match="max_bad is 0"):
        list(Loader(own_manifest, NATIVE, seed=0, on_bad="skip").epoch(np.arange(6), epoch=0, batch_size=3))


def warned(manifest, workers):
    """What is said of an epoch in a process that may use one processor."""
    with (
        warnings.catch_warnings(record=True) as said,
        Loader(manifest, NATIVE, seed=0, workers=workers) as own,
    ):
        warnings.simplefilter("always")
        list(own.epoch(np.arange(2), epoch=0, batch_size=2))
    return [str(one.message) for one in said]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="where PyTorch asks another way")
def test_two_workers_are_few_even_for_one_processor(manifest, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert warned(manifest, 2) == []
    assert any("excessive worker creation" in text for text in warned(manifest, 3))


def test_a_worker_that_dies_ends_the_epoch_with_a_word(manifest):
    before = set(multiprocessing.active_children())
    with Loader(manifest, NATIVE, seed=0, workers=1) as loader:
        batches = loader.epoch(np.tile(ORDER, 20), epoch=0, batch_size=2)
        next(batches)
        (worker,) = set(multiprocessing.active_children()) - before
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ConfigError, match=r"process that decodes images failed: \S.*fewer workers"):
            list(batches)
        assert len(list(loader.epoch(ORDER, epoch=1, batch_size=5))) == 3, "new workers do the next epoch"


# Options


def test_every_sample_has_a_label(manifest):
    unlabelled = Manifest((*manifest, Sample(manifest[0].path)))
    with pytest.raises(ManifestError, match="no label"):
        Loader(unlabelled, NATIVE, seed=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", -1),
        ("workers", -1),
        ("workers", 1.5),
        ("max_bad", -1),
        ("on_bad", "ignore"),
    ],
)
def test_a_loader_with_an_option_out_of_range(manifest, option, value):
    with pytest.raises(ConfigError, match=option):
        Loader(manifest, NATIVE, **{"seed": 0, option: value})


@pytest.mark.parametrize(
    "options",
    [
        {"epoch": -1},
        {"batch_size": 0},
        {"batch_size": 2.0},
        {"start": -1},
        {"start": 4},
        {"rank": 1},
        {"rank": 2, "world": 2},
        {"world": 0},
    ],
)
def test_an_epoch_with_an_option_out_of_range(manifest, options):
    loader = Loader(manifest, NATIVE, seed=0)
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))} is a whole number"):
        loader.epoch(ORDER, **{"epoch": 0, "batch_size": 5, **options})


@pytest.mark.parametrize("order", [[0, 11], [-1, 0], [[0, 1]], [0.0, 1.0], [True, False]])
def test_an_order_that_is_none(manifest, order):
    with pytest.raises(ConfigError, match=r"^order"):
        Loader(manifest, NATIVE, seed=0).epoch(np.array(order), epoch=0, batch_size=5)


def test_an_empty_order_has_no_batches(manifest):
    loader = Loader(manifest, NATIVE, seed=0)
    assert list(loader.epoch(np.array([], np.int64), epoch=0, batch_size=5)) == []


# Evaluation


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Images that hold 1, 1, 4, 1, 2, 4 and 1 crops of 32 pixels; no labels."""
    folder = tmp_path_factory.mktemp("unlike")
    sizes = [(40, 40), (32, 33), (80, 80), (45, 32), (40, 64), (70, 66), (33, 33)]
    return Manifest(
        tuple(Sample(save(natural(i, *size), folder / f"{i}.png"), None) for i, size in enumerate(sizes))
    )


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("cached", [False, True])
def test_evaluation_sees_the_even_crops_of_each_image(unlike, tmp_path, workers, cached):
    cache = tmp_path / "cache" if cached else None
    batches = list(
        evaluation_batches(unlike, NetworkInput(32, 4), batch_size=3, workers=workers, cache=cache)
    )
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(7))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1], [2], [3], [4], [5], [6]]
    for rows, crops, bad, descriptors in batches:
        assert bad == {}
        assert descriptors is None
        assert crops.dtype == torch.float32
        for row, found in zip(rows.tolist(), crops, strict=True):
            expected = square_crops(decode(unlike[row].path).array, 32, 4)
            np.testing.assert_array_equal(found.numpy(), expected)


def test_one_crop_is_the_centre(unlike):
    batches = list(evaluation_batches(unlike, NetworkInput(32), batch_size=4))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6]]
    assert batches[0].crops.shape == (4, 1, 3, 32, 32)
    array = decode(unlike[2].path).array
    np.testing.assert_array_equal(batches[0].crops[2, 0], array[:, 24:56, 24:56])


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_names_what_it_could_not_read(own_manifest, workers):
    spoil(own_manifest, 0), small(own_manifest, 1), spoil(own_manifest, 3)
    batches = list(evaluation_batches(own_manifest, NetworkInput(32, 1), batch_size=2, workers=workers))
    assert [batch.rows.tolist() for batch in batches] == [[], [2], [4, 5]]
    assert [list(batch.bad) for batch in batches] == [[0, 1], [3], []]
    assert batches[0].crops.shape == (0, 1, 3, 32, 32)
    assert "needs at least 32 × 32" in batches[0].bad[1]


def test_evaluation_left_in_the_middle_leaves_no_worker(unlike):
    before = set(multiprocessing.active_children())
    batches = evaluation_batches(unlike, NetworkInput(32, 1), batch_size=1, workers=1)
    next(batches)
    assert set(multiprocessing.active_children()) - before
    batches.close()
    assert set(multiprocessing.active_children()) <= before


def test_a_bad_file_is_told_once(tmp_path):
    manifest = manifest_of(tmp_path, 4, height=40, width=40)
    save(natural(0, 80, 80), manifest[0].path)
    spoil(manifest, 1)
    batches = list(evaluation_batches(manifest, NetworkInput(32, 4), batch_size=4))
    assert len(batches) == 2
    assert [list(batch.bad) for batch in batches] == [[1], []]


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": -1}])
def test_an_evaluation_with_an_option_out_of_range(unlike, options):
    with pytest.raises(ConfigError, match=f"^{next(iter(options))}"):
        evaluation_batches(unlike, NetworkInput(32), **{"batch_size": 2, **options})


def test_no_image_at_all():
    assert list(evaluation_batches(Manifest(()), NetworkInput(32, 1), batch_size=2)) == []


def test_the_decoder_s_words_come_through(own_manifest):
    path = spoil(own_manifest, 2)
    with pytest.raises(ImageError) as caught:
        decode(path)
    loader = Loader(own_manifest, NATIVE, seed=0, on_bad="skip", max_bad=1)
    list(loader.epoch(np.arange(6), epoch=0, batch_size=6))
    assert loader.bad == {2: str(caught.value)}
