"""A manifest of videos → folders of crops, their manifest, the failures and the report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import clip
from pictures import natural, save
from tellsign.data import Manifest, face_export, read
from tellsign.data.face_crops import RECORD, CropOptions
from tellsign.data.face_export import (
    NO_FACE,
    ExportOptions,
    balance_factor,
    export_faces,
    folder_name,
    frames_wanted,
)
from tellsign.lock import locked
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample

WHOLE = CropOptions(region="frame")  # fast: no face is sought
BLANK = np.zeros((90, 90, 3), np.uint8)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of numbered frames, a picture, and a file that is no video."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "real.mp4").write_bytes(clip(5))
    (folder / "fake.mp4").write_bytes(clip(9))
    save(natural(1, 20, 20), folder / "still.png")
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes, which take seconds to start."""

    def serial(work: Any, tasks: Sequence[Any], *, workers: int, stall: float) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            yield index, work(task, lambda: None)

    monkeypatch.setattr(face_export, "results", serial)


def sources(films: Path) -> Manifest:
    return Manifest(
        (
            Sample(films / "fake.mp4", FAKE, "set", "gan", group="000", video="gan/000_003", split="train"),
            Sample(films / "bad.mp4", FAKE, "set", "gan", group="001", split="test"),
            Sample(films / "real.mp4", REAL, "other set/ü"),
            Sample(films / "still.png", None, "set", video="a film", frame=1.5),
        )
    )


