"""Faces found, cropped and followed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tellsign import faces
from tellsign.faces import Box, Track, boxes, crop, intersection_over_union, tracks
from tellsign.types import ConfigError, ImageError


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A real photograph of one person: Rear Admiral Grace Hopper, public domain, shipped with matplotlib."""
    cbook = pytest.importorskip("matplotlib.cbook")
    picture = Image.open(cbook.get_sample_data("grace_hopper.jpg")).convert("RGB")
    return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255


def test_a_face_is_found_where_it_is(portrait: np.ndarray) -> None:
    (face,) = boxes(portrait)
    assert intersection_over_union(face, Box(160, 130, 370, 350)) > 0.8
    assert face.score > 1


def test_a_face_is_found_on_a_reduced_copy_and_scaled_back(portrait: np.ndarray) -> None:
    scene = np.full((3, 1400, 2000), 0.5, dtype=np.float32)
    scene[:, 500:1100, 900:1412] = portrait
    (alone,), (face,) = boxes(portrait), boxes(scene)
    moved = Box(alone.left + 900, alone.top + 500, alone.right + 900, alone.bottom + 500)
    assert intersection_over_union(face, moved) > 0.7


def test_a_face_too_small_for_the_reduced_copy_is_found_at_full_size(portrait: np.ndarray) -> None:
    small = portrait[:, ::2, ::2]
    (alone,) = boxes(small)
    scene = np.full((3, 600, 2600), 0.5, dtype=np.float32)
    scene[:, 100 : 100 + small.shape[1], 2000 : 2000 + small.shape[2]] = small
    assert round((alone.right - alone.left) * 1024 / 2600) < 60  # smaller than what dlib finds
    (face,) = boxes(scene)
    moved = Box(alone.left + 2000, alone.top + 100, alone.right + 2000, alone.bottom + 100)
    assert intersection_over_union(face, moved) > 0.7


def test_boxes_come_surest_first_and_do_not_change_the_image(portrait: np.ndarray) -> None:
    pair = np.concatenate([portrait, portrait[:, :, ::-1]], axis=2)
    before = pair.copy()
    found = boxes(pair)
    assert len(found) == 2
    assert found[0].score >= found[1].score
    assert np.array_equal(pair, before)
    assert boxes(pair) == found


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (79, 79), (300, 300)])
def test_no_face_is_an_empty_tuple(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).random((3, *size), dtype=np.float32)
    assert boxes(noise) == ()
    assert boxes(np.zeros((3, *size), dtype=np.float32)) == ()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((100, 100, 3), dtype=np.float32),
        np.zeros((100, 100), dtype=np.float32),
        np.zeros((3, 0, 5), dtype=np.float32),
        np.zeros((3, 100, 100), dtype=np.uint8),
        np.full((3, 100, 100), 200, dtype=np.float32),
        np.full((3, 100, 100), -0.1, dtype=np.float32),
        np.full((3, 100, 100), np.nan, dtype=np.float32),
    ],
    ids=["channels last", "grey", "empty", "bytes", "0 to 255", "negative", "nan"],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected"):
        boxes(image)


def test_missing_finder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    faces._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "_dlib_pybind11", None)
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ConfigError, match="pip install dlib-bin"):
        boxes(np.zeros((3, 100, 100), dtype=np.float32))


