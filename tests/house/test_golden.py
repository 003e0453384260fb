"""Every YAML composes, builds and trains three steps as it did, and every command imports what it did."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from dlrun.cli import main
from tests.helpers import warm
from tests.helpers.cases import slow_where
from tests.house.golden import COMMANDS, SLOW, SLOW_YAMLS, SWEEP, Golden, measure_command, measure_yaml, yaml_names

NAMES = yaml_names()


@pytest.fixture(scope="module")
def golden() -> Iterator[Golden]:
    """What is stored; it is stored anew where `python -m tests.house.golden --write` asks for that."""
    golden = Golden(write="WRITE_GOLDEN" in os.environ)
    yield golden
    if golden.write:
        golden.save()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of two runs, which the commands look at."""
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        warm.share(patch)
        assert main(SWEEP) == 0
    Image.new("L", (8, 8)).save(folder / "image.png")
    return folder


@pytest.mark.parametrize("name", slow_where(lambda name: name in SLOW_YAMLS or name.startswith("experiment="), NAMES))
def test_a_yaml_builds_and_trains_as_before(
    name: str, golden: Golden, mnist_root: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(mnist_root))
    monkeypatch.setattr("dlrun.run.preflight.find_spec", lambda name: name)  # a logger's package may be missing
    for label, facts in measure_yaml(name, images).items():
        assert not golden.check_yaml(label, facts), label


@pytest.mark.parametrize("command", slow_where(SLOW.__contains__, COMMANDS))
def test_a_command_imports_what_it_did(command: str, golden: Golden, folder: Path, tmp_path: Path) -> None:
    place = tmp_path if command == "sweep" else folder  # a sweep that is finished imports less
    assert not golden.check_command(command, measure_command(command, place))


def test_every_yaml_and_every_command_is_stored(golden: Golden) -> None:
    assert {label.split(" #")[0] for label in golden.facts["yamls"]} == set(NAMES)
    assert golden.facts["commands"].keys() == COMMANDS.keys()


def test_what_does_not_train_starts_without_torch(golden: Golden) -> None:
    packages = {command: set(text.split()) for command, text in golden.facts["commands"].items()}
    with_torch = {command for command, found in packages.items() if "torch" in found}
    assert with_torch == {"run", "show", "summary", "predict", "evaluate"}
    assert packages["--help"] == packages["runs"] == set()
    assert "yaml" in packages["list"]
    assert "matplotlib" in packages["compare"]


@pytest.mark.parametrize("same", [True, False])
def test_a_change_is_seen(golden: Golden, same: bool) -> None:
    other = copy.copy(golden)
    other.write, other.same_torch, other.same_packages = False, same, same
    before = golden.facts["yamls"]["model=cnn"]
    first, *rest = before["losses"]
    assert other.check_yaml("model=cnn", before) == []
    assert other.check_yaml("model=cnn", before | {"keys": "a b"})
    assert other.check_yaml("model=cnn", before | {"engine": "resident plain"})
    assert other.check_yaml("model=cnn", before | {"losses": [first * (1 + 2e-4), *rest]})
    assert bool(other.check_yaml("model=cnn", before | {"weights": "0"})) == same
    assert bool(other.check_yaml("model=cnn", before | {"losses": [first * (1 + 2e-5), *rest]})) == same
    assert other.check_yaml("model=new", before) == ["model=new is new"]
    assert other.check_command("list", "torch yaml") == ["+torch"]
    assert other.check_command("list", "") == ["-yaml"]
    assert bool(other.check_command("list", "sympy yaml")) == same
