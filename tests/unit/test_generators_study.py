"""The studies of trained generators: cells are made once, shared by figures, and gone on with."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from generator_tiny import options, write_reals  # noqa: E402
from tellsign.data import read  # noqa: E402
from tellsign.evaluate.reproduce import Inputs, names, reproduce  # noqa: E402
from tellsign.evaluate.upconv import autoencoder, cells, correction, gans  # noqa: E402
from tellsign.evaluate.upconv.cells import study  # noqa: E402
from tellsign.evaluate.upconv.drawing import rows_of, upper_band  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

factors: list = []  # of the cells that `made` has made
AUTO_ENCODERS = [f"upconv-fig{n}" for n in (5, 6, 7, 8, 20, 21)]
GANS = ["upconv-fig1-trained", *(f"upconv-fig{n}" for n in (11, 12, 13, 14, 22))]
OURS = [
    "upconv-loss",
    "upconv-pictures",
    "upconv-pictures-gan",
    "upconv-detectors",
    "upconv-detectors-restored",
]


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    return read(write_reals(tmp_path_factory.mktemp("reals")))


@pytest.fixture
def files(tmp_path):
    """TOML of a tiny network of each kind."""
    found = {}
    for kind in ("gan", "autoencoder"):
        tree = options(kind)
        lines = [f"{k} = {json.dumps(v)}" for k, v in tree.items() if not isinstance(v, dict)]
        for table in ("network", "training"):
            lines += [f"[{table}]", *(f"{k} = {json.dumps(v)}" for k, v in tree[table].items())]
        found[kind] = tmp_path / f"{kind}.toml"
        found[kind].write_text("\n".join(lines))
    return found


def distance_of(config):
    """What `made` says of a cell: another number for each that a figure could take for it."""
    network = config.network
    up = ("transposed", "nearest", "bilinear").index(getattr(network, "up", None) or network.last_up)
    head = network.head_layers + ("none", "last", "all").index(getattr(network, "inner", "none")) / 10
    place = [config.seed, up, head, getattr(network, "kernel", 3), network.head_kernel, config.spectral]
    place += [config.spectral_layers, ("dcgan", "dragan", "lsgan", "wgan-gp").index(config.loss)]
    return sum(value * 1.618 ** (number + 1) for number, value in enumerate(place, 1))


@pytest.fixture
def made(monkeypatch):
    """Figures without training: each cell is a record of what its configuration says."""
    calls: list = []

    def finished(config, manifest, root, *, factor=None, features=None, say):
        calls.append(config)
        factors.append(factor)
        folder = root / f"{config.name}-{len(calls)}"
        pictures = folder / "generator.run" / "samples"
        pictures.mkdir(parents=True)
        from tellsign.generators.progress import write_grid

        history = []
        for epoch in (1, 2):
            write_grid(pictures / f"epoch-{epoch:05d}.png", np.full((4, 3, 8, 8), 0.5))
            values = {"spectral_distance": distance_of(config), "spectral_kl": 0.2, "pair_distance": 0.1}
            values |= {"near_duplicates": 0.25, "mse": 0.01}
            values |= {} if features is None else {"frechet": 7.0}
            history.append({"epoch": epoch, **{f"valid_{k}": v / epoch for k, v in values.items()}})
        rows = {"real": [3.0, 2.0, 1.0], "fake": [3.0, 2.0, 2.0]}
        record = {
            "identity": {"config": {"kind": config.kind, "network": {"size": 4}}},
            "history": history,
            "profile": rows,
            "deviation": rows,
            "measured": values,
            "n": {"real": 3, "fake": 4},
            "noise": 0.5,
            "real_pair_distance": 0.3,
            "real_near_duplicates": 0.0,
        }
        return cells.Finished(config.name, folder, record)

    monkeypatch.setattr(cells, "finished_cell", finished)
    factors.clear()
    return calls


def test_all_figures_are_listed():
    assert set(AUTO_ENCODERS + GANS + OURS) < set(names())


@pytest.mark.parametrize("name", AUTO_ENCODERS + GANS + OURS)
def test_without_data_a_figure_says_what_it_needs(name, tmp_path):
    found = reproduce(name)
    assert found.rows
    for row in found.rows:
        assert row.reproduced is None
        assert row.published is None
        assert "--data MANIFEST -o FOLDER" in row.note


@pytest.mark.parametrize("name", [name for name in AUTO_ENCODERS + GANS if name != "upconv-fig6"])
def test_each_figure_is_drawn_from_its_cells(name, made, reals, tmp_path, files):
    kind = "gan" if name in GANS else "autoencoder"
    found = reproduce(name, manifest=reals, out=tmp_path / "cells", config=files[kind])
    assert found.picture == tmp_path / "cells" / f"{name}.png"
    assert found.picture.stat().st_size > 5000
    distances = [row for row in found.rows if row.column == "spectral distance"]
    assert distances
    if name != "upconv-fig12":  # which has a row an epoch
        of_cells = {distance_of(config) for config in made}
        n_seeds = len({config.seed for config in made})
        assert len(of_cells) == len(made) == n_seeds * len(distances)
        assert sum(row.reproduced for row in distances) == pytest.approx(sum(of_cells) / n_seeds)
    assert all(row.published is None for row in found.rows)
    assert "prints no numbers" in found.text()
    assert len({(config.name, config.seed) for config in made}) == len(made)  # none takes another's name


def test_what_the_figures_train(made, reals, tmp_path, files):
    def of(name):
        made.clear()
        kind, place = ("gan", gans) if name in GANS else ("autoencoder", autoencoder)
        inputs = Inputs(manifest=reals, folder=tmp_path / name, config=files[kind])
        getattr(place, name.removeprefix("upconv-"))(name, inputs)
        return list(made)

    assert [(c.network.up, c.spectral, c.seed) for c in of("upconv-fig5")] == [
        (up, 0.0, seed) for up in ("transposed", "nearest", "bilinear") for seed in (0, 1, 2)
    ]
    assert {(c.network.kernel, c.network.head_layers, c.spectral) for c in of("upconv-fig8")} == {
        (kernel, layers, 0.5) for kernel in (3, 5, 7, 9, 11) for layers in (0, 2)
    }
    plain, longer, corrected = of("upconv-fig21")[:9:3]
    assert (plain.network.head_layers, longer.network, longer.spectral) == (0, corrected.network, 0.0)
    assert (corrected.network.head_layers, corrected.network.head_kernel, corrected.spectral) == (3, 5, 0.5)
    assert [(c.loss, c.spectral) for c in of("upconv-fig11")] == [
        ("dcgan", 0.0),
        ("dcgan", 100.0),
        ("dragan", 0.0),
        ("dragan", 15.0),
        ("lsgan", 0.0),
        ("lsgan", 15.0),
        ("wgan-gp", 0.0),
        ("wgan-gp", 300.0),
    ]
    assert [(c.network.head_layers, c.network.inner) for c in of("upconv-fig22")] == [
        (1, "last"),
        (2, "none"),
        (1, "all"),
        (3, "none"),
    ]
    transposed, nearest, longer, regular = of("upconv-fig14")
    assert [c.network.last_up for c in (transposed, nearest, longer)] == ["transposed", "nearest", "nearest"]
    assert (longer.network, longer.spectral) == (regular.network, 0.0)
    assert regular.spectral == 15.0


@pytest.mark.parametrize(
    ("kind", "network", "own"),
    [
        ("autoencoder", {"up": "bilinear", "head_layers": 3}, {}),
        ("gan", {"last_up": "nearest", "head_layers": 3, "inner": "all"}, {"spectral_layers": 1}),
    ],
)
def test_a_plain_cell_is_plain_whatever_the_configuration_has(kind, network, own, made, reals, tmp_path):
    """The configurations that users have at hand are those of corrected generators."""
    tree = options(kind, network=network, spectral=0.5, **own)
    lines = [f"{k} = {json.dumps(v)}" for k, v in tree.items() if not isinstance(v, dict)]
    for table in ("network", "training"):
        lines += [f"[{table}]", *(f"{k} = {json.dumps(v)}" for k, v in tree[table].items())]
    file = tmp_path / "corrected.toml"
    file.write_text("\n".join(lines))
    given = study(Inputs(manifest=reals, folder=tmp_path / "c", config=file), kind)
    if kind == "gan":
        gans.plain(given, "dcgan")
        gans.headed(given, "dcgan")
        gans.judged(given, "dcgan")
        assert [c.network.last_up for c in made] == ["transposed", "nearest", "transposed"]
        assert [c.network.head_layers for c in made] == [0, 3, 0]
        assert [c.spectral_layers for c in made] == [0, 0, 1]
        assert {c.network.inner for c in made} == {"none"}
    else:
        autoencoder.plain(given, "transposed")
        autoencoder.headed(given, "transposed", 0.0)
        assert [c.network.head_layers for c in made] == [0, 3]
    assert {c.spectral for c in made} == {0.0}


def test_a_row_stands_for_the_cell_that_its_label_says(made, reals, tmp_path, files):
    """Distances tell the cells apart; an exchange of two would not be seen in a picture."""

    def distances(name):
        made.clear()
        kind = "gan" if name in GANS else "autoencoder"
        found = reproduce(name, manifest=reals, out=tmp_path / name, config=files[kind])
        return {row.row: row.reproduced for row in found.rows if row.column == "spectral distance"}

    rows = distances("upconv-fig1-trained")
    for loss, weight in gans.WEIGHTS.items():
        (plain,) = (c for c in made if (c.loss, c.spectral) == (loss, 0.0))
        (regular,) = (c for c in made if (c.loss, c.spectral) == (loss, weight))
        assert rows[f"{loss}, plain"] == pytest.approx(distance_of(plain))
        assert rows[f"{loss}, regularised"] == pytest.approx(distance_of(regular))
    rows = distances("upconv-fig13")
    by_label = {
        "transposed": ("transposed", 0, 0.0),
        "nearest": ("nearest", 1, 0.0),
        "three layers, no loss": ("nearest", 3, 0.0),
        "three layers, λ = 100": ("nearest", 3, 100.0),
    }
    for label, wanted in by_label.items():
        (cell,) = (c for c in made if (c.network.last_up, c.network.head_layers, c.spectral) == wanted)
        assert rows[label] == pytest.approx(distance_of(cell))
    rows = distances("upconv-fig7")
    for up in ("transposed", "bilinear"):
        for weight in (0, 0.05, 0.5, 5):
            own = [distance_of(c) for c in made if (c.network.up, c.spectral) == (up, weight)]
            assert len(own) == 3
            assert rows[f"{up}, λ = {weight:g}"] == pytest.approx(np.mean(own))


def test_the_last_epochs_stand_beside_the_last(made, reals, tmp_path, files):
    """Of two epochs a fifth is one, the last."""
    found = reproduce("upconv-fig14", manifest=reals, out=tmp_path / "c", config=files["gan"])
    rows = {(row.row, row.column): row for row in found.rows}
    own = rows["transposed", "spectral distance, median of the last 1 epochs"]
    half = rows["transposed", "spectral distance"].reproduced / 2
    assert (own.reproduced, own.unit) == (pytest.approx(half), "dB")
    assert own.note == f"from {half:.3g} to {half:.3g}"
    cell = cells.Finished(
        "c", None, {"history": [{"valid_spectral_distance": x} for x in (9, 9, 9, 9, 5, 4)]}
    )
    assert gans._last_epochs("x", cell).reproduced == 4
    longer = cells.Finished("c", None, {"history": [{"valid_spectral_distance": x} for x in range(20)]})
    row = gans._last_epochs("x", longer)
    assert (row.reproduced, row.note) == (17.5, "from 16 to 19")


def test_the_upper_band_is_that_which_a_halved_image_lacks():
    """Rings of 4 pixels lie at 0.375, 0.625 and 0.875 cycles a pixel, of 8 the first at 0.1875."""
    profile = {"real": [1.0, 2.0, 3.0], "fake": [2.0, 4.0, 6.0]}

    def cell(size):
        record = {"profile": profile, "identity": {"config": {"network": {"size": size}}}}
        return cells.Finished("c", None, record)

    assert upper_band(cell(4)) == pytest.approx(2)
    assert upper_band(cell(8)) == pytest.approx(2.5)


@pytest.mark.parametrize(("kind", "paired"), [("gan", False), ("autoencoder", True)])
def test_a_distance_says_what_it_is_held_against(kind, paired, tmp_path):
    record = {"measured": {"spectral_distance": 1.0}, "noise": 2.0}
    record |= {"identity": {"config": {"kind": kind, "network": {"size": 4}}}}
    record |= {"profile": {"real": [1.0, 2.0], "fake": [1.0, 2.0]}}
    (row,) = rows_of("x", [cells.Finished("c", tmp_path, record)], ("spectral_distance",))
    assert row.note.startswith("two halves of the real images are 2.00 dB apart")
    assert row.note.endswith("held against its own original and may be nearer") == paired


def test_the_loss_stands_beside_its_released_form(made, reals, tmp_path, files):
    found = reproduce("upconv-loss", manifest=reals, out=tmp_path / "c", config=files["autoencoder"])
    assert len(made) == 2 * 4 * 3
    assert {config.seed for config in made} == {0, 1, 2}
    assert [(c.spectral, f and f.name) for c, f in zip(made[:12:3], factors[:12:3], strict=True)] == [
        (0.0, None),
        (0.05, None),
        (0.5, None),
        (0.0, "released-0.5"),
    ]
    assert len({(c.name, c.seed, f and f.name) for c, f in zip(made, factors, strict=True)}) == 24
    rows = {(row.row, row.column): row for row in found.rows}
    ratio = rows["transposed, λ = 0.5", "nearer than without the loss"]
    without, with_loss = ([distance_of(c) for c in made[at : at + 3]] for at in (0, 6))
    by_seed = [a / b for a, b in zip(without, with_loss, strict=True)]
    assert ratio.reproduced == pytest.approx(np.mean(by_seed))
    assert ratio.note == "met with 0 of 3 seeds; by seed: " + ", ".join(f"{value:.4g}" for value in by_seed)
    assert rows["bilinear, no loss", "mean squared error"].note == "by seed: 0.01, 0.01, 0.01"


def test_the_factor_is_that_of_the_released_form():
    """Against the form in tests/reference, which is written from its description alone."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
    from released_spectral_loss import released_loss

    from tellsign.evaluate.upconv.correction import released_factor

    rng = np.random.default_rng(0)
    made, real = (torch.from_numpy(rng.random((3, 3, 16, 16))) for _ in range(2))
    made.requires_grad_()
    found = released_factor(0.5).of(made, real)
    assert not found.requires_grad
    expected = released_loss(torch.ones((), dtype=torch.float64), made, real, weight=0.5)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(("name", "kind", "n"), [("pictures", "autoencoder", 3), ("pictures-gan", "gan", 3)])
