"""Figure 4 and the quality of restored images: what is measured of whole images, kept and drawn.

Shapes: H W pixels.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from detector import write_detector as write_other  # noqa: E402
from pictures import natural, save, write_dataset  # noqa: E402
from resynthesis_tiny import write_detector  # noqa: E402
from tellsign import image  # noqa: E402
from tellsign.data import Manifest, read  # noqa: E402
from tellsign.evaluate.reproduce import reproduce  # noqa: E402
from tellsign.evaluate.resynthesis import histograms, quality  # noqa: E402
from tellsign.metrics import auroc  # noqa: E402
from tellsign.systems.resynthesis.quality import enlarged  # noqa: E402
from tellsign.systems.resynthesis.quality import quality as psnr_and_ssim  # noqa: E402
from tellsign.types import ConfigError, Sample  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

PROGAN = "CelebA-HQ / ProGAN"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Reals and two generators to test on, of 48 pixels, one of them too small; reals to train on."""
    folder = tmp_path_factory.mktemp("data")
    test = read(write_dataset(folder / "test", 6, size=48, split="test"))
    fakes = test.filter(label=1)
    named = [replace(s, generator="ProGAN" if row % 2 else "") for row, s in enumerate(fakes)]
    small = save(natural(9, 12, 60), folder / "small.png")
    train = read(write_dataset(folder / "train", 2, size=48, split="train"))
    return Manifest((*test.filter(label=0), *named, Sample(small, 0, "made", split="test"), *train))


@pytest.fixture
def cells(tmp_path):
    """A folder of detectors, and the network of the one that is there."""
    made = write_detector(tmp_path / "cells" / "celeba-hq-progan" / "resynthesis-sr", (0, 1))
    return tmp_path / "cells", made


def pixels(sample):
    return torch.tensor(image.decode(sample.path).array)


def means(made, samples, stage):
    with torch.inference_mode():
        return np.array([float(made.residuals()(pixels(s)[None], (stage,))[stage].mean()) for s in samples])


def row_of(result, row, column):
    (found,) = [one for one in result.rows if (one.row, one.column) == (row, column)]
    return found


@pytest.mark.parametrize(("name", "n"), [("resynthesis-fig4", 4), ("resynthesis-quality", 8)])
def test_without_data_it_says_what_it_needs(name, n):
    result = reproduce(name)
    assert len(result.rows) == n
    assert all(row.reproduced is None for row in result.rows)
    assert "--data MANIFEST -o FOLDER" in result.text()


def test_the_means_are_those_of_the_residuals(data, cells):
    folder, made = cells
    result = reproduce("resynthesis-fig4", manifest=data, out=folder)
    tested = data.filter(split="test").filter(lambda s: s.path.name != "small.png")
    for stage, part in ((0, "pixel"), (1, "stage1")):
        of_reals = means(made, tested.filter(label=0), stage)
        for kind, generator in (("ProGAN", "ProGAN"), ("fake", "")):
            fakes = means(made, tested.filter(lambda s, g=generator: s.label and s.generator == g), stage)
            row = row_of(result, f"{PROGAN}, {part}, {kind}", histograms.MEAN)
            assert row.reproduced == pytest.approx(fakes.mean(), rel=1e-4)
            assert row.ci[0] <= row.reproduced <= row.ci[1]
            assert row.note.startswith("3 images")
            area = auroc(np.repeat([0, 1], [6, 3]), np.concatenate([of_reals, fakes]))
            row = row_of(result, f"{PROGAN}, {part}, {kind}", histograms.AREA)
            assert row.reproduced == pytest.approx(area)
        row = row_of(result, f"{PROGAN}, {part}, real", histograms.MEAN)
        assert row.reproduced == pytest.approx(of_reals.mean(), rel=1e-4)
    other = row_of(result, "CelebA-HQ / StyleGAN, pixel", histograms.MEAN)
    assert other.note == "needs a detector in celeba-hq-stylegan/resynthesis-sr of the folder -o"


def test_the_histograms_hold_every_image_once(data, cells):
    folder, _ = cells
    result = reproduce("resynthesis-fig4", manifest=data, out=folder)
    assert result.picture == folder / "resynthesis-fig4.png"
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert len(result.figure.axes) == 2
    for axes in result.figure.axes:
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [
            "real (6)",
            "ProGAN (3)",
            "fake (3)",
        ]
        for step in axes.patches:
            assert step.get_data().values.sum() == pytest.approx(1)


