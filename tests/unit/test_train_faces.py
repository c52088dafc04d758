"""A detector of faces learns, is chosen and is calibrated on what a scan will look at: the faces.

The pictures lie about themselves: what surrounds the face of a real one is up-sampled, and the face of a fake
one is surrounded by nature. A detector that saw whole pictures would call each by its surroundings.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictures import natural, save, upsampled
from tellsign import artifacts, faces, hub, local
from tellsign.calibration import CalibrationConfig
from tellsign.data import Manifest
from tellsign.data.left_out import LeftOut
from tellsign.data.picture import looked_at
from tellsign.detectors.preprocessing import ProfileInput, profile
from tellsign.faces import Box
from tellsign.image import decode
from tellsign.scoring.scorer import Options, Scorer
from tellsign.train import calibrate, raw_scores, train, usable_scores, validation_halves
from tellsign.train_config import TrainConfig
from tellsign.types import FAKE, REAL, ConfigError, ImageError, ManifestError, NoFaceError, Sample

pytest.importorskip("sklearn")

SIDE, CROP = 120, 32
FIRST, SECOND, SMALL = Box(8, 8, 48, 48), Box(64, 64, 104, 104), Box(8, 64, 24, 80)
ONE, NONE, TWO, TINY = 0, 1, 2, 3  # what the first pixel says: tens of levels
LOOSE = CalibrationConfig(fpr=0.4, fnr=0.4, domain_quantile=0.5)
CONFIG = TrainConfig(
    system="spectrum",
    name="toy",
    config={"classifier": "linear_svm", "crop": CROP, "c": 1.0, "region": "face"},
    calibration=LOOSE,
)


@pytest.fixture(autouse=True)
def finder(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(image: np.ndarray) -> tuple[Box, ...]:
        kind = round(float(image[0, 0, 0]) * 255 / 10)
        return {ONE: (FIRST,), NONE: (), TWO: (FIRST, SECOND), TINY: (SMALL,)}[kind]

    monkeypatch.setattr(faces, "boxes", found)


def pasted(picture: np.ndarray, box: Box, face: np.ndarray) -> None:
    crop = faces.crop(picture, box)
    place = np.s_[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    picture[place] = face[:, : crop.side, : crop.side]


def write_picture(path: Path, seed: int, *, label: int, kind: int = ONE) -> Path:
    face, around = (upsampled, natural) if label == FAKE else (natural, upsampled)
    picture = around(seed, SIDE, SIDE)
    pasted(picture, FIRST, face(seed + 1, 64, 64))
    if kind == TWO:  # the second one is real
        pasted(picture, SECOND, natural(seed + 2, 64, 64))
    picture[:, 0, 0] = kind * 10 / 255
    return save(picture, path)


def write_samples(folder: Path, split: str, n: int, *, seed: int, odd: int = ONE, n_odd: int = 0) -> Manifest:
    """n reals and n fakes, of which so many of each class are of another kind."""
    samples = []
    for label in (REAL, FAKE):
        for k in range(n):
            path = folder / split / f"{label}-{k}.png"
            kind = odd if k < n_odd else ONE
            write_picture(path, 1000 * seed + 100 * label + 3 * k, label=label, kind=kind)
            samples.append(
                Sample(path=path, label=label, dataset="made", group=path.stem + split, split=split)
            )
    return Manifest(tuple(samples))


def write_data(folder: Path, **odd: Any) -> Manifest:
    training = write_samples(folder, "train", 8, seed=1, **odd)
    return Manifest((*training, *write_samples(folder, "valid", 16, seed=2, **odd)))


def scanned(folder: Path, samples: Manifest) -> np.ndarray:
    rows = Scorer(folder).rows([(sample.path, None) for sample in samples])
    return np.array([row["score"] for row in rows if row is not None], dtype=np.float64)


def test_everything_is_learnt_on_what_a_scan_looks_at(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    artifact = train(CONFIG, data, tmp_path / "toy")
    assert artifact.spec["metrics"]["auroc_select"] == artifact.spec["metrics"]["auroc_calibrate"] == 1
    half = validation_halves(data.filter(split="valid"), seed=0)["calibrate"]
    for name, label in (("real", REAL), ("fake", FAKE)):
        own = np.sort(scanned(artifact.path, half.filter(label=label)))
        assert np.array_equal(artifact.arrays[f"scores.{name}"], own), (
            "calibrated on other scores than a scan's"
        )
    # The domain is that of the faces, and so are the bands that are drawn beside a profile.
    options = ProfileInput(region="face", crop=CROP)
    crops = {s.path: faces.crop(decode(s.path).array, FIRST).image for s in data.filter(split="train")}
    profiles = np.stack([profile(crop, options) for crop in crops.values()])
    assert artifact.arrays["domain.mean"] == pytest.approx(profiles.mean(axis=0))
    reals = [profile(crops[s.path], options) for s in data.filter(split="train", label=REAL)]
    assert artifact.arrays["band.real_mean"] == pytest.approx(np.mean(reals, axis=0))
    assert artifact.spec["faces"] == {"n": 16, "images": 16, "left_out": 0}
    (row,) = Scorer(artifact.path).rows([(data[0].path, None)])
    assert row is not None
    assert (row["region"], row["faces"], row["warnings"]) == ("face", 1, [])


def test_without_the_region_the_same_pictures_teach_their_surroundings(tmp_path: Path) -> None:
    """So the test above can fail."""
    data = write_data(tmp_path)
    config = replace(CONFIG, config={**CONFIG.config, "region": "image"})
    artifact = train(config, data, tmp_path / "toy")
    assert "faces" not in artifact.spec
    reals = data.filter(split="valid", label=REAL)
    seen = Scorer(artifact.path, Options(faces=True)).rows([(s.path, None) for s in reals])
    assert np.median([row["score"] for row in seen if row is not None]) > np.median(
        artifact.arrays["scores.fake"]
    )


@pytest.mark.parametrize(
    ("kind", "reason"), [(NONE, "no face was found"), (TINY, "the face is 21 × 21 pixels")]
)
def test_images_without_a_face_are_left_out_and_told(tmp_path: Path, kind: int, reason: str) -> None:
    data, said = write_data(tmp_path, odd=kind, n_odd=2), []
    config = replace(CONFIG, calibration=replace(LOOSE, fpr=0.45, fnr=0.45))
    artifact = train(config, data, tmp_path / "toy", say=said.append)
    assert artifact.spec["faces"] == {"n": 12, "images": 12, "left_out": 4}
    assert any(
        line.startswith("left out: 4 of 16 training images, e.g. ") and reason in line for line in said
    )
    odd = [s.path for s in data if s.path.stem[2:] in ("0", "1")]
    assert len(odd) == 8
    for path in odd:
        assert sum(line.startswith(f"left out: '{path}': {reason}") for line in said) == 1
    halves = validation_halves(data.filter(split="valid"), seed=0)
    for name, n in (
        ("select", artifact.spec["data"]["select"]["n"]),
        ("calibrate", artifact.spec["calibration_data"]["n"]),
    ):
        assert n == sum(s.path not in odd for s in halves[name])
    n_lost = artifact.spec["calibration_data"].get("left_out", 0)
    assert n_lost == sum(s.path in odd for s in halves["calibrate"])
    assert all(np.isfinite(array).all() for array in artifact.arrays.values())


def test_a_broken_image_still_stops_the_training(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    data[0].path.write_bytes(b"no image")
    with pytest.raises(ManifestError, match="1 of 16 images cannot be used"):
        train(CONFIG, data, tmp_path / "toy")


def test_where_no_class_shows_a_face_there_is_nothing_to_learn(tmp_path: Path) -> None:
    data = write_data(tmp_path, odd=NONE, n_odd=8)
    with pytest.raises(ManifestError, match="training images that show a face needs reals and fakes"):
        train(CONFIG, data, tmp_path / "toy")


def test_of_several_faces_each_is_learnt_and_the_most_suspicious_decides(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    artifact = train(CONFIG, data, tmp_path / "toy")
    several = write_samples(tmp_path / "several", "test", 3, seed=5, odd=TWO, n_odd=3)
    used, scores, _ = usable_scores(artifact, several, LeftOut())
    assert used == several
    assert np.array_equal(scores, scanned(artifact.path, several))
    assert scores[several.labels.index(FAKE) :].min() > scores[: several.labels.count(REAL)].max()
    twice = write_samples(tmp_path / "twice", "train", 8, seed=6, odd=TWO, n_odd=8)
    hub.system("spectrum")(hub.system("spectrum").config_class(**CONFIG.config)).fit(
        twice, twice, out=tmp_path / "fit", seed=0
    )
    fitted = artifacts.load(tmp_path / "fit")
    assert fitted.spec["faces"] == {"n": 32, "images": 16, "left_out": 0}


def test_a_face_that_is_too_small_beside_another_is_not_missed(tmp_path: Path, monkeypatch: Any) -> None:
    path = write_picture(tmp_path / "a.png", 3, label=FAKE)
    options = ProfileInput(region="face", crop=CROP)
    sample = Sample(path=path)

    def look(crop: np.ndarray) -> np.ndarray:
        return profile(crop, options)

    (alone,) = looked_at(sample, "face", look)
    monkeypatch.setattr(faces, "boxes", lambda _image: (SMALL, FIRST))
    (beside,) = looked_at(sample, "face", look)
    assert np.array_equal(alone, beside)
    (whole,) = looked_at(sample, "image", look)
    assert not np.array_equal(whole, alone)
    monkeypatch.setattr(faces, "boxes", lambda _image: ())
    with pytest.raises(NoFaceError, match="no face was found"):
        looked_at(sample, "face", look)
    path.write_bytes(b"no image")
    with pytest.raises(ImageError) as caught:
        looked_at(sample, "face", look)
    assert not isinstance(caught.value, NoFaceError)


def test_calibrating_again_leaves_faceless_images_out(tmp_path: Path) -> None:
    artifact = train(CONFIG, write_data(tmp_path / "data"), tmp_path / "toy")
    others = write_samples(tmp_path / "others", "", 12, seed=7, odd=NONE, n_odd=3)
    with pytest.raises(ManifestError, match=r"0-0\.png' has no score: no face was found; take it out"):
        raw_scores(artifact, others)
    said: list[str] = []
    new = calibrate(artifact, others, LOOSE, tmp_path / "new", left_out=LeftOut(say=said.append))
    assert (new.spec["calibration_data"]["n"], new.spec["calibration_data"]["left_out"]) == (18, 6)
    assert len(said) == 6
    reals = others.filter(label=REAL)
    fit = local.calibrate_on_reals(
        artifact, reals, LOOSE, tmp_path / "own", left_out=LeftOut(say=said.append)
    )
    own = fit.artifact.spec["local_reals"]
    assert (own["n"], own["left_out"], fit.before.n) == (9, 3, 9)
    assert np.array_equal(fit.artifact.arrays["scores.real"], np.sort(scanned(artifact.path, reals[3:])))
    assert len(said) == 9
    with pytest.raises(ConfigError):
        local.calibrate_on_reals(artifact, reals[:4], LOOSE, tmp_path / "none")


NETWORK = replace(
    CONFIG,
    system="cae-net",
    calibration=replace(LOOSE, fpr=0.45, fnr=0.45),
    config={
        "region": "face",
        "size": 48,
        "dwt": "native",
        "weights": "scratch",
        "stages": 2,
        "fusion_weights": [1.0],
        "branches": {
            "bands": {
                "backbone": "test_vit",
                "input": "dwt",
                "options": {"patch_size": 4, "depth": 1},
                "stage_epochs": 4,
            }
        },
        "training": {"batch_size": 8, "learning_rate": 3e-3, "optimiser": "adamw", "workers": 0},
    },
)


def test_a_network_in_stages_learns_on_the_faces_too(tmp_path: Path) -> None:
    """One picture of each class shows no face, and is left out of stages, retention table and scores."""
    pytest.importorskip("onnxscript")
    from tellsign.scoring.attention import Attention
    from tellsign.systems.cae_net.stages import TABLE, read_retention

    said: list[str] = []
    data = write_data(tmp_path, odd=NONE, n_odd=1)
    artifact = train(NETWORK, data, tmp_path / "toy", say=said.append)
    assert [line for line in said if "images of the training split show none" in line]
    assert artifact.spec["preprocessing"]["region"] == "face"
    # By their surroundings reals and fakes would change places.
    assert artifact.spec["metrics"]["auroc_calibrate"] > 0.8
    half = validation_halves(data.filter(split="valid"), seed=0)["calibrate"]
    for name, label in (("real", REAL), ("fake", FAKE)):
        own = scanned(artifact.path, half.filter(label=label))
        known = np.sort(own[np.isfinite(own)])
        assert artifact.arrays[f"scores.{name}"] == pytest.approx(known, abs=1e-4)
    (table,) = tmp_path.rglob(TABLE)
    rows = read_retention(table)
    assert [(row.n_reals, sum(row.n_subsets)) for row in rows] == [(7, 7), (7, 7)]
    region = faces.crop(decode(data[2].path).array, FIRST).image.copy()
    region[:, 0, 0] = NONE * 10 / 255  # the finder of these tests looks there
    evidence, grounds = Attention(Scorer(artifact.path)).evidence(region)
    (name,) = grounds
    assert name == "attention of bands"
    assert "of the face" in next(one.caption for one in evidence if one.name == name)


def test_attention_cannot_be_drawn_to_a_face_that_is_all_there_is() -> None:
    from tellsign.systems.cae_net.config import CaeNetConfig

    with pytest.raises(ConfigError, match=r'attention_weight = 1 .* region = "face" shows nothing else'):
        CaeNetConfig(region="face", training={"attention_weight": 1.0})  # type: ignore[arg-type]