def test_pictures_before_and_after(name, kind, n, made, reals, tmp_path, files, monkeypatch):
    images = np.random.default_rng(0).random((8, 3, 16, 16))
    monkeypatch.setattr(correction, "images_of", lambda artifact, n, given: images[:n])
    monkeypatch.setattr(cells.Finished, "generator", None)
    figures = []
    draw = correction.pictures_figure
    monkeypatch.setattr(
        correction, "pictures_figure", lambda *a, **k: figures.append(draw(*a, **k)) or figures[0]
    )
    found = reproduce(f"upconv-{name}", manifest=reals, out=tmp_path / "c", config=files[kind])
    assert len(made) == n
    of_reals, *of_generators = (len(axes.images) for axes in figures[0].axes[::2][: n + 1])
    assert of_generators == [1] * n
    assert of_reals == (kind != "gan"), "what a GAN makes can be shown to anybody"
    assert found.picture == tmp_path / "c" / f"upconv-{name}.png"
    assert found.picture.stat().st_size > 20_000
    assert {row.column for row in found.rows} >= {"spectral distance", "upper half of the band"}
    if kind == "gan":
        assert [(c.spectral, c.spectral_layers) for c in made] == [(0.0, 0), (100.0, 0), (0.0, 1)]


@pytest.mark.parametrize("name", ["upconv-fig12", "upconv-fig13"])
def test_the_frechet_distance_is_that_of_a_network_that_is_given(
    name, made, reals, tmp_path, files, monkeypatch
):
    from tellsign.generators.frechet import FeatureNetwork

    network = FeatureNetwork("mine.onnx", "0123456789abcdef", None, lambda images: images.mean(axis=(2, 3)))
    monkeypatch.setattr(cells, "_network", lambda given: network)
    options = {"manifest": reals, "out": tmp_path / "c", "config": files["gan"]}
    found = reproduce(name, features=tmp_path / "mine.onnx", **options)
    assert any(row.column == "Fréchet distance" and row.unit == "squared distance" for row in found.rows)
    notes = " ".join(found.notes)
    assert "by mine.onnx, weights 0123456789ab" in notes
    assert "Not computed" not in notes
    assert "Not computed: the Fréchet" in " ".join(reproduce(name, **options).notes)
    with pytest.raises(ConfigError, match="has no use for features"):
        reproduce("upconv-fig5", manifest=reals, out=tmp_path, features=tmp_path / "mine.onnx")


def test_a_configuration_of_another_kind_is_refused(reals, tmp_path, files):
    with pytest.raises(ConfigError, match="trains the kind 'gan'; expected 'autoencoder'"):
        reproduce("upconv-fig5", manifest=reals, out=tmp_path / "o", config=files["gan"])


def test_the_theory_is_drawn_and_holds(tmp_path):
    found = reproduce("upconv-theory", out=tmp_path / "t.png")
    assert {row.row for row in found.rows} == {"zeros inserted", "linearly interpolated"}
    assert all(row.reproduced < 1e-12 for row in found.rows)
    assert found.picture.is_file()


def test_high_frequencies_are_those_that_a_halved_image_has_not():
    waves = np.arange(16) / 16
    low, high = (np.cos(2 * np.pi * k * waves) * np.ones((3, 16, 1)) for k in (3, 6))
    np.testing.assert_allclose(autoencoder.high_frequencies(low + high), high, atol=1e-12)
    assert autoencoder.share_of_error(low + high) == pytest.approx(0.5)
