"""A network as an engine: batches, memory layout, and the memory that our own processes keep."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from network import Pairs, crops, write_network
from tellsign import hub
from tellsign.detectors.engines import BATCH
from tellsign.engine import inference
from tellsign.scoring.scorer import Options, Scorer

FAULTS = """
import os, resource
import numpy as np
from tellsign.engine.inference import keep_large_buffers

for keeps in (False, True):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    if keeps:
        assert keep_large_buffers()
    made = lambda: np.ones(6 << 20)  # 48 MiB, more than glibc keeps by itself, every page of them touched
    for _ in range(3):
        made()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        made()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
    os._exit(0)
"""


def test_scores_are_those_of_the_module_in_batches_of_any_length():
    images = np.concatenate([crops(BATCH // 2), crops(2, seed=90)])
    assert len(images) > BATCH
    with torch.inference_mode():
        expected = Pairs()(torch.from_numpy(images))
    scores, parts = inference.network_run(Pairs(), n_parts=2, device="cpu")(images)
    np.testing.assert_allclose(scores, expected["score"].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(parts, expected["parts"].numpy(), rtol=0, atol=1e-5)


def test_a_processor_gets_channels_last():
    seen = []

    class Looking(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 2)

        def forward(self, images):
            seen.extend((images, self.conv.weight))
            return self.conv(images).mean(dim=(1, 2, 3))

    inference.network_run(Looking(), n_parts=0, device="cpu")(crops(2))
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_arrays_are_not_faulted_in_again():
    """Each in a process of its own: what is kept is kept for good."""
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    usual, kept = map(int, done.stdout.split())
    if not usual:
        pytest.skip("this system's allocator keeps them anyway")
    assert kept < usual / 4


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_only_a_worker_that_runs_pytorch_keeps_them(tmp_path, monkeypatch, engine):
    monkeypatch.setitem(hub.SYSTEMS, "pairs", "network:PairsSystem")
    called = []
    monkeypatch.setattr(inference, "keep_large_buffers", lambda: called.append(True))
    scorer = Scorer(write_network(tmp_path / "pairs"), Options(engine=engine))
    scorer.start()
    assert not called, "the process is the caller's"
    scorer.again()  # as a worker calls it
    assert called == ([True] if engine == "torch" else [])
