"""The card of a generator: what it learnt from, how far it is from real images, what nobody measured."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 116  # of a line, in characters
MEASURES = {
    "spectral_distance": "distance of the mean spectrum from that of the reals, dB",
    "pair_distance": "mean distance of two images, in pixels of [0, 1]",
    "near_duplicates": "share of images that are near duplicates of another",
    "frechet": "Fréchet distance",
    "mse": "mean squared error of the restored images",
}
LIMITS = """\
## What it is for, and what was not measured

- Its images are fakes, to test detectors with. Nothing says that they look real to people.
- A small spectral distance says nothing of the pictures themselves: look at them, and at the near duplicates.
{memory}
{licence}
"""
OWN_LICENCE = "- Its weights have a licence of their own: LICENSE, beside this card."
NO_LICENCE = """\
- The licences of the images that it learnt from apply to the weights as well, as far as they reach; Tellsign
  does not know them."""
UNKNOWN = "- Whether it gives back images that it learnt from was not looked at here."
KNOWN = """\
- Whether it gives back images that it {learnt}: its images are {generated:.3f} from the nearest crop of
  them (median; {generated_least:.3f} the nearest of all){other}. Much nearer than others would mean that it
  repeats them. The distance is the root mean square over means of blocks, in levels of [0, 1];
  `tellsign generators nearest` shows the pairs."""
OTHER = ", other real images {real:.3f} ({real_least:.3f})"


def generator_card(spec: Mapping[str, Any], *, licence: bool = False) -> str:
    """The card of a generator.

    Args:    spec: of its detector.json, with its size. licence: whether one lies beside it.
    Returns: Markdown.
    """
    data, config, source = spec["data"], spec["config"], spec["source"]
    # What a tuned one once learnt from, and by which loss, is not known here.
    kind = "A GAN" if source else f"A GAN ({config['loss']})"
    what = {"gan": kind, "autoencoder": "An auto-encoder"}.get(
        spec["network"], "A generator of somebody else's making"
    )
    done = f"tuned from `{source['name']}`" if source else "trained"
    numbers = [
        f"| {text} | {spec['metrics'][name]:.4g} | {_number(spec['reals'].get(name))} |"
        for name, text in MEASURES.items()
        if name in spec["metrics"]
    ]
    summary = [*wrap(" ".join(spec["summary"].split()), WIDTH), ""] if spec["summary"] else []
    size, n_reals, digest = spec["size"], data["train"]["n"], data["train"]["manifest"][:12]
    text = (
        f"{what} of images of {size} × {size} pixels, {done} by Tellsign for {spec['epochs']} epochs on "
        f"{n_reals} real images (manifest `{digest}`). Weight of the spectral loss: {config['spectral']:g}; "
        f"layers of a spectral discriminator: {config['spectral_layers']}."
    )
    lines = [f"# {spec['name']}", "", *summary, *wrap(text, WIDTH, break_on_hyphens=False), ""]
    lines += [
        "## What was measured",
        "",
        *wrap(
            f"After the last epoch, against {data['valid']['n']} real images (manifest "
            f"`{data['valid']['manifest'][:12]}`)"
            + ("." if data["valid"] != data["train"] else ", those that it learnt from."),
            WIDTH,
        ),
        "",
        "| measure | generated | reals |",
        "|---|---:|---:|",
        *numbers,
        "",
        *_beside(spec),
        "",
        "",
    ]
    return "\n".join(lines) + LIMITS.format(
        memory=_memory(spec.get("memory"), "was tuned with" if source else "learnt from"),
        licence=OWN_LICENCE if licence else NO_LICENCE,
    )


def _beside(spec: Mapping[str, Any]) -> list[str]:
    n = spec["reals"]["n"]
    text = f"Under reals: how far two halves of {n} are apart, and what as many as were generated come to."
    if "frechet" in spec:
        network, digest = spec["frechet"]["network"], spec["frechet"]["digest"][:12]
        text += f" The Fréchet distance is in the features of {network}, weights `{digest}`."
    return wrap(text, WIDTH)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _memory(found: Mapping[str, float] | None, learnt: str) -> str:
    if found is None:
        return UNKNOWN
    other = OTHER.format(**found) if "real" in found else "; there were no other real images to compare with"
    return KNOWN.format(**found, other=other, learnt=learnt)
