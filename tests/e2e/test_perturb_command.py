"""`tellsign data perturb` and `tellsign data equalisation` as a user runs them."""

from __future__ import annotations

import numpy as np
import pytest

from e2e.command import SCRIPT, inside, tellsign
from pictures import save, write_dataset
from tellsign import image
from tellsign.data import read
from tellsign.perturb import parse
from tellsign.perturb.equalise import Equalisation
from tellsign.types import FAKE

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the tellsign command is not installed")


def test_fakes_are_equalised_and_written(tmp_path):
    source = write_dataset(tmp_path / "set", 3, size=32)
    done = tellsign("data", "equalisation", "set/manifest.csv", "-o", "gain", cwd=tmp_path)
    assert done.code == 0, done.messages
    assert "wrote gain, from 3 fake and 3 real images" in done.messages
    fitted = Equalisation.load(tmp_path / "gain")
    assert fitted.size == (32, 32)

    options = ("-o", "out", "--perturbation", "equalise:gain", "--only", "fake")
    done = tellsign("data", "perturb", "set/manifest.csv", *options, cwd=tmp_path)
    assert done.code == 0, done.messages
    assert "wrote 6 rows to out/manifest.csv" in done.messages
    for before, after in zip(read(source), read(tmp_path / "out" / "manifest.csv"), strict=True):
        array = image.decode(before.path).array
        expected = fitted.apply(array) if before.label == FAKE else array
        assert np.array_equal(image.decode(after.path).array, expected)


def test_a_file_that_fails_is_named_and_the_others_written(tmp_path):
    source = write_dataset(tmp_path / "set", 2, size=24)
    read(source)[1].path.write_bytes(b"no image")
    options = ("-o", "out", "--perturbation", "noise:10", "--seed", "3")
    done = inside("data", "perturb", "set/manifest.csv", *options, cwd=tmp_path)
    assert done.code == 1
    assert "real/0001.png" in done.messages
    assert done.out == b""
    written = read(tmp_path / "out" / "manifest.csv")
    assert len(written) == 3
    first = image.decode(read(source)[0].path)
    expected = parse("noise:10").apply(first.array, key=first.meta.sha256, seed=3)
    assert np.array_equal(image.decode(written[0].path).array, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("perturb", "--perturbation", "sharpen:3"), "there is no perturbation 'sharpen'; there are none"),
        (("perturb", "--perturbation", "jpeg:0"), "it is written jpeg:QUALITY"),
        (("perturb", "--perturbation", "jpeg:75", "--only", "both"), "--only takes real or fake"),
        (("perturb", "--perturbation", "fake@jpeg:75", "--only", "fake"), "names a class already"),
        (("equalisation", "--means", "power"), "means is one of amplitude, log"),
        (("equalisation", "--split", "train"), "has no split 'train'"),
        (("equalisation",), "number 2 of the reals has 20 × 24 pixels"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(tmp_path, arguments, message):
    write_dataset(tmp_path / "set", 2, size=24)
    save(np.zeros((3, 24, 20), np.float32), tmp_path / "set" / "real" / "0001.png")
    command, *rest = arguments
    done = inside("data", command, "set/manifest.csv", "-o", "out", *rest, cwd=tmp_path)
    assert done.code == 2
    assert message in " ".join(done.messages.split())
    assert "Traceback" not in done.messages
    assert not (tmp_path / "out").exists()
