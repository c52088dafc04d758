"""A network → its detector folder: weights, graph, and the proof that the graph computes what PyTorch does.

The graph holds all tensor maths of the network. Some operations export to something else without a word, FFT
and scatter among them, so nothing is written before ONNX Runtime has given PyTorch's scores on real crops.

Shapes: B batch, n examples, C channels, S side of a crop, D numbers of a descriptor, P parts.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tellsign import artifacts
from tellsign.detectors import NETWORK
from tellsign.detectors.engines import DESCRIPTOR, INPUT, PARTS, SCORE, onnx_run
from tellsign.detectors.graph import GraphInput
from tellsign.types import ArtifactError, ConfigError
from tellsign.versions import package_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tellsign.artifacts import Artifact
    from tellsign.types import FloatArray

OPSET = 18  # of every graph; the exporter's own, so that nothing is converted
LIMIT = 1e-4  # largest difference of a score to PyTorch's; of scores beyond 1, of their size
ROUNDINGS = 10  # of float32 in PyTorch itself, by which the graph may differ where that is more
MAX_BYTES = 2_000_000_000  # of weights; a graph is one message of protobuf, which ends at 2 GiB
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")  # that a graph depends on
PREFIX = "network."  # of the names of weights among a detector's arrays


class ScoredNetwork(nn.Module):
    """A network as every graph states it: crops (B, 3, S, S), descriptors → scores (B,) and parts (B, P)."""

    def __init__(self, network: nn.Module, n_parts: int = 0) -> None:
        """Wrap a network.

        Args:    network: crops, and descriptors (B, D) where it takes some → logits (B, 2), scores (B,), or
                 scores and parts, as a pair or by name.
                 n_parts: P; 0 leaves out what parts there are.
        """
        super().__init__()
        self.network = network
        self.n_parts = n_parts

    def forward(self, images: Tensor, descriptor: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, 3, S, S) in [0, 1], and (B, D) where there is one → (B,) and, with parts, (B, P)."""
        found = self.network(images) if descriptor is None else self.network(images, descriptor)
        if isinstance(found, Mapping):
            found = (found[SCORE], found.get(PARTS))
        score, parts = found if isinstance(found, (tuple, list)) else (found, None)
        if score.ndim == 2 and score.shape[1] == 2:
            score = score[:, 1] - score[:, 0]
        if score.ndim != 1:
            raise ArtifactError(
                f"the network gives scores of shape {tuple(score.shape)}, expected (B,), or logits (B, 2)"
            )
        if not self.n_parts:
            return (score,)
        if parts is None or parts.ndim != 2 or parts.shape[1] != self.n_parts:
            shape = None if parts is None else tuple(parts.shape)
            raise ArtifactError(f"the network gives parts of shape {shape}, expected (B, {self.n_parts})")
        return score, parts


def save_network(
    out: Path,
    module: nn.Module,
    *,
    spec: Mapping[str, Any],
    examples: FloatArray,
    descriptors: FloatArray | None = None,
    parts: Sequence[str] = (),
    arrays: Mapping[str, NDArray[Any]] | None = None,
    card: str = "",
    licence: str = "",
) -> Path:
    """Write a network as a detector, all of it or nothing.

    Args:    out: the detector's folder.
             module: crops (B, 3, S, S) in [0, 1], and descriptors (B, D) where it takes some → logits (B, 2),
             scores (B,), or {"score": (B,), "parts": (B, P)}. It is left as it is, in its mode and on its
             device.
             spec: of detector.json: name, system, config, and preprocessing (`GraphInput.to_spec`) where it
             is not one crop in the middle. Kind and graph are added.
             examples: (n, 3, S, S) real crops, 2 or more, on which graph and module must agree.
             descriptors: (n, D) of the same images, where the module takes some.
             parts: their names, in the order of the network's P.
             arrays: more of them, such as statistics.
             card, licence: texts of CARD.md and LICENSE.
    Returns: `out`.
    Raises:  ArtifactError: the network can't be exported, its graph computes something else, or `out` can't
             be written. ConfigError: a package is missing.
    """
    artifacts.check_target(out)
    size = _checked(examples)
    preprocessing = spec.get("preprocessing") or GraphInput(size=size).to_spec()
    look = GraphInput.from_spec(preprocessing).look
    if look.size != size:
        raise ArtifactError(
            f"the examples have the side {size}, and the detector's crops {look.size}; give crops as the "
            "detector takes them"
        )
    inputs = [examples] if descriptors is None else [examples, descriptors]
    if [np.shape(given) for given in inputs[1:]] != [(len(examples), look.n_descriptor)][: look.n_descriptor]:
        raise ArtifactError(
            f"the detector's descriptor is {look.descriptor}, of {look.n_descriptor} numbers an image, and "
            f"the examples have {'none' if descriptors is None else np.shape(descriptors)}"
        )
    # A copy: eval mode, device and type of the caller's network stay as they are.
    network = ScoredNetwork(copy.deepcopy(module).cpu().float(), len(parts)).eval().requires_grad_(False)
    graph = graph_bytes(network, size, n_descriptor=look.n_descriptor)
    difference, limit = parity(graph, network, *inputs)
    artifacts.save(
        out,
        spec={
            **spec,
            "kind": NETWORK,
            "preprocessing": preprocessing,
            "graph": {
                "opset": OPSET,
                "parts": list(parts),
                # To two digits: the rest may change from one run to the next, and with it the digest.
                "parity": {"n": len(examples)}
                | {"largest": float(f"{difference:.1e}"), "limit": float(f"{limit:.1e}")},
                "versions": package_versions(PACKAGES),
            },
        },
        arrays={**network_arrays(network.network), **(arrays or {})},
        graph=graph,
        card=card,
        licence=licence,
    )
    return out


