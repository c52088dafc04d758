"""The Fréchet distance between two sets of images, in the features of a network that the user gives.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS
2017: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the means m and covariances S of features. What is called
FID takes those of one particular Inception network, whose weights are not shipped here. A number means
something beside others of the same network alone, and with as many images: so both are told, the network by
the digest of its weights.

Images are cropped as for the profiles, then resized to what the network takes (bicubic, antialiased).

Shapes: N images, S side of the network's input, D features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data.picture import picture
from tellsign.image import centre_crop, resize
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data.manifest import Manifest
    from tellsign.types import FloatArray

    Run = Callable[[FloatArray], FloatArray]

BATCH = 16
ONNX = ".onnx"


@dataclass(frozen=True, slots=True, eq=False)
class FeatureNetwork:
    """What turns images into features."""

    name: str
    digest: str  # SHA-256 of its weights
    size: int | None  # S; None: it takes images of any size
    run: Run  # (B, 3, S, S) float32 in [0, 1] → (B, D)


@dataclass(frozen=True, slots=True)
class Frechet:
    """The distance, or why there is none."""

    value: float | None
    network: str = ""
    digest: str = ""
    note: str = ""


def feature_network(name: str, weights: str = "pretrained") -> FeatureNetwork:
    """A network by its name in timm, or in an ONNX file.

    Args:    name: of an architecture in timm, whose pooled features are taken; or the path of an .onnx file
                 with images (B, 3, S, S) in [0, 1] as its input, normalisation included, and features as its
                 first output.
             weights: of timm's architecture, "pretrained" (downloaded) or the path of a .safetensors file.
    Returns: the network.
    Raises:  ConfigError: there is no such network, its weights can't be had, or it takes something else.
    """
    if Path(name).suffix == ONNX:
        if weights != "pretrained":
            raise ConfigError(f"{name} has weights of its own: leave {weights} out")
        return _of_onnx(Path(name))
    try:
        return _of_timm(name, weights)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the features of {name!r} need {error.name}; install it with: pip install 'tellsign[train]', or "
            f"give an {ONNX} file"
        ) from error


def features(images: Manifest, network: FeatureNetwork, *, side: int) -> FloatArray:
    """The features of images, each read again.

    Args:    images: that can be read and are large enough. network: from `feature_network`.
             side: of the centre crops in pixels.
    Returns: (N, D) float64.
    Raises:  ImageError: a file has changed. ConfigError: the network can't be run on it.
    """
    blocks = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    stacked: FloatArray = np.concatenate(
        [
            image_features(np.stack([centre_crop(picture(sample).array, side) for sample in block]), network)
            for block in blocks
        ]
    )
    return stacked


def image_features(images: FloatArray, network: FeatureNetwork) -> FloatArray:
    """The features of images in memory.

    Args:    images: (N, 3, S, S) in [0, 1]. network: from `feature_network`.
    Returns: (N, D) float64.
    Raises:  ConfigError: the network can't be run on them.
    """
    found = []
    for start in range(0, len(images), BATCH):
        crops = images[start : start + BATCH]
        if (side := network.size) not in (None, images.shape[-1]):
            crops = np.stack([resize(crop, side, side, filter="bicubic") for crop in crops])
        rows = network.run(np.ascontiguousarray(crops, dtype=np.float32))
        if rows.shape[:1] != (len(crops),) or rows[0].size < 2 or not np.isfinite(rows).all():
            raise ConfigError(
                f"{network.name} gives numbers of shape {rows.shape} for {len(crops)} images; expected two "
                "finite features or more of each: give a network of features, not of scores"
            )
        found.append(rows.reshape(len(crops), -1).astype(np.float64))
    stacked: FloatArray = np.concatenate(found)
    return stacked


def frechet_distance(a: FloatArray, b: FloatArray) -> float:
    """The Fréchet distance between two normal distributions that are fitted to features.

    Args:    a, b: (N, D) features, two rows or more each; any number of them may be fewer than D.
    Returns: the squared distance, as it is always given.
    Raises:  ConfigError: there are too few rows.

    Example:
        >>> rows = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]])
        >>> round(frechet_distance(rows, rows + 1), 6)
        2.0
    """
    if min(len(a), len(b)) < 2:
        raise ConfigError(f"a covariance needs 2 images or more, found {len(a)} and {len(b)}")
    # S = R'R, and the trace of (S1 S2)^(1/2) is the sum of the singular values of R1 R2': no root of a
    # matrix, which loses half of the digits where S is singular.
    roots: list[FloatArray] = [
        np.asarray(np.linalg.qr((x - x.mean(axis=0)) / np.sqrt(len(x) - 1), mode="r")) for x in (a, b)
    ]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    means = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    return max(0.0, means + float(sum((root**2).sum() for root in roots)) - 2 * float(shared))


def _of_onnx(path: Path) -> FeatureNetwork:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised; nothing is printed
    try:
        content = path.read_bytes()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise ConfigError(f"{path} cannot be read as ONNX: {str(error).splitlines()[0][:300]}") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
        raise ConfigError(
            f"{path} takes {[(i.name, i.type, i.shape) for i in inputs]}; expected (B, 3, S, S)"
        )
    output, whole = session.get_outputs()[0].name, isinstance(shape[0], int)

    def run(images: FloatArray) -> FloatArray:
        parts = [images[i : i + 1] for i in range(len(images))] if whole else [images]
        try:
            return np.concatenate([session.run([output], {inputs[0].name: part})[0] for part in parts])
        except Exception as error:
            raise ConfigError(f"{path} cannot be run: {str(error).splitlines()[0][:300]}") from error

    size = shape[2] if isinstance(shape[2], int) else None
    return FeatureNetwork(path.name, hashlib.sha256(content).hexdigest(), size, run)


def _of_timm(name: str, weights: str) -> FeatureNetwork:
    import torch

    from tellsign.nn.backbones import SCRATCH, backbone

    if weights == SCRATCH:
        raise ConfigError("features of random weights are none; give --weights pretrained or a file")
    network: Any = backbone(name, classes=0, weights=weights).eval()
    config = network.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())

    def run(images: FloatArray) -> FloatArray:
        with torch.inference_mode():
            found: FloatArray = network((torch.from_numpy(images) - mean) / std).numpy()
        return found

    return FeatureNetwork(name, digest.hexdigest(), config["input_size"][-1], run)
