"""Every system's folder holds what a reader looks for, and its README names what it should."""

from __future__ import annotations

import ast
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path

import pytest

from tellsign import hub
from tellsign.types import ConfigError

SYSTEMS = Path(hub.__file__).with_name("systems")


def test_every_folder_is_a_system_and_every_system_a_folder():
    folders = {path.name for path in SYSTEMS.iterdir() if (path / "__init__.py").is_file()}
    assert folders == {target.split(".")[2] for target in hub.SYSTEMS.values()}


@pytest.mark.parametrize("name", list(hub.SYSTEMS))
@pytest.mark.parametrize("file", ["__init__.py", "config.py", "model.py", "system.py", "README.md"])
def test_a_system_has_its_files(name, file):
    assert (SYSTEMS / hub.SYSTEMS[name].split(".")[2] / file).is_file()


@pytest.mark.parametrize("name", list(hub.SYSTEMS))
def test_every_option_is_checked(name):
    """A frozen record that takes none of its options unseen."""
    pytest.importorskip("sklearn")
    config_class = hub.system(name).config_class
    assert is_dataclass(config_class)
    config = config_class()
    for field in fields(config):
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(config, field.name, None)
        with pytest.raises(ConfigError):
            config_class(**{field.name: "\0 no value of any option"})


@pytest.mark.parametrize("path", sorted(SYSTEMS.glob("*/*.py")), ids=lambda path: "-".join(path.parts[-2:]))
def test_systems_do_not_import_each_other(path):
    own = path.parent.name
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("tellsign.systems."):
                assert name.split(".")[2] == own