def test_what_was_measured_is_kept(data, cells):
    folder, _ = cells
    for name in ("resynthesis-fig4", "resynthesis-quality"):
        said, again = [], []
        first = reproduce(name, manifest=data, out=folder, say=said.append)
        second = reproduce(name, manifest=data, out=folder, say=again.append)
        assert said
        assert not again
        assert first.rows == second.rows


def test_a_re_synthesiser_of_own_images_goes_by_the_name_of_its_folder(data, cells, tmp_path):
    folder, _ = cells
    shutil.copytree(folder / "celeba-hq-progan", tmp_path / "our-photographs")
    shutil.copytree(
        folder / "celeba-hq-progan", tmp_path / "Spaces and capitals"
    )  # no name that is looked for
    found = reproduce("resynthesis-quality", manifest=data, out=tmp_path)
    named = {row.row.partition(",")[0] for row in found.rows if row.reproduced is not None}
    assert named == {"our-photographs"}
    paper = reproduce("resynthesis-quality", manifest=data, out=folder)
    values = [[row.reproduced for row in one.rows if row.reproduced is not None] for one in (found, paper)]
    assert values[0] == values[1]


def test_another_system_restores_nothing(data, tmp_path):
    write_other(tmp_path / "celeba-hq-progan" / "resynthesis-sr", system="spectrum")
    result = reproduce("resynthesis-fig4", manifest=data, out=tmp_path)
    assert "of the system 'spectrum', and restores no images" in result.rows[0].note
    assert result.figure is None
    assert all(
        row.reproduced is None for row in reproduce("resynthesis-quality", manifest=data, out=tmp_path).rows
    )


def test_of_images_that_are_all_too_small_there_is_no_mean(data, cells):
    folder, _ = cells
    small = data.filter(lambda s: s.path.name == "small.png")
    result = reproduce("resynthesis-fig4", manifest=small, out=folder)
    assert "none of 1 images can be used" in row_of(result, f"{PROGAN}, pixel", histograms.MEAN).note
    assert result.picture.is_file()


def test_whole_images_are_restored_and_compared(data, cells):
    folder, made = cells
    set5 = Manifest(tuple(replace(s, dataset="Set5") for s in data.filter(split="train").filter(label=0)))
    result = reproduce("resynthesis-quality", manifest=data, out=folder, others=set5)
    title = f"{PROGAN}, resynthesis-sr"
    found = []
    for sample in set5:
        whole = pixels(sample)[None]
        small = torch.nn.functional.avg_pool2d(whole, 4)
        with torch.inference_mode():
            own, cubic = (
                psnr_and_ssim(made.resynthesiser(small), whole),
                psnr_and_ssim(enlarged(small, "bicubic"), whole),
            )
        found.append([float(own.psnr), float(cubic.psnr), float(own.ssim), float(cubic.ssim)])
    psnr, cubic_psnr, ssim, cubic_ssim = np.mean(found, axis=0)
    assert row_of(result, title, "Set5, PSNR").reproduced == pytest.approx(psnr, abs=1e-3)
    assert row_of(result, f"{title}: bicubic", "Set5, PSNR").reproduced == pytest.approx(cubic_psnr, abs=1e-3)
    assert row_of(result, f"{title}: bicubic", "Set5, SSIM").reproduced == pytest.approx(cubic_ssim, abs=1e-4)
    gain = row_of(result, f"{title} less bicubic", "Set5, PSNR")
    assert gain.reproduced == pytest.approx(psnr - cubic_psnr, abs=1e-3)
    assert row_of(result, title, "Set5, SSIM").reproduced == pytest.approx(ssim, abs=1e-4)
    assert row_of(result, quality.RDN, "Set5, PSNR").published == 32.47
    assert row_of(result, title, "made, PSNR").note.startswith("6 of 7 images")


def test_bad_inputs(data, cells):
    for name in ("resynthesis-fig4", "resynthesis-quality"):
        with pytest.raises(ConfigError, match="-o FOLDER"):
            reproduce(name, manifest=data)
        with pytest.raises(ConfigError, match="no use for config"):
            reproduce(name, manifest=data, out=cells[0], config=cells[0] / "c.toml")
