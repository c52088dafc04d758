"""Checkpoints: what is written is read back, what is broken is passed over, nothing is unpickled."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tellsign.engine import checkpoint
from tellsign.nn.weights import read_tensors, refuse_pickle
from tellsign.types import ConfigError

TENSORS = {
    "model.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "model.flags": torch.tensor([True, False, True]),
    "model.n": torch.tensor(7),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "small": torch.tensor([3], dtype=torch.uint8),
    "empty": torch.zeros(0, 4),
    "view": torch.arange(12.0).reshape(3, 4).T,
    "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "double": torch.tensor(0.1, dtype=torch.float64),
}

OWN = "0" * 64  # the digest of an identity


def saved(run: Path, *names: str) -> None:
    for number, name in enumerate(names):
        checkpoint.save(run, name, identity=OWN, state={"number": number}, tensors=TENSORS)


def newest(run: Path, say=print):
    return checkpoint.newest(run, identity=OWN, say=say)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_tensors_are_read_by_the_library(tmp_path):
    digest = checkpoint.write_tensors(tmp_path / "t.safetensors", TENSORS)
    found = load_file(tmp_path / "t.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert digest == checkpoint.file_digest(tmp_path / "t.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_checkpoint_is_read_back_and_two_are_kept(tmp_path):
    saved(tmp_path, "00000-00000001", "00000-00000009", "00001-00000009")
    assert names(tmp_path) == ["00000-00000009", "00001-00000009"]
    said = []
    found = newest(tmp_path, said.append)
    assert found.state == {"number": 2}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert said == []


def test_without_any_there_is_none(tmp_path):
    assert newest(tmp_path) is None


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "best.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "flipped"])
def test_a_broken_one_is_passed_over(tmp_path, file, damage):
    checkpoint.write_tensors(tmp_path / "best.safetensors", {"a": torch.ones(3)})
    saved(tmp_path, "1", "2")
    # The files of two checkpoints may be one on the disk, so that it is replaced and not changed.
    path = tmp_path / "checkpoints" / "2" / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-3], "empty": b"", "flipped": flipped}[damage])
    said = []
    assert newest(tmp_path, said.append).state == {"number": 0}
    (line,) = said
    assert line.startswith(f"the checkpoint {tmp_path / 'checkpoints' / '2'} is passed over: ")
    assert names(tmp_path) == ["1"], "a broken one would count among the two that are kept"


@pytest.mark.parametrize("file", ["tensors.safetensors", "best.safetensors"])
def test_a_pickled_one_is_refused_and_kept(tmp_path, file):
    checkpoint.write_tensors(tmp_path / "best.safetensors", {"a": torch.ones(3)})
    saved(tmp_path, "1", "2")
    path = tmp_path / "checkpoints" / "2" / file
    path.unlink()  # and not changed, as another checkpoint's may be the same file
    torch.save({"a": 1}, path)
    content = path.read_bytes()
    with pytest.raises(checkpoint.ForeignError, match=r"is pickled, .* it is as it was$"):
        newest(tmp_path)
    assert names(tmp_path) == ["1", "2"]
    assert path.read_bytes() == content


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
def test_one_that_cannot_be_read_for_now_is_kept(tmp_path, monkeypatch, file):
    saved(tmp_path, "1", "2")

    def failing(path, *args, real=Path.open, **options):
        if path.name == file:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", failing)
    monkeypatch.setattr(Path, "read_bytes", lambda path: path.open("rb").read())
    with pytest.raises(
        ConfigError, match=r"checkpoints/2 cannot be read \(Input/output error\); it is as it"
    ):
        newest(tmp_path)
    monkeypatch.undo()
    assert names(tmp_path) == ["1", "2"]
    assert newest(tmp_path).state == {"number": 1}


def test_one_that_the_library_cannot_read_for_now_is_kept(tmp_path, monkeypatch):
    saved(tmp_path, "1")

    def failing(path):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("safetensors.torch.load_file", failing)
    with pytest.raises(ConfigError, match=r"cannot be read \(Cannot allocate memory"):
        newest(tmp_path)
    assert names(tmp_path) == ["1"]


def test_every_cut_is_found(tmp_path):
    saved(tmp_path, "1", "2")
    path = tmp_path / "checkpoints" / "2" / "tensors.safetensors"
    content = path.read_bytes()
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises((ConfigError, ValueError, OSError)):
            checkpoint.read(tmp_path, "2", identity=OWN)
    path.write_bytes(content)
    assert checkpoint.read(tmp_path, "2", identity=OWN).state == {"number": 1}


def test_another_format_is_refused_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    monkeypatch.setattr(checkpoint, "plain_digest", lambda content: "taken in another way")
    saved(tmp_path, "1")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"1 has format 99, this version reads 1: .* it is as it was"):
        newest(tmp_path)
    assert names(tmp_path) == ["1"]


def test_one_of_another_training_is_refused_and_stays(tmp_path):
    saved(tmp_path, "1")
    with pytest.raises(ConfigError, match=r"checkpoints/1 is of another training, .* it is as it was"):
        checkpoint.newest(tmp_path, identity="1" * 64, say=print)
    assert names(tmp_path) == ["1"]


def test_one_from_before_identities_were_kept_is_taken(tmp_path):
    saved(tmp_path, "1")
    file = tmp_path / "checkpoints" / "1" / "state.json"
    content = json.loads(file.read_bytes())
    del content["digest"], content["identity"]
    file.write_text(json.dumps({**content, "digest": checkpoint.plain_digest(content)}))
    assert newest(tmp_path).state == {"number": 0}


@pytest.mark.parametrize("call", range(1, 5))
def test_a_full_disk_leaves_the_last_one(tmp_path, monkeypatch, call):
    """Wherever in the writing the disk is full."""
    saved(tmp_path, "1")
    calls = 0
    real = os.fsync

    def full(number):
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ConfigError, match=r"No space left on device\): the checkpoint checkpoints/1 is whole"
    ):
        saved(tmp_path, "2")
    monkeypatch.undo()
    assert names(tmp_path) == ["1"], "what was half written takes no room"
    assert newest(tmp_path).state == {"number": 0}
    saved(tmp_path, "2")
    assert names(tmp_path) == ["1", "2"]


def test_a_disk_that_was_full_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda number: os.close(-1))
    with pytest.raises(ConfigError, match="there is no checkpoint yet; make room"):
        saved(tmp_path, "1")


def test_the_best_weights_are_those_of_the_checkpoint(tmp_path):
    best = tmp_path / "best.safetensors"
    checkpoint.write_tensors(best, {"a": torch.tensor(1.0)})
    saved(tmp_path, "1")
    checkpoint.write_tensors(best, {"a": torch.tensor(2.0)})  # after it, before the next
    found = newest(tmp_path)
    checkpoint.restore_best(tmp_path, found)
    assert load_file(best)["a"] == 1
    assert best.samefile(found.path / "best.safetensors"), "stored once"
    checkpoint.restore_best(tmp_path, None)
    assert not best.exists()


def test_without_links_it_is_copied(tmp_path, monkeypatch):
    def no_links(path, other):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    checkpoint.write_tensors(tmp_path / "best.safetensors", {"a": torch.tensor(1.0)})
    saved(tmp_path, "1")
    assert load_file(newest(tmp_path).path / "best.safetensors")["a"] == 1


def model(**options):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()).to(
        **options
    )


def step(network, optimiser):
    torch.manual_seed(1)
    optimiser.zero_grad()
    network(torch.randn(2, 3, 5, 5)).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_optimiser_goes_on(tmp_path, layout):
    """With its state in the layout of the weights: a fused step would mix the numbers up."""
    networks = [model(memory_format=layout) for _ in range(2)]
    first, second = (torch.optim.Adam(network.parameters(), lr=0.1, fused=True) for network in networks)
    step(networks[0], first)
    tensors = checkpoint.training_tensors(networks[0], [first])
    checkpoint.save(tmp_path, "1", identity=OWN, state={}, tensors=tensors)
    checkpoint.restore(newest(tmp_path), networks[1], [second])
    for network, optimiser in zip(networks, (first, second), strict=True):
        step(network, optimiser)
    one, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert checkpoint.weights_digest(networks[0]) == checkpoint.weights_digest(networks[1])


def two_optimisers(network):
    """Of a network's convolution, in two groups, and of the rest: one that keeps a momentum, one more."""
    conv, norm = network[0], network[1]
    groups = [{"params": [conv.weight]}, {"params": [conv.bias], "lr": 0.01}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True), torch.optim.Adam(
        norm.parameters(), lr=0.1, fused=True
    )


