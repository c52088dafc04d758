"""What each process of torchrun does for test_engine_distributed: trains in several ways, and tells."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from tellsign import faces
from tellsign.engine import classifier, recorder
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.distributed import gathered, this_process
from tellsign.engine.faces import found_faces
from tellsign.engine.losses import attentive, cross_entropy
from tellsign.nn.attention import CamLayer
from tellsign.types import ConfigError
from trainings import Restorer, Tiny, options, restored, same, splits, trained

SETTINGS = {"batch_size": 7, "clip_norm": 1.0}  # 22 images: the last batch has one, so one process has none


def with_share(model, images, labels):
    """Cross-entropy, and the share of fakes as a figure."""
    losses, _ = cross_entropy(model, images, labels)
    return losses, {"fakes": float(labels.float().mean())}


def looking_left(layer):
    """Cross-entropy, and the share of attention outside the left part of every image."""
    loss = attentive(cross_entropy, 2.0, CamLayer(layer))
    return lambda model, images, labels: loss(
        model, images, labels, boxes=torch.tensor([[0, 0, 6, 16]] * len(images))
    )


def brightness_box(image):
    """A finder of faces that tells images apart."""
    return (faces.Box(0, 0, 1 + int(255 * image[0, 0, 0]), 5),)


class Ended(BaseException):
    pass


def main(data: Path, bad: Path, out: Path) -> None:
    torch.set_num_threads(1)
    os.fsync = os.fstat  # nobody cuts the power
    recorder.write_curves = lambda run, journal: None
    at = this_process("cpu")
    told: dict[str, object] = {"world": at.world}
    said: list[str] = []

    result, model = trained(
        data, out / "plain", options(**SETTINGS), model=Tiny(dropout=0), loss=with_share, say=said.append
    )
    told["plain"] = list(result.history)
    told["weights"] = gathered(weights_digest(model), at)
    told["said"] = [len(lines) > 0 for lines in gathered(said, at)]

    calls = 0

    def ends(model, images, labels):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Ended
        return with_share(model, images, labels)

    config = options(**SETTINGS, checkpoint_seconds=0.0)
    try:
        trained(data, out / "ended", config, model=Tiny(dropout=0), loss=ends)
    except Ended:
        result, _ = trained(
            data, out / "ended", config, model=Tiny(seed=9 + at.rank, dropout=0), loss=with_share
        )
        told["resumed"] = same(result) == same(TrainingOf(told["plain"]))

    result, model = trained(data, out / "norm", options(batch_size=8), model=Tiny(norm=True))
    told["norm"] = [gathered(weights_digest(model), at), gathered(same(result), at)]

    result, model = trained(data, out / "attacked", options(**SETTINGS, adversarial_eps=0.05), model=Tiny())
    told["attacked"] = [gathered(weights_digest(model), at), gathered(same(result), at)]

    model = Tiny(dropout=0)
    result, _ = trained(data, out / "left", options(**SETTINGS), model=model, loss=looking_left(model.second))
    told["left"] = list(result.history)

    faces.boxes = brightness_box
    config = options(attention_weight=1.0)
    options_ = {"file": None, "cache": None, "say": lambda text: None}
    found = found_faces(splits(data)[0], out / "faces", config, at, **options_)
    told["faces"] = gathered(found.rows(), at)

    result, _ = trained(
        bad, out / "bad", options(**SETTINGS, on_bad="skip", max_bad=9), model=Tiny(dropout=0)
    )
    told["bad"] = [gathered([row["row"] for row in result.skipped], at), list(result.history)]

    # 11 images: the last batch has one here too.
    reals = tuple(part.filter(label=0) for part in splits(data))
    model = Restorer(seed=at.rank)
    result, _ = restored(out / "reals", reals, options(batch_size=5), model=model)
    told["reals"] = [gathered(weights_digest(model), at), list(result.history)]

    told["bad, resumed"] = gathered(skipped_over_a_break(bad, out / "bad-ended"), at)

    def breaks(model, images, labels):
        losses, figures = cross_entropy(model, images, labels)
        return losses / (0 if at.rank == 1 else 1), figures

    try:
        trained(data, out / "nan", options(**SETTINGS), loss=breaks)
    except ConfigError as error:
        told["not finite"] = gathered(str(error), at)
    if at.is_first:
        (out / "told.json").write_text(json.dumps(told))


def skipped_over_a_break(bad: Path, run: Path) -> list[tuple[str, int]]:
    """What is left out of a run that is ended after the steps of its only epoch, when every step is saved."""
    config = options(**SETTINGS, epochs=1, on_bad="skip", max_bad=9, checkpoint_seconds=0.0)
    validated = classifier.validated

    def ends(*args, **options):
        raise Ended

    classifier.validated = ends
    try:
        trained(bad, run, config, model=Tiny(dropout=0))
    except Ended:
        classifier.validated = validated
    result, _ = trained(bad, run, config, model=Tiny(dropout=0))
    return sorted((row["split"], row["row"]) for row in result.skipped)


class TrainingOf:
    def __init__(self, history) -> None:
        self.history = history


if __name__ == "__main__":
    splits(Path(sys.argv[1]))
    main(*map(Path, sys.argv[1:]))
