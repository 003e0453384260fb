"""Sweeps on SLURM (submitit's local executor, a stand-in sbatch) and on a real local Ray: the same jobs, elsewhere."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlrun import cli
from dlrun.errors import ConfigError, Kind
from dlrun.processes import safe_path
from dlrun.store.failure import Failure
from dlrun.sweep.executors.base import Ended, process_failure
from dlrun.sweep.state import last_line
from tests.helpers import foreign
from tests.helpers.deadline import wait_for
from tests.helpers.sweep_fakes import FakeSweep, read_sweep, states

QUICK = ["trainer=smoke", "device=cpu", "device.threads=1", "seed=0,1", "sweep.name=s", "--quiet"]
HERE = str(Path(__file__).parents[2])

SBATCH = """#!/bin/sh
# Notes the script and its directives, runs it at once in the background, answers as SLURM does.
cp "$1" "$SLURM_STAND_IN/script-$$.sh"
SLURM_JOB_ID=$$ SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1 \\
    SLURM_JOB_NODELIST=here setsid sh "$1" >"$SLURM_STAND_IN/out-$$" 2>&1 &
echo "Submitted batch job $$"
"""
SRUN = """#!/bin/sh
# srun [OPTION | OPTION VALUE] ... COMMAND: only the command is run
while true; do
    case "$1" in
        --output|--error) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
exec "$@"
"""
SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing in it is imported by any process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")])))
    foreign.fill(tmp_path)
    yield
    assert foreign.imported(tmp_path) == ""


def finished(path: str = "outputs/sweeps/s") -> list[str]:
    return [record.state for record in states(read_sweep(Path(path))).values()]


# --- SLURM ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_submitit_runs_the_same_jobs_in_the_same_folder() -> None:
    pytest.importorskip("submitit")
    assert cli.main(["-m", *QUICK, "sweep.executor=slurm", "sweep.slurm={cluster: local}"]) == 0
    assert finished() == ["finished", "finished"]
    assert cli.main(["-m", *QUICK, "sweep.executor=local"]) == 0  # whatever ran them, they are done


def test_sbatch_is_given_a_script_with_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    notes = stand_in(tmp_path, monkeypatch)
    options = "sweep.slurm={partition: gpu, timeout_min: 90, cpus_per_task: 2, gpus_per_node: 1}"
    assert cli.main(["-m", *QUICK, "sweep.executor=slurm", options]) == 0
    assert finished() == ["finished", "finished"]
    scripts = [path.read_text() for path in notes.glob("script-*.sh")]
    assert len(scripts) == 2
    for line in ("--partition=gpu", "--time=90", "--cpus-per-task=2", "--gpus-per-node=1", "--job-name=dlrun"):
        assert f"#SBATCH {line}" in scripts[0]
    assert sys.executable in scripts[0]

    # As if the sweep's process had died while its batch jobs ran on: they are found again, not submitted again.
    folder = read_sweep(Path("outputs/sweeps/s"))
    number = next(notes.glob("script-*.sh")).stem.split("-")[1]
    (slug,) = [slug for slug in folder.jobs if f'"slug": "{slug}"' in submitted(folder.state, number)]
    status = folder.run(slug).status
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "interrupted"}))
    (folder.state / f"{slug}.json").write_text(json.dumps({"state": "running", "handle": number, "attempts": 1}))
    cli.main(["-m", *QUICK, "sweep.executor=slurm", options])
    assert len(list(notes.glob("script-*.sh"))) == 2


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """sbatch, srun and sacct on the PATH; returns the folder where sbatch notes what it was given."""
    folder, notes = tmp_path / "bin", tmp_path / "notes"
    folder.mkdir()
    notes.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT), ("scancel", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STAND_IN", str(notes))
    return notes


def submitted(state: Path, number: str) -> str:
    """What submitit pickled for a batch job, as JSON."""
    import pickle

    with open(state / "slurm" / f"{number}_submitted.pkl", "rb") as file:
        return json.dumps(pickle.load(file).args[0])


@pytest.mark.parametrize(
    ("end", "log"), [((os._exit, 9), r"slurm/\d+_0_log\.out"), ((os.abort,), r"slurm/\d+_0_log\.(out|err)")]
)
def test_a_batch_job_that_dies_is_not_said_to_have_finished(
    end: tuple[Any, ...], log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    from dlrun.sweep.executors.slurm import SlurmExecutor

    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)  # it waits 15 s for files of a network
    executor = SlurmExecutor({"slurm": {"cluster": "local"}, "workers": 1}, tmp_path)
    with safe_path():
        executor.jobs["a"] = job = executor.executor.submit(*end)
    ended: list[Ended] = []
    wait_for(lambda: ended.extend(executor.wait(0)) or ended)
    assert ended[0].code is None
    assert re.fullmatch(rf"batch job {job.job_id} ended without a result( \(INTERRUPTED\))?: {log}", ended[0].note)
    assert Path(ended[0].note.rpartition(": ")[2]).exists()


def test_slurm_needs_sbatch_and_known_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    from dlrun.sweep.executors.slurm import SlurmExecutor

    settings = {"slurm": {}, "workers": "auto"}
    with pytest.raises(ConfigError, match=r"no sbatch on this machine.*cluster: local"):
        SlurmExecutor(settings, tmp_path)
    with pytest.raises(ConfigError, match=r"sweep\.slurm"):
        SlurmExecutor({"slurm": {"cluster": "local", "partitoin": "x"}, "workers": 2}, tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"dlrun\[slurm\]"):
        SlurmExecutor(settings, tmp_path)


# --- Ray --------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_runs_the_same_jobs_in_the_same_folder() -> None:
    pytest.importorskip("ray")
    assert cli.main(["-m", *QUICK, "sweep.executor=ray"]) == 0
    assert finished() == ["finished", "finished"]


def test_ray_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dlrun.sweep.executors.ray import RayExecutor

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"dlrun\[ray\]"):
        RayExecutor({"ray_address": None}, [])


# --- words ------------------------------------------------------------------------------------------------------------

STACK = """epoch 1/2
Fatal Python error: Segmentation fault

