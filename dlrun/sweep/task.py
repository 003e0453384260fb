"""One frozen job in a process that runs no other at the time. Every executor runs `run_task` on a `Task`.

Results are passed through files: the run directory, `.state/SLUG.result.json` (absent after a crash) and
`.state/SLUG.log` (all output of the process, and its stack if it crashed or timed out).
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlrun.components import plugins
from dlrun.config.config import Config, current_schema
from dlrun.errors import ConfigError, DlrunError, in_words, of_the_system
from dlrun.plain import say
from dlrun.processes import set_variables
from dlrun.run.runner import run_frozen
from dlrun.run.screen import Screen
from dlrun.store.failure import Failure
from dlrun.store.files import open_append, write_json
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from dlrun.sweep.trial import try_one_batch

ANSWER_SECONDS = 1.0  # that a job waits for the answer on pruning; a later answer counts at the next epoch


@dataclass(frozen=True)
class Task:
    """A job as plain values, which can be sent as JSON or pickled to another machine that shares the folder."""

    slug: str
    path: str  # the run directory
    state: str  # the folder of records and logs
    config: dict[str, Any]
    overrides: list[str] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    folder: str = "."  # the working folder of the command
    threads: int | None = None  # its share of the processors, the most that `device.threads=auto` takes
    timeout: float | None = None  # seconds
    prune: bool = False  # whether to ask the sweep about pruning after epochs
    check: str = ""  # instead of training: `build` builds the run, `batch` also tries one batch
    environment: dict[str, str | None] = field(default_factory=dict)  # variables to set; None unsets one

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which are not copied; `Task(**values)` is the inverse."""
        return dict(vars(self))

    @property
    def stem(self) -> Path:
        """`.state/SLUG`, from which the job's files are named."""
        return Path(self.state) / self.slug


def task_result(state: Path, slug: str) -> dict[str, Any]:
    """What `run_task` wrote: the exit code, the figures of a check, a failure. Empty after a crash."""
    return read_json(state / f"{slug}.result.json")


def run_task(values: dict[str, Any]) -> int:
    """Run (or check) one frozen job in this process. Returns the exit code of docs/architecture.md."""
    task = Task(**values)
    prepare_process(task)
    try:
        with fault_handler(task.timeout):
            result = check_job(task) if task.check else train_job(task)
    except DlrunError as error:
        say(f"Error: {error}", file=sys.stderr)
        failure = Failure(error.kind, str(error), exit_code=error.exit_code)
        result = failure.to_values() | {"impossible": isinstance(error, ConfigError)}
    except KeyboardInterrupt as error:  # a signal before training began, or raised by a component
        traceback.print_exc()
        result = Failure("signal", in_words(error), traceback.format_exc(), 130).to_values()
    except Exception as error:
        traceback.print_exc()
        refused, bug = of_the_system(error), Failure("bug", in_words(error), traceback.format_exc(), 1)
        result = (bug if refused is None else Failure("input", str(refused), exit_code=2)).to_values()
    write_json(Path(f"{task.stem}.result.json"), result)
    sys.stdout.flush()
    sys.stderr.flush()
    return int(result["exit_code"])


def prepare_process(task: Task) -> None:
    """Redirect output to the job's log, set environment variables and change to the working folder."""
    with suppress(FileNotFoundError):
        os.unlink(f"{task.stem}.result.json")
    with open_append(Path(f"{task.stem}.log")) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    set_variables(task.environment)
    os.chdir(task.folder)


@contextmanager
def fault_handler(timeout: float | None) -> Iterator[None]:
    """Print the stack at a crash or after `timeout` seconds, which also ends the process, even inside C code."""
    faulthandler.enable(file=2)
    if timeout is not None:
        faulthandler.dump_traceback_later(timeout, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def count_gpus() -> int:
    """The number of GPUs, as an exit code (at most 255) of a process of its own, since asking starts CUDA."""
    import torch

    try:
        return min(torch.cuda.device_count(), 255) if torch.backends.cuda.is_built() else 0
    except Exception:
        return 0


def train_job(task: Task) -> dict[str, Any]:
    """Begin or resume the run. Returns the exit code and the failure, if any."""
    outcome = run_frozen(
        load_job(task),
        RunDir(task.path),
        screen=Screen(terminal=False),
        overrides=task.overrides,
        argv=task.argv,
        on_epoch=asking(task) if task.prune else None,
    )
    return outcome.failure.to_values() if outcome.failure else {"exit_code": 0}


def check_job(task: Task) -> dict[str, Any]:
    """Build the run and, for `batch`, try one batch. Returns the exit code and the figures; writes nothing."""
    from dlrun.run.build import build

    config = load_job(task)
    if task.check == "build":
        build(config).close()
        return {"exit_code": 0}
    return {"exit_code": 0, **try_one_batch(config)}


def load_job(task: Task) -> Config:
    """The frozen configuration, after its plug-ins are imported and torch's threads are limited to the job's share."""
    import torch

    plugins.load_plugins(task.plugins)
    config = Config.stored(task.config, current_schema())
    if task.threads is not None:
        torch.set_num_threads(min(task.threads, torch.get_num_threads()))
    return config


def asking(task: Task) -> Callable[[dict[str, float]], bool]:
    """An `on_epoch` that writes the epoch into a file and reads from another whether the job is pruned.

    Only epochs in which the metric was evaluated are reported, and not all of many: an answer may take longer than an
    epoch (see `next_question`).
    """
    question, answer = Path(f"{task.stem}.epoch.json"), Path(f"{task.stem}.answer.json")
    monitor, due = "", 0

    def on_epoch(row: dict[str, float]) -> bool:
        nonlocal monitor, due
        monitor = monitor or monitored(RunDir(task.path))
        if row["epoch"] < due or monitor not in row:
            return False
        due = next_question(int(row["epoch"]))
        write_json(question, row)
        until = time.monotonic() + ANSWER_SECONDS
        while (said := read_json(answer)).get("epoch", 0) < row["epoch"] and time.monotonic() < until:
            if said.get("prune"):
                break
            time.sleep(0.005)
        return bool(said.get("prune"))

    return on_epoch


def monitored(run: RunDir) -> str:
    """The name of the monitored metric, once the run has begun."""
    return str((read_json(run.environment).get("auto") or {}).get("checkpoint.monitor"))


def next_question(epoch: int) -> int:
    """The next epoch to ask about: each of the first 16, every second up to 32, every fourth up to 64, and so on.

    It is the same for every job, so that jobs are compared after the same epochs.
    """
    step = 1 << max(0, epoch.bit_length() - 4)
    return epoch + step - epoch % step
