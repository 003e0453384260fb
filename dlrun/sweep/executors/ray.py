"""Jobs on a Ray cluster, a local one or that of `sweep.ray_address`, each in a worker process of its own.

The sweep's folder must be on a file system that the machines of the cluster share.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import chdir

from dlrun.config.config import Config
from dlrun.errors import RunError, first_line
from dlrun.plain import Values
from dlrun.processes import search_path
from dlrun.sweep.executors.base import Ended, needs_extra, uses_gpu
from dlrun.sweep.task import Task, run_task


class RayExecutor:
    """Tasks as Ray tasks (see `base.Executor`)."""

    def __init__(self, settings: Values, configs: Sequence[Config]) -> None:
        try:
            import ray
        except ImportError:
            raise needs_extra("ray", "ray") from None
        self.ray = ray
        self.ours = not ray.is_initialized()
        self.connect(settings["ray_address"])
        resources = ray.cluster_resources()
        share = 1 / settings["per_gpu"] if any(map(uses_gpu, configs)) and resources.get("GPU") else 0
        self.slots = int(resources["GPU"] / share) if share else int(resources["CPU"])
        if settings["workers"] != "auto":
            self.slots = int(settings["workers"])
        # max_calls=1: a process for each job, as crashes and redirected output need
        self.remote = ray.remote(max_retries=0, max_calls=1, num_cpus=1, num_gpus=share)(run_task)
        self.refs: dict[object, str] = {}

    def connect(self, address: str | None) -> None:
        """Start a local cluster or join one. Workers import dlrun from where it is installed here."""
        options: Values = {"runtime_env": {"env_vars": search_path()}, "log_to_driver": False}
        if address is None:
            options |= {"include_dashboard": False}
        try:
            with chdir(sys.prefix):  # Ray lets its workers import from the folder in which it is started
                self.ray.init(
                    address=address or "local", ignore_reinit_error=True, logging_level=logging.ERROR, **options
                )
        except (ConnectionError, OSError, ValueError, RuntimeError) as error:
            raise RunError(f"no Ray at sweep.ray_address={address}: {first_line(error)}") from None

    def start(self, task: Task) -> str:
        self.refs[self.remote.remote(task.to_dict())] = task.slug
        return ""

    def adopt(self, slug: str, handle: str) -> bool:
        """Return False: the tasks of a Ray driver end with it."""
        return False

    def wait(self, seconds: float) -> list[Ended]:
        if not self.refs:
            return []
        ready, _ = self.ray.wait(list(self.refs), num_returns=len(self.refs), timeout=seconds)
        return [self.ending(ref) for ref in ready]

    def ending(self, ref: object) -> Ended:
        """The exit code of a finished task, or Ray's reason for its end."""
        slug = self.refs.pop(ref)
        try:
            return Ended(slug, int(self.ray.get(ref)))
        except self.ray.exceptions.RayError as error:
            return Ended(slug, None, note=first_line(error))

    def stop(self, number: int) -> None:
        """Interrupt each worker, as Ctrl-C does: the run writes its checkpoint."""
        for ref in self.refs:
            self.ray.cancel(ref, force=False)

    def kill(self) -> None:
        for ref in self.refs:
            self.ray.cancel(ref, force=True)

    def close(self) -> None:
        self.kill()
        if self.ours:
            self.ray.shutdown()
