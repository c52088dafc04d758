"""What a detector of SFCL-HCMF says of images, against its network on one image after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cae_net_tiny import without_graph
from pictures import natural, save, write_split_dataset
from tellsign import faces
from tellsign.data import Manifest, read
from tellsign.data.left_out import LeftOut
from tellsign.image import decode
from tellsign.image.network_input import seen
from tellsign.types import FAKE, REAL, ArtifactError, ManifestError, Sample

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from sfcl_tiny import write_config  # noqa: E402 - needs PyTorch
from tellsign.evaluate.sfcl_hcmf.study import configuration, image_scores, scores_on  # noqa: E402
from tellsign.systems.sfcl_hcmf.system import SfclHcmfSystem  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

RED = np.array([1.0, 0.0, 0.0])[:, None, None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A detector, and the configuration that it was trained with."""
    folder = tmp_path_factory.mktemp("trained")
    write_split_dataset(folder / "data", train=8, valid=4, size=72)
    manifest = read(folder / "data" / "manifest.csv")
    config = configuration(write_config(folder))
    with pytest.MonkeyPatch.context() as patch:
        without_graph(patch)
        parts = (manifest.filter(split=split) for split in ("train", "valid"))
        SfclHcmfSystem(config).fit(*parts, out=folder / "detector", seed=0)
    return folder / "detector", config


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Of several sizes, one of them too small; red squares for faces in most."""
    folder, samples = tmp_path_factory.mktemp("images"), []
    for row, size in enumerate((150, 130, 40, 150, 160, 140)):
        picture = 0.9 * natural(row, size, size + 3 * row)
        if row != 3:
            picture[:, size // 4 : size - size // 4, 10 : 10 + size - 2 * (size // 4)] = RED
        path = save(picture, folder / f"{row}.png")
        samples.append(Sample(path, FAKE if row % 2 else REAL, group=f"{row // 2}"))
    return Manifest(tuple(samples))


def by_hand(trained, pictures):
    detector, config = trained
    network = SfclHcmfSystem().network(detector)
    found = []
    for picture in pictures:
        crops, descriptor = seen(picture, config.input.look)
        with torch.inference_mode():
            logits = network(torch.from_numpy(crops), torch.from_numpy(descriptor)[None])
        found.append(float(logits[0, 1] - logits[0, 0]))
    return np.array(found)


def red_box(picture):
    rows, columns = np.nonzero((np.abs(picture - RED) < 0.01).all(axis=0))
    if not len(rows):
        return ()
    return (faces.Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1),)


def test_scores_are_log_odds_in_the_order_of_the_images(trained, images):
    left_out = LeftOut("skip", 1)
    found = image_scores(trained[0], images, trained[1], left_out=left_out)
    usable = [0, 1, 3, 4, 5]
    expected = by_hand(trained, [decode(images[row].path).array for row in usable])
    assert np.isnan(found[2])
    assert list(left_out.reasons) == [images[2].path]
    np.testing.assert_allclose(found[usable], expected, atol=1e-4)
    assert np.ptp(expected) > 1e-3, "differences can be seen"


def test_a_bad_image_stops_unless_it_may_be_skipped(trained, images):
    detector, config = trained
    with pytest.raises(ManifestError, match=r"2\.png' cannot be used"):
        scores_on(detector, images, config)
    skipping = replace(config, training=replace(config.training, on_bad="skip", max_bad=1))
    scores = scores_on(detector, images, skipping)
    assert scores.rows.tolist() == [0, 1, 3, 4, 5]
    assert scores.labels.tolist() == [0, 1, 1, 0, 1]
    assert scores.groups == ("0", "0", "1", "2", "2")


def test_a_detector_of_faces_looks_at_the_faces(trained, images, monkeypatch):
    monkeypatch.setattr("tellsign.faces.boxes", red_box)
    detector, config = trained
    left_out = LeftOut("skip", 1)
    own = replace(config, region="face")
    found = image_scores(detector, images, own, left_out=left_out)
    assert list(left_out.faceless) == [images[3].path]
    assert list(left_out.reasons) == [images[2].path], "its face is smaller than a crop"
    usable = [0, 1, 4, 5]
    expected = by_hand(trained, [faces.crops(decode(images[row].path).array)[0] for row in usable])
    np.testing.assert_allclose(found[usable], expected, atol=1e-4)
    assert np.isnan(found[[2, 3]]).all()


def test_scores_that_are_no_numbers_are_the_detectors_fault(trained, images, monkeypatch):
    def broken(network, own, look, **options):
        return np.full(len(own), np.nan), {2: "too small"}

    monkeypatch.setattr("tellsign.engine.scores.network_scores", broken)
    with pytest.raises(ArtifactError, match="not finite"):
        image_scores(trained[0], images, trained[1], left_out=LeftOut("skip", 1))