def network_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """Everything in a network's state, as arrays of an artifact: "network." + its name there."""
    state = network.state_dict()
    return {f"{PREFIX}{name}": tensor.detach().cpu().numpy() for name, tensor in state.items()}


def network_state(artifact: Artifact) -> dict[str, Tensor]:
    """The state of the network that an artifact was saved from, for `load_state_dict`; copies."""
    return {
        name.removeprefix(PREFIX): torch.from_numpy(np.array(array))
        for name, array in artifact.arrays.items()
        if name.startswith(PREFIX)
    }


def graph_bytes(network: ScoredNetwork, size: int, *, n_descriptor: int = 0) -> bytes:
    """The ONNX graph of a network, weights included; nothing in it depends on where it was made.

    Args:    network: in evaluation mode, on the CPU, float32.
             size: S. n_descriptor: D; 0 for none.
    Returns: content of graph.onnx; inputs "images" (batch, 3, S, S) and, where there is one, "descriptor"
             (batch, D), outputs "score" (batch,) and, where there are parts, "parts" (batch, P).
    Raises:  ArtifactError: it can't be exported, or is too large. ConfigError: a package is missing.
    """
    inputs = {INPUT: torch.linspace(0, 1, 2 * 3 * size * size).reshape(2, 3, size, size)}
    if n_descriptor:
        inputs[DESCRIPTOR] = torch.linspace(0, 1, 2 * n_descriptor).reshape(2, n_descriptor)
    return exported(network, inputs, [SCORE, PARTS] if network.n_parts else [SCORE])


def exported(network: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> bytes:
    """The ONNX graph of any network, weights included; nothing in it depends on where it was made.

    Args:    network: in evaluation mode, on the CPU, float32.
             inputs: name → example (2, ...). Two of them: what one image is traced with is taken for a
             network of one image.
             outputs: names of what it gives.
    Returns: content of a graph whose inputs take any batch.
    Raises:  ArtifactError: it can't be exported, or is too large. ConfigError: a package is missing.
    """
    n_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    if n_bytes > MAX_BYTES:
        raise ArtifactError(
            f"the network's weights take {n_bytes:,} bytes; a graph holds {MAX_BYTES:,} at most: "
            "use smaller backbones"
        )
    try:
        import onnx  # noqa: F401 - missed before minutes of export
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"saving a network needs {error.name}; install it with: pip install 'tellsign[train]'"
        ) from error
    # PyTorch 2.9 refuses a network that it can't tell to be the same of one image; `parity` looks at both.
    batch = torch.export.Dim("batch", min=2)
    with torch.no_grad():
        network(*inputs.values())  # what it gives is checked before it is traced
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes={name: {0: batch} for name in inputs},
                external_data=False,
                verbose=False,
            )
            assert program is not None
            model = program.model_proto
    except Exception as error:  # the exporter's errors, and whatever the network raises when it is traced
        raise ArtifactError(
            f"the network cannot be exported to ONNX ({type(error).__name__}: {_cause(error)}); write it "
            "without operations that depend on values or have no ONNX form"
        ) from error
    _strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def parity(
    graph: bytes, network: ScoredNetwork, examples: FloatArray, descriptors: FloatArray | None = None
) -> tuple[float, float]:
    """How far a graph's scores and parts lie from PyTorch's.

    A network that magnifies the rounding of float32, as one that looks at small differences of large numbers,
    is another one on each processor: its graph may lie ten times as far from PyTorch as PyTorch does from
    float64.

    Args:    graph: content of graph.onnx.
             network: what it was made from.
             examples: (n, 3, S, S), given to PyTorch as one batch, and to the graph one by one and as a batch
             of another length. descriptors: (n, D) of the same images, where there are some.
    Returns: the largest difference, of numbers beyond 1 relative to them; and what was allowed.
    Raises:  ArtifactError: it is larger than `LIMIT` and than `ROUNDINGS` times PyTorch's own distance from
             float64, or a score is no finite number.
    """
    given = [examples] if descriptors is None else [examples, descriptors]
    inputs = [np.ascontiguousarray(one, dtype=np.float32) for one in given]
    crops, *beside = inputs
    with torch.inference_mode():
        outputs = network(*(torch.from_numpy(one.copy()) for one in inputs))
    expected = _columns([output.numpy() for output in outputs])
    lengths = {"n_parts": network.n_parts, "n_descriptor": beside[0].shape[1] if beside else 0}
    alone = _columns(onnx_run(graph, size=crops.shape[-1], **lengths)(*inputs))
    longer = [np.concatenate([one, one[:1]]) for one in inputs]
    together = _batch_outputs(graph, longer)[: len(crops)]
    if not all(np.isfinite(found).all() for found in (expected, alone, together)):
        raise ArtifactError(
            "the network or its graph gives what is no finite number on the examples; look at its training"
        )
    differences = [_largest_difference(found, expected) for found in (alone, together)]
    limit = LIMIT
    if max(differences) > limit:
        limit = max(LIMIT, ROUNDINGS * _largest_difference(expected, _in_float64(network, inputs)))
    if max(differences) > limit:
        raise ArtifactError(
            f"the graph does not compute what PyTorch does: on {len(crops)} examples the scores differ by "
            f"{differences[0]:.2g} one by one and by {differences[1]:.2g} in a batch, expected {limit:.2g} "
            "at most; nothing was written. FFT and scatter operations are known to export wrongly: write "
            "them as convolutions, slices and sums"
        )
    return max(differences), limit