def state(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_rows_are_those_of_the_videos_and_the_workers_number_does_not_show(
    films: Path, tmp_path: Path
) -> None:
    options = ExportOptions(n_frames=3, crops=WHOLE)
    seen: list[None] = []
    one = export_faces(sources(films), tmp_path / "1", options, on_file=lambda: seen.append(None))
    two = export_faces(sources(films), tmp_path / "2", options, workers=3)
    assert len(seen) == 4
    assert state(tmp_path / "1") == state(tmp_path / "2")
    assert one.manifest.digest() == two.manifest.digest()
    assert one.report == json.loads((tmp_path / "1" / "report.json").read_text())

    rows = read(tmp_path / "1" / "manifest.csv")
    assert [(s.label, s.dataset, s.generator, s.split, s.frame) for s in rows] == [
        *((FAKE, "set", "gan", "train", time) for time in (0.04, 0.16, 0.28)),
        *((REAL, "other set/ü", "", "", time) for time in (0.0, 0.08, 0.16)),
        (None, "set", "", "", 1.5),
    ]
    own = folder_name(sources(films)[2], str(films))
    assert own.startswith("other_set_ü/real-")
    assert {(s.group, s.video) for s in rows[:3]} == {("000", "gan/000_003")}
    # Without a group and a name in the manifest, the frames of a video still belong together.
    assert {(s.group, s.video) for s in rows[3:6]} == {(own, own)}
    assert (rows[6].group, rows[6].video) == ("a film", "a film")
    assert all(len(s.sha256) == 64 for s in rows)


def test_failures_and_coverage_are_reported(films: Path, tmp_path: Path, in_process: None) -> None:
    result = export_faces(sources(films), tmp_path / "out", ExportOptions(n_frames=3, crops=WHOLE))
    ((path, reason),) = result.failed
    assert path == films / "bad.mp4"
    assert "this is a text file" in reason
    assert result.faceless == ()
    # What failed is a manifest, to be tried again.
    (row,) = read(tmp_path / "out" / "failed.csv")
    assert (row.path.resolve(), row.label, row.group, row.split) == (path.resolve(), FAKE, "001", "test")
    assert '"failed"' in (tmp_path / "out" / "failed.csv").read_text()
    report = result.report
    found = {
        name: report[name] for name in ("videos", "images", "with_crops", "without_face", "failed", "crops")
    }
    assert found == {"videos": 3, "images": 1, "with_crops": 3, "without_face": 0, "failed": 1, "crops": 7}
    assert (report["coverage"], report["frames"], report["frame_coverage"]) == (0.75, 7, None)
    by_label = {name: (row["with_crops"], row["failed"]) for name, row in report["by"]["label"].items()}
    assert by_label == {"": (1, 0), "fake": (1, 1), "real": (1, 0)}
    assert report["by"]["dataset"]["set"]["crops"] == 4
    assert report["options"]["crops"]["margin"] == 1.3


def test_a_video_without_a_face_is_a_row_and_no_failure(tmp_path: Path, in_process: None) -> None:
    pytest.importorskip("matplotlib.cbook")
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    face = np.asarray(Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB"))[::2, ::2]
    blank = np.zeros_like(face)
    for name, frames in {"face": [face, blank], "none": [blank]}.items():
        (tmp_path / f"{name}.mp4").write_bytes(
            clip(pictures=frames, container="matroska", codec="ffv1", pixels="bgr0")
        )
    manifest = Manifest((Sample(tmp_path / "face.mp4", REAL), Sample(tmp_path / "none.mp4", FAKE)))
    result = export_faces(manifest, tmp_path / "out", ExportOptions())
    assert (result.failed, result.faceless) == ((), (tmp_path / "none.mp4",))
    assert [s.frame for s in result.manifest] == [0.0]
    report = result.report
    assert (report["coverage"], report["frames"], report["frames_with_face"]) == (0.5, 3, 1)
    assert (report["frame_coverage"], report["by"]["label"]["fake"]["frame_coverage"]) == (1 / 3, 0.0)
    assert f'"no face","{NO_FACE}"' in (tmp_path / "out" / "failed.csv").read_text()
    # It is not sought again.
    assert export_faces(manifest, tmp_path / "out", ExportOptions()).n_unchanged == 2


def test_a_second_run_does_what_is_left(films: Path, tmp_path: Path, in_process: None) -> None:
    options, out = ExportOptions(n_frames=3, crops=WHOLE), tmp_path / "out"
    export_faces(sources(films)[:2], out, options)
    (done,) = out.glob("set/fake-*")
    before = {path: path.stat().st_mtime_ns for path in done.iterdir()}
    (out / "set" / ".real-0123.77.draft").mkdir()  # of a run that was killed
    (out / "set" / ".real-0123.77.draft" / "00000.png").touch()

    result = export_faces(sources(films), out, options)
    assert result.n_unchanged == 1
    assert {path: path.stat().st_mtime_ns for path in done.iterdir()} == before
    export_faces(sources(films), tmp_path / "whole", options)
    assert state(out) == state(tmp_path / "whole")
    assert (out / "set").is_dir()
    assert not (out / "set" / ".real-0123.77.draft").exists()


def test_what_changed_is_done_again(films: Path, tmp_path: Path, in_process: None) -> None:
    source = tmp_path / "film.mp4"
    manifest = Manifest((Sample(source, REAL),))
    options = ExportOptions(n_frames=2, crops=WHOLE)
    source.write_bytes(clip(3))
    first = export_faces(manifest, tmp_path / "out", options)
    source.write_bytes(clip(7))
    second = export_faces(manifest, tmp_path / "out", options)
    assert second.n_unchanged == 0
    assert [s.frame for s in first.manifest] == [0.0, 0.08]
    assert [s.frame for s in second.manifest] == [0.04, 0.2]
    (folder,) = (tmp_path / "out" / "files").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00001.png", RECORD]


def test_a_run_that_cannot_be_finished_leaves_no_manifest_of_another_state(
    films: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "out", ExportOptions(n_frames=3, crops=WHOLE)
    export_faces(sources(films)[:1], out, options)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_faces(sources(films)[:3], out, options, on_file=interrupt)
    assert not (out / "manifest.csv").exists()
    assert len(export_faces(sources(films)[:3], out, options).manifest) == 6


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ExportOptions(n_frames=4, crops=WHOLE), "n_frames was 3 and is 4"),
        (ExportOptions(n_frames=3), "region was 'frame' and is 'face'"),
        (
            ExportOptions(n_frames=3, crops=CropOptions(region="frame", jpeg_quality=90)),
            "jpeg_quality was None",
        ),
        (
            ExportOptions(n_frames=3, crops=WHOLE, balance="sample", factor=2),
            "balance was 'none'.*factor was None",
        ),
    ],
    ids=["frames", "region", "jpeg", "balance"],
)
def test_other_options_want_another_folder(
    films: Path, tmp_path: Path, other: ExportOptions, message: str, in_process: None
) -> None:
    export_faces(sources(films)[2:], tmp_path, ExportOptions(n_frames=3, crops=WHOLE))
    before = state(tmp_path)
    with pytest.raises(ConfigError, match=f"{message}.*give another folder"):
        export_faces(sources(films)[2:], tmp_path, other)
    assert state(tmp_path) == before


