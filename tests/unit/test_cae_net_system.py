"""CAE-Net from end to end in small: fit, detector, PyTorch, resuming, and what is refused.

Shapes: B batch, H W pixels.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pictures import natural, upsampled, write_split_dataset
from tellsign import artifacts, detectors, hub
from tellsign.data import Manifest, pixels, read
from tellsign.image import decode, square_crops
from tellsign.metrics import auroc
from tellsign.types import FAKE, REAL, ArtifactError, ConfigError, ManifestError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
from tellsign.engine.fusion import validation_halves  # noqa: E402 - after what it may lack
from tellsign.perturb.attacks import parse  # noqa: E402
from tellsign.systems.cae_net.config import CaeNetConfig  # noqa: E402
from tellsign.systems.cae_net.model import band_statistics  # noqa: E402
from tellsign.systems.cae_net.stages import TABLE, read_retention, write_retention  # noqa: E402
from tellsign.systems.cae_net.system import CaeNetSystem  # noqa: E402
from tellsign.systems.cae_net.training import crop_scores, trained_branches  # noqa: E402

pytestmark = pytest.mark.usefixtures("no_curves")

SIZE = 48
BANDS = {
    "backbone": "test_vit",
    "input": "dwt",
    "options": {"patch_size": 4, "depth": 1},
    "stage_epochs": 1,
}
BRANCHES = {
    "pixels": {"backbone": "test_efficientnet", "flip": True},
    "bands": BANDS,
}
TRAINING = {"epochs": 3, "batch_size": 8, "learning_rate": 3e-3, "optimiser": "adamw", "workers": 0}

STAGE = {name: value for name, value in TRAINING.items() if name != "epochs"}  # which each branch has


def config(**options):
    return CaeNetConfig(
        **{
            "branches": BRANCHES,
            "size": SIZE,
            "dwt": "native",
            "weights": "scratch",
            "strategy": "plain",
            "fusion": "fit",
            "training": TRAINING,
            **options,
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read(write_split_dataset(tmp_path_factory.mktemp("data"), train=12, valid=6, test=8, size=60))


def parts_of(data):
    return data.filter(split="train"), data.filter(split="valid")


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """Folder of a detector, and what was said."""
    said = []
    out = tmp_path_factory.mktemp("detector") / "d"
    assert CaeNetSystem(config()).fit(*parts_of(data), out=out, seed=0, say=said.append) == out
    return out, said


def images(n=4, height=SIZE + 7, width=2 * SIZE):
    return np.stack([make(700 + i, height, width) for i in range(n) for make in (natural, upsampled)])


def detector_scores(folder, pictures):
    detector = detectors.from_artifact(artifacts.load(folder))
    inputs = [detector.preprocess(one) for one in pictures]
    batch = {name: np.stack([one[name] for one in inputs]) for name in inputs[0]}
    return detector.score(batch), detector.parts(batch)


def test_what_it_learnt_tells_upsampled_from_natural(fitted, data):
    from tellsign import image

    test = data.filter(split="test")
    scores, parts = detector_scores(fitted[0], [image.decode(s.path).array for s in test])
    assert auroc(np.array(test.labels), scores) > 0.9
    assert auroc(np.array(test.labels), parts["bands"]) > 0.9


def test_the_module_scores_whole_images_as_the_detector_does(fitted):
    pictures = images()
    scores, parts = detector_scores(fitted[0], pictures)
    system = CaeNetSystem(config())
    assert list(parts) == list(BRANCHES)
    with torch.no_grad():
        assert np.allclose(system.module(fitted[0])(torch.from_numpy(pictures)), scores, atol=1e-4)
        for name in BRANCHES:
            module = system.branch_module(fitted[0], name)
            assert np.allclose(module(torch.from_numpy(pictures)), parts[name], atol=1e-4)
        crops = torch.from_numpy(images(height=SIZE, width=SIZE))
        found = system.network(fitted[0])(crops)
    assert found["score"].shape == (8,)
    assert found["parts"].shape == (8, 2)


def test_several_crops_are_averaged_as_the_detector_does(fitted, tmp_path):
    """The same network, told to look at two crops."""
    artifact = artifacts.load(fitted[0])
    spec = {key: value for key, value in artifact.spec.items() if key != "format"}
    spec["config"] = spec["config"] | {"max_crops": 2}
    spec["preprocessing"] = spec["preprocessing"] | {"max_crops": 2}
    artifacts.save(tmp_path / "two", spec=spec, arrays=artifact.arrays, graph=artifact.graph)
    pictures = images()
    scores, _ = detector_scores(tmp_path / "two", pictures)
    with torch.no_grad():
        found = CaeNetSystem().module(tmp_path / "two")(torch.from_numpy(pictures))
    assert np.allclose(found, scores, atol=1e-4)
    assert not np.allclose(scores, detector_scores(fitted[0], pictures)[0], atol=1e-4)


def test_gradients_attack_the_ensemble_and_a_branch(fitted):
    pictures, labels = images(4), np.array([REAL, FAKE] * 4)
    signs = np.where(labels == FAKE, 1, -1)
    for module in (CaeNetSystem().module(fitted[0]), CaeNetSystem().branch_module(fitted[0], "bands")):
        attacked = parse("fgsm:0.01").run(module, pictures, labels, threshold=0.0, seed=0)
        with torch.no_grad():
            before, after = (module(torch.from_numpy(x)).numpy() for x in (pictures, attacked))
        assert np.abs(attacked - pictures).max() <= 0.01 + 1e-6
        assert (signs * after).mean() < (signs * before).mean()


def test_the_artifact_says_how_it_was_made(fitted):
    spec = artifacts.load(fitted[0]).spec
    again = hub.system("cae-net").config_class(**spec["config"])
    assert again == config(fusion_weights=tuple(spec["fusion"]["weights"].values()))
    assert spec["preprocessing"] == again.input.to_spec()
    assert spec["graph"]["parity"]["n"] >= 2
    assert spec["graph"]["parity"]["largest"] <= 1e-4
    assert spec["fusion"]["n"] == 6
    assert set(spec["fusion"]["auroc"]) == {*BRANCHES, "fused"}
    assert spec["cost"]["branches"]["total"]["parameters"] == sum(
        array.size
        for name, array in artifacts.load(fitted[0]).arrays.items()
        if name.startswith("network.branches.")
        and not name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))
        and name.rsplit(".", 1)[0] not in {f"network.branches.{branch}" for branch in BRANCHES}
    )


def test_the_halves_of_validation_share_no_group(data):
    halves = validation_halves(data.filter(split="valid"), seed=0)
    groups = [{sample.group for sample in half} for half in halves.values()]
    assert not groups[0] & groups[1]
    assert sum(map(len, halves.values())) == 12
    with pytest.raises(ManifestError, match="groups are too few"):
        validation_halves(Manifest(tuple(replace(s, group="one") for s in data)), seed=0)


@pytest.fixture
def saved(monkeypatch):
    """What would be saved: an export takes seconds, and another test has one."""
    calls = []

    def keep(out, module, **arguments):
        calls.append((module, arguments))
        return out

    monkeypatch.setattr("tellsign.engine.export.save_network", keep)
    return calls


def test_a_second_fit_finds_all_done_and_writes_the_same(fitted, data, saved):
    out, said = fitted
    best = {path: path.stat().st_mtime_ns for path in out.with_name("d.run").rglob("best.safetensors")}
    assert len(best) == 2
    again = []
    CaeNetSystem(config()).fit(*parts_of(data), out=out, seed=0, say=again.append)
    assert {path: path.stat().st_mtime_ns for path in best} == best
    assert any("AUROC" in line and "epoch 3 of 3" in line for line in said)
    assert not any("epoch" in line for line in again)
    ((module, arguments),) = saved
    artifact = artifacts.load(out)
    spec = json.loads(json.dumps(arguments["spec"]))
    assert spec == {key: artifact.spec[key] for key in spec}
    for name, tensor in module.state_dict().items():
        assert np.array_equal(tensor.numpy(), artifact.arrays[f"network.{name}"]), name


def test_other_options_do_not_go_on_in_its_folder(fitted, data):
    other = config(training=TRAINING | {"learning_rate": 1e-3})
    with pytest.raises(ConfigError, match=r"holds another training: training.learning_rate was 0.003 and is"):
        CaeNetSystem(other).fit(*parts_of(data), out=fitted[0], seed=0)
    with pytest.raises(ConfigError, match=r"holds another training: .*seed was"):
        CaeNetSystem(config()).fit(*parts_of(data), out=fitted[0], seed=1)


def test_another_fusion_needs_no_other_training(fitted, data, tmp_path, saved):
    shutil.copytree(fitted[0].with_name("d.run"), tmp_path / "e.run")
    said = []
    other = config(fusion="weights", fusion_weights=(0.25, 0.75))
    CaeNetSystem(other).fit(*parts_of(data), out=tmp_path / "e", seed=0, say=said.append)
    assert not any("epoch" in line for line in said)
    ((module, arguments),) = saved
    assert arguments["spec"]["fusion"]["kind"] == "weights"
    assert arguments["parts"] == tuple(BRANCHES)
    with torch.no_grad():
        found = module.eval()(torch.from_numpy(arguments["examples"]))
    p = found["parts"].double().sigmoid() @ torch.tensor([0.25, 0.75], dtype=torch.float64)
    assert torch.allclose(found["score"].double(), p.logit(), atol=1e-5)


# stages


def multistage(folder, data, say=lambda text: None):
    one = config(branches={"bands": BANDS}, strategy="multistage", stages=2, training=STAGE)
    train, valid = parts_of(data)
    return trained_branches(one, train, valid, run=folder, seed=4, say=say)["bands"]


def test_stages_follow_each_other_over_a_break_and_the_table_says_what_is_kept(data, tmp_path):
    whole = multistage(tmp_path / "whole", data)

    def stop(text):
        if "stage 2" in text and "epoch" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        multistage(tmp_path / "broken", data, say=stop)
    assert len(read_retention(tmp_path / "broken" / "bands" / TABLE)) == 1
    resumed = multistage(tmp_path / "broken", data)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    starts = [
        json.loads((tmp_path / "whole" / "bands" / f"stage-{n}" / "run.json").read_bytes())["identity"][
            "start"
        ]
        for n in (1, 2)
    ]
    assert starts[0] != starts[1], "a stage starts where the one before ended"
    rows = read_retention(tmp_path / "whole" / "bands" / TABLE)
    assert read_retention(tmp_path / "broken" / "bands" / TABLE) == rows
    assert [row.seen for row in rows] == [(True, False), (True, True)]
    assert all(row.n_subsets == (6, 6) and row.n_reals == 12 for row in rows)


def test_a_table_of_other_weights_is_made_anew_from_there_on(data, tmp_path):
    multistage(tmp_path / "run", data)
    table = tmp_path / "run" / "bands" / TABLE
    rows = read_retention(table)
    assert len({row.weights for row in rows}) == 2
    assert all(len(row.weights) == 12 for row in rows)
    # A stage of another training, from a folder that was copied, and one more than there are.
    foreign = replace(rows[1], weights="0" * 12, reals=0.125)
    write_retention(table, [rows[0], foreign, foreign], title="foreign")
    multistage(tmp_path / "run", data)
    assert read_retention(table) == rows


# images that can't be used, and the cache


@pytest.fixture
def broken(data, tmp_path):
    """The parts, of which an image of the half that fits the fusion and one for the statistics are broken."""
    train, valid = parts_of(data)
    samples = {}
    for name, sample in (("train", train[0]), ("valid", validation_halves(valid, seed=0)["weights"][1])):
        path = tmp_path / f"{name}.png"
        path.write_bytes(b"no image")
        samples[sample.path] = replace(sample, path=path)
    return [Manifest(tuple(samples.get(s.path, s) for s in part)) for part in (train, valid)], tmp_path


def skipping(max_bad, **options):
    branches = {"bands": BANDS | {"backbone": "test_resnet", "options": {}}}
    training = TRAINING | {"epochs": 1, "on_bad": "skip", "max_bad": max_bad}
    return config(branches=branches, training=training, **options)


def test_images_that_are_left_out_are_told_and_counted(broken, saved):
    (train, valid), folder = broken
    said = []
    CaeNetSystem(skipping(1)).fit(train, valid, out=folder / "d", seed=0, say=said.append)
    told = [line for line in said if line.startswith("left out: ")]
    assert [sum(f"'{folder / name}'" in line for line in told) for name in ("train.png", "valid.png")] == [
        1,
        1,
    ]
    ((_, arguments),) = saved
    assert (arguments["spec"]["fusion"]["n"], arguments["spec"]["fusion"]["n_left_out"]) == (5, 1)


def test_too_many_are_refused(broken):
    (train, valid), folder = broken
    with pytest.raises(ManifestError, match=r"1 images can't be used, and max_bad is 0.*train\.png"):
        CaeNetSystem(skipping(0)).fit(train, valid, out=folder / "d", seed=0)
    half = validation_halves(valid, seed=0)["weights"]
    one = skipping(0)
    branches = {"bands": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 2))}
    with pytest.raises(ManifestError, match=r"1 images can't be used, and max_bad is 0.*valid\.png"):
        crop_scores(branches, half, one)


@pytest.mark.usefixtures("saved")
def test_all_trainings_and_measurements_share_one_cache_which_goes_at_the_end(data, tmp_path, monkeypatch):
    decoded, original = [], pixels.decode

    def counted(path):
        decoded.append(path)
        return original(path)

    monkeypatch.setattr(pixels, "decode", counted)
    two = {name: BANDS | {"backbone": "test_resnet", "options": {}} for name in ("a", "b")}
    one = config(
        branches=two,
        strategy="multistage",
        stages=2,
        training=STAGE | {"cache": True},
    )
    CaeNetSystem(one).fit(*parts_of(data), out=tmp_path / "d", seed=0)
    assert sorted(decoded) == sorted(sample.path for part in parts_of(data) for sample in part), "each once"
    assert not [path for path in (tmp_path / "d.run").rglob("*") if path.name == "cache"]


def test_fewer_fakes_than_stages(data, tmp_path):
    train, valid = parts_of(data)
    few = Manifest(tuple(train.filter(label=REAL)) + tuple(train.filter(label=FAKE))[:2])
    one = config(strategy="multistage", stages=3, training=STAGE)
    with pytest.raises(ManifestError, match="2 fakes cannot be parted into 3 subsets"):
        CaeNetSystem(one).fit(few, valid, out=tmp_path / "d", seed=0)
    assert not (tmp_path / "d").exists()


# what is refused


@pytest.mark.parametrize(("label", "name"), [(REAL, "reals"), (FAKE, "fakes")])
def test_one_class_alone(label, name, data, tmp_path):
    train, valid = parts_of(data)
    with pytest.raises(ManifestError, match=f"training needs reals and fakes, found 12 rows with {name}"):
        CaeNetSystem(config()).fit(train.filter(label=label), valid, out=tmp_path / "d", seed=0)
    with pytest.raises(ManifestError, match=f"validation needs reals and fakes, found 6 rows with {name}"):
        CaeNetSystem(config()).fit(train, valid.filter(label=label), out=tmp_path / "d", seed=0)


def test_a_folder_that_is_no_detector_is_not_written_to(data, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "letter.txt").touch()
    with pytest.raises(ArtifactError, match="is not a detector folder alone"):
        CaeNetSystem(config()).fit(*parts_of(data), out=tmp_path / "d", seed=0)


def test_a_backbone_that_cannot_take_the_crops_is_known_before_any_training(data, tmp_path):
    branches = {"bands": BANDS, "deep": {"backbone": "dla46_c", "input": "dwt"}}
    small = config(branches=branches, size=32)
    with pytest.raises(
        ConfigError, match="dla46_c of the branch 'deep' can't take crops of 32 pixels as dwt"
    ):
        CaeNetSystem(small).fit(*parts_of(data), out=tmp_path / "d", seed=0)
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        ({"options": {"no_such_option": 1}}, "no_such_option"),
        ({"backbone": "no_such_backbone"}, "no_such_backbone"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors cannot be read"),
    ],
)
def test_a_branch_that_cannot_be_built_is_known_before_an_image_is_read(
    data, tmp_path, monkeypatch, branch, message
):
    """And nothing is left that the corrected command would have to resume."""
    monkeypatch.setattr(pixels, "decode", None)
    branches = {"bands": BANDS, "other": {"backbone": "test_resnet", "input": "dwt"} | branch}
    one = config(branches=branches, training=TRAINING | {"cache": True})
    with pytest.raises(ConfigError, match=message):
        CaeNetSystem(one).fit(*parts_of(data), out=tmp_path / "d", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_sub_bands_are_standardised_with_the_training_s_own_statistics(data, tmp_path, monkeypatch):
    seen = []

    def trained(branch, name, plan):
        seen.append((branch.get_buffer("mean"), branch.get_buffer("std")))
        return branch

    monkeypatch.setattr("tellsign.systems.cae_net.training._trained", trained)
    train, valid = parts_of(data)
    both = config(branches={"bands": BANDS, "pixels": BRANCHES["pixels"]})
    trained_branches(both, train, valid, run=tmp_path, seed=0, say=print)
    crops = torch.from_numpy(np.stack([square_crops(decode(s.path).array, SIZE, 1)[0] for s in train]))
    expected = band_statistics([crops], "native")
    for found, name in zip(seen[0], ("mean", "std"), strict=True):
        assert torch.allclose(found.flatten(), torch.tensor(expected[name]), atol=1e-6)
    assert seen[1][0].flatten().tolist() == pytest.approx((0.485, 0.456, 0.406)), "pixels keep timm's"


@pytest.mark.parametrize("step", ["trained_branches", "chosen_fusion"])
def test_out_of_memory_around_the_trainings(data, tmp_path, monkeypatch, step):
    def fails(*args, **options):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(f"tellsign.systems.cae_net.training.{step}", fails)
    if step == "chosen_fusion":
        monkeypatch.setattr("tellsign.systems.cae_net.training.trained_branches", lambda *a, **k: {})
    with pytest.raises(ConfigError, match=r"out of memory around .* is kept in .*d\.run\. Make memory free"):
        CaeNetSystem(config()).fit(*parts_of(data), out=tmp_path / "d", seed=0)


def test_no_process_writes_before_all_have_come(data, tmp_path, monkeypatch):
    """Since the first one may still be clearing what an earlier training has left."""

    class Waiting(BaseException):
        pass

    def waits(value, at):
        raise Waiting

    monkeypatch.setattr("tellsign.engine.fitting.gathered", waits)
    monkeypatch.setattr(pixels, "decode", None)
    with pytest.raises(Waiting):
        CaeNetSystem(config(training=TRAINING | {"cache": True})).fit(
            *parts_of(data), out=tmp_path / "d", seed=0
        )
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_smaller_than_the_crops(data, tmp_path):
    with pytest.raises(ManifestError, match="60 × 60 pixels, this detector needs at least 64 × 64"):
        CaeNetSystem(config(size=64)).fit(*parts_of(data), out=tmp_path / "d", seed=0)


def test_a_branch_that_is_not_there(fitted):
    with pytest.raises(ConfigError, match=r"no branch 'deit'; .* has pixels, bands"):
        CaeNetSystem().branch_module(fitted[0], "deit")


def test_a_detector_of_another_system():
    with pytest.raises(ArtifactError, match="a detector of the system 'spectrum', expected 'cae-net'"):
        CaeNetSystem().module(hub.detector_path("spectrum"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"branches": BRANCHES | {"bands": {"backbone": "test_convnext", "input": "dwt"}}}, "don't fit"),
        ({"branches": {"pixels": BRANCHES["pixels"]}, "fusion_weights": [1.0]}, "don't fit"),
        ({"branches": BRANCHES | {"bands": {"backbone": "no_such_net"}}}, "don't fit .*no architecture"),
        ({"size": "large"}, "its configuration cannot be read"),
        ({"sizes": 3}, "its configuration cannot be read"),
    ],
    ids=["architecture", "branches", "timm", "type", "key"],
)
def test_weights_and_configuration_that_do_not_belong_together(change, message, fitted, tmp_path):
    artifact = artifacts.load(fitted[0])
    spec = {key: value for key, value in artifact.spec.items() if key != "format"}
    spec["config"] = spec["config"] | change
    artifacts.save(tmp_path / "d", spec=spec, arrays=artifact.arrays, graph=artifact.graph)
    with pytest.raises(ArtifactError, match=message):
        CaeNetSystem().module(tmp_path / "d")


def test_weights_of_another_class_count(fitted, tmp_path):
    artifact = artifacts.load(fitted[0])
    spec = {key: value for key, value in artifact.spec.items() if key != "format"}
    head = "network.branches.bands.network.head"
    arrays = dict(artifact.arrays)
    arrays |= {
        f"{head}.{part}": np.repeat(arrays[f"{head}.{part}"], 2, axis=0) for part in ("weight", "bias")
    }
    artifacts.save(tmp_path / "d", spec=spec, arrays=arrays, graph=artifact.graph)
    with pytest.raises(ArtifactError, match=r"size mismatch for branches.bands.network.head.weight"):
        CaeNetSystem().module(tmp_path / "d")