def _largest_difference(found: FloatArray, expected: FloatArray) -> float:
    """Of any two numbers of one place; of those beyond 1, relative to what is expected."""
    return float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))))


def _in_float64(network: ScoredNetwork, inputs: Sequence[FloatArray]) -> FloatArray:
    """(n, 1 + P) of PyTorch, where all of a network takes float64; otherwise as in float32."""
    exact = copy.deepcopy(network).double()
    with torch.inference_mode():
        try:
            outputs = exact(*(torch.from_numpy(one.astype(np.float64)) for one in inputs))
        except RuntimeError:  # a module that turns to float32 by itself meets weights of float64
            outputs = network(*(torch.from_numpy(one.copy()) for one in inputs))
    return _columns([output.numpy() for output in outputs])


def _batch_outputs(graph: bytes, inputs: Sequence[FloatArray]) -> FloatArray:
    """(n, 3, S, S), and (n, D) where there are descriptors → (n, 1 + P), in one run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    try:
        found = dict(
            zip(names, session.run(names, dict(zip((INPUT, DESCRIPTOR), inputs, strict=False))), strict=True)
        )
    except Exception as error:  # its errors have no class in common
        raise ArtifactError(
            f"the graph does not take batches of any length ({_cause(error)}); write the network without "
            "sizes that are taken from the example"
        ) from error
    return _columns([found[name] for name in (SCORE, PARTS) if name in found])


def _columns(outputs: Iterable[FloatArray]) -> FloatArray:
    """Scores (n,) and parts (n, P) → (n, 1 + P)."""
    return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)


def _checked(examples: FloatArray) -> int:
    """The side of the examples. Raises ArtifactError where they are no crops."""
    shape = np.shape(examples)
    if len(shape) != 4 or shape[0] < 2 or shape[1] != 3 or shape[2] != shape[3]:
        raise ArtifactError(
            f"the examples have the shape {shape}, expected (n, 3, S, S) with 2 or more crops"
        )
    if not (np.min(examples) >= 0 and np.max(examples) <= 1):
        raise ArtifactError("the examples hold values outside of [0, 1]; give crops of decoded images")
    return int(shape[3])


def _strip(model: Any) -> None:
    """Take out what the exporter noted of the source: paths of this machine, and other digests elsewhere."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        named = [*getattr(graph, "input", ()), *getattr(graph, "output", ()), *graph.value_info]
        named = [one for one in named if not isinstance(one, str)]  # a function names its inputs alone
        for part in (graph, *graph.node, *getattr(graph, "initializer", ()), *named):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")
        for node in graph.node:
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks are for its developers; what goes wrong is raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _cause(error: BaseException) -> str:
    """What is at the bottom of an error, in a line: the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
