"""The local executor: jobs are children of a warm server (see workers/), a crash of one costs that one alone.

This process never imports torch. It starts the server early, so that it warms up while jobs are composed.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlrun.config.config import Config
from dlrun.plain import Values
from dlrun.run.preload import modules
from dlrun.sweep.executors.base import Ended, processors, uses_gpu
from dlrun.sweep.task import Task
from dlrun.workers.client import Child, Server, ServerDied

SERVER_STARTS = 3  # times that a server which dies is started again
GRACE = 5.0  # seconds after job_timeout in which a job's own watchdog may end it
TASK = "dlrun.sweep.task"


@dataclass(frozen=True)
class Worker:
    """A job that runs: its process, and the GPU that it was given."""

    child: Child
    gpu: str | None = None


class LocalExecutor:
    """Children of a warm server, `slots` at a time."""

    def __init__(self, settings: Values, configs: Sequence[Config]) -> None:
        self.settings = settings
        self.modules = [TASK, *modules(configs)]
        self.timeout: float | None = settings["job_timeout"]
        self.children: dict[str, Worker] = {}
        self.starts = 1
        self.server = Server(self.modules)
        self.gpus = self.find_gpus() if any(uses_gpu(config) for config in configs) else []
        self.slots = slots(settings, len(self.gpus))

    def find_gpus(self) -> list[str]:
        """The GPUs that jobs may be given, as CUDA_VISIBLE_DEVICES names them. Waits for the server."""
        child = self.server.start("gpus", f"{TASK}:count_gpus", {})
        self.server.join(child)
        return visible(max(0, child.code or 0))

    def start(self, task: Task) -> str:
        """Fork a child for the task, on the GPU that has the fewest jobs."""
        gpu = self.choose_gpu(task)
        environment = task.environment if gpu is None else {**task.environment, "CUDA_VISIBLE_DEVICES": gpu}
        task = replace(task, threads=max(1, processors() // self.slots), environment=environment)
        child = self.server.start(task.slug, f"{TASK}:run_task", {"values": task.to_dict()})
        self.children[task.slug] = Worker(child, gpu)
        return ""

    def choose_gpu(self, task: Task) -> str | None:
        """The next GPU in turn; None where there are none or the job asks for a certain one."""
        if not self.gpus or task.config["device"]["name"] not in ("auto", "cuda"):
            return None
        busy = Counter(worker.gpu for worker in self.children.values())
        return min(self.gpus, key=lambda gpu: busy[gpu])

    def adopt(self, slug: str, handle: str) -> bool:
        """Never: children do not outlive the sweep."""
        return False

    def wait(self, seconds: float) -> list[Ended]:
        """What has ended; a job that is past its time and still there is killed."""
        try:
            ended = [self.ending(child) for child in self.server.wait(seconds)]
        except ServerDied as death:
            return self.replace_server(death)
        for worker in self.children.values():
            if self.is_hung(worker.child):
                worker.child.kill()
        return ended

    def ending(self, child: Child) -> Ended:
        """The end of a job's process. The watchdog inside a job comes first, but one that is stopped has none."""
        del self.children[child.name]
        timed_out = child.code == -signal.SIGKILL and self.is_hung(child)
        return Ended(child.name, child.code, child.memory_mib, "", child.seconds, timed_out)

    def is_hung(self, child: Child) -> bool:
        """Whether a process is past its time."""
        return self.timeout is not None and child.pid > 0 and time.monotonic() > child.begun + self.timeout + GRACE

    def replace_server(self, death: ServerDied) -> list[Ended]:
        """The server died, and its children with it. Raises `death` where no other would live."""
        if not self.server.served or self.starts >= SERVER_STARTS:
            raise death
        self.server.close()
        self.server = Server(self.modules)
        self.starts += 1
        lost, self.children = self.children, {}
        return [Ended(slug, None, note="the server of the worker processes died") for slug in lost]

    def stop(self, number: int) -> None:
        for worker in self.children.values():
            worker.child.send(number)

    def kill(self) -> None:
        for worker in self.children.values():
            worker.child.kill()

    def close(self) -> None:
        self.server.close()


def visible(count: int) -> list[str]:
    """The names of so many GPUs: those that CUDA_VISIBLE_DEVICES lists, if it is set."""
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return listed[:count] if listed else [str(number) for number in range(count)]


def slots(settings: Values, gpus: int) -> int:
    """Jobs at a time: as asked, or one a GPU (or `per_gpu`), or one a processor."""
    if settings["workers"] != "auto":
        return int(settings["workers"])
    return gpus * int(settings["per_gpu"]) if gpus else processors()
