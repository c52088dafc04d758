"""A network's detector: crops in, scores and parts out, by each engine, and what is wrong with a folder said.

Shapes: B batch, N crops, S side of a crop.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from clips import clip
from detector import write_detector
from network import LOOK, PARTS, SIZE, Pairs, PairsSystem, crops, write_network
from pictures import natural, save, upsampled, write_dataset
from tellsign import artifacts, detectors, faces, hub, local
from tellsign.calibration import CalibrationConfig
from tellsign.data import read
from tellsign.detectors import engines
from tellsign.detectors.graph import GraphDetector, GraphInput
from tellsign.detectors.preprocessing import ProfileInput, profile
from tellsign.engine.inference import network_run
from tellsign.image import square_crops
from tellsign.scoring import predictions
from tellsign.scoring.engines import torch_run
from tellsign.scoring.looks import Look, mean_parts
from tellsign.scoring.predictions import predict
from tellsign.scoring.scan import scan
from tellsign.scoring.scorer import Options, Scorer
from tellsign.scoring.store import Store, read_rows
from tellsign.scoring.workers import Limits
from tellsign.train import calibrate, raw_scores, save_refitted
from tellsign.types import ArtifactError, ConfigError, TooSmallError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "pairs")


@pytest.fixture(scope="module")
def artifact(folder):
    return artifacts.load(folder)


@pytest.fixture(scope="module")
def detector(artifact):
    return detectors.from_artifact(artifact)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "pairs")


@pytest.fixture
def pairs_system(monkeypatch):
    monkeypatch.setitem(hub.SYSTEMS, "pairs", "network:PairsSystem")


def expected(images):
    """(B, 3, S, S) → scores and parts of each, by PyTorch."""
    with torch.inference_mode():
        found = Pairs()(torch.from_numpy(np.ascontiguousarray(images)))
    return found["score"].numpy(), found["parts"].numpy()


# what it computes


def test_the_score_is_the_mean_over_native_crops(detector):
    image = natural(3, 70, 100)
    inputs = detector.preprocess(image)
    own = square_crops(image, SIZE, 4)
    assert len(own) > 1
    assert inputs["crops"].dtype == np.float32
    assert np.array_equal(inputs["crops"], own)
    scores, parts = expected(own)
    batch = {name: array[None] for name, array in inputs.items()}
    assert detector.score(batch)[0] == pytest.approx(scores.mean(), abs=1e-5)
    found = detector.parts(batch)
    assert list(found) == list(PARTS)
    for i, name in enumerate(PARTS):
        assert found[name][0] == pytest.approx(parts[:, i].mean(), abs=1e-5)


def test_one_crop_is_the_centre():
    look = GraphInput(size=SIZE)
    assert look.max_crops == 1
    image = natural(4, 50, 61)
    assert np.array_equal(square_crops(image, look.size, look.max_crops)[0], image[:, 9:41, 14:46])


def test_a_score_does_not_depend_on_its_neighbours(detector):
    batch = {"crops": crops(6)[:, None]}
    together = detector.score(batch)
    alone = [detector.score({"crops": batch["crops"][i : i + 1]})[0] for i in range(12)]
    assert np.array_equal(together, alone)
    assert np.array_equal(detector.score({"crops": np.asfortranarray(batch["crops"])}), together)


def test_the_profile_is_that_of_the_middle(detector):
    image = natural(5, 90, 80)
    options = ProfileInput(crop=SIZE, max_crops=1)
    assert LOOK.domain == options
    assert np.array_equal(detector.preprocess(image)["profile"], profile(image, options))
    assert GraphInput(size=224).domain.crop == 128


def test_an_image_that_is_too_small_is_refused_as_such(detector):
    for height, width in ((SIZE - 1, 300), (300, SIZE - 1)):
        with pytest.raises(
            TooSmallError, match=rf"{width} × {height} pixels, this detector needs at least 32"
        ):
            detector.preprocess(natural(0, height, width))
        with pytest.raises(TooSmallError):
            detector.explain(natural(0, height, width))


def test_evidence(detector):
    image = upsampled(7, 80, 80)
    batch = {name: array[None] for name, array in detector.preprocess(image).items()}
    heat, whole, *own = detector.explain(image)
    assert heat.kind == "heatmap"
    assert heat.values.shape == (SIZE, SIZE)
    assert [one.kind for one in (whole, *own)] == ["scalar"] * 3
    assert whole.values == detector.score(batch)[0]
    assert [one.name for one in own] == [f"score of {name}" for name in PARTS]
    assert [one.values for one in own] == [values[0] for values in detector.parts(batch).values()]


@pytest.mark.parametrize("shape", [(2, 3, SIZE, SIZE), (2, 1, 3, 16, 16), (2, 1, 1, SIZE, SIZE)])
def test_another_shape_of_crops_is_refused(detector, shape):
    with pytest.raises(ArtifactError, match="looks at crops of shape"):
        detector.score({"crops": np.zeros(shape, np.float32)})


def test_it_can_be_sent_to_another_process(detector):
    batch = {"crops": crops(1)[:, None]}
    scores = detector.score(batch)
    assert np.array_equal(pickle.loads(pickle.dumps(detector)).score(batch), scores)


# engines


def test_threads_are_those_that_were_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert engines.threads() == 3
    for text in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert engines.threads() >= 1


def test_openvino_gives_the_same_scores(artifact, detector):
    pytest.importorskip("openvino")
    batch = {"crops": crops(20).reshape(20, 2, 3, SIZE, SIZE)}
    other = detectors.from_artifact(artifact, "openvino")
    scores, parts = other.scores_and_parts(batch)
    assert np.allclose(scores, detector.score(batch), rtol=0, atol=1e-4)
    for name, values in detector.parts(batch).items():
        assert np.allclose(parts[name], values, rtol=0, atol=1e-4)


def test_openvino_in_bf16_is_near_or_says_that_it_cannot(artifact, detector):
    openvino = pytest.importorskip("openvino")
    batch = {"crops": crops(4)[:, None]}
    other = detectors.from_artifact(artifact, "openvino-bf16")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ConfigError, match="does not compute in bf16; use --engine openvino"):
            other.score(batch)
        return
    scores = detector.score(batch)
    assert np.allclose(other.score(batch), scores, rtol=0.05, atol=0.05)


def test_openvino_that_is_missing_is_named(artifact, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        ConfigError, match=r"needs openvino; install it with: pip install 'tellsign\[openvino\]'"
    ):
        detectors.from_artifact(artifact, "openvino").start()


def test_pytorch_gives_the_same_scores(artifact, detector, pairs_system):
    batch = {"crops": crops(20).reshape(20, 2, 3, SIZE, SIZE)}
    other = detectors.from_artifact(artifact, "torch", torch_run=torch_run)
    scores, parts = other.scores_and_parts(batch)
    assert np.allclose(scores, detector.score(batch), rtol=0, atol=1e-4)
    for name, values in detector.parts(batch).items():
        assert np.allclose(parts[name], values, rtol=0, atol=1e-4)


def test_a_system_without_a_network_of_parts_gives_its_module(artifact, detector, pairs_system, monkeypatch):
    monkeypatch.setattr(PairsSystem, "module", PairsSystem.network, raising=False)
    monkeypatch.delattr(PairsSystem, "network")
    batch = {"crops": crops(2)[:, None]}
    other = detectors.from_artifact(artifact, "torch", torch_run=torch_run)
    assert np.allclose(other.score(batch), detector.score(batch), rtol=0, atol=1e-4)
    assert other.parts(batch) == {}


@pytest.mark.parametrize("config", [{"colour": 1}, {"size": "large"}, {"size": 0}])
def test_a_configuration_that_this_version_does_not_know(artifact, config):
    other = replace(artifact, spec={**artifact.spec, "system": "cae-net", "config": config})
    with pytest.raises(ArtifactError, match=r"its configuration cannot be read .*or use the engine onnx"):
        torch_run(other)


@pytest.mark.parametrize("allowed", [True, False])
def test_pytorch_computes_with_all_digits(allowed):
    kinds = torch.backends.cudnn, torch.backends.cuda.matmul
    before, found = [kind.allow_tf32 for kind in kinds], []

    class Network(torch.nn.Module):
        def forward(self, images):
            found.append([kind.allow_tf32 for kind in kinds])
            return torch.zeros(len(images), 2)

    try:
        for kind in kinds:
            kind.allow_tf32 = allowed
        network_run(Network(), n_parts=0, device="cpu")(crops(2))
        assert [kind.allow_tf32 for kind in kinds] == [allowed, allowed], "as it was"
    finally:
        for kind, value in zip(kinds, before, strict=True):
            kind.allow_tf32 = value
    assert found == [[False, False]]


def test_engines_that_do_not_do(artifact, tmp_path):
    with pytest.raises(
        ConfigError, match="no engine 'tensorrt'; there are onnx, openvino, openvino-bf16, torch"
    ):
        detectors.from_artifact(artifact, "tensorrt")
    with pytest.raises(ConfigError, match="engine torch is not available here"):
        detectors.from_artifact(artifact, "torch")
    with pytest.raises(ConfigError, match="no system 'pairs'"):
        detectors.from_artifact(artifact, "torch", torch_run=torch_run).start()
    nameless = replace(artifact, spec={k: v for k, v in artifact.spec.items() if k != "system"})
    with pytest.raises(ConfigError, match="does not say which system wrote it"):
        torch_run(nameless)
    plain = artifacts.load(write_detector(tmp_path / "plain"))
    with pytest.raises(ConfigError, match=r"the engine openvino runs networks, and stand-in@.* is none"):
        detectors.from_artifact(plain, "openvino")


# what is wrong with a folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preprocessing": {"size": SIZE, "colour": "hsv"}}, "unknown preprocessing .*colour"),
        ({"preprocessing": {"size": "32"}}, "size is a whole number of at least 16, found '32'"),
        ({"preprocessing": {"size": 8}}, "size is a whole number of at least 16, found 8"),
        ({"preprocessing": {"size": SIZE, "max_crops": 0}}, "max_crops is a whole number"),
        ({"preprocessing": {"size": SIZE, "region": "eye"}}, "region is image or face"),
        ({"preprocessing": {"size": SIZE, "profile": 3}}, "'profile' should be a table of options"),
        ({"preprocessing": {"size": SIZE, "profile": {"crop": 64}}}, "crop 64 of the image; .* more than"),
        (
            {"preprocessing": {"size": SIZE, "profile": {"crop": 32, "region": "face"}}},
            "of the face; expected",
        ),
        ({"preprocessing": {"size": SIZE, "profile": {"crop": 32, "colour": 1}}}, "unknown preprocessing"),
        ({"graph": {}}, "'graph' should name its parts"),
        ({"graph": {"parts": [1]}}, "'graph' should name its parts"),
        ({"graph": {"parts": ["a", "a"]}}, "two parts of the graph have one name"),
    ],
    ids=str,
)
def test_a_specification_that_cannot_be_carried_out(artifact, change, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        detectors.from_artifact(replace(artifact, spec=artifact.spec | change))
    assert str(artifact.path) in str(caught.value)
    assert "train the detector again" in str(caught.value)


def test_options_come_back_from_the_specification():
    look = GraphInput(region="face", size=96, max_crops=3, profile=ProfileInput("face", crop=64, max_crops=2))
    assert GraphInput.from_spec(json.loads(json.dumps(look.to_spec()))) == look


def test_a_missing_graph_is_named(copy):
    (copy / "graph.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"graph\.onnx is missing; copy the whole folder again, or train"):
        detectors.from_artifact(artifacts.load(copy))


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("share", [0, 0.5, 0.97, None])
def test_a_corrupt_graph_is_refused(copy, engine, share):
    pytest.importorskip("openvino" if engine == "openvino" else "onnxruntime")
    content = (copy / "graph.onnx").read_bytes()
    spoilt = b"\x89PNG\r\n\x1a\n" + bytes(200) if share is None else content[: int(len(content) * share)]
    (copy / "graph.onnx").write_bytes(spoilt)
    detector = detectors.from_artifact(artifacts.load(copy), engine)
    with pytest.raises(ArtifactError, match=r"the graph .*; copy the whole folder again, or train") as caught:
        detector.score({"crops": crops(1)[:, None]})
    assert str(copy) in str(caught.value)


def graph(input_shape, outputs, *, name="images", kind=TensorProto.FLOAT, before=()):
    """A sound graph of given inputs and outputs, {name: shape}; every output is the same mean."""
    nodes, values = [*before], []
    for output, shape in outputs.items():
        axes = [1, 2, 3] if len(shape) == 1 else [2, 3]
        nodes.append(helper.make_node("ReduceMean", [name, f"axes-{output}"], [output], keepdims=0))
        values.append((output, shape, axes))
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, input_shape)],
        [helper.make_tensor_value_info(output, kind, shape) for output, shape, _ in values],
        [helper.make_tensor(f"axes-{o}", TensorProto.INT64, [len(axes)], axes) for o, _, axes in values],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


SOUND = ("batch", 3, SIZE, SIZE)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            graph(SOUND, {"score": ["batch"]}, name="pixels"),
            r"has the inputs \['pixels'\], expected \['images'\]",
        ),
        (graph(SOUND, {"logits": ["batch"]}), r"has the outputs \['logits'\], expected \['score'\]"),
        (graph(SOUND, {"score": ["batch"], "parts": ["batch", 3]}), r"the outputs \['parts', 'score'\]"),
        (graph((4, 3, SIZE, SIZE), {"score": [4]}), "made for batches of 4 alone, expected any number"),
        (graph(("batch", 3, 64, 64), {"score": ["batch"]}), r"'images' of the graph is .*64, 64\), expected"),
        (graph(SOUND, {"score": ["batch", 3]}), r"'score' of the graph is .*3\), expected"),
        (
            graph(SOUND, {"score": ["batch"]}, kind=TensorProto.DOUBLE),
            r"'images' of the graph is .*, expected",
        ),
    ],
    ids=["input", "output", "parts", "batch", "size", "score", "type"],
)
def test_a_graph_that_takes_or_gives_something_else_is_refused(copy, artifact, engine, content, message):
    pytest.importorskip("openvino" if engine == "openvino" else "onnxruntime")
    spec = artifact.spec | {"graph": {"parts": []}}
    other = artifacts.save(copy, spec=spec, arrays=artifact.arrays, graph=content)
    with pytest.raises(ArtifactError, match=message) as caught:
        detectors.from_artifact(other, engine).start()
    assert "train the detector again" in str(caught.value)


def test_that_helper_can_make_a_graph_that_is_taken(copy, artifact):
    spec = artifact.spec | {"graph": {"parts": []}}
    content = graph(SOUND, {"score": ["batch"]})
    other = detectors.from_artifact(artifacts.save(copy, spec=spec, arrays=artifact.arrays, graph=content))
    images = crops(2)
    assert np.allclose(other.score({"crops": images[:, None]}), images.mean(axis=(1, 2, 3)), atol=1e-6)
    assert other.parts({"crops": images[:, None]}) == {}


def test_a_graph_that_was_replaced_since_is_refused(copy, artifact):
    detector = detectors.from_artifact(artifacts.load(copy))
    (copy / "graph.onnx").write_bytes(graph(SOUND, {"score": ["batch"], "parts": ["batch", 3]}))
    with pytest.raises(ArtifactError, match="was replaced while it was at work"):
        detector.score({"crops": crops(1)[:, None]})


def test_too_little_memory_is_no_broken_graph():
    def run(*_):
        raise RuntimeError("Failed to allocate memory for requested buffer of size 1")

    with pytest.raises(MemoryError):
        engines._outputs(run)
    with pytest.raises(ArtifactError, match="cannot be run"):
        engines._outputs(lambda: int("x"))


# calibration keeps the graph


def test_calibration_keeps_the_graph(artifact, tmp_path):
    manifest = read(write_dataset(tmp_path / "data", 30, size=40))
    scores, distances = raw_scores(artifact, manifest)
    labels = np.array(manifest.labels)
    assert scores[labels == 1].min() > scores[labels == 0].max()
    assert np.isfinite(distances).all()
    rule = CalibrationConfig(fpr=0.1, fnr=0.1, domain_quantile=0.9)
    again = calibrate(artifact, manifest, rule, tmp_path / "new")
    assert again.graph.read_bytes() == artifact.graph.read_bytes()
    assert again.digest != artifact.digest
    assert (again.path / "CARD.md").read_text() == "# Pairs\n"
    assert np.array_equal(raw_scores(again, manifest)[0], scores)
    own = save_refitted(again, again.spec | {"name": "own"}, again.arrays, None)
    assert own.path == again.path
    assert own.graph.read_bytes() == artifact.graph.read_bytes()


def test_calibration_on_reals_keeps_the_graph(artifact, tmp_path):
    for seed in range(30):
        save(natural(700 + seed, 40, 40), tmp_path / "mine" / f"{seed}.png")
    manifest = local.real_images(tmp_path / "mine")
    fit = local.calibrate_on_reals(artifact, manifest, CalibrationConfig(fpr=0.1), tmp_path / "new")
    assert fit.artifact.graph.read_bytes() == artifact.graph.read_bytes()


# rows and predictions


def test_a_row_has_its_parts_and_its_engine(folder, tmp_path, detector):
    image = save(upsampled(1, 64, 64), tmp_path / "a.png")
    small = save(natural(1, 20, 20), tmp_path / "b.png")
    scorer = Scorer(folder)
    assert scorer.settings["engine"] == "onnx"
    row, too_small = scorer.rows([(image, None), (small, None)])
    assert row["label"] == "fake"
    assert row["engine"] == too_small["engine"] == "onnx"
    assert list(row["parts"]) == list(PARTS)
    assert row["score"] == pytest.approx(np.mean(list(row["parts"].values())), abs=1e-5)
    assert too_small["label"] == "uncertain"
    assert "parts" not in too_small


def test_a_detector_without_a_network_has_neither(tmp_path):
    image = save(upsampled(1, 64, 64), tmp_path / "a.png")
    scorer = Scorer(write_detector(tmp_path / "plain"))
    (row,) = scorer.rows([(image, None)])
    assert "engine" not in scorer.settings
    assert not {"parts", "engine"} & set(row)


def test_a_network_runs_once_for_score_and_parts(folder, tmp_path, monkeypatch):
    image = save(upsampled(1, 32, 32), tmp_path / "a.png")
    scorer = Scorer(folder)
    calls = []
    run = scorer.detector.start()
    monkeypatch.setattr(GraphDetector, "start", lambda self: lambda x: calls.append(len(x)) or run(x))
    scorer.rows([(image, None)])
    assert calls == [1]


def test_the_parts_of_a_video_are_the_mean_over_its_frames(folder, tmp_path):
    pictures = [upsampled(1), natural(2), natural(3)]
    frames = [np.rint(255 * picture).astype(np.uint8).transpose(1, 2, 0) for picture in pictures]
    path = tmp_path / "a.mkv"
    path.write_bytes(clip(pictures=frames, container="matroska", codec="ffv1", pixels="bgr0"))
    scorer = Scorer(folder)
    (row,) = scorer.rows([(path, None)])
    assert row["error"] is None
    levels = [np.rint(255 * picture) / np.float32(255) for picture in pictures]
    looks = scorer.look([level.astype(np.float32) for level in levels])
    for name in PARTS:
        own = [look.parts[name] for look in looks]
        assert np.std(own) > 0.1
        assert row["parts"][name] == pytest.approx(np.mean(own), abs=1e-6)


def test_the_parts_of_faces_are_those_of_the_one_that_decides(folder, tmp_path, monkeypatch):
    """A natural face on the left, an up-sampled one on the right, in every frame."""
    pictures = [np.concatenate([natural(k), upsampled(k)], axis=2) for k in range(3)]
    frames = [np.rint(255 * picture).astype(np.uint8).transpose(1, 2, 0) for picture in pictures]
    path = tmp_path / "a.mkv"
    path.write_bytes(clip(pictures=frames, container="matroska", codec="ffv1", pixels="bgr0"))
    boxes = (faces.Box(12, 8, 52, 48, 1.0), faces.Box(72, 8, 112, 48, 0.5))
    monkeypatch.setattr(faces, "boxes", lambda image: boxes)
    (row,) = Scorer(folder, Options(faces=True)).rows([(path, None)])
    assert row["faces"] == 2
    assert row["score"] == max(track["score"] for track in row["tracks"])
    assert min(track["score"] for track in row["tracks"]) < row["score"] - 0.5
    assert row["score"] == pytest.approx(np.mean(list(row["parts"].values())), abs=1e-5)


def test_the_mean_of_parts_passes_over_what_has_none():
    looks = [
        Look(1.0, 0.0, parts={"a": 1.0, "b": None}),
        Look(reason="small"),
        Look(3.0, 0.0, parts={"a": 3.0}),
    ]
    assert mean_parts(looks) == {"a": 2.0, "b": None}
    assert mean_parts([Look(1.0, 0.0)]) is None


def test_a_part_that_is_no_number_is_null(folder, tmp_path, monkeypatch):
    image = save(upsampled(1, 32, 32), tmp_path / "a.png")
    found = np.array([1.0]), {"across": np.array([np.inf]), "down": np.array([2.0])}
    monkeypatch.setattr(GraphDetector, "scores_and_parts", lambda self, batch: found)
    (row,) = Scorer(folder).rows([(image, None)])
    assert row["parts"] == {"across": None, "down": 2.0}
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_parts_and_engine_come_back_from_every_format(folder, tmp_path, name):
    paths = [save(make(2, 40, 40), tmp_path / f"{make.__name__}.png") for make in (natural, upsampled)]
    scorer = Scorer(folder)
    limits = Limits(workers=1)  # with the memory limit that users have
    with Store(tmp_path / name, settings=scorer.settings, resume=False, overwrite=False) as store:
        rows = []
        scan(paths, scorer, limits=limits, store=store, on_row=rows.append)
    assert [row["label"] for row in rows] == ["real", "fake"]
    assert list(read_rows(tmp_path / name)) == rows
    other = scorer.settings | {"engine": "openvino-bf16"}
    with pytest.raises(ConfigError, match="engine was 'onnx' and is 'openvino-bf16'"):
        Store(tmp_path / name, settings=other, resume=True, overwrite=False)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_file_from_before_networks_is_read(tmp_path, name, monkeypatch):
    from tellsign.scoring import store

    image = save(upsampled(1, 64, 64), tmp_path / "a.png")
    rows = Scorer(write_detector(tmp_path / "plain")).rows([(image, None)])
    columns = {key: kind for key, kind in store.COLUMNS.items() if key not in {"engine", "parts"}}
    with monkeypatch.context() as earlier:
        earlier.setattr(store, "COLUMNS", columns)
        store.write_rows(rows, tmp_path / name, tmp_path.joinpath(name).suffix[1:])
    assert list(read_rows(tmp_path / name)) == rows


def test_predictions_keep_the_parts(folder, tmp_path):
    manifest = read(write_dataset(tmp_path / "data", 3, size=40))
    save(natural(1, 20, 20), manifest[2].path)  # too small now
    manifest = replace(manifest, samples=tuple(replace(s, sha256="") for s in manifest))
    table = predict(manifest, Scorer(folder), limits=Limits(workers=1, memory=0))
    assert table.engine == "onnx"
    assert list(table.parts) == list(PARTS)
    mean = np.mean(list(table.parts.values()), axis=0)
    assert np.allclose(mean, table.score, atol=1e-5, equal_nan=True)
    assert np.isnan(mean).tolist() == [False, False, True, False, False, False]
    table.write(tmp_path / "p.parquet")
    again = predictions.read(tmp_path / "p.parquet")
    assert again.engine == "onnx"
    for name in PARTS:
        assert np.array_equal(again.parts[name], table.parts[name], equal_nan=True)
    part = again.take(np.array([5, 0]))
    assert part.parts["down"].tolist() == table.parts["down"][[5, 0]].tolist()


def test_a_graph_that_cannot_be_run_stops_the_workers_at_once(copy, tmp_path):
    (copy / "graph.onnx").write_bytes(b"no graph")
    paths = [save(natural(i, 40, 40), tmp_path / f"{i}.png") for i in range(3)]
    with pytest.raises(ArtifactError, match="the graph cannot be read"):
        scan(paths, Scorer(copy), limits=Limits(workers=1))
