"""A network at full size on real images, as far as minutes show it; prints a page for docs/results.

A few images of stylegan140k, or made ones where there is no such data. Weights are from scratch and steps are
few, so nothing is learnt: what is shown is that every part of the training runs at this size, and what it
takes. First a few steps of each network with the configuration's batch, each in a process of its own. Then
`tellsign train` with two stages of CAE-Net or two epochs of SFCL-HCMF, once without a break and once killed
in the middle and resumed, whose weights must be the same; and `tellsign evaluate` on images that neither saw.

    python -m benchmarks.full_size [CONFIG] > docs/results/cae-net-full-size.md
    python -m benchmarks.full_size configs/sfcl-hcmf.toml > docs/results/sfcl-hcmf-full-size.md
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.decoding import photographs
from tellsign import hub
from tellsign.data import Manifest, read, write
from tellsign.data.index import index_csv
from tellsign.groups import sources
from tellsign.train_config import read_config
from tellsign.types import FAKE, REAL, Sample

ROOT = Path(__file__).resolve().parents[1]
TELLSIGN = Path(sys.executable).with_name("tellsign")
STEPS = 3  # of each network, after one that doesn't count
N = {"train": (16, 32), "valid": (24, 24), "test": (16, 16)}  # reals and fakes of the short training
BATCH = 8  # of it
SHORT = {  # of that training, in place of what the configuration says
    "config.training.batch_size": f"{BATCH}",
    "config.training.checkpoint_seconds": "0",  # after every step
    "calibration.fpr": "0.25",  # what twelve images of a class support
    "calibration.fnr": "0.25",
    "calibration.domain_quantile": "0.9",
}
# A processor without instructions for bf16 took sixteen times as long.
FLOAT32 = {"config.training.precision": '"float32"'}
POLL = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Subject:
    """What is particular to a system."""

    name: str  # of the page
    networks: tuple[str, ...]  # that are trained one by one
    settings: dict[str, str]  # of every training, in place of what the configuration says
    short: dict[str, str]  # of the short one besides
    title: str  # of the short one
    schedule: str  # what it is, behind the number of images
    killed: str  # checkpoint below the run folder at which it is killed
    where: str  # that is


def subject(config: Path) -> Subject:
    """What a configuration is of."""
    given = read_config(config)
    if given.system == "sfcl-hcmf":
        return Subject(
            name="SFCL-HCMF",
            networks=("sfcl-hcmf",),
            # The images show faces already: what is measured is not the search for them.
            settings={
                "config.spatial.weights": '"scratch"',
                "config.local.weights": '"scratch"',
                "config.region": '"image"',
                **FLOAT32,
            },
            short={"config.training.epochs": "2", "config.training.balance": '"plain"'},
            title="Two epochs",
            schedule="in two epochs",
            killed=f"training/checkpoints/00001-{sum(N['train']) // BATCH + 2:08d}",  # its second step
            where="the second epoch",
        )
    names = tuple(given.config["branches"])
    victim = names[len(names) // 2]
    return Subject(
        name="CAE-Net",
        networks=names,
        settings={"config.weights": '"scratch"', **FLOAT32},
        short={"config.strategy": '"multistage"', "config.stages": "2"}
        | {f"config.branches.{name}.stage_epochs": "1" for name in names},
        title="Two stages",
        schedule="in two stages of one epoch",
        killed=f"{victim}/stage-2/checkpoints/00000-00000002",
        where=f"the second stage of {victim}",
    )


def overrides(settings: Mapping[str, str]) -> list[str]:
    """As `--set` takes them."""
    return [f"{key}={value}" for key, value in settings.items()]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def found_images(folder: Path) -> tuple[list[Path], list[Path], str]:
    """Reals and fakes, one a group, and what they are."""
    data = Path(os.environ.get("TELLSIGN_DATA", ROOT.parent / "shared" / "data")) / "manifest.csv"
    if data.is_file():
        all_of_it = index_csv(data, skip_labels=["features"]).filter(dataset="stylegan140k")
        ones = dict(zip(sources(all_of_it), all_of_it, strict=True)).values()
        reals, fakes = ([sample.path for sample in ones if sample.label == label] for label in (REAL, FAKE))
        return reals, fakes, "Images of stylegan140k"
    paths = []
    for number, content in enumerate(photographs(256, 256, 400)):
        paths.append(folder / f"{number:04d}.jpg")
        paths[-1].write_bytes(content)
    return paths[::2], paths[1::2], "Made images, whose labels mean nothing"


def manifest(reals: list[Path], fakes: list[Path], split: str) -> Manifest:
    """Both classes, every image a group of its own."""
    pairs = [(path, REAL) for path in reals] + [(path, FAKE) for path in fakes]
    return Manifest(tuple(Sample(path, label, group=str(path), split=split) for path, label in pairs))


def staged(reals: list[Path], fakes: list[Path]) -> Manifest:
    """The splits of the training in stages."""
    samples: list[Sample] = []
    first_real = first_fake = 0
    for split, (n_real, n_fake) in N.items():
        own_reals = reals[first_real : first_real + n_real]
        samples += manifest(own_reals, fakes[first_fake : first_fake + n_fake], split)
        first_real, first_fake = first_real + n_real, first_fake + n_fake
    return Manifest(tuple(samples))


def configured(config: Path) -> Any:
    """The system's configuration, as it is measured."""
    given = read_config(config, overrides(subject(config).settings))
    return hub.system(given.system).config_class(**given.config)


