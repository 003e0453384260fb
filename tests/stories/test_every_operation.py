"""A run, and one that replaces another, stopped before every operation on files: by a kill, a signal, a full disk.

Either run is whole whenever anybody looks, and the same command or `resume` goes on to the same end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from dlrun import cli
from dlrun.store.reader import StoredRun
from tests.helpers.cases import slow_where
from tests.helpers.file_operations import fill_the_disk, kill, stopped_before, terminate
from tests.helpers.folders import agreed, contents
from tests.helpers.quick_runs import QUICK

OLD = [*QUICK, "seed=1", "run.name=old"]
NEW = [*QUICK, "seed=2", "run.name=new", "checkpoint.every_epochs=1", "run.overwrite=true"]
WAYS = {"killed": kill, "terminated": terminate, "full disk": fill_the_disk}

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs, left alone."""
    folder = tmp_path_factory.mktemp("finished")
    assert cli.main([*OLD, f"run.dir={folder}/old"]) == 0
    assert cli.main([*NEW, f"run.dir={folder}/new"]) == 0
    return folder


def command(words: list[str]) -> None:
    """A command that ends in one of the ways that are promised, and never in a traceback."""
    code = cli.main(words)
    assert code in (0, 2, 4, 143), code


@pytest.mark.parametrize("stride", [67, pytest.param(1, marks=pytest.mark.faults)])
@pytest.mark.parametrize(
    ("way", "replaces"),
    slow_where(
        lambda case: case[1] == (case[0] == "terminated"), [(way, new) for way in WAYS for new in (True, False)]
    ),
)
def test_whenever_a_run_is_stopped_one_is_whole_and_goes_on(
    way: str, replaces: bool, stride: int, finished: Path
) -> None:
    for point in count(1, stride):
        place = Path(str(point), "run")
        place.parent.mkdir()
        if replaces:
            shutil.copytree(finished / "old", place)
        if not stopped_before(point, WAYS[way], partial(command, [*NEW, f"run.dir={place}"])):
            break
        goes_on(place, finished)
        shutil.rmtree(place.parent)
    assert point > 50


def goes_on(place: Path, finished: Path) -> None:
    """What is there is the old run, a new one that resumes to its end, or nothing; and the command can be repeated."""
    name = agreed(place)
    if name == "old":
        assert contents(place) == contents(finished / "old")
    elif name == "new":
        assert cli.main(["resume", str(place)]) == 0
        assert metrics(place) == metrics(finished / "new")
    assert cli.main([*NEW, f"run.dir={place}"]) == 0
    assert metrics(place) == metrics(finished / "new")


def metrics(run: Path) -> dict[str, list[float]]:
    """The columns of metrics.csv that do not depend on time."""
    columns: Callable[[Path], dict[str, list[float]]] = lambda path: StoredRun(path).metrics
    return {name: values for name, values in columns(run).items() if "second" not in name}
