"""`dlrun runs`: what it lists, filters and sorts, and that it needs nothing heavy."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from dlrun.errors import RunError
from dlrun.plain import flatten
from dlrun.report.runs import list_runs, runs_command, scan_config
from dlrun.report.tables import format_value
from dlrun.store.marks import MARK
from dlrun.store.reader import StoredRun
from tests.helpers.python import run_python
from tests.helpers.runs_by_hand import make_config, make_run, to_yaml


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Three ordinary runs, a job of a sweep, and folders that are no runs."""
    root = tmp_path / "outputs"
    day = root / "2026-11-20"
    make_run(day / "one", started="2026-11-20T10:00:00", floor=0.3)
    make_run(day / "two", make_config(optimizer__lr=0.1), started="2026-11-20T11:00:00", floor=0.1)
    gru = make_config(optimizer="sgd", model__name="gru", dataset__name="names")
    make_run(day / "three", gru, started="2026-11-20T12:00:00", floor=0.2, state="failed", error="no")
    make_run(root / "sweeps" / "lrs" / "jobs" / "lr-0.1", started="2026-11-20T13:00:00", floor=0.4)
    (root / "sweeps" / "lrs" / "sweep.yaml").touch()
    (root / "comparisons").mkdir()
    (root / ".hidden" / "run").mkdir(parents=True)
    (root / ".hidden" / "run" / "status.json").write_text("{}")
    return root


def listed(capsys: pytest.CaptureFixture[str], root: Path, *filters: str, sort: str | None = None) -> list[str]:
    """The names in the printed table, in order."""
    assert runs_command(filters, sort, None, root) == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]


def test_the_newest_comes_first(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, outputs) == ["lrs/lr-0.1", "three", "two", "one"]
    runs_command([], None, None, outputs)
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["name", "status", "model", "dataset", "metric", "when"]
    assert "2026-11-20 12:00" in out
    assert "val_loss 0.3" in out
    assert "\033" not in out, "no colours in a pipe"


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["status=failed"], ["three"]),
        (["kind=crash"], ["three"]),
        (["model=gru"], ["three"]),
        (["optimizer=a*"], ["lrs/lr-0.1", "two", "one"]),
        (["optimizer.lr=0.1"], ["two"]),
        (["optimizer.lr=1e-1"], ["two"]),
        (["optimizer.lr>0.05"], ["two"]),
        (["optimizer.lr<=0.05", "status!=failed"], ["lrs/lr-0.1", "one"]),
        (["optimizer.lr=1e-1", "status=failed"], []),
        (["LRS"], ["lrs/lr-0.1"]),
        (["names"], ["three"]),
        (["sweeps/lrs/jobs"], ["lrs/lr-0.1"]),
        (["model.hidden=[64,64]", "t"], ["lrs/lr-0.1", "three", "two", "one"]),
        (["test.of=best", "one"], ["one"]),
    ],
)
def test_filters(outputs: Path, capsys: pytest.CaptureFixture[str], filters: list[str], names: list[str]) -> None:
    found = listed(capsys, outputs, *filters)
    assert found == names
    if not names:
        runs_command(filters, None, None, outputs)
        assert "None of the 4 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", ["lrs/lr-0.1", "one", "three", "two"]),
        ("-name", ["two", "three", "one", "lrs/lr-0.1"]),
        ("metric", ["two", "three", "one", "lrs/lr-0.1"]),
        ("when", ["one", "two", "three", "lrs/lr-0.1"]),
        ("-when", ["lrs/lr-0.1", "three", "two", "one"]),
        ("optimizer.lr", ["lrs/lr-0.1", "one", "three", "two"]),
        ("-test.loss", ["lrs/lr-0.1", "one", "two", "three"]),
    ],
)
def test_sorting(outputs: Path, capsys: pytest.CaptureFixture[str], sort: str, names: list[str]) -> None:
    assert listed(capsys, outputs, sort=sort) == names


def test_of_an_accuracy_more_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"low": 0.5, "high": 0.9}.items():
        run = make_run(tmp_path / name)
        summary = {"monitor": "val_accuracy", "best": {"val_accuracy": value}}
        (run / "summary.json").write_text(json.dumps(summary))
    assert listed(capsys, tmp_path, sort="metric") == ["high", "low"]


def test_limit(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs_command([], None, 2, outputs)
    out = capsys.readouterr().out
    assert "2 of 4 shown" in out
    assert "one" not in out.split()


def test_a_key_that_no_run_has_is_an_error(outputs: Path) -> None:
    with pytest.raises(RunError, match=r"no run has the key 'optimizer.lrr'. Did you mean optimizer.lr\?"):
        runs_command(["optimizer.lrr=0.1"], None, None, outputs)
    with pytest.raises(RunError, match="statsu"):
        runs_command([], "-statsu", None, outputs)


def test_no_runs_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs_command(["model=gru"], "metric", None, tmp_path / "nowhere") == 0
    assert "No runs under" in capsys.readouterr().out


def test_a_run_that_says_running_is_dead_when_nobody_holds_its_lock(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", state="running")
    assert StoredRun(run).state == "dead"  # no lock file at all
    with open(run / ".lock", "w") as lock:
        assert StoredRun(run).state == "dead"
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert StoredRun(run).state == "running"
        assert list_runs(tmp_path)[0].state == "running"
    assert list_runs(tmp_path)[0].state == "dead"


@pytest.mark.parametrize("name", ["status.json", "summary.json", "config.yaml"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe\0", b'{"state": 3, "best": [], "started": 4}'])
def test_damaged_runs_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)
    assert listed(capsys, tmp_path) == ["run"]
    assert StoredRun(run).best()["epoch"] == 10
    assert StoredRun(run).title


def test_scanning_reads_what_a_yaml_parser_reads(tmp_path: Path) -> None:
    config = make_config(model__hidden=[8, 16], run__name="a: b # c", dataset__name="x y")
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    expected = {key: format_value(value) for key, value in flatten(StoredRun(tmp_path).config).items()}
    found = scan_config(path)
    assert found.keys() == expected.keys()
    for key, text in found.items():
        assert text.replace(", ", ",") == expected[key] or float(text) == float(expected[key])


def test_a_thousand_runs_without_torch_pandas_or_yaml(tmp_path: Path) -> None:
    text = to_yaml(make_config())
    for number in range(30):
        run = tmp_path / f"run-{number:02d}"
        run.mkdir()
        (run / "config.yaml").write_text(text)
        (run / "status.json").write_text(json.dumps(MARK | {"state": "finished"}))
    code = (
        "import sys; from pathlib import Path; from dlrun.report.runs import runs_command;"
        f"runs_command(['model=mlp'], 'metric', None, Path({str(tmp_path)!r}));"
        "heavy = {'torch', 'pandas', 'numpy', 'matplotlib', 'sklearn', 'yaml', 'omegaconf', 'hydra', 'rich'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run-") == 30


def test_what_is_asked_for_is_a_column(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs_command(["optimizer.lr>0.05"], "trainer.epochs", None, outputs)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "status", "model", "dataset", "metric", "optimizer.lr", "trainer.epochs", "when"]
    assert "0.1000" in row
