"""Videos by SFCL-HCMF: of each frame the face, at both of its sizes, and a score; their mean and the vote."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from clips import clip  # noqa: E402
from pictures import natural  # noqa: E402
from sfcl_tiny import SIZE, network, write_detector  # noqa: E402
from tellsign import faces  # noqa: E402
from tellsign.image.network_input import NetworkInput, seen  # noqa: E402
from tellsign.scoring.looks import Options  # noqa: E402
from tellsign.scoring.scorer import Scorer  # noqa: E402

FACE = {"region": "face", "fit": "resize"}


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp("detector") / "tiny", **FACE)


def test_each_frame_is_judged_by_its_face(detector, tmp_path, monkeypatch):
    box = faces.Box(20, 16, 68, 64)
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: (box,))
    frames = [np.rint(255 * natural(seed, 120, 120)).astype(np.uint8) for seed in range(3)]
    path = tmp_path / "a.mkv"
    pictures = [frame.transpose(1, 2, 0) for frame in frames]
    path.write_bytes(clip(pictures=pictures, container="matroska", codec="ffv1", pixels="bgr0"))
    (row,) = Scorer(detector, Options(engine="torch")).rows([(path, None)])
    look, own, expected = NetworkInput(SIZE, fit="resize", descriptor="sida"), network(**FACE), []
    for frame in frames:
        crops, descriptor = seen(faces.crop(frame / np.float32(255), box).image, look)
        with torch.inference_mode():
            real, fake = own(
                torch.from_numpy(np.asarray(crops, np.float32)), torch.from_numpy(descriptor)[None]
            )[0].tolist()
        expected.append(fake - real)
    assert (row["kind"], row["region"], row["faces"], row["error"]) == ("video", "face", 1, None)
    assert [entry["score"] for entry in row["timeline"]] == pytest.approx(expected, abs=1e-4)
    assert row["score"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert sum(row["vote"][label] for label in ("real", "fake", "uncertain")) == 3
    assert np.ptp(expected) > 1e-3, "frames that score alike prove nothing"


@pytest.mark.data
def test_published_clips(detector, data_root):
    """An original and its manipulation: a face in each frame, and a score of it."""
    pytest.importorskip("dlib")
    paths = sorted((data_root / "clips").rglob("*519*.mp4"))
    scorer = Scorer(detector, Options(engine="torch", n_frames=3))
    for row in scorer.rows([(path, None) for path in paths]):
        assert row["error"] is None
        assert (row["kind"], row["region"], row["faces"]) == ("video", "face", 1)
        scores = [entry["score"] for entry in row["timeline"]]
        assert len(scores) == 3
        assert np.isfinite(scores).all()
        assert row["score"] == pytest.approx(np.mean(scores))
        assert row["vote"]["label"] in ("real", "fake", "uncertain")
