"""CPU inference of the full CAE-Net, a batch of 16 crops on two threads, against timm as it comes.

The networks have random weights and settled normalisation, so that scores differ between crops. What is held
against: the three networks one after the other in PyTorch, contiguous, without gradients. Settings of the
allocator hold for a process for good, so each side is a process of its own, started before the clock; they
take turns. The graph is exported once, into a temporary folder.

Where the processor has bf16, what it does to AUROC and verdicts is measured on labelled crops, photographs
and up-sampled ones, by the same networks: untrained, so that their scores lie closer than a detector's.

`python -m benchmarks.inference` prints the rows.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from benchmarks.decoding import photographs
from benchmarks.training import configuration
from tellsign import artifacts, detectors
from tellsign.detectors.engines import threads
from tellsign.engine.export import save_network
from tellsign.engine.inference import keep_large_buffers, network_run
from tellsign.metrics import auroc
from tellsign.systems.cae_net.model import CaeNet, empty_ensemble
from tellsign.systems.cae_net.system import CaeNetSystem
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.systems.cae_net.config import CaeNetConfig

Scores = Callable[[np.ndarray], np.ndarray]  # (B, 3, S, S) → (B,)

CONFIG, BATCH, THREADS, ROUNDS = "cae-net", 16, "2", 5
PLAIN, TUNED, OWN = "timm, eager", "timm, eager, with allocator settings", "PyTorch (--engine torch)"
ONNX, ONNX_BATCH = "ONNX Runtime", "ONNX Runtime, all crops in one run"
OPENVINO, OPENVINO_BF16 = "OpenVINO, float32", "OpenVINO, bf16"
LABELLED = 8 * BATCH  # crops on which verdicts in bf16 are compared
SPEED = {OWN: 1.25, ONNX: 2.2, OPENVINO_BF16: 4.0}  # targets: times the speed of PLAIN
EQUAL = {OWN: 1e-5, ONNX: 1e-4}  # largest difference of a score; of scores beyond 1, of their size


def crops(config: CaeNetConfig, n: int = BATCH) -> np.ndarray:
    """(B, 3, S, S) in [0, 1] with the spectrum of photographs."""
    pictures = (Image.open(io.BytesIO(content)) for content in photographs(config.size, config.size, n))
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures]).astype(np.float32) / 255


def labelled_crops(config: CaeNetConfig) -> tuple[np.ndarray, np.ndarray]:
    """(B, 3, S, S), and (B,) labels: photographs, and every second one halved, then each pixel made four."""
    images, labels = crops(config, LABELLED), np.arange(LABELLED) % 2
    halves = images[1::2, :, ::2, ::2].repeat(2, axis=2).repeat(2, axis=3)
    images[1::2] = halves[..., : config.size, : config.size]
    return images, labels


def settled(network: CaeNet, images: np.ndarray) -> CaeNet:
    """With the batch normalisation's statistics of some images: activations as large as after training."""
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(images))
    return network.eval()


def write_detector(folder: Path, config: CaeNetConfig, images: np.ndarray) -> Path:
    """The full ensemble as a detector, uncalibrated."""
    torch.manual_seed(0)
    return save_network(
        folder,
        settled(empty_ensemble(config), images),
        spec={
            "name": CONFIG,
            "system": CaeNetSystem.name,
            "config": asdict(config),
            "preprocessing": config.input.to_spec(),
        },
        examples=images[:2],
        parts=tuple(config.branches),
    )


def eager(folder: Path) -> Scores:
    network = CaeNetSystem().network(folder)

    def scores(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(images))["score"].numpy()

    return scores


def own(folder: Path) -> Scores:
    run = network_run(CaeNetSystem().network(folder), n_parts=3, device="cpu")
    return lambda images: run(images)[0]


def detector(folder: Path, engine: Any) -> Scores:
    """As `scan` runs it."""
    found = detectors.from_artifact(artifacts.load(folder), engine)
    return lambda images: found.score({"crops": images[:, None]})


def onnx_batch(folder: Path) -> Scores:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
    graph = str(folder / artifacts.GRAPH_FILE)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["score"], {"images": images})[0]


def scorer(side: str, folder: Path) -> Scores:
    """What a side does with crops."""
    if side in (TUNED, OWN):
        keep_large_buffers()
    engines = {ONNX: "onnx", OPENVINO: "openvino", OPENVINO_BF16: "openvino-bf16"}
    if side in engines:
        return detector(folder, engines[side])
    return {PLAIN: eager, TUNED: eager, OWN: own, ONNX_BATCH: onnx_batch}[side](folder)


def serve(side: str, folder: Path, images: np.ndarray, connection: Connection) -> None:
    """The life of a side's process: at every word it scores the crops once, until the other end closes.

    Crops that are sent in place of a word are scored in place of its own.
    """
    try:
        scores = scorer(side, folder)
        scores(images)
    except ConfigError as error:
        connection.send(str(error))
        return
    connection.send(None)
    try:
        while True:
            others = connection.recv()
            began = time.perf_counter()
            found = scores(images if others is None else others)
            connection.send((time.perf_counter() - began, np.array(found)))
    except EOFError:
        return


