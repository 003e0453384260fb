"""What a budget tuned: tuning.csv with every trial, and a table of what was chosen of each option."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from dlrun.config.job import Space
from dlrun.config.overrides.values import Distribution
from dlrun.report.tables import Table, format_number, format_value
from dlrun.report.tuning import FACTS, TUNING_FILE
from dlrun.store.files import write_atomic
from dlrun.store.reader import StoredRun
from dlrun.sweep.folder import FrozenJob
from dlrun.sweep.protocol import Protocol, TunedOption
from dlrun.sweep.samplers.halton import share_of_range
from dlrun.sweep.state import DONE, Record, state_of_job

OUTER = 0.1  # of a range at each end: a best value in there may lie at its edge


def write_tuning(protocol: Protocol) -> None:
    """Write tuning.csv: a row for each trial of each option, and for final runs of settings that were chosen before."""
    sweep = protocol.sweep
    keys = dict.fromkeys(key for option in protocol.options for key in (*option.job.swept, *option.space))
    columns = [*keys, *FACTS]
    ranked = {job.slug for job in protocol.finals}
    trials = {job.slug for option in protocol.options for job in option.trials}
    rows = [tuning_row(protocol, job, n, option) for option in protocol.options for n, job in enumerate(option.trials)]
    rows += [tuning_row(protocol, job) for slug, job in sweep.jobs.items() if slug not in ranked | trials and job.stage]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(sweep.path / TUNING_FILE, text.getvalue().encode())


def tuning_row(
    protocol: Protocol, job: FrozenJob, number: int | None = None, option: TunedOption | None = None
) -> dict[str, Any]:
    """A row of tuning.csv. `stage` is `tune`, or `former` for a run of an earlier budget."""
    run = StoredRun(protocol.sweep.run(job.slug).path)
    chosen = option is not None and option.chosen is not None and option.chosen.slug == job.slug
    return {
        **{key: format_value(value) for key, value in job.swept.items()},
        "stage": "former" if option is None else "tune",
        "trial": "" if number is None else number,
        "tuned": " ".join(dict.fromkeys(key for option in protocol.options for key in option.space)),
        "metric": run.monitor if run.metrics else "",
        "better": run.mode,
        "value": run.best().get(run.monitor, ""),
        "chosen": "yes" if chosen else "",
        "status": state_of_job(protocol.sweep, job).state,
        "path": os.path.relpath(run.path, protocol.sweep.path),
    }


def tuned_table(protocol: Protocol) -> Table:
    """A row for each tuned key of each option: its range, what was chosen and with which value of the metric."""
    rows = []
    for option in protocol.options:
        for key, space in option.space.items():
            chosen = option.chosen
            value = "none finished" if chosen is None else format_value(chosen.swept[key])
            best = "" if chosen is None else best_of(protocol, chosen)
            rows.append([option.label, key, range_text(space), value, best, ended(protocol, option)])
    return Table(["option", "tuned", "range", "chosen", "with", "trials"], rows, spare=["trials"])


def best_of(protocol: Protocol, job: FrozenJob) -> str:
    """`val_loss 0.123`."""
    run = StoredRun(protocol.sweep.run(job.slug).path)
    return f"{run.monitor} {format_number(run.best().get(run.monitor))}"


def range_text(space: Space) -> str:
    """`1e-05 to 0.1, log`, or the values of a list."""
    if not isinstance(space, Distribution):
        return ", ".join(map(format_value, space))
    return f"{format_value(space.low)} to {format_value(space.high)}{', log' if space.log else ''}"


def ended(protocol: Protocol, option: TunedOption) -> str:
    """`12`, or `11 of 12` where a trial has no result."""
    done = sum(state_of_job(protocol.sweep, job).state in DONE for job in option.trials)
    return str(done) if done == len(option.trials) else f"{done} of {len(option.trials)}"


def edges(protocol: Protocol) -> list[str]:
    """A remark for each chosen value in the outer tenth of its range."""
    found = []
    for option in protocol.options:
        for key, space in option.space.items():
            share = share_of_range(space, option.chosen.swept[key]) if option.chosen else None
            if share is not None and not OUTER <= share <= 1 - OUTER:
                end, other = ("lower", "smaller") if share < OUTER else ("upper", "larger")
                value = format_value(option.chosen.swept[key]) if option.chosen else ""
                found.append(
                    f"best {key} of {option.label}, {value}, lies in the {end} tenth of its range {range_text(space)}: "
                    f"{other} values may be better."
                )
    return found


def is_failure(job: FrozenJob, record: Record) -> bool:
    """Whether a job counts as failed in the exit code: a trial may diverge, a final run may not."""
    diverged = record.failure is not None and record.failure.kind == "diverged"
    return record.state not in DONE and not (job.stage == "tune" and diverged)
