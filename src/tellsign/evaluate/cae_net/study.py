"""What CAE-Net's tables are made from: its configuration, its detectors' scores, and parts of both.

Shapes: N rows (test images that can be used).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import artifacts
from tellsign.evaluate import study as studies
from tellsign.evaluate.cells import Scores
from tellsign.groups import sources
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study
    from tellsign.systems.cae_net.config import CaeNetConfig

SYSTEM = "cae-net"
SMALL = Path(__file__).with_name("small.toml")  # what is trained where --config says nothing


def study(inputs: Inputs) -> Study | None:
    """What is to be trained and tested; see `evaluate.study.study`. Raises ConfigError of faces, too."""
    found = studies.study(inputs, system=SYSTEM, small=SMALL, scorer=scores_on)
    if found is not None and found.config.region == "face":
        raise ConfigError(
            '[config] region = "face": the tables of CAE-Net look at whole images; cut the faces first '
            '(tellsign data faces), and take region = "image" for the crops'
        )
    return found


def configuration(file: Path | None) -> CaeNetConfig:
    """The options in a file for `tellsign train`; by default those of configs/cae-net-small.toml.

    Args:    file: TOML.
    Returns: the options.
    Raises:  ConfigError: as for `evaluate.study.configuration`.
    """
    found: CaeNetConfig = studies.configuration(file or SMALL, system=SYSTEM)
    return found


def scores_on(detector: Path, test: Manifest, config: CaeNetConfig) -> Scores:
    """What a detector that CAE-Net wrote says of images, by PyTorch: log-odds of fake.

    Args:    detector: its folder.
             test: labelled images.
             config: what happens at bad images, workers and device; the rest is the detector's own.
    Returns: the scores of those that can be used, of the ensemble and by branch.
    Raises:  ManifestError: an image can't be used and may not be skipped. ArtifactError: there is no such
             detector.
    """
    from tellsign.nn.fusion import fused_scores, image_means
    from tellsign.systems.cae_net.system import CaeNetSystem
    from tellsign.systems.cae_net.training import crop_scores

    network: Any = CaeNetSystem().network(detector)
    weights = tuple(artifacts.load(detector).spec["config"]["fusion_weights"])
    crops = crop_scores(dict(network.branches.items()), test, config)
    rows = np.asarray(crops.rows, dtype=np.int64)
    groups = sources(test)
    return Scores(
        rows=rows,
        labels=np.array(test.labels, dtype=np.int64)[rows],
        groups=tuple(groups[row] for row in rows),
        fused=image_means(fused_scores(crops.parts, config.fusion, weights), crops.image),
        parts={name: image_means(crops.parts[:, i], crops.image) for i, name in enumerate(config.branches)},
    )


def wavelet_branch(config: CaeNetConfig) -> str:
    """The name of the branch that looks at sub-bands. Raises ConfigError where there is none."""
    for name, branch in config.branches.items():
        if branch.input == "dwt":
            return name
    raise ConfigError(
        f'none of the branches {", ".join(config.branches)} looks at sub-bands; give one with input = "dwt"'
    )


def alone(
    config: CaeNetConfig, branch: str, options: Mapping[str, Any] | None = None, *, dwt: Any = None
) -> CaeNetConfig:
    """A configuration with one branch of another, and nothing to fuse.

    Args:    config: the other. branch: its name there.
             options: of the branch, in place of those there.
             dwt: how sub-bands enter; None: as there.
    Returns: the configuration.
    """
    return replace(
        config,
        branches={branch: replace(config.branches[branch], **(options or {}))},
        dwt=dwt or config.dwt,
        fusion="weights",
        fusion_weights=(1.0,),
    )
