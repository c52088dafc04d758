"""Backbones from timm: an architecture by name, its weights by name, from a file, or none.

What was asked for is what one gets: where weights can't be had, nothing trains from scratch in silence. Files
are safetensors alone, because reading a pickle can run code.

Shapes: O output channels, C input channels, K kernel size, n how often the input channels are repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.nn.weights import read_tensors
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

SCRATCH, PRETRAINED = "scratch", "pretrained"
SUFFIX = ".safetensors"
INSTEAD = f"give the path of a {SUFFIX} file, {PRETRAINED!r} or {SCRATCH!r}"
# Counters of batch normalisation, which some files leave out; nothing is computed from them here.
COUNTER = "num_batches_tracked"
# Arguments of timm that fetch or read weights, some of them pickles, or that are given here.
OWN_OPTIONS = (
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "in_chans",
    "num_classes",
)


def backbone(
    name: str,
    *,
    channels: int = 3,
    classes: int = 2,
    weights: str,
    size: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Module:
    """A classifier of timm, equal to timm's own for the same weights.

    Where the inputs have more channels than the weights were trained on, the first kernels are repeated over
    them and divided by the number of repetitions (`widened`). Where the weights are for the classes that
    timm's pretraining had, the last layer is new, from the current state of PyTorch's random numbers.

    Args:    name: of the architecture in timm, with or without the tag of its weights.
             channels: of the inputs.
             classes: number of logits.
             weights: "scratch", "pretrained" (timm's own, downloaded), or the path of a .safetensors file
                 with timm's names.
             size: side of the inputs in pixels, for which an architecture with a fixed size is built.
             options: further arguments of timm's constructor, such as {"output_stride": 8}.
    Returns: (B, channels, size, size) standardised images → (B, classes) logits, in training mode.
    Raises:  ConfigError: timm has no such architecture or option, or the weights can't be had, are pickled,
             damaged, or for another architecture or number of classes.
    """
    check_weights(weights)
    if own := sorted({*(options or {})} & {*OWN_OPTIONS}):
        raise ConfigError(
            f"{', '.join(own)}: no option of a backbone, since it says where weights come from, or what goes "
            "in and out; say it as weights, or leave it out"
        )
    arguments = _arguments(name, size, options or {})
    network = _created(name, {**arguments, "in_chans": channels, "num_classes": classes})
    if weights == SCRATCH:
        return network
    if weights == PRETRAINED:
        _take_over(network, _pretrained(name, arguments), classes, where=f"timm's weights of {name}")
    else:
        _take_over(network, _given(weights), classes, where=weights)
    return network


def check_weights(weights: object) -> None:
    """Raises ConfigError for what names no weights; whether a file is there is seen when it is read."""
    if weights in (SCRATCH, PRETRAINED):
        return
    if not isinstance(weights, str) or not weights.isprintable() or not weights:
        raise ConfigError(
            f"weights is {SCRATCH!r}, {PRETRAINED!r} or the path of a {SUFFIX} file, found {weights!r}"
        )
    if Path(weights).suffix != SUFFIX:
        raise ConfigError(
            f"weights is {SCRATCH!r}, {PRETRAINED!r} or the path of a {SUFFIX} file, found {weights!r}; "
            "others are pickles, which can run code when they are read: where you trust one, convert it with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)"
        )


def check_backbone(name: object, options: object) -> None:
    """Raises ConfigError for what names no network, or is no table of options; timm is asked later."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigError(f"backbone is a name of timm, found {name!r}")
    if not isinstance(options, Mapping):
        raise ConfigError(f"options is a table of arguments of timm, found {options!r}")


def weights_identity(weights: str) -> str:
    """What tells one set of weights from another: the digest of a file, or else the word itself.

    Args:    weights: as for `backbone`.
    Returns: a text.
    Raises:  ConfigError: there is no such file.
    """
    check_weights(weights)
    if weights in (SCRATCH, PRETRAINED):
        return weights
    try:
        with Path(weights).open("rb") as file:
            digest = file_digest(file, "sha256")
    except OSError as error:
        raise ConfigError(f"{weights} cannot be read ({error.strerror or error}); {INSTEAD}") from error
    return f"sha256:{digest.hexdigest()}"


def widened(kernels: Tensor, channels: int) -> Tensor:
    """First kernels for more input channels: repeated over groups of them, and divided by their number.

    Where every group holds the same image, the response is that of the kernels to this image.

    Args:    kernels: (O, C, K, K).
             channels: a multiple n C of C.
    Returns: (O, n C, K, K).
    Raises:  ConfigError: it is no multiple.
    """
    found = kernels.shape[1]
    if channels % found:
        raise ConfigError(
            f"kernels of {found} channels can't be repeated over {channels}; take a multiple of {found}"
        )
    n = channels // found
    return kernels.repeat(1, n, 1, 1) / n


def _arguments(name: str, size: int | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of timm's constructor: the options, and the size where the architecture has a fixed one."""
    import timm

    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models(), n=3, cutoff=0.3)) or "none"
        raise ConfigError(f"timm {timm.__version__} has no architecture {name!r}; similar ones are {near}")
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an architecture without such a tag
        raise ConfigError(f"timm {timm.__version__} has no weights {name!r}: {error}") from error
    if known is None or not known.fixed_input_size or size in (None, *known.input_size[1:]):
        return dict(options)
    return {"img_size": size, **options}


