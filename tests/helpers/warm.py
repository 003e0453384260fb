"""One warm server for all tests: a process that has imported what runs need, which takes seconds, once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from dlrun.run import closing, environment
from dlrun.run.preload import TRAINING_MODULES
from dlrun.sweep.executors import local
from dlrun.workers.client import Server
from tests.helpers import tasks
from tests.helpers.deadline import deadline

DRAWING = "with figures"


class SharedServer(Server):
    """A server that is closed with the session; until then `close` ends its children alone."""

    has_compiler = False  # whether what was loaded since has imported torch's compiler

    def load_images(self) -> None:
        """Import torchvision, which takes a child that augments images more than a second."""
        self.request(load=["torchvision.transforms.v2"])
        self.has_compiler = True

    def close(self) -> None:
        """Kill the children, and wait for their ends."""
        for child in list(self.children.values()):
            child.kill()
            self.join(child)


@cache
def server() -> SharedServer:
    """The server, which starts when it is first asked for. Its children draw no figures, but see `without_figures`."""
    needed = [name for name in TRAINING_MODULES if ".report." not in name]
    own = ["dlrun.checks.worker", "dlrun.sweep.task", "sklearn.datasets", f"{__name__}:without_figures"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        made = SharedServer([*needed, *own])
    while not made.served:  # from now on the lives of children have their usual length
        made.wait(1.0)
    return made


def without_figures() -> None:
    """In the server: what takes most of the time of a short run, figures and asking git.

    A child draws its figures where there is a file of the name `DRAWING` in its working folder.
    """
    draw = closing.draw
    closing.draw = lambda *given: draw(*given) if os.path.exists(DRAWING) else None
    environment.git_state = lambda: None


def run_code(code: str, output: Path) -> int | None:
    """Run the code in a child that has imported torch and our modules, and nothing else; its exit code."""
    if server().has_compiler:
        end()
    child = server().start(output.name, f"{tasks.__name__}:run_code", {"code": code, "output": str(output)})
    server().join(child, deadline(120))
    return child.code


def end() -> None:
    """End the server, if there is one."""
    if server.cache_info().currsize:
        Server.close(server())
        server.cache_clear()


def cpu_seconds() -> float:
    """The CPU time of the server and of its children that have ended, while it runs; 0 where /proc is not there."""
    if not server.cache_info().currsize:
        return 0.0
    with suppress(OSError):
        fields = Path(f"/proc/{server().process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def lend(modules: Iterable[str] = ()) -> SharedServer:
    """In place of `Server(modules)`."""
    server().request(load=list(modules))
    return server()


def share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sweeps and `verify-resume` in this process fork their processes from the one server."""
    monkeypatch.setattr(local, "Server", lend)
    monkeypatch.setattr("dlrun.checks.worker.Server", lend)
