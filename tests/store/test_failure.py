"""A failure keeps its shape on disk; the kind of what older versions wrote is guessed from their own sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlrun.errors import Kind
from dlrun.report.compare import compare
from dlrun.store.failure import Failure, guess_kind, read_failure
from dlrun.sweep.folder import SweepDir
from dlrun.sweep.state import Record, read_record, write_record
from tests.helpers.runs_by_hand import make_run

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs"


@pytest.mark.parametrize("failure", [Failure("diverged", "a\nb", "stack"), Failure("input", "c", exit_code=2)])
def test_it_is_read_as_it_was_written(failure: Failure) -> None:
    assert read_failure(json.loads(json.dumps(failure.to_values()))) == failure


@pytest.mark.parametrize("values", [{}, {"error": None, "exit_code": 0}, {"error": "", "kind": "bug"}])
def test_no_message_is_no_failure(values: dict[str, object]) -> None:
    assert read_failure(values) is None


def test_a_damaged_file_is_read_as_well_as_it_can_be() -> None:
    assert read_failure({"error": 7, "kind": ["x"], "exit_code": "4", "traceback": 3}) == Failure("crash", "7", "3")


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("component", 4, "an exception in a component of yours: ValueError: column 3 is not finite in row 7"),
        ("component", 4, "an exception in a component of yours: ValueError: training diverged"),
        ("diverged", 4, "the loss of step 2 is nan: training diverged. Try a smaller optimizer.lr"),
        ("diverged", 4, "anomaly: Function 'LogBackward0' returned nan values in its 0th output."),
        ("out_of_memory", 4, "out of memory. Try a smaller trainer.batch_size with trainer.accumulate."),
        ("disk_full", 4, "cannot write to a/b: No space left on device."),
        ("timeout", 4, "no end after 8 s (sweep.job_timeout), in forward (model.py, line 7)"),
        ("signal", None, "stopped by SIGTERM from outside the sweep"),
        ("signal", 4, "killed: SIGKILL; perhaps the machine ran out of memory"),
        ("signal", 130, "whatever"),
        ("input", 2, "model.width: must be int"),
        ("bug", 1, "KeyError: 'the loss of step 2 is nan: training diverged'"),
        ("crash", 4, "crashed (segmentation fault): SIGSEGV"),
        ("crash", None, "the loss of words"),
    ],
)
def test_the_kind_of_an_older_versions_failure_is_guessed(kind: Kind, code: int | None, message: str) -> None:
    assert guess_kind(message, code) == kind


def test_the_runs_of_an_older_version_failed_as_they_did() -> None:
    found = {job.run.path.name: job.failure for job in compare([FIXTURES / "component", FIXTURES / "diverged"]).jobs}
    assert {name: failure and failure.kind for name, failure in found.items()} == {
        "component": "component",
        "diverged": "diverged",
    }


def test_a_kind_that_is_stored_is_never_guessed(tmp_path: Path) -> None:
    said = "the loss of step 2 is nan: training diverged"
    run = make_run(tmp_path / "a", state="failed", error=said, kind="component")
    (job,) = compare([run]).jobs
    assert (job.failure, job.diverged) == (Failure("component", said), False)


def test_records_of_older_sweeps_are_read(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path)
    sweep.state.mkdir()
    record = Record(state="failed", failure=Failure("timeout", "no end", exit_code=4), attempts=2)
    write_record(sweep, "a", record)
    assert read_record(sweep, "a") == record
    (sweep.state / "b.json").write_text('{"state": "failed", "error": "out of memory.", "attempts": 1}')
    assert read_record(sweep, "b") == Record("failed", Failure("out_of_memory", "out of memory."), attempts=1)
    (sweep.state / "c.json").write_text('{"state": "finished", "error": ""}')
    assert read_record(sweep, "c") == Record("finished")