def test_folders_that_can_not_be_used(films: Path, tmp_path: Path, in_process: None) -> None:
    options = ExportOptions(crops=WHOLE)
    with pytest.raises(ManifestError, match="has no rows"):
        export_faces(Manifest(()), tmp_path / "out", options)
    with pytest.raises(ManifestError, match="samples lie in the output folder"):
        export_faces(sources(films), films.parent, options)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="is not empty and holds no crops"):
        export_faces(sources(films), tmp_path, options)
    with pytest.raises(ConfigError, match="cannot write"):
        export_faces(sources(films), tmp_path / "letter.txt", options)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "options.json").write_text("[]")
    with pytest.raises(ConfigError, match="was made with other options"):
        export_faces(sources(films), tmp_path / "old", options)


def test_two_runs_do_not_share_a_folder(films: Path, tmp_path: Path, in_process: None) -> None:
    with locked(tmp_path / "out"), pytest.raises(ConfigError, match="another run is writing"):
        export_faces(sources(films), tmp_path / "out", ExportOptions(crops=WHOLE))


def test_no_crop_at_all_is_an_error_with_the_reasons_on_disk(
    films: Path, tmp_path: Path, in_process: None
) -> None:
    manifest = Manifest((Sample(films / "bad.mp4", FAKE), Sample(films / "gone.mp4", REAL)))
    with pytest.raises(ManifestError, match=r"none of the 2 files gave a crop; the first, .*bad\.mp4"):
        export_faces(manifest, tmp_path / "out", ExportOptions())
    assert "no such file" in (tmp_path / "out" / "failed.csv").read_text()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["failed"] == 2


# Balance --------------------------------------------------------------------------------------------------


def videos(n_real: int, n_fake: int, split: str = "") -> Manifest:
    labels = [REAL] * n_real + [FAKE] * n_fake
    return Manifest(
        tuple(Sample(Path(f"{split}{k}.mp4"), label, split=split) for k, label in enumerate(labels))
    )


def planned(manifest: Manifest, **options: object) -> list[int]:
    asked = ExportOptions(**options)
    factor = balance_factor(manifest, asked)
    with_factor = asked if factor is None else ExportOptions(**{**options, "factor": factor})
    return [frames_wanted(sample, with_factor) for sample in manifest]


def test_repeat_takes_more_frames_of_real_videos() -> None:
    assert planned(videos(1, 4), balance="repeat") == [1080, 270, 270, 270, 270]
    assert planned(videos(2, 3), balance="repeat", n_frames=50) == [75, 75, 50, 50, 50]
    assert planned(videos(1, 2), balance="repeat", factor=4) == [1080, 270, 270]


def test_sample_takes_fewer_frames_of_fake_videos() -> None:
    assert planned(videos(1, 4), balance="sample", n_frames=100) == [100, 25, 25, 25, 25]
    assert planned(videos(1, 3), balance="sample", n_frames=1) == [1, 1, 1, 1]


def test_without_balance_all_are_alike() -> None:
    assert planned(videos(1, 2)) == [270, 270, 270]


def test_only_videos_to_train_on_are_balanced() -> None:
    still = Sample(Path("a.png"), REAL, split="train")
    manifest = Manifest((*videos(1, 4, "train"), *videos(3, 1, "test"), still))
    assert planned(manifest, balance="repeat", n_frames=10) == [40, *[10] * 9]


