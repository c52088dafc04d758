"""Writes the reference pages from the code: `make docs`. A test compares them with what is committed."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

import typer
import typer.main

HERE = Path(__file__).parent


def commands() -> str:
    """The command reference."""
    from tellsign.cli.commands import app

    lines = ["# Commands", "", "Written by `make docs` from the command line itself.", ""]
    root = typer.main.get_command(app)
    for path, command in _walk(root, ("tellsign",)):
        lines += [f"## {' '.join(path)}", "", " ".join((command.help or "").split()), ""]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        usage = " ".join([*path, *(f"{p.name.upper()}{'...' if p.nargs == -1 else ''}" for p in arguments)])
        lines += ["```", usage + (" [OPTIONS]" if options else ""), "```", ""]
        if arguments or options:
            lines += ["| | | default |", "|---|---|---|"]
        lines += [f"| `{p.name.upper()}` | {p.help or ''} | |" for p in arguments]
        lines += [f"| {_names(p)} | {p.help or ''} | {_default(p)} |" for p in options]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _walk(command: Any, path: tuple[str, ...]) -> Any:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from _walk(child, (*path, name))
    else:
        yield path, command


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    if option.default is None or option.is_flag:
        return ""
    return f"`{option.default}`"


def configuration() -> str:
    """The configuration reference: every key of a training file, from the records that read it."""
    from tellsign.calibration import CalibrationConfig
    from tellsign.engine.config import TrainingConfig
    from tellsign.evaluate.benchmark import config as benchmark
    from tellsign.generators.autoencoder import AutoEncoderConfig
    from tellsign.generators.config import GeneratorConfig
    from tellsign.generators.gan import GanConfig
    from tellsign.systems.baselines import config as baselines
    from tellsign.systems.baselines.prnu import PrnuConfig
    from tellsign.systems.cae_net.config import BranchConfig, CaeNetConfig
    from tellsign.systems.resynthesis import config as resynthesis
    from tellsign.systems.sfcl_hcmf import config as sfcl
    from tellsign.systems.sfcl_hcmf.sida_config import SidaConfig
    from tellsign.systems.spectrum.config import SpectrumConfig
    from tellsign.train_config import TrainConfig

    lines = [
        "# Configuration",
        "",
        "Written by `make docs`. Files for `train` and `benchmark` are TOML; an unknown key is an error;",
        "`--set key=value` overrides a key, e.g. `--set config.crop=256`. Where `None` is the default or the",
        'meaning names none, `"none"` says so: `crop = "none"`, or `--set config.crop=none`.',
        "",
    ]
    sections = (
        ("The file", TrainConfig),
        ("[calibration]", CalibrationConfig),
        ('[config] with system = "spectrum"', SpectrumConfig),
        ('[config] with system = "cae-net"', CaeNetConfig),
        ('[config.branches.NAME] with system = "cae-net"', BranchConfig),
        ('[config] with system = "sfcl-hcmf"', sfcl.SfclHcmfConfig),
        ('[config.spatial] with system = "sfcl-hcmf"', sfcl.SpatialConfig),
        ('[config.local] with system = "sfcl-hcmf"', sfcl.LocalConfig),
        ('[config.hcma] with system = "sfcl-hcmf"', sfcl.HcmaConfig),
        ('[config] with system = "sida"', SidaConfig),
        ('[config] with system = "image"', baselines.ImageConfig),
        ('[config] with system = "fft2d"', baselines.Fft2dConfig),
        ('[config] with system = "dct2d"', baselines.Dct2dConfig),
        ('[config] with system = "gramnet"', baselines.GramNetConfig),
        ('[config] with system = "resynthesis"', resynthesis.ResynthesisConfig),
        ('[config.network] with system = "resynthesis"', resynthesis.NetworkConfig),
        ('[config.perceptual] with system = "resynthesis"', resynthesis.PerceptualConfig),
        ('[config.classifier] with system = "resynthesis"', resynthesis.ClassifierConfig),
        ('[config.reconstruction] with system = "resynthesis"', resynthesis.ReconstructionConfig),
        ('[config.joint] with system = "resynthesis"', resynthesis.JointConfig),
        ('[config] with system = "prnu"', PrnuConfig),
        ("[config.training] of networks", TrainingConfig),
        ("Generators: the file", GeneratorConfig),
        ('Generators: [network] with kind = "gan"', GanConfig),
        ('Generators: [network] with kind = "autoencoder"', AutoEncoderConfig),
        ("Benchmark", benchmark.BenchmarkConfig),
        ("Benchmark: [[detector]]", benchmark.DetectorConfig),
        ("Benchmark: [data.NAME]", benchmark.DataConfig),
        ("Benchmark: a source of data", benchmark.SourceConfig),
        ("Benchmark: [harmonise]", benchmark.HarmoniseConfig),
    )
    for title, record in sections:
        lines += [f"## {title}", "", "| key | default | meaning |", "|---|---|---|"]
        comments = _comments(record)
        for field in dataclasses.fields(record):
            default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
            lines.append(f"| `{field.name}` | {default} | {comments.get(field.name, '')} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _comments(record: Any) -> dict[str, str]:
    """Field → the comment behind it, in the record or in one that it extends."""
    found = _comments(record.__base__) if dataclasses.is_dataclass(record.__base__) else {}
    source = inspect.getsource(record)
    text = source.splitlines()
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            _, mark, comment = text[(node.end_lineno or node.lineno) - 1].partition("  # ")
            found[node.target.id] = comment.strip() if mark else ""
    return found


PAGES = {"commands.md": commands, "configuration.md": configuration}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
        print(f"wrote docs/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
