"""What keeps large sweeps cheap: nothing is read, written or made anew for jobs that have not changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlrun.config.schema import yamls
from dlrun.report import sweep_page
from dlrun.report.compare import compare
from dlrun.sweep import state
from dlrun.sweep.folder import SweepDir, expect_sweep
from dlrun.sweep.state import Record, StatusTable, states_of_jobs
from tests.helpers.sweep_fakes import FakeSweep

WORDS = ["optimizer=sgd,adam", "seed=0,1", "device=cpu"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSweep:
    monkeypatch.chdir(tmp_path)
    return FakeSweep(monkeypatch)


def test_status_csv_is_made_of_what_changed(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(WORDS)
    folder = sweep.folder
    records = states_of_jobs(folder)
    table = StatusTable(folder)
    table.write(records)
    whole = folder.status.read_text()
    made: list[str] = []
    line = state._line
    monkeypatch.setattr(state, "_line", lambda job, record: made.append(job.slug) or line(job, record))
    slug = next(iter(records))
    table.write({**records, slug: Record(state="running")})
    assert made == [slug]
    state.write_status(folder, records)
    assert folder.status.read_text() == whole


def test_an_appended_job_is_read_back_and_half_a_line_is_none(sweep: FakeSweep) -> None:
    sweep(WORDS)
    folder = sweep.folder
    *first, last = folder.jobs.values()
    folder.jobs = {job.slug: job for job in first}
    folder.write()
    before = folder.file.read_bytes()
    folder.append(last)
    assert list(expect_sweep(str(folder.path)).jobs.values()) == [*first, last]
    assert yamls.load_file(folder.file)["jobs"].keys() == {job.slug for job in [*first, last]}
    after = folder.file.read_bytes()
    for size in range(len(before) + 1, len(after), 50):
        folder.file.write_bytes(after[:size])
        assert list(expect_sweep(str(folder.path)).jobs.values()) == first


def test_waiting_jobs_are_not_looked_at(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(WORDS)
    folder = SweepDir(sweep.folder.path)
    folder.read()
    for path in (folder.path / "jobs").iterdir():
        path.rename(folder.path / f".{path.name}")
    for path in folder.state.glob("*.json"):
        path.unlink()
    looked: list[Any] = []
    monkeypatch.setattr(state, "state_of_job", lambda *words: looked.append(words))
    assert {record.state for record in states_of_jobs(folder).values()} == {"waiting"}
    assert not looked


def test_a_page_of_many_runs_has_the_best(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep.loss = lambda config: 1.0 + config["seed"]
    monkeypatch.setattr(sweep_page, "MOST_ROWS", 3)
    sweep(["seed=4,3,2,1,0", "optimizer=sgd,adam", "optimizer.lr=0.1,0.2", "device=cpu", "trainer.epochs=10"])
    text = sweep_page.sweep_page(sweep.folder.path, compare([sweep.folder.path]), "report.html")
    assert "One line a run (the best 3 of 20: all are in results.csv)" in text