def built(own: Any, name: str) -> tuple[Any, Any, int]:
    """A network before its training, what it sees, and how many parameters it has."""
    from tellsign.data.augment import View
    from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig

    if isinstance(own, SfclHcmfConfig):
        from tellsign.systems.sfcl_hcmf.counts import parameter_counts
        from tellsign.systems.sfcl_hcmf.training import new_network

        look, network = own.input.look, new_network(own, seed=0)
        view = View(own.size, flip=own.flip, fit=look.fit, descriptor=look.descriptor)
        return network, view, parameter_counts(network)["total"]
    from tellsign.systems.cae_net.counts import count
    from tellsign.systems.cae_net.model import new_branch

    options, branch = own.branches[name], new_branch(own, name)
    view = View(own.size, flip=options.flip, rotation=options.rotation, jitter=options.jitter)
    return branch, view, count(branch, own.size).parameters


def network_steps(config: str, name: str, data: str, run: str) -> None:
    """Steps of one network on files, in this process; prints what they took."""
    from benchmarks import bare
    from tellsign.engine import classifier

    own = configured(Path(config))
    network, view, n_parameters = built(own, name)
    images, seconds = read(data), []

    def timed(*arguments: Any, step: Callable[..., Any] = classifier.training_step, **more: Any) -> Any:
        began = time.perf_counter()
        found = step(*arguments, **more)
        seconds.append(time.perf_counter() - began)
        return found

    with mock.patch.object(classifier, "training_step", timed):
        result = classifier.train_network(
            network,
            images,
            Manifest((images[0], images[-1])),
            view,
            replace(own.training, epochs=1),
            run=Path(run),
            seed=0,
            identity={"detector": "full-size"},
        )
    found = {
        "seconds": seconds,
        "waiting": result.waiting,
        "peak": bare.memory()[1],
        "batch": own.training.batch_size,
        "parameters": n_parameters,
    }
    print(json.dumps(found))


