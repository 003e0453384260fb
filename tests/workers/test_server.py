"""The warm server: what it imports, how its children begin and end, and what it says of itself when it cannot."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import dlrun
from dlrun.components.registry import TABLES
from dlrun.run.preload import modules
from dlrun.sweep.executors.local import TASK
from dlrun.workers.client import Child, Server, ServerDied
from tests.helpers import foreign, tasks
from tests.helpers.deadline import deadline, wait_for
from tests.helpers.processes import is_running

CLIENT = """
import sys
from dlrun.workers.client import Server
server = Server()
server.join(server.start("a", "tests.helpers.tasks:go_on", {"folder": sys.argv[1]}))
"""


@pytest.fixture(autouse=True)
def tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


def pids(folder: Path) -> list[int]:
    """The processes of `tasks.go_on`, when both have begun."""
    wait_for(lambda: len(list(folder.iterdir())) == 2)
    return [int(path.stem) for path in folder.iterdir()]


def test_a_child_ends_with_what_its_task_returns(server: Server, tmp_path: Path) -> None:
    child = server.start("a", f"{tasks.__name__}:end_with", {"code": 7, "file": str(tmp_path / "found")})
    assert server.join(child, deadline(30))
    assert (child.code, child.seconds > 0, child.memory_mib > 1) == (7, True, True)
    assert (tmp_path / "found").read_text() == "True None b''"
    assert server.children == {}
    assert not server.join(Child("another"), 0.01)


def test_nothing_is_imported_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    foreign.fill(tmp_path)
    with Server() as made:
        child = made.start("a", f"{tasks.__name__}:end_with", {"code": 0, "file": str(tmp_path / "found")})
        assert made.join(child, deadline(30))
    assert (child.code, foreign.imported(tmp_path)) == (0, "")


def test_a_task_that_raises_or_is_not_there_costs_its_child_alone(server: Server) -> None:
    for task in (f"{tasks.__name__}:end_with", f"{tasks.__name__}:nothing", "no_such_module:f"):
        child = server.start("a", task, {})
        assert server.join(child, deadline(30))
        assert child.code == 1


def test_a_signal_that_comes_before_the_process_has_a_number_is_not_lost(server: Server, tmp_path: Path) -> None:
    child = server.start("a", f"{tasks.__name__}:go_on", {"folder": str(tmp_path)})
    child.send(signal.SIGTERM)
    assert server.join(child, deadline(30))
    assert child.code == -signal.SIGTERM
    child.send(signal.SIGKILL)  # it has ended: nothing is sent to whoever has its number now


@pytest.mark.parametrize("way", ["kill", "close"])
def test_what_a_child_has_started_ends_with_it(way: str, server: Server, tmp_path: Path) -> None:
    child = server.start("a", f"{tasks.__name__}:go_on", {"folder": str(tmp_path)})
    server.wait(deadline(30))  # for the modules that it has loaded
    while not child.pid:
        server.wait(1.0)
    started = pids(tmp_path)
    if way == "kill":
        child.kill()
        assert server.join(child, deadline(30))
        assert child.code == -signal.SIGKILL
    else:
        server.close()
    wait_for(lambda: not any(map(is_running, started)), 5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_nothing_outlives_the_client(number: int, tmp_path: Path) -> None:
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(tmp_path)], stderr=subprocess.DEVNULL)
    started = pids(tmp_path)
    client.send_signal(number)
    client.wait(deadline(10))
    wait_for(lambda: not any(map(is_running, started)), 5)


def test_a_module_of_ours_that_has_gone_is_said() -> None:
    with (
        Server(["dlrun.run.no_such_room"]) as broken,
        pytest.raises(ServerDied, match=r"cannot be started:(.|\n)*No module named 'dlrun\.run\.no_such_room'"),
    ):
        broken.wait(deadline(30))


def test_what_else_cannot_be_imported_is_left_to_its_task() -> None:
    with Server(["no_such_module", "json:no_such_function"]) as some:
        some.wait(deadline(30))
        child = some.start("a", "os:getpgrp", {})
        assert some.join(child, deadline(30))


def every_preload() -> list[str]:
    """What the servers of sweeps and of `verify-resume` load, for every built-in component."""
    components = [known for table in TABLES.values() for known in table.builtin.values()]
    loaded = [name for known in components for name in (known.module, *known.imports)]
    return list(dict.fromkeys([TASK, *modules([dlrun.compose(["device.compile=true"])]), *loaded]))


@pytest.mark.parametrize("name", every_preload())
def test_everything_that_is_loaded_is_there(name: str) -> None:
    module, _, function = name.partition(":")
    found = import_module(module)
    assert not function or callable(getattr(found, function))