@pytest.mark.parametrize("n_steps", [0, 1, 2])
def test_several_optimisers_go_on(tmp_path, n_steps):
    networks = [model() for _ in range(2)]
    optimisers = [two_optimisers(network) for network in networks]

    def steps(network, pair, n):
        for number in range(n):
            torch.manual_seed(number)
            loss = network(torch.randn(2, 3, 5, 5)).square().sum()
            for optimiser in pair:
                optimiser.zero_grad()
            loss.backward()
            for optimiser in pair:
                optimiser.step()

    steps(networks[0], optimisers[0], n_steps)
    tensors = checkpoint.training_tensors(networks[0], optimisers[0])
    keys = {name.split(".", 1)[1] for name in tensors if name.startswith("optimiser.")}
    expected = {"0.momentum_buffer", "1.momentum_buffer"}
    expected |= {f"{index}.{key}" for index in (2, 3) for key in ("step", "exp_avg", "exp_avg_sq")}
    assert keys == (expected if n_steps else set())
    checkpoint.save(tmp_path, "1", identity=OWN, state={}, tensors=tensors)
    checkpoint.restore(newest(tmp_path), networks[1], optimisers[1])
    for network, pair in zip(networks, optimisers, strict=True):
        steps(network, pair, 2)
    one, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [group["lr"] for group in optimisers[1][0].param_groups] == [0.1, 0.01]


