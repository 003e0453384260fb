"""Processes that run one task after another, until one of them saw a failure or a signal."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlrun.workers.client import Child, Server
from tests.helpers import tasks
from tests.helpers.deadline import deadline, wait_for
from tests.helpers.processes import is_running

KEEP = f"{tasks.__name__}:note_nothing"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with Server() as made:
        yield made


def run(server: Server, function: str, after: Child | None = None, keep: str = KEEP, **arguments: object) -> Child:
    """A task in a process that is kept, once it has ended."""
    child = server.start("a", f"{tasks.__name__}:{function}", arguments, keep=keep, after=after)
    assert server.join(child, deadline(30))
    return child


def end(server: Server, child: Child) -> None:
    """Wait for the end of a process."""
    until = deadline(30)
    while child.pid in server.processes and until > 0:
        server.wait(0.1)
        until -= 0.1
    wait_for(lambda: not is_running(child.pid))


def test_a_process_runs_one_task_after_another_and_exits_when_it_is_retired(server: Server) -> None:
    one = run(server, "use_memory", mib=60)
    two = run(server, "use_memory", after=one, mib=1)
    three = run(server, "use_memory", after=two, mib=2)
    assert one.pid == two.pid == three.pid
    assert [child.number for child in (one, two, three)] == [1, 2, 3]
    assert [child.waits for child in (one, two, three)] == [False, False, True]
    assert one.begun < two.begun < three.begun
    assert one.forked == three.forked
    if sys.platform == "linux":
        assert one.memory_mib > two.memory_mib + 40, "the peak of the process, not that of the task"
    server.retire(three)
    end(server, three)
    assert (three.code, server.children) == (0, {})


@pytest.mark.parametrize(
    ("function", "arguments"),
    [("end_with", {"code": 7, "file": "/dev/null"}), ("nothing", {}), ("meet", {"number": 10})],
)
def test_a_process_that_saw_a_failure_or_a_signal_takes_no_more(
    function: str, arguments: dict[str, object], server: Server
) -> None:
    one = run(server, "use_memory", mib=1)
    two = run(server, function, after=one, **arguments)
    assert two.pid == one.pid
    assert (two.waits, two.number) == (False, 2)
    assert two.code == {"end_with": 7, "nothing": 1, "meet": 0}[function]
    assert two.pid not in server.processes


@pytest.mark.parametrize("keep", ["note_once", "note_and_end"])
def test_a_task_that_its_process_never_began_goes_to_another(keep: str, server: Server) -> None:
    one = run(server, "use_memory", keep=f"{tasks.__name__}:{keep}", mib=1)
    assert (one.code, one.waits) == (0, True)
    two = run(server, "use_memory", after=one, mib=2)
    assert (two.code, two.number, two.pid != one.pid) == (0, 1, True)
    end(server, one)


def test_a_process_that_is_killed_while_it_waits_costs_no_task(server: Server) -> None:
    one = run(server, "use_memory", mib=1)
    child = Child("", pid=one.pid)
    child.kill()
    wait_for(lambda: not is_running(one.pid))
    two = server.start("b", f"{tasks.__name__}:use_memory", {"mib": 1}, keep=KEEP, after=one)
    two.send(signal.SIGTERM)  # it goes with the task
    assert server.join(two, deadline(30))
    assert (two.code, two.pid != one.pid) == (-signal.SIGTERM, True)


CLIENT = """
import sys
from dlrun.workers.client import Server
server = Server()
given = {"keep": "tests.helpers.tasks:note_nothing"}
one = server.start("a", "tests.helpers.tasks:use_memory", {"mib": 1}, **given)
server.join(one)
two = server.start("b", "tests.helpers.tasks:go_on", {"folder": sys.argv[1]}, after=one, **given)
three = server.start("c", "tests.helpers.tasks:use_memory", {"mib": 1}, **given)
server.join(three)
open(sys.argv[1] + "/" + str(three.pid), "w").close()
server.join(two)
"""


def test_processes_end_with_the_client_while_they_run_and_while_they_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(tmp_path)], stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 3)
    pids = [int(path.stem) for path in tmp_path.iterdir()]
    assert all(map(is_running, pids))
    client.kill()
    client.wait(deadline(10))
    wait_for(lambda: not any(map(is_running, pids)), 5)


def test_a_task_that_is_killed_before_it_began_is_killed_when_it_begins(server: Server, tmp_path: Path) -> None:
    child = server.start("a", f"{tasks.__name__}:go_on", {"folder": str(tmp_path)})
    child.kill()
    assert server.join(child, deadline(30))
    assert child.code == -signal.SIGKILL