Thread 0x00007f (most recent call first):
  File "/a/pool.py", line 3 in wait

Current thread 0x00007f (most recent call first):
  File "/a/model.py", line 7 in forward
  File "/a/run.py", line 1 in <module>
"""


@pytest.mark.parametrize(
    ("code", "log", "kind", "words"),
    [
        (-11, STACK, "crash", "crashed (segmentation fault): SIGSEGV, in forward (model.py, line 7)"),
        (-9, "x", "signal", "killed: SIGKILL; perhaps the machine ran out of memory"),
        (-6, "x", "crash", "aborted: SIGABRT"),
        (-40, "x", "signal", f"killed: signal 40 (SIGRTMIN+{40 - signal.SIGRTMIN})"),
        (-33, "x", "signal", "killed: signal 33"),
        (9, "x", "crash", "its process ended by itself with exit code 9"),
        (None, "x", "crash", "its process vanished"),
        (1, STACK.replace("Fatal Python error: Segmentation fault", "Timeout (0:00:05)!"), "timeout",
         "no end after 5 s (sweep.job_timeout), in forward (model.py, line 7)"),
    ],
)  # fmt: skip
def test_every_end_of_a_process_has_words(code: int | None, log: str, kind: Kind, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(log)
    assert process_failure(Ended("a", code), 5.0, path) == Failure(kind, words)
    assert last_line(path) in ("epoch 1/2", "x")
    path.write_text(log.replace("epoch 1/2\n", "dlrun  a\n  engine     plain\n  directory  a/b\n\n"))
    assert last_line(path) in ("", "x")  # the header is no last word


def test_an_executor_that_knows_more_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Ended("a", None, note="batch job 7: NODE_FAIL")
    assert process_failure(known, None, tmp_path / "no.log") == Failure("crash", "batch job 7: NODE_FAIL")
    assert last_line(tmp_path / "no.log") == ""
    monkeypatch.chdir(tmp_path)
    assert FakeSweep(monkeypatch)(["seed=0", "device=cpu"]) == 0
