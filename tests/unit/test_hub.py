"""Names → systems and detectors, and what is said when there is none or the extra is missing."""

from __future__ import annotations

import subprocess
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tellsign import artifacts, hub
from tellsign.types import ConfigError


def test_every_system_can_be_loaded():
    pytest.importorskip("sklearn")
    for name in hub.SYSTEMS:
        found = hub.system(name)
        assert found.name == name
        assert callable(found.fit)
        assert found(found.config_class()).config == found.config_class()


def test_shipped_generators_are_found_by_name_and_are_no_detectors(tmp_path, monkeypatch):
    for name in ("spectrum", "generators/textures"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "detector.json").touch()
    monkeypatch.setattr(hub, "SHIPPED", tmp_path)
    assert hub.shipped_generators() == {"textures": tmp_path / "generators" / "textures"}
    assert list(hub.shipped_detectors()) == ["spectrum"]
    assert hub.generator_path("textures") == tmp_path / "generators" / "textures"
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(ConfigError, match=r"no generator '.*mine': neither a folder .* nor one of textures$"):
        hub.generator_path(mine)
    (mine / "detector.json").touch()
    assert hub.generator_path(mine) == mine


def test_an_unknown_system_is_an_error_with_the_names():
    with pytest.raises(ConfigError, match=f"no system 'nonsense'; there are {', '.join(hub.SYSTEMS)}"):
        hub.system("nonsense")


def test_systems_of_others_are_entry_points(monkeypatch):
    module = types.ModuleType("their_package")
    module.Theirs = type("Theirs", (), {})
    monkeypatch.setitem(sys.modules, "their_package", module)
    entry = EntryPoint("theirs", "their_package:Theirs", hub.ENTRY_POINTS)
    monkeypatch.setattr(hub, "entry_points", lambda group: [entry] if group == hub.ENTRY_POINTS else [])
    assert hub.system("theirs") is module.Theirs
    with pytest.raises(ConfigError, match="theirs"):
        hub.system("nonsense")


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    for module, missing in (
        ("no_such_module", "no_such_module"),
        ("tellsign.hub", "nowhere"),
    ):
        monkeypatch.setitem(hub.SYSTEMS, "broken", f"{module}:detector_path")
        monkeypatch.setattr(hub.detector_path, "requires", ("nowhere",), raising=False)
        with pytest.raises(ConfigError) as caught:
            hub.system("broken")
        assert f"the system 'broken' needs {missing}" in str(caught.value)
        assert "pip install 'tellsign[train]'" in str(caught.value)


BLOCKED = """
import sys
for name in ("sklearn", "torch"):
    sys.modules[name] = None  # as if it were not installed
from tellsign import hub
from tellsign.types import ConfigError
for name in hub.SYSTEMS:
    try:
        hub.system(name)
    except ConfigError as error:
        print(error)
    else:
        print(name, "did not miss anything")
from tellsign import artifacts, detectors
for path in hub.shipped_detectors().values():
    detectors.from_artifact(artifacts.load(path))
"""


def test_without_the_extra_systems_say_so_and_detectors_run():
    run = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == len(hub.SYSTEMS)
    for line in lines:
        assert "pip install 'tellsign[train]'" in line


def test_shipped_detectors_can_be_loaded():
    shipped = hub.shipped_detectors()
    assert hub.DEFAULT_DETECTOR in shipped
    for name, path in shipped.items():
        assert hub.detector_path(name) == path
        assert artifacts.load(path).spec["name"] == name


def test_a_folder_with_a_detector_is_one(tmp_path):
    (tmp_path / "detector.json").write_text("{}")
    assert hub.detector_path(tmp_path) == tmp_path
    assert hub.detector_path(str(tmp_path)) == tmp_path


def test_a_shipped_name_comes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / hub.DEFAULT_DETECTOR).mkdir()
    (tmp_path / hub.DEFAULT_DETECTOR / "detector.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert hub.detector_path(hub.DEFAULT_DETECTOR) == hub.SHIPPED / hub.DEFAULT_DETECTOR
    assert hub.detector_path(f"./{hub.DEFAULT_DETECTOR}") == Path(hub.DEFAULT_DETECTOR)


@pytest.mark.parametrize("name", ["nonsense", "", "\udcff", "nonsense/detector.json", "a\0b"])
def test_no_such_detector_is_an_error_with_the_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"nor one of .*{hub.DEFAULT_DETECTOR}"):
        hub.detector_path(name)