@contextmanager
def started(side: str, folder: Path, images: np.ndarray) -> Iterator[Connection | str]:
    """A side's process, ready, as the connection to it; or a text that says why it can't run here."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(side, folder, images, theirs), daemon=True)
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": THREADS}):
        process.start()
    theirs.close()
    try:
        reason = ours.recv()
        yield ours if reason is None else reason
    finally:
        ours.close()
        process.join()


def measured(
    folder: Path, images: np.ndarray, labelled: np.ndarray
) -> tuple[dict[str, list[float]], dict[str, np.ndarray], dict[str, str], dict[str, np.ndarray]]:
    """Of each side: seconds of each round, scores, and of those that can't run the reason.

    And of PLAIN and bf16, where there is bf16, the scores of labelled crops.
    """
    sides = (PLAIN, TUNED, OWN, ONNX, ONNX_BATCH, OPENVINO, OPENVINO_BF16)
    with ExitStack() as stack:
        found = {side: stack.enter_context(started(side, folder, images)) for side in sides}
        reasons = {side: reason for side, reason in found.items() if isinstance(reason, str)}
        running = {side: one for side, one in found.items() if not isinstance(one, str)}
        seconds: dict[str, list[float]] = {side: [] for side in running}
        scores: dict[str, np.ndarray] = {}
        for _ in range(ROUNDS):
            for side, connection in running.items():
                connection.send(None)
                taken, scores[side] = connection.recv()
                seconds[side].append(taken)
        verdicts: dict[str, np.ndarray] = {}
        for side in (PLAIN, OPENVINO_BF16) if OPENVINO_BF16 in running else ():
            parts = []
            for start in range(0, len(labelled), BATCH):
                running[side].send(labelled[start : start + BATCH])
                parts.append(running[side].recv()[1])
            verdicts[side] = np.concatenate(parts)
    return seconds, scores, reasons, verdicts


def agreement_rows(
    what: str, labels: np.ndarray, verdicts: dict[str, np.ndarray], reason: str | None
) -> list[dict[str, Any]]:
    """What bf16 does to AUROC and to verdicts at the median of PLAIN's scores; reason: why it can't run."""
    rows: list[dict[str, Any]] = [
        {"name": f"{what}, change of AUROC from {PLAIN}", "unit": "· 10⁻³"},
        {"name": f"{what}, verdicts that differ from {PLAIN} at its median score", "unit": "%"},
    ]
    if reason is not None:
        return [{**row, "value": None, "reason": reason} for row in rows]
    plain, other = verdicts[PLAIN], verdicts[OPENVINO_BF16]
    threshold = np.median(plain)
    change = 1000 * float(auroc(labels, other) - auroc(labels, plain))
    flipped = 100 * float(np.mean((plain >= threshold) != (other >= threshold)))
    return [{**row, "value": value} for row, value in zip(rows, (change, flipped), strict=True)]


def rows() -> list[dict[str, Any]]:
    """Speed and scores of each side against timm as it comes."""
    config = configuration(CONFIG)
    images = crops(config)
    with tempfile.TemporaryDirectory() as folder:
        write_detector(Path(folder) / "detector", config, images)
        labelled, labels = labelled_crops(config)
        seconds, scores, reasons, verdicts = measured(Path(folder) / "detector", images, labelled)
    plain = scores[PLAIN]
    assert plain.std() > 0.1, "scores that are all the same prove nothing"
    rates = {side: len(images) / statistics.median(taken) for side, taken in seconds.items()}
    found = []
    for side in (TUNED, OWN, ONNX, ONNX_BATCH, OPENVINO, OPENVINO_BF16):
        what = f"CAE-Net at full size, {BATCH} crops, {THREADS} threads, {side}"
        speed: dict[str, Any] = {"unit": "×", "target": SPEED.get(side)}
        if side in reasons:
            reason = "the processor has no bf16" if "bf16" in reasons[side] else reasons[side]
            found.append({**speed, "name": f"{what}, speed-up over {PLAIN}", "value": None, "reason": reason})
            if side == OPENVINO_BF16:
                found += agreement_rows(what, labels, verdicts, reason)
            continue
        pairs = zip(seconds[PLAIN], seconds[side], strict=True)
        against = f"({rates[side]:.1f} crops/s) over {PLAIN} ({rates[PLAIN]:.1f})"
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        found.append({**speed, "name": f"{what} {against}", "value": ratio})
        difference = float(np.max(np.abs(scores[side] - plain) / np.maximum(1, np.abs(plain))))
        limit = EQUAL.get(side)
        found.append(
            {
                "name": f"{what}, largest difference of a score from {PLAIN}",
                "value": difference * 1e6,
                "target": None if limit is None else round(limit * 1e6),
                "unit": "· 10⁻⁶",
                "at_most": True,
            }
        )
        if side == OPENVINO_BF16:
            found += agreement_rows(f"{what}, {LABELLED} labelled crops", labels, verdicts, None)
    return found


if __name__ == "__main__":
    for row in rows():
        print(row)