def _created(name: str, arguments: Mapping[str, Any]) -> Module:
    import timm

    try:
        network: Module = timm.create_model(name, **arguments)
    # Whatever a constructor makes of an option that it doesn't know or can't use.
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, IndexError) as error:
        raise ConfigError(f"timm cannot build {name} with {dict(arguments)}: {error}") from error
    return network


def _pretrained(name: str, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    import timm

    try:
        network = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # each way to be offline has a type of its own
        known = timm.get_pretrained_cfg(name)
        source = known.hf_hub_id if known is not None else None
        raise ConfigError(
            f"the pretrained weights of {name} cannot be had ({type(error).__name__}: {str(error)[:300]}). "
            f"Where there is a network, fetch the file model{SUFFIX} of the Hugging Face repository "
            f"{source or 'that timm names for it'}, and give its path as weights; or say weights = "
            f"{SCRATCH!r} to train without them"
        ) from error
    state: dict[str, Tensor] = network.state_dict()
    return state


def _given(weights: str) -> dict[str, Tensor]:
    """The weights in a file; raises ConfigError where it can't be read."""
    try:
        return read_tensors(Path(weights))
    except ConfigError as error:
        raise ConfigError(f"{error}; {INSTEAD}") from error


def _take_over(network: Any, given: Mapping[str, Tensor], classes: int, *, where: str) -> None:
    """Load weights, all of them, or say why they don't fit."""
    own, state = network.state_dict(), dict(given)
    for layer in _layers(network, "first_conv"):
        key = f"{layer}.weight"
        if key in state and key in own and state[key].ndim == own[key].ndim == 4:
            state[key] = widened(state[key], own[key].shape[1])
    head = {f"{layer}.{part}" for layer in _layers(network, "classifier") for part in ("weight", "bias")}
    lacking = set()
    if state.keys() & head:
        n_classes = next(state[key].shape[0] for key in sorted(head) if key in state)
        if n_classes != classes:
            own_classes = network.pretrained_cfg.get("num_classes")
            if n_classes != own_classes:
                raise ConfigError(
                    f"{where}: the last layer has {n_classes} classes; expected {classes}, or the "
                    f"{own_classes} of timm's pretraining, whose last layer is then made anew"
                )
            state = {key: value for key, value in state.items() if key not in head}
            lacking = head
    else:
        lacking = head
    missing = sorted(key for key in own.keys() - state.keys() - lacking if not key.endswith(COUNTER))
    foreign = sorted(state.keys() - own.keys())
    unequal = [key for key in sorted(own.keys() & state.keys()) if own[key].shape != state[key].shape]
    if missing or foreign or unequal:
        faults = [f"{len(missing)} arrays are missing, e.g. {missing[0]}"] if missing else []
        faults += [f"{len(foreign)} are unknown, e.g. {foreign[0]}"] if foreign else []
        faults += [
            f"{key} has shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
            for key in unequal[:1]
        ]
        raise ConfigError(
            f"{where} are for another architecture than {type(network).__name__} as configured: "
            + "; ".join(faults)
        )
    network.load_state_dict(state, strict=False)  # what is lacking was checked above


def _layers(network: Any, role: str) -> tuple[str, ...]:
    """The names that timm gives for a role of a layer, of which there may be several."""
    found = network.pretrained_cfg.get(role) or ()
    return (found,) if isinstance(found, str) else tuple(found)
