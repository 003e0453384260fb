"""The local executor: jobs are children of a warm server (see workers/server.py), a crash of one costs that one alone.

This process never imports torch. It starts the server early, so that it warms up while jobs are composed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrun.components.registry import TABLES
from dlrun.config.config import Config
from dlrun.errors import RunError
from dlrun.processes import search_path
from dlrun.sweep.executors.base import Ended, processors, uses_gpu
from dlrun.sweep.task import Task

SERVER_STARTS = 3  # times that a server which dies is started again
MOST_WORDS = 2000  # bytes of what a server that cannot start has printed
GRACE = 5.0  # seconds after job_timeout in which a job's own watchdog may end it


@dataclass
class Worker:
    """A job that runs: its process (0 until the server names it), its GPU, and when it counts as hung."""

    task: Task
    pid: int = 0
    gpu: str | None = None
    deadline: float | None = None
    timed_out: bool = False  # killed after its deadline


class Server:
    """This side of the pipe to the warm server."""

    def __init__(self) -> None:
        words = [sys.executable, "-P", "-m", "dlrun.workers.server"]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(words, env=os.environ | search_path(), start_new_session=True, **pipes)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout.fileno()
        os.set_blocking(self.answers, False)
        self.unread = b""
        self.ready = False

    def send(self, **request: Any) -> None:
        """Ask the server for something; a server that has died is noticed when its answers end."""
        with suppress(OSError):
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()

    def receive(self, seconds: float) -> list[dict[str, Any]] | None:
        """The answers that have come, after waiting so long for one; None when the server is gone."""
        if not select.select([self.answers], [], [], seconds)[0]:
            return []
        try:
            data = os.read(self.answers, 1 << 20)
        except BlockingIOError:
            return []
        self.ready |= bool(data)
        *lines, self.unread = (self.unread + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None

    def close(self) -> None:
        """Close its input, which ends it."""
        with suppress(OSError):
            self.requests.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()

    def cannot_start(self) -> RunError:
        """The error of a server that ends instead of serving, with its own words."""
        self.process.wait()
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - MOST_WORDS))
        words = self.errors.read().decode(errors="replace").strip() or f"exit code {self.process.returncode}"
        return RunError(f"the worker processes cannot be started:\n{words}")


class LocalExecutor:
    """Children of a warm server, `slots` at a time."""

    def __init__(self, settings: Any, configs: list[Config], state: Path) -> None:
        self.settings = settings
        self.modules = component_modules(configs)
        self.timeout: float | None = settings["job_timeout"]
        self.children: dict[str, Worker] = {}
        self.ended: list[Ended] = []
        self.starts = 0
        self.server = self.new_server()
        self.gpus = self.find_gpus() if any(uses_gpu(config) for config in configs) else []
        self.slots = slots(settings, len(self.gpus))

    def new_server(self) -> Server:
        """A server that imports what these jobs need."""
        self.starts += 1
        server = Server()
        server.send(op="load", modules=self.modules)
        return server

    def find_gpus(self) -> list[str]:
        """The GPUs that jobs may be given, as CUDA_VISIBLE_DEVICES names them. Waits for the server."""
        self.server.send(op="gpus")
        while True:
            answers = self.server.receive(60.0)
            if answers is None:
                raise self.server.cannot_start()
            for answer in answers:
                if "gpus" in answer:
                    return visible(answer["gpus"])

    def start(self, task: Task) -> str:
        """Fork a child for the task, on the GPU that has the fewest jobs."""
        child = Worker(replace(task, threads=max(1, processors() // self.slots)), gpu=self.choose_gpu(task))
        if child.gpu is not None:
            child.task = replace(child.task, environment={**task.environment, "CUDA_VISIBLE_DEVICES": child.gpu})
        self.children[task.slug] = child
        self.server.send(op="start", task=child.task.to_dict())
        return ""

    def choose_gpu(self, task: Task) -> str | None:
        """The next GPU in turn; None where there are none or the job asks for a certain one."""
        if not self.gpus or task.config["device"]["name"] not in ("auto", "cuda"):
            return None
        busy = Counter(child.gpu for child in self.children.values())
        return min(self.gpus, key=lambda gpu: busy[gpu])

    def adopt(self, slug: str, handle: str) -> bool:
        """Never: children do not outlive the sweep."""
        return False

    def wait(self, seconds: float) -> list[Ended]:
        """What has ended; a job that is past its time and still there is killed."""
        answers = self.server.receive(seconds)
        if answers is None:
            self.replace_server()
        for answer in answers or ():
            self.note(answer)
        self.kill_hung()
        ended, self.ended = self.ended, []
        return ended

    def note(self, answer: dict[str, Any]) -> None:
        """Take in one answer of the server."""
        if "started" in answer:
            child = self.children[answer["started"]]
            child.pid = answer["pid"]
            if self.timeout is not None:
                child.deadline = time.monotonic() + self.timeout + GRACE
        elif "ended" in answer:
            child = self.children.pop(answer["ended"])
            facts = {key: answer[key] for key in ("code", "memory_mib", "seconds")}
            self.ended.append(Ended(child.task.slug, **facts, timed_out=child.timed_out))

    def replace_server(self) -> None:
        """The server died, and its children with it."""
        if not self.server.ready or self.starts >= SERVER_STARTS:
            raise self.server.cannot_start()
        self.server.close()
        self.ended += [Ended(slug, None, note="the server of the worker processes died") for slug in self.children]
        self.children = {}
        self.server = self.new_server()

    def kill_hung(self) -> None:
        """The watchdog inside a job does this first; a process that is stopped or stuck in the kernel has none."""
        for child in self.children.values():
            if child.deadline is not None and time.monotonic() > child.deadline:
                child.timed_out = True
                signal_group(child.pid, signal.SIGKILL)

    def stop(self, number: int) -> None:
        for child in self.children.values():
            if child.pid:
                signal_process(child.pid, number)

    def kill(self) -> None:
        for child in self.children.values():
            if child.pid:
                signal_group(child.pid, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self.server.close()


def signal_group(pid: int, number: int) -> None:
    with suppress(OSError):
        os.killpg(pid, number)


def signal_process(pid: int, number: int) -> None:
    with suppress(OSError):
        os.kill(pid, number)


def component_modules(configs: list[Config]) -> list[str]:
    """The modules in which the jobs' built-in components live, so that the server imports them once for all."""
    found: dict[str, None] = {}
    for config in configs:
        for kind, table in TABLES.items():
            place = table.builtin.get(str(config.get(f"{kind}.name")))
            if place:
                found[place.split(":")[0]] = None
    tables = {"breast_cancer", "iris", "wine", "diabetes"}
    found |= {"sklearn.datasets": None} if any(str(c.dataset.name) in tables for c in configs) else {}
    found |= {"torch._dynamo": None} if any(config.device.compile for config in configs) else {}
    return list(found)


def visible(count: int) -> list[str]:
    """The names of so many GPUs: those that CUDA_VISIBLE_DEVICES lists, if it is set."""
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return listed[:count] if listed else [str(number) for number in range(count)]


def slots(settings: Any, gpus: int) -> int:
    """Jobs at a time: as asked, or one a GPU (or `per_gpu`), or one a processor."""
    if settings["workers"] != "auto":
        return int(settings["workers"])
    return gpus * int(settings["per_gpu"]) if gpus else processors()
