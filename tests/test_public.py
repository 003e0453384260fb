"""The names that `dlrun` itself has, which cost nothing until they are used, and the paths that used to hold them."""

from __future__ import annotations

import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import dlrun
from dlrun import moved
from tests.helpers import warm
from tests.house.measure import House


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", dlrun.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(dlrun, name) is not None
    assert name in dir(dlrun)


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = python("import sys, dlrun; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "numpy", "hydra", "yaml", "omegaconf"}


def test_a_data_set_can_be_described_without_torch() -> None:
    done = python(
        "import sys, dlrun; dlrun.DataSpec('a', 'regression', 'tabular', (1,), 1); print('torch' in sys.modules)"
    )
    assert done.stdout.split() == ["False"], done.stderr


def test_a_loss_of_ones_own_is_a_subclass() -> None:
    class Mine(dlrun.Loss):
        pass

    loss = Mine("mine", "mean")
    assert loss.reduction == "mean"
    assert loss.ignore_index is None
    with pytest.raises(AttributeError, match="no attribute 'Lss'"):
        dlrun.Lss  # noqa: B018


@pytest.mark.parametrize("old", moved.MOVED_MODULES)
def test_an_old_module_works_and_says_what_it_is_now(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {moved.MOVED_MODULES[old]}") as caught:
        module = import_module(old)
    assert module is import_module(moved.MOVED_MODULES[old])
    assert len(caught) == 1


@pytest.mark.parametrize("old", moved.MOVED_NAMES)
def test_an_old_name_works_and_says_what_it_is_now(old: str) -> None:
    module, _, name = old.rpartition(".")
    new_module, _, new_name = moved.MOVED_NAMES[old].rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"{old} is now"):
        found = getattr(import_module(module), name)
    assert found is getattr(import_module(new_module), new_name)
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        import_module(module).nowhere  # noqa: B018


def test_the_warning_stands_at_the_line_that_imports(tmp_path: Path) -> None:
    lines = ["from dlrun.run.rundir import RunDir", "from dlrun.data.base import Part"]
    code = "\n".join(["import warnings", "warnings.simplefilter('always')", "", *lines])
    assert warm.run_code(code, tmp_path / "said") == 0
    said = (tmp_path / "said").read_text()
    assert "<string>:4: DeprecationWarning: dlrun.run.rundir is now dlrun.store.rundir" in said
    assert "<string>:5: DeprecationWarning: dlrun.data.base.Part is now dlrun.data.base.Split" in said


def test_nothing_of_ours_uses_an_old_path() -> None:
    named = {x for module in House().modules.values() for x in moved.MOVED_MODULES if x in module.text}
    assert named == set(moved.MOVED_MODULES), "only moved.py names them"
    users = [name for name, m in House().modules.items() if name != "dlrun.moved" and any(x in m.text for x in named)]
    assert users == []


def test_other_modules_are_not_found_here() -> None:
    with warnings.catch_warnings(), pytest.raises(ModuleNotFoundError):
        import_module("dlrun.config.nowhere")


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("LANG", "C", "1000"), ("GOMP_SPINCOUNT", "7", "7"), ("OMP_WAIT_POLICY", "ACTIVE", "None")],
)
def test_waiting_threads_spin_shortly_unless_the_user_says_otherwise(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(name, value)
    done = python("import dlrun, os; print(os.environ.get('GOMP_SPINCOUNT'))")
    assert done.stdout.strip() == expected