def step_table(config: Path, names: Sequence[str], data: Path, work: Path) -> list[str]:
    """A row for each network."""
    lines = [
        "| network | parameters, M | batch | a step, s | the first, s | images/s | most memory, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        say(f"{name}: {STEPS + 1} steps")
        code = "import sys; from benchmarks.full_size import network_steps; network_steps(*sys.argv[1:])"
        command = [sys.executable, "-c", code, config, name, data, work / name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        found = json.loads(done.stdout.splitlines()[-1])
        first, *others = found["seconds"]
        step = statistics.median(others)
        lines.append(
            f"| {name} | {found['parameters'] / 1e6:.2f} | {found['batch']} | {step:.2f} | {first:.2f} | "
            f"{found['batch'] / step:.2f} | {found['peak']:.0f} |"
        )
        shutil.rmtree(work / name)
    return lines


class Training:
    """The short `tellsign train`, as a process with a log of what it says."""

    def __init__(self, config: Path, own: Subject, data: Path, out: Path, *more: str) -> None:
        texts = overrides(SHORT | own.settings | own.short)
        options = [word for text in texts for word in ("--set", text)]
        command = [TELLSIGN, "train", config, "--data", data, "-o", out, *options, *more]
        self.log = out.with_name(f"{out.name}{len(more)}.log")
        self.began = time.perf_counter()
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def done(self) -> tuple[float, float]:
        """Seconds, and the most memory of its first process in MiB, once it has ended."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode:
            raise SystemExit(f"the training failed:\n{self.said}")
        # Linux counts this process's own memory in, which is small.
        return time.perf_counter() - self.began, usage.ru_maxrss / 2**10

    def killed_at(self, checkpoint: Path) -> float:
        """Seconds until a checkpoint was written, and the training and its workers were killed."""
        while not checkpoint.exists():
            if self.process.poll() is not None:
                raise SystemExit(f"the training ended before it wrote {checkpoint}:\n{self.said}")
            time.sleep(POLL)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return time.perf_counter() - self.began


def retention_table(run: Path, names: Sequence[str]) -> list[str]:
    """After each stage of each branch: shares of images called right."""
    lines = [
        "| branch | after stage | fakes, subset 1 | fakes, subset 2 | reals | validation |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        for row in json.loads((run / name / "retention.json").read_bytes())["stages"]:
            shares = [*row["subsets"], row["reals"], row["valid_accuracy"]]
            lines.append(
                f"| {name} | {row['stage']} | " + " | ".join(f"{share:.2f}" for share in shares) + " |"
            )
    return lines


def schedule_page(config: Path, own: Subject, data: Path, work: Path) -> list[str]:
    """The short training, a kill and a resume, an evaluation."""
    whole, broken = work / "whole", work / "broken"
    say(f"{own.title}, without a break")
    seconds, peak = Training(config, own, data, whole).done()
    say(f"the same, killed in {own.where}")
    run = Path(f"{broken}.run") / "0.run"
    before = Training(config, own, data, broken).killed_at(run / own.killed)
    say("resumed")
    training = Training(config, own, data, broken, "--resume")
    after, _ = training.done()
    resumed = re.findall(r"goes on at epoch \d+, after step \d+ of \d+", training.said)
    if not resumed:
        raise SystemExit(f"it was not resumed:\n{training.said}")
    files = [folder / "weights.safetensors" for folder in (whole, broken)]
    same = "the same" if files[0].read_bytes() == files[1].read_bytes() else "**not the same**"
    say("evaluation")
    began = time.perf_counter()
    command = [
        TELLSIGN,
        "evaluate",
        broken,
        "--data",
        data,
        "--split",
        "test",
        "--json",
        "--resamples",
        "100",
    ]
    done = subprocess.run([*command, "--workers", "1"], check=True, stdout=subprocess.PIPE, text=True)
    evaluated, result = time.perf_counter() - began, json.loads(done.stdout)
    auroc = result["metrics"]["auroc"]["value"]
    text = f"""\
- Without a break: {seconds:.0f} s from images to a calibrated detector, a checkpoint after every step and the
  graph's export included; {peak:.0f} MiB at most.
- Killed (SIGKILL) after {before:.0f} s, in {own.where}; resumed ({resumed[0]}) and done
  after {after:.0f} s more. Weights of both detectors, bit for bit: {same}.
- Evaluation of {result["n"]} images in ONNX Runtime, one worker, its start included: {evaluated:.0f} s,
  AUROC {auroc:.2f} (no more than chance is expected of so few steps).
"""
    if own.name != "CAE-Net":
        return [text]
    kept = "Shares of images called right after each stage, from the table that the training keeps:\n"
    return [text, kept, *retention_table(Path(f"{whole}.run") / "0.run", own.networks)]


def main(config: Path) -> None:
    """Measure, and print the page."""
    own = subject(config)
    packages = ("torch", "timm", "onnxruntime", "numpy")
    versions = ", ".join(
        [f"Python {platform.python_version()}", *(f"{one} {version(one)}" for one in packages)]
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        reals, fakes, what = found_images(work)
        n = (STEPS + 1) * configured(config).training.batch_size // 2
        write(manifest(reals[:n], fakes[:n], "train"), work / "steps.csv")
        write(staged(reals, fakes), work / "stages.csv")
        steps = "\n".join(step_table(config, own.networks, work / "steps.csv", work))
        schedule = "\n".join(schedule_page(config, own, work / "stages.csv", work))
    (n_real, n_fake), (n_valid, _) = N["train"], N["valid"]
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    where = f"{os.cpu_count()} cores of {platform.machine()}, OMP_NUM_THREADS {threads}"
    page = f"""\
# {own.name} at full size: {config.name}

Written by `python -m benchmarks.full_size`, on a processor alone: {where}, {versions}.
{what}; weights from scratch, seed 0. Nothing is learnt in so few steps: this is about what runs, and what it
takes.

## A training step

Forward, backward and optimiser, median of {STEPS} after the first; images from files. Memory is that of the
process, imports, validation and checkpoints included.

{steps}

## {own.title}, a kill, an evaluation

{n_real} reals and {n_fake} fakes {own.schedule}, batch {BATCH}; {n_valid} images of each class for validation
and calibration.

{schedule}"""
    print(page)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "configs" / "cae-net.toml")
