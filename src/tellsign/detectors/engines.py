"""What runs a network's graph: ONNX Runtime, or OpenVINO where it is installed.

An engine gives a `Run`, a function from crops to the score and the parts of each, which raises ArtifactError
where the graph can't be run. The third engine, PyTorch, needs the system that the detector was made with, and
so is handed to a detector from `tellsign.scoring`.

Shapes: M crops, C channels, S side of a crop, D numbers of a descriptor, P parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tellsign.types import ArtifactError, ConfigError

if TYPE_CHECKING:
    from tellsign.types import FloatArray

# Crops (M, 3, S, S) in [0, 1], and (M, D) where there is a descriptor → (M,) scores and (M, P) parts.
Run = Callable[..., "tuple[FloatArray, FloatArray]"]
Engine = Literal["onnx", "openvino", "openvino-bf16", "torch"]
ENGINES: tuple[str, ...] = get_args(Engine)
INPUT, DESCRIPTOR = "images", "descriptor"  # names in every graph
SCORE, PARTS = "score", "parts"
BATCH = 32  # crops that OpenVINO and PyTorch take at once, so that memory doesn't grow with the input


def threads() -> int:
    """As many as OMP_NUM_THREADS says, which is 1 in a worker; else one for each core of this process."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def onnx_run(graph: Path | bytes, *, size: int, n_parts: int, n_descriptor: int = 0) -> Run:
    """A graph in ONNX Runtime.

    Args:    graph: a file, or its content.
             size: S. n_parts: P. n_descriptor: D; 0 for none.
    Returns: the function. It takes crops one by one: on a processor a batch is no faster, and so, to the last
             bit, a crop's score doesn't depend on its neighbours.
    Raises:  ArtifactError: the graph can't be read, or takes or gives something else.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised; nothing is printed
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise _unreadable(error) from error
    found = {
        "inputs": {one.name: (one.type, tuple(one.shape)) for one in session.get_inputs()},
        "outputs": {one.name: (one.type, tuple(one.shape)) for one in session.get_outputs()},
    }
    _check(found, size=size, n_parts=n_parts, n_descriptor=n_descriptor)
    names = [SCORE, PARTS] if n_parts else [SCORE]

    def run(crops: FloatArray, *beside: FloatArray) -> tuple[FloatArray, FloatArray]:
        scores, parts = np.empty(len(crops), np.float32), np.empty((len(crops), n_parts), np.float32)
        for row in range(len(crops)):
            outputs = _outputs(session.run, names, _inputs(slice(row, row + 1), crops, *beside))
            scores[row] = outputs[0][0]
            if n_parts:
                parts[row] = outputs[1][0]
        return scores, parts

    return run


def openvino_run(graph: Path, *, size: int, n_parts: int, n_descriptor: int = 0, bf16: bool = False) -> Run:
    """A graph in OpenVINO.

    Args:    graph: a file.
             size: S. n_parts: P. n_descriptor: D; 0 for none.
             bf16: compute with 8 bits of mantissa, on a processor that can: faster, and the scores are
             coarser, by how much depends on the network. Without it, float32 on every processor.
    Returns: the function; it takes crops in batches.
    Raises:  ConfigError: OpenVINO is missing, or the processor has no bf16.
             ArtifactError: the graph can't be read, or takes or gives something else.
    """
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the engine openvino needs {error.name}; install it with: pip install 'tellsign[openvino]'"
        ) from error
    core = openvino.Core()
    if bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ConfigError("this processor does not compute in bf16; use --engine openvino")
    settings = {
        # Left alone it takes bf16 on processors that have it, without a word.
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": threads(),
        "NUM_STREAMS": 1,
    }
    try:
        model = core.read_model(graph)
        compiled = core.compile_model(model, "CPU", settings)
    except Exception as error:  # RuntimeError and others
        raise _unreadable(error) from error
    found = {"inputs": _ports(model.inputs), "outputs": _ports(model.outputs)}
    _check(found, size=size, n_parts=n_parts, n_descriptor=n_descriptor)

    def run(crops: FloatArray, *beside: FloatArray) -> tuple[FloatArray, FloatArray]:
        scores, parts = np.empty(len(crops), np.float32), np.empty((len(crops), n_parts), np.float32)
        for start in range(0, len(crops), BATCH):
            rows = slice(start, start + BATCH)
            outputs = _outputs(compiled, _inputs(rows, crops, *beside))
            scores[rows] = outputs[SCORE]
            if n_parts:
                parts[rows] = outputs[PARTS]
        return scores, parts

    return run


def _inputs(rows: slice, *inputs: FloatArray) -> dict[str, FloatArray]:
    """What a graph takes of some rows, by name."""
    return {name: array[rows] for name, array in zip((INPUT, DESCRIPTOR), inputs, strict=False)}


def _ports(ports: Any) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """OpenVINO's inputs or outputs as ONNX Runtime names them."""
    types = {"f32": "tensor(float)"}
    found = {}
    for port in ports:
        shape = tuple("batch" if axis.is_dynamic else axis.get_length() for axis in port.partial_shape)
        kind = port.element_type.get_type_name()
        found[port.any_name] = (types.get(kind, kind), shape)
    return found


def _check(
    found: dict[str, dict[str, tuple[str, tuple[Any, ...]]]], *, size: int, n_parts: int, n_descriptor: int
) -> None:
    """Raises ArtifactError unless a graph takes crops and gives a score and its parts, for any batch."""
    expected: dict[str, dict[str, tuple[int, ...]]] = {
        "inputs": {INPUT: (3, size, size)} | ({DESCRIPTOR: (n_descriptor,)} if n_descriptor else {}),
        "outputs": {SCORE: ()} | ({PARTS: (n_parts,)} if n_parts else {}),
    }
    for side, ports in expected.items():
        if found[side].keys() != ports.keys():
            raise ArtifactError(f"the graph has the {side} {sorted(found[side])}, expected {sorted(ports)}")
        for name, rest in ports.items():
            kind, shape = found[side][name]
            if kind != "tensor(float)" or shape[1:] != rest or len(shape) != 1 + len(rest):
                raise ArtifactError(
                    f"{name!r} of the graph is {kind} of shape {shape}, expected float of shape "
                    f"{('batch', *rest)}"
                )
            if isinstance(shape[0], int):
                raise ArtifactError(
                    f"{name!r} of the graph is made for batches of {shape[0]} alone, expected any number"
                )


def _outputs(run: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return run(*arguments)
    except Exception as error:
        if "alloc" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise ArtifactError(f"the graph cannot be run ({_short(error)})") from error


def _unreadable(error: Exception) -> ArtifactError:
    return ArtifactError(f"the graph cannot be read ({_short(error)})")


def _short(error: Exception) -> str:
    """The first line of an engine's message, which may go on for a page."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
