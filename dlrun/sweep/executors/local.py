"""The local executor: jobs are forked by a warm server (see workers/), so that a crash affects one job alone.

This process never imports torch. It starts the server early, which imports torch while jobs are composed.

Short jobs would cost more for their process than for their training: those that `may_share` one are handed, one after
another, to a process that has restored its state after the job before.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlrun.components.registry import TABLES
from dlrun.config.config import Config
from dlrun.plain import Values
from dlrun.processes import processors
from dlrun.run.preload import modules
from dlrun.sweep.executors.base import Ended, uses_gpu
from dlrun.sweep.task import Task
from dlrun.workers.client import Child, Server, ServerDied

SERVER_STARTS = 3  # how often a server is started, if it dies
GRACE = 5.0  # seconds after job_timeout in which faulthandler may end the job from inside
TASK = "dlrun.sweep.task"
KEEP = "dlrun.sweep.afresh:note_state"  # notes and restores the state of a process that runs many jobs
MOST_JOBS = 20  # of one process
MOST_SECONDS = 10.0  # after which a process is given no more jobs


@dataclass(frozen=True)
class Worker:
    """The process of a running job, and its GPU."""

    child: Child
    gpu: str | None = None


class LocalExecutor:
    """Runs up to `slots` tasks at a time as children of a warm server."""

    def __init__(self, settings: Values, configs: Sequence[Config]) -> None:
        self.settings = settings
        self.modules = [TASK, KEEP.partition(":")[0], *modules(configs)]
        self.timeout: float | None = settings["job_timeout"]
        self.children: dict[str, Worker] = {}
        self.waiting: list[Child] = []  # ended jobs whose processes wait for another
        self.starts = 1
        self.server = Server(self.modules)
        try:
            self.gpus = self.find_gpus() if any(uses_gpu(config) for config in configs) else []
        except BaseException:  # it died, or Ctrl-C
            self.server.close()
            raise
        self.slots = slots(settings, len(self.gpus))

    def find_gpus(self) -> list[str]:
        """The GPUs for jobs, as CUDA_VISIBLE_DEVICES names them. Waits for the server."""
        child = self.server.start("gpus", f"{TASK}:count_gpus", {})
        self.server.join(child)
        return visible(max(0, child.code or 0))

    def start(self, task: Task) -> str:
        """Run the task in a process that waits for one, or in a new one, on the GPU with the fewest jobs."""
        gpu = self.choose_gpu(task)
        environment = task.environment if gpu is None else {**task.environment, "CUDA_VISIBLE_DEVICES": gpu}
        task = replace(task, threads=max(1, processors() // self.slots), environment=environment)
        shares = gpu is None and may_share(task)
        after = self.waiting_process() if shares else None
        values = {"values": task.to_dict()}
        keep = KEEP if shares else None
        child = self.server.start(task.slug, f"{TASK}:run_task", values, keep=keep, after=after)
        self.children[task.slug] = Worker(child, gpu)
        return ""

    def waiting_process(self) -> Child | None:
        """The last job of a process that waits for another and has not run for long. Lets the others exit."""
        while self.waiting:
            child = self.waiting.pop()
            if child.waits and child.number < MOST_JOBS and time.monotonic() < child.forked + MOST_SECONDS:
                return child
            if child.waits:
                self.server.retire(child)
        return None

    def choose_gpu(self, task: Task) -> str | None:
        """The GPU with the fewest jobs; None if there are none or the job names its device."""
        if not self.gpus or task.config["device"]["name"] not in ("auto", "cuda"):
            return None
        busy = Counter(worker.gpu for worker in self.children.values())
        return min(self.gpus, key=lambda gpu: busy[gpu])

    def adopt(self, slug: str, handle: str) -> bool:
        """Return False: children end with the sweep."""
        return False

    def wait(self, seconds: float) -> list[Ended]:
        """The jobs that have ended. Jobs that are past their timeout are killed."""
        try:
            ended = [self.ending(child) for child in self.server.wait(seconds)]
        except ServerDied as death:
            return self.replace_server(death)
        for worker in self.children.values():
            if self.is_hung(worker.child):
                worker.child.kill()
        return ended

    def ending(self, child: Child) -> Ended:
        """The end of a job's process. One that faulthandler did not end in time was killed here."""
        del self.children[child.name]
        if child.waits:
            self.waiting.append(child)
        timed_out = child.code == -signal.SIGKILL and self.is_hung(child)
        return Ended(child.name, child.code, child.memory_mib, "", child.seconds, timed_out)

    def is_hung(self, child: Child) -> bool:
        """Whether a process is past its timeout."""
        return self.timeout is not None and child.pid > 0 and time.monotonic() > child.begun + self.timeout + GRACE

    def replace_server(self, death: ServerDied) -> list[Ended]:
        """Start another server; the jobs of the dead one have ended. Raises `death` after `SERVER_STARTS`."""
        if not self.server.served or self.starts >= SERVER_STARTS:
            raise death
        self.server.close()
        self.server = Server(self.modules)
        self.starts += 1
        lost, self.children, self.waiting = self.children, {}, []
        return [Ended(slug, None, note="the server of the worker processes died") for slug in lost]

    def stop(self, number: int) -> None:
        for worker in self.children.values():
            worker.child.send(number)

    def kill(self) -> None:
        for worker in self.children.values():
            worker.child.kill()

    def close(self) -> None:
        for child in self.waiting:
            self.server.retire(child)
        self.server.close()


def may_share(task: Task) -> bool:
    """Whether a job may run in a process in which others have run: on the CPU, with components of dlrun's alone.

    Nothing else that may change its process for good does so: no compiler, no profiler, no package that dlrun does not
    depend on.
    """
    config = task.config
    if not on_cpu(config["device"]["name"]) or task.plugins or config["plugins"]:
        return False
    needed = [table.known(config[kind]["name"]).needs for kind, table in TABLES.items() if kind in config]
    return not (any(needed) or config["device"]["compile"] or config["trainer"]["profile"])


def on_cpu(name: str) -> bool:
    """Whether that device is the CPU, where no GPU was found."""
    return name == "cpu" or (name == "auto" and sys.platform != "darwin")


def visible(count: int) -> list[str]:
    """The names of `count` GPUs: those in CUDA_VISIBLE_DEVICES, if it is set."""
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return listed[:count] if listed else [str(number) for number in range(count)]


def slots(settings: Values, gpus: int) -> int:
    """The number of jobs at a time: `workers`, or `per_gpu` for each GPU, or one for each processor."""
    if settings["workers"] != "auto":
        return int(settings["workers"])
    return gpus * int(settings["per_gpu"]) if gpus else processors()
