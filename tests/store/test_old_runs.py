"""Runs and sweeps of an older version (tests/fixtures) are listed, compared, reported, gone on with and replayed."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path

import pytest

import dlrun
from dlrun import cli

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"

STATES = {  # what `dlrun runs` says of each, by the name that it shows
    "digits": "finished",
    "diabetes": "finished",
    "names": "finished",
    "pictures": "finished",
    "early": "finished",
    "tuned": "finished",
    "diverged": "failed",
    "component": "failed",
    "interrupted": "interrupted",
    "killed": "dead",
    "grid/lr0.1": "finished",
    "grid/lr0.01": "finished",
    "grid/lr1e_30": "failed",
    "seeds/sgd-seed0": "finished",
    "seeds/sgd-seed1": "finished",
    "seeds/adam-seed0": "finished",
    "seeds/adam-seed1": "finished",
    "random/lr0.047296": "finished",
    "random/lr0.0195498": "finished",
    "tpe/lr0.00443038": "finished",
    "tpe/lr0.013982": "finished",
    "tpe/lr0.00643117": "pruned",
    "tpe/lr0.00431171": "pruned",
    "tpe/lr0.00186623": "finished",
}
FINISHED = [name for name, state in STATES.items() if state == "finished"]
TIMES = ("epoch_seconds", "samples_per_second")


@pytest.fixture(autouse=True)
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of the fixtures under outputs/, which becomes the working directory.

    Figures are laid out but not rendered: that takes most of the time, and it is not what these tests look at.
    """
    shutil.copytree(FIXTURES / "runs", tmp_path / "outputs")
    shutil.copytree(FIXTURES / "conf", tmp_path / "conf")
    shutil.copy(FIXTURES / "brittle.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    return tmp_path


def run(*words: str) -> int:
    """A command line of dlrun; its exit code."""
    return cli.main(list(words))


def folder_of(name: str) -> Path:
    """The run directory of a name in `STATES`."""
    sweep, _, job = name.rpartition("/")
    return Path("outputs", "sweeps", sweep, "jobs", job) if sweep else Path("outputs", name)


def summary_of(folder: Path) -> dict[str, dict[str, float]]:
    """summary.json as it is on disk; empty where there is none."""
    path = folder / "summary.json"
    return json.loads(path.read_text()) if path.exists() else {}


def numbers_of(part: dict[str, float]) -> dict[str, float]:
    """The numbers of a part of summary.json: `test` also says of which weights they are."""
    return {key: value for key, value in part.items() if not isinstance(value, str)}


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, without the columns `kind` and `option.*`, which older versions did not write."""
    with open(path, newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [{name: row[name] for name in row if name != "kind" and not name.startswith("option.")} for row in rows]


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file was written, and its size: equal before and after a command that changes nothing."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def command_of(sweep: str) -> list[str]:
    """The words of the command that made a sweep, from its sweep.yaml."""
    text = Path("outputs", "sweeps", sweep, "sweep.yaml").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("  command: ")]
    return shlex.split(line.removeprefix("  command: "))[1:]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_runs_lists_each_with_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("runs") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert {line[0]: line[1] for line in lines} == STATES
    for line in lines:
        best, monitor = summary_of(folder_of(line[0])).get("best"), "val_accuracy" if line[0] == "early" else "val_loss"
        if best:
            assert line[4] == monitor
            assert float(line[5].replace(",", "")) == pytest.approx(best[monitor], rel=1e-3)
        else:
            assert STATES[line[0]] in ("failed", "interrupted", "dead")
    assert run("runs", "status=failed", "dataset=iris", "--sort", "name") == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == ["component", "diverged", "grid/lr1e_30"]


def test_load_run_reads_configuration_figures_and_weights() -> None:
    for name in FINISHED:
        found, folder = dlrun.load_run(folder_of(name)), folder_of(name)
        assert found.summary == summary_of(folder)
        counts = found.summary["counts"]
        assert len(found.metrics) == counts["epochs"]
        assert sum(p.numel() for p in found.model().parameters()) == counts["parameters"]
    dataset = {name: dlrun.load_run(name).config.section("dataset") for name in ("pictures", "diabetes")}
    assert "grey" in dataset["pictures"].values()
    assert [value for value in dataset["diabetes"].values() if isinstance(value, bool)] == [True, False]


def test_compare_shows_the_figures_of_each_summary() -> None:
    assert run("compare", *map(str, sorted(Path("outputs").iterdir())), "--output", "compared") == 0
    rows = {Path(row["path"]).relative_to("../outputs"): row for row in rows_of(Path("compared/results.csv"))}
    assert set(rows) == {folder_of(name).relative_to("outputs") for name in STATES}
    for name, state in STATES.items():
        row, summary = rows[folder_of(name).relative_to("outputs")], summary_of(folder_of(name))
        assert row["status"] == state
        for part in ("best", "last", "test"):
            numbers = numbers_of(summary.get(part) or {})
            assert {key: float(row[f"{part}.{key}"]) for key in numbers} == numbers


def test_compare_writes_the_results_that_a_sweep_wrote() -> None:
    path = Path("outputs/sweeps/grid/results.csv")
    before = rows_of(path)
    assert run("compare", str(path.parent)) == 0
    assert rows_of(path) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("interrupted", "stopped by SIGINT"),
        ("component", "column 3 is not finite in row 7"),
        ("sweeps/grid", "the loss of step 2 is nan"),
        ("sweeps/tpe", "0.9073"),
    ],
)
def test_report_is_written_from_the_files(name: str, told: str) -> None:
    assert run("report", f"outputs/{name}") == 0
    assert told in Path("outputs", name, "report.html").read_text()


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_finished_run_has_nothing_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    before = files_in(Path("outputs/digits"))
    assert run("resume", "digits") == 0
    assert "outputs/digits is finished (3 epochs); nothing to do." in capsys.readouterr().out
    assert files_in(Path("outputs/digits")) == before


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("interrupted", "outputs/interrupted/checkpoints/last.pt (epoch 3, step 15)"),
        ("killed", "outputs/killed/checkpoints/last.new.pt (epoch 5, step 8)"),
    ],
)
def test_a_resumed_run_equals_one_that_was_not_stopped(
    name: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old_rows = rows_of(Path("outputs", name, "metrics.csv"))
    words = Path("outputs", name, "overrides.txt").read_text().splitlines()
    assert run("resume", name) == 0
    assert f"resuming from {start}" in capsys.readouterr().out
    whole = dlrun.train([*words, "run.dir=outputs/whole"])
    resumed = dlrun.load_run(name)
    assert rows_of(resumed.path / "metrics.csv")[: len(old_rows)] == old_rows
    ours, theirs = (found.metrics.drop(columns=list(TIMES)).to_numpy() for found in (resumed, whole))
    assert ours == pytest.approx(theirs, rel=1e-4)
    weights = whole.model("last").state_dict()
    for key, value in resumed.model("last").state_dict().items():
        assert value.numpy() == pytest.approx(weights[key].numpy(), abs=1e-4)
    assert numbers_of(resumed.summary["test"]) == pytest.approx(numbers_of(whole.summary["test"]), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["diverged"], ["step 2 (epoch 1): the loss is nan", "output is not finite: head (Linear)"]),
        (["outputs/sweeps/grid/jobs/lr1e_30"], ["step 2 (epoch 1): the loss is nan"]),
        (["component", "--plugin", "brittle.py"], ["step 3 (epoch 1): ValueError: column 3 is not finite in row 7"]),
    ],
)
def test_replay_names_the_step_that_went_wrong(
    words: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", *words) == 0
    printed = capsys.readouterr().out
    assert [line for line in told if line not in printed] == []


def test_a_run_starts_from_the_experiment_that_was_trained_for_another(capsys: pytest.CaptureFixture[str]) -> None:
    words = Path("outputs/tuned/overrides.txt").read_text().splitlines()
    assert run(*words, "run.dir=outputs/again") == 0
    assert "start: outputs/tuned/init/checkpoints/best.pt: 4 tensors loaded" in capsys.readouterr().out
    assert not Path("outputs/again/init").exists()
    columns = [name for name in rows_of(Path("outputs/again/metrics.csv"))[0] if name not in TIMES]
    ours, theirs = (dlrun.load_run(name).metrics[columns].to_numpy() for name in ("again", "tuned"))
    assert ours == pytest.approx(theirs, rel=1e-4)


# --- sweeps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sweep", "jobs"), [("seeds", 4), ("random", 2), ("tpe", 5)])
def test_a_finished_sweep_trains_nothing_again(sweep: str, jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("outputs/sweeps", sweep)
    files, results = files_in(folder / "jobs"), rows_of(folder / "results.csv")
    assert run(*command_of(sweep)) == 0
    printed = capsys.readouterr().out
    assert f"stale: {jobs} jobs (changed since: code {jobs})" in printed, "the code has changed, no configuration"
    assert f"{jobs} jobs, 0 to run" in printed
    now = {name: facts for name, facts in files_in(folder / "jobs").items() if name in files or name[-4:] != ".png"}
    assert now == files, "figures of the best may be drawn, which older versions did at once"
    assert rows_of(folder / "results.csv") == results


@pytest.mark.usefixtures("warm_server")
@pytest.mark.parametrize("retry", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_sweep_trains_its_failed_job_alone(retry: bool, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = Path("outputs/sweeps/grid")
    finished = {job: files_in(sweep / "jobs" / job) for job in ("lr0.1", "lr0.01")}
    assert run("sweep", "status", str(sweep)) == 0
    assert "3 jobs: 2 finished, 1 failed; no process runs it." in capsys.readouterr().out
    assert run(*(["sweep", "retry", str(sweep)] if retry else command_of("grid"))) == 3
    printed = capsys.readouterr().out
    assert "3 jobs, 1 to run" in printed
    assert "changed since: configuration" not in printed
    rows = {row["job"]: row for row in rows_of(sweep / "status.csv")}
    assert {job: row["attempts"] for job, row in rows.items()} == {"lr0.1": "1", "lr0.01": "1", "lr1e_30": "2"}
    assert rows["lr1e_30"]["error"].startswith("the loss of step 2 is nan")
    assert {job: files_in(sweep / "jobs" / job) for job in finished} == finished


def test_retry_finds_nothing_to_do_in_a_finished_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "retry", "outputs/sweeps/seeds") == 0
    assert "4 jobs, 0 to run" in capsys.readouterr().out


@pytest.mark.usefixtures("warm_server")
def test_a_search_goes_on_with_more_trials(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = Path("outputs/sweeps/tpe/jobs")
    before = files_in(jobs)
    words = [word.replace("sweep.trials=5", "sweep.trials=6") for word in command_of("tpe")]
    assert run(*words) == 0
    out, err = capsys.readouterr()
    assert "6 jobs, 1 to run" in out
    assert "had lost" not in err, "the study's trials are found again"
    assert {path: facts for path, facts in files_in(jobs).items() if path in before} == before
    assert len(list(jobs.iterdir())) == 6