def ramp(height: int, width: int) -> np.ndarray:
    """(3, H, W) whose channels are the row, the column and a constant."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.stack([y, x, np.ones_like(x)])


@pytest.mark.parametrize(
    ("box", "left", "top", "side"),
    [
        (Box(80, 60, 120, 100), 74, 54, 52),  # centred: 40 · 1.3 = 52
        (Box(80, 60, 110, 100), 69, 54, 52),  # the longer side counts
        (Box(0, 60, 40, 100), 0, 54, 52),  # shifted in from the left
        (Box(-10, -20, 30, 20), 0, 0, 52),  # and from a box that sticks out
        (Box(170, 130, 210, 170), 148, 98, 52),  # and from the lower right corner
    ],
)
def test_crop_is_square_centred_and_shifted_inside(box: Box, left: int, top: int, side: int) -> None:
    image = ramp(150, 200)
    cut = crop(image, box)
    assert (cut.left, cut.top, cut.side, cut.clipped) == (left, top, side, False)
    assert np.array_equal(cut.image, image[:, top : top + side, left : left + side])  # native pixels


def test_crop_of_a_small_image_is_clipped_and_says_so() -> None:
    cut = crop(ramp(40, 200), Box(80, 0, 120, 40))
    assert (cut.image.shape, cut.side, cut.clipped) == ((3, 40, 52), 52, True)
    cut = crop(ramp(52, 200), Box(80, 0, 120, 40))
    assert (cut.image.shape, cut.side, cut.clipped) == ((3, 52, 52), 52, False)
    cut = crop(ramp(30, 30), Box(5, 5, 25, 25), margin=4)
    assert (cut.image.shape, cut.side, cut.clipped) == ((3, 30, 30), 80, True)


def test_crop_is_a_copy_with_the_chosen_margin() -> None:
    image = ramp(150, 200)
    cut = crop(image, Box(80, 60, 120, 100), margin=1)
    assert np.array_equal(cut.image, image[:, 60:100, 80:120])
    cut.image[:] = -1
    assert image.min() == 0


@pytest.mark.parametrize(
    "box", [Box(200, 0, 240, 40), Box(0, -40, 40, 0), Box(50, 50, 50, 60), Box(9, 9, 5, 5)]
)
def test_crop_refuses_boxes_without_pixels(box: Box) -> None:
    with pytest.raises(ImageError, match="has no pixel in an image of 200 × 150"):
        crop(ramp(150, 200), box)


@pytest.mark.parametrize("margin", [0, -1, float("nan"), float("inf")])
def test_crop_refuses_other_margins(margin: float) -> None:
    with pytest.raises(ConfigError, match="margin is"):
        crop(ramp(150, 200), Box(80, 60, 120, 100), margin=margin)


def test_intersection_over_union() -> None:
    a = Box(0, 0, 10, 10)
    assert intersection_over_union(a, a) == 1
    assert intersection_over_union(a, Box(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert intersection_over_union(a, Box(2, 2, 8, 8)) == pytest.approx(0.36)
    assert intersection_over_union(a, Box(10, 0, 20, 10)) == 0
    assert intersection_over_union(a, Box(50, 50, 60, 60)) == 0


def at(x: int, score: float = 0) -> Box:
    return Box(x, 0, x + 100, 100, score)


def test_two_faces_give_two_tracks_whatever_their_order() -> None:
    left, right = [at(0), at(10), at(20)], [at(300), at(290), at(280)]
    found = tracks([[left[0], right[0]], [right[1], left[1]], [left[2], right[2]]])
    assert found == (Track((0, 1, 2), tuple(left)), Track((0, 1, 2), tuple(right)))


def test_the_largest_overlap_is_linked_first() -> None:
    # The box at 10 fits the track at 0 and the one at 40; the nearer wins, and the other takes what is left.
    assert tracks([[at(40), at(0)], [at(10), at(60)]]) == (
        Track((0, 1), (at(40), at(60))),
        Track((0, 1), (at(0), at(10))),
    )


def test_a_track_takes_one_box_of_a_frame() -> None:
    assert tracks([[at(0)], [at(10), at(0)]]) == (Track((0, 1), (at(0), at(0))), Track((1,), (at(10),)))


def test_a_gap_is_bridged_up_to_its_limit() -> None:
    seen = [[at(0)], [], [], [], [at(5)]]
    assert tracks(seen, max_gap=3) == (Track((0, 4), (at(0), at(5))),)
    assert tracks(seen, max_gap=2) == (Track((0,), (at(0),)), Track((4,), (at(5),)))
    assert tracks([[at(0)], [at(1)]], max_gap=0) == (Track((0, 1), (at(0), at(1))),)


def test_overlap_below_the_limit_opens_a_track() -> None:
    seen = [[at(0)], [at(50)]]  # intersection over union 1/3
    assert len(tracks(seen, min_overlap=0.33)) == 1
    assert len(tracks(seen, min_overlap=0.34)) == 2


def test_no_faces_give_no_tracks() -> None:
    assert tracks([]) == ()
    assert tracks([[], [], []]) == ()


@pytest.mark.parametrize("options", [{"min_overlap": 0}, {"min_overlap": 1.1}, {"max_gap": -1}])
def test_track_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="expected"):
        tracks([[at(0)]], **options)


@pytest.mark.slow
@pytest.mark.data
def test_every_real_clip_shows_one_face_in_every_frame(data_root: Path) -> None:
    video = pytest.importorskip("tellsign.video")
    for path in sorted((data_root / "clips").rglob("*.mp4")):
        found = [boxes(frame.image) for frame in video.frames(path)]
        assert len(found) == 20
        (track,) = tracks(found)
        assert track.frames == tuple(range(20)), path
