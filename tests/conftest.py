"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

# On shared cores torch's threads wait for each other: a test of milliseconds takes seconds. Read when torch is
# imported, and by child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Dozens of processes are started here: they compile what they import once, not each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A job in the background of a script ignores SIGINT, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def plug_ins_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the plug-ins of one test register is not there for the next."""
    from dlrun.components import plugins
    from dlrun.components.registry import TABLES

    before = {kind: dict(table.plugins) for kind, table in TABLES.items()}
    monkeypatch.setattr(plugins, "_LOADED", dict(plugins._LOADED))
    monkeypatch.setattr(plugins, "_NAMED", dict(plugins._NAMED))
    yield
    for kind, table in TABLES.items():
        table.plugins = before[kind]


@pytest.fixture(autouse=True)
def threads_are_put_back() -> Iterator[None]:
    """What a run sets by device.threads is not there for the next test."""
    yield
    if (torch := sys.modules.get("torch")) is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def figures_where_they_are_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time of a short training: those of a test marked `figures` are drawn."""
    if "dlrun.run.closing" in sys.modules and request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr("dlrun.run.closing.draw", lambda *_: None)
    if "dlrun.sweep.ending" in sys.modules and request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr("dlrun.sweep.drawing.Drawing.begin", lambda *_: None)
        monkeypatch.setattr("dlrun.sweep.command.import_figures", lambda: None)


@pytest.fixture(scope="session", autouse=True)
def digits_are_read_once() -> None:
    """The digits that scikit-learn brings: reading them takes as long as training on them for a moment."""
    from dlrun.data import sklearn_sets

    images, classes = sklearn_sets.read_digits()
    sklearn_sets.read_digits = lambda: (images.copy(), classes.copy())


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small MNIST and FashionMNIST: scikit-learn's digits enlarged, 1000 + 200 rows."""
    import numpy as np
    from sklearn.datasets import load_digits

    from dlrun.data.idx import write_idx

    digits = load_digits()
    small = (digits.images * (255 / 16)).astype(np.uint8)
    images = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    root = tmp_path_factory.mktemp("data")
    for folder in ("MNIST", "FashionMNIST"):
        raw = root / folder / "raw"
        for name, rows in (("train", slice(0, 1000)), ("t10k", slice(1000, 1200))):
            write_idx(raw / f"{name}-images-idx3-ubyte", images[rows])
            write_idx(raw / f"{name}-labels-idx1-ubyte", digits.target[rows].astype(np.uint8))
    return root


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures in two folders, one a class."""
    from PIL import Image
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("images")
    digits = load_digits()
    for label in (0, 1):
        (root / str(label)).mkdir()
        for i, pixels in enumerate(digits.images[digits.target == label][:20]):
            Image.fromarray((pixels * 15).astype("uint8")).save(root / str(label) / f"{i}.png")
    return root


def pytest_collection_finish() -> None:
    """The modules are there to stay: the collector looks no more at their objects, here and in forked processes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


COSTS: dict[str, float] = {}  # seconds of CPU, by test


def cpu_seconds() -> float:
    """The CPU time of this process, of the processes it has waited for, and of the server that tests share."""
    warm = sys.modules.get("tests.helpers.warm")
    return sum(os.times()[:4]) + (warm.cpu_seconds() if warm is not None else 0.0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Note what each test costs, its fixtures included."""
    before = cpu_seconds()
    result = yield
    COSTS[item.nodeid] = cpu_seconds() - before
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the run has cost, and with --durations=N the N dearest tests. A normal run is meant to take 150 s."""
    for test in sorted(COSTS, key=COSTS.__getitem__, reverse=True)[: config.getoption("durations") or 0]:
        terminalreporter.write_line(f"{COSTS[test]:8.2f} s of CPU  {test}")
    terminalreporter.write_line(f"{cpu_seconds():.0f} s of CPU, in this process and in those that it started")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` skip where there is none."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture
def warm_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps and `verify-resume` in this process start no server of their own: see tests/helpers/warm.py."""
    from tests.helpers import warm

    warm.share(monkeypatch)


def pytest_sessionfinish() -> None:
    """End the shared server, whose CPU time is known only then."""
    if (warm := sys.modules.get("tests.helpers.warm")) is not None:
        warm.end()


@pytest.fixture(scope="session")
def empty_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of Optuna's without a study: making its tables takes longer than a short search."""
    import optuna

    from dlrun.sweep.samplers.study import open_storage

    file = tmp_path_factory.mktemp("study") / "optuna.db"
    open_storage(optuna, file)
    return file


@pytest.fixture
def quick_studies(empty_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New studies are copies of the empty one."""
    from dlrun.sweep.samplers import optuna

    def open_copy(module: ModuleType, file: Path) -> RDBStorage:
        if not file.exists():
            shutil.copy(empty_study, file)
        return open_storage(module, file)

    open_storage = optuna.open_storage
    monkeypatch.setattr(optuna, "open_storage", open_copy)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, and without what takes much of the time of a short run: asking git."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dlrun.run.environment.git_state", lambda: None)


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traced step's graph itself, not compiled: what tracing and binding do, without the compiler's seconds.

    Nor does it note for each operation which line made it, which takes half of the time of tracing.
    """
    from torch._inductor import compile_fx

    monkeypatch.setattr("torch.fx.traceback.format_stack", lambda: [])
    monkeypatch.setattr(compile_fx, "compile_fx", lambda graph, inputs, **options: graph)