def test_sgd_without_momentum_has_nothing_to_keep(tmp_path):
    network = model()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    step(network, optimiser)
    tensors = checkpoint.training_tensors(network, [optimiser])
    assert not [name for name in tensors if name.startswith("optimiser.")]
    checkpoint.save(tmp_path, "1", identity=OWN, state={}, tensors=tensors)
    checkpoint.restore(newest(tmp_path), network, [optimiser])


def test_other_weights_are_refused():
    weights = model().state_dict()
    with pytest.raises(
        ConfigError, match=r"here holds .*: 0\.weight is \(4, 3, 3, 3\) there and \(5, 3, 3, 3\)"
    ):
        checkpoint.load_weights(torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3)), weights, where=Path("here"))
    del weights["1.bias"]
    with pytest.raises(ConfigError, match=r"1\.bias is missing there and \(4,\)"):
        checkpoint.load_weights(model(), weights, where=Path("here"))


def test_digests_tell_weights_apart():
    one, other = model(), model()
    assert checkpoint.weights_digest(one) == checkpoint.weights_digest(other)
    with torch.no_grad():
        other[0].bias[0] = torch.nextafter(other[0].bias[0], torch.tensor(9.0))
    assert checkpoint.weights_digest(one) != checkpoint.weights_digest(other)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_are_refused(tmp_path, zipped):
    path = tmp_path / "weights.safetensors"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConfigError, match=r"is pickled, and reading a pickle can run code"):
        read_tensors(path)


def test_no_length_of_a_header_is_taken_for_a_pickle(tmp_path):
    """The file begins with that length, of which one in 32 begins as a pickle does."""
    found = set()
    for n in range(0, 520, 8):
        path = tmp_path / f"{n}.safetensors"
        checkpoint.write_tensors(path, {"a" * (n + 1): torch.ones(2)})
        refuse_pickle(path)
        assert read_tensors(path)["a" * (n + 1)].tolist() == [1, 1]
        found.add(path.read_bytes()[0])
    assert found == set(range(0, 256, 8)), "all first bytes that a multiple of 8 can have"


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 100])
def test_what_is_no_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as safetensors"):
        read_tensors(path)
    save_file({"a": torch.ones(2)}, path)
    assert torch.equal(read_tensors(path)["a"], torch.ones(2))


def test_a_missing_file():
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tensors(Path("nowhere.safetensors"))


def test_the_state_can_be_read_by_people(tmp_path):
    saved(tmp_path, "1")
    content = json.loads((tmp_path / "checkpoints" / "1" / "state.json").read_text())
    assert content["state"] == {"number": 0}