def test_balance_reaches_the_crops(films: Path, tmp_path: Path, in_process: None) -> None:
    manifest = Manifest(
        (
            Sample(films / "real.mp4", REAL),
            *(Sample(tmp_path / f"{k}.mp4", FAKE) for k in range(2)),
        )
    )
    for k in range(2):
        (tmp_path / f"{k}.mp4").write_bytes(clip(9 + k))
    result = export_faces(
        manifest, tmp_path / "out", ExportOptions(n_frames=2, balance="repeat", crops=WHOLE)
    )
    assert result.manifest.labels == [REAL] * 4 + [FAKE] * 4
    assert len({sample.path for sample in result.manifest}) == 8
    even = {"planned": 4, "crops": 4}
    assert result.report["balance"] == {"real": even, "fake": even, "short": None}
    # A real video that is too short gives every frame once, and the report says how many there are.
    result = export_faces(
        manifest, tmp_path / "more", ExportOptions(n_frames=4, balance="repeat", crops=WHOLE)
    )
    assert result.manifest.labels == [REAL] * 5 + [FAKE] * 8
    assert {name: row["crops"] for name, row in result.report["by"]["label"].items()} == {
        "fake": 8,
        "real": 5,
    }
    assert result.report["balance"] == {
        "real": {"planned": 8, "crops": 5},
        "fake": {"planned": 8, "crops": 8},
        "short": "real",
    }
    # Fewer of both, by the same share, are balanced still; and nothing is said where nothing was asked for.
    both = Manifest((manifest[0], replace(manifest[0], path=films / "fake.mp4", label=FAKE)))
    asked = ExportOptions(n_frames=50, balance="sample", factor=1.0, crops=WHOLE)
    assert export_faces(both, tmp_path / "b", asked).report["balance"]["short"] == "real"
    twins = Manifest((manifest[0], replace(manifest[0], path=tmp_path / "twin.mp4", label=FAKE)))
    (tmp_path / "twin.mp4").write_bytes((films / "real.mp4").read_bytes())
    assert export_faces(twins, tmp_path / "t", asked).report["balance"]["short"] is None
    plain = ExportOptions(n_frames=2, crops=WHOLE)
    assert export_faces(manifest, tmp_path / "p", plain).report["balance"] is None


@pytest.mark.parametrize("manifest", [videos(0, 3), videos(3, 2), videos(1, 4, "test")])
def test_classes_that_can_not_be_balanced(manifest: Manifest) -> None:
    with pytest.raises(ConfigError, match="can't be balanced"):
        balance_factor(manifest, ExportOptions(balance="repeat"))


@pytest.mark.parametrize(
    "options",
    [
        {"n_frames": 0},
        {"balance": "more"},
        {"factor": 4.0},
        {"balance": "repeat", "factor": 0.5},
        {"balance": "repeat", "factor": float("nan")},
    ],
    ids=str,
)
def test_options_out_of_range(options: dict) -> None:
    with pytest.raises(ConfigError, match="expected"):
        ExportOptions(**options)


# Names ----------------------------------------------------------------------------------------------------


def test_folders_are_safe_and_unique() -> None:
    names = [
        folder_name(Sample(Path(path), dataset=dataset), str(Path.cwd()))
        for path, dataset in [
            ("Deepfakes/000.mp4", "ff"),
            ("Face2Face/000.mp4", "ff"),
            ("Face2Face/000.avi", "ff"),
            ("../../..x.mp4", "../.."),
            ("a/…" + 300 * "é" + ".mp4", 300 * "é"),
            (os.fsdecode(b"caf\xe9\n.mp4"), ""),
            ("CON", "nul"),
        ]
    ]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        parts = name.split("/")
        assert len(parts) == 2
        assert all(part and not part.startswith(".") and len(part.encode()) < 200 for part in parts)
        assert name.isprintable()
    assert names[0].startswith("ff/000-")
    moved = Sample(Path("/elsewhere/Deepfakes/000.mp4"), dataset="ff", label=1, split="test")
    assert names[0] == folder_name(moved, "/elsewhere")


def test_a_data_set_that_was_moved_keeps_its_groups(films: Path, tmp_path: Path, in_process: None) -> None:
    found = []
    for name in ("here", "there"):
        (tmp_path / name / "a").mkdir(parents=True)
        for part in ("a/x.mp4", "y.mp4"):
            (tmp_path / name / part).write_bytes((films / "real.mp4").read_bytes())
        rows = tuple(Sample(tmp_path / name / part, REAL, "set") for part in ("a/x.mp4", "y.mp4"))
        options = ExportOptions(n_frames=1, crops=WHOLE)
        result = export_faces(Manifest(rows), tmp_path / f"out-{name}", options)
        found.append([sample.group for sample in result.manifest])
    assert found[0] == found[1]
    assert len(set(found[0])) == 2
