"""A recorder takes the events of `fit` from whoever iterates over them: a session, or a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlrun
from dlrun import cli
from dlrun.engine.loop import Progress, fit
from dlrun.run.build import build
from dlrun.run.context import RunContext
from dlrun.run.opening import begin
from dlrun.run.recorder import Recorder
from dlrun.run.runner import open_run
from dlrun.store.rundir import RunDir
from tests.helpers.killing import assert_equal_runs
from tests.helpers.quick_runs import QUICK, run

pytestmark = pytest.mark.usefixtures("quick")


def test_a_notebook_iterates_over_the_events_and_gets_the_files_of_a_run() -> None:
    config = dlrun.compose([*QUICK, "run.dir=b"])
    context = RunContext(open_run(config), build(config))
    begin(context)
    losses = []
    with Recorder(context) as recorder:
        for event in fit(context.state, context.batches, context.plan):
            recorder.record(event)
            if isinstance(event, Progress):
                losses.append(event.loss)
    context.close()
    assert run() == 0
    assert len(losses) == 2
    assert_equal_runs(RunDir("a"), RunDir("b"))
    assert Path("a/steps.csv").read_text() == Path("b/steps.csv").read_text()


def test_what_a_notebook_breaks_off_can_be_resumed() -> None:
    config = dlrun.compose([*QUICK, "run.dir=b"])
    context = RunContext(open_run(config), build(config))
    begin(context)
    with Recorder(context) as recorder:
        for event in fit(context.state, context.batches, context.plan):
            recorder.record(event)
            break
    context.close()
    assert context.state.step == 4
    assert run() == 0
    assert cli.main(["resume", "b"]) == 0
    assert_equal_runs(RunDir("a"), RunDir("b"))


def test_making_a_recorder_touches_no_file() -> None:
    config = dlrun.compose([*QUICK, "run.dir=b"])
    context = RunContext(open_run(config), build(config))
    before = sorted(Path("b").rglob("*"))
    Recorder(context)
    context.close()
    assert sorted(Path("b").rglob("*")) == before


def test_after_an_exception_the_tables_are_closed_and_no_checkpoint_is_written() -> None:
    config = dlrun.compose([*QUICK, "run.dir=b"])
    context = RunContext(open_run(config), build(config))
    begin(context)
    recorder = Recorder(context)

    def fail() -> None:
        with recorder:
            for event in fit(context.state, context.batches, context.plan):
                recorder.record(event)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    context.close()
    assert recorder.metrics.file.closed
    assert recorder.step_table.file.closed
    assert not RunDir("b").last.exists()
