"""The end of a sweep: its reports are written; the table of results and the failed jobs are printed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from dlrun.plain import say
from dlrun.report import html
from dlrun.report.compare import print_comparison, write_results
from dlrun.report.jobs import SweepEntry
from dlrun.report.tables import print_table
from dlrun.sweep.drawing import Drawing
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.protocol import Protocol
from dlrun.sweep.screen import ignore_closed_stdout
from dlrun.sweep.state import Record, alone, counts
from dlrun.sweep.tuned import edges, is_failure, tuned_table

EXIT_FAILED = 3


def conclude(
    sweep: SweepDir,
    jobs: Sequence[FrozenJob],
    records: Mapping[str, Record],
    *,
    quiet: bool,
    protocol: Protocol | None = None,
) -> int:
    """Write results.csv, figures and report.html, and print the results. Returns the exit code.

    With a `protocol` its final runs are compared, and what was tuned is printed before.
    """
    known = [(job, records[job.slug]) for job in (protocol.finals if protocol else jobs)]
    tuned = tuple(dict.fromkeys(key for option in protocol.options for key in option.space)) if protocol else ()
    rows = [
        SweepEntry(
            sweep.run(job.slug).path, job.swept, record.state, record.failure, alone(job, record),
            final=protocol is not None, tuned=tuned,
        )
        for job, record in known
    ]  # fmt: skip
    drawing = Drawing()
    try:
        comparison = write_results(sweep.path, rows, sweep.settings.get("target"), drawing.begin)
    finally:
        drawing.finish()
    html.write_report(sweep.path, comparison)
    with ignore_closed_stdout():
        if not quiet:
            say()
            if protocol:
                print_tuned(protocol)
            print_comparison(comparison)
        print_failures([job for job in jobs if is_failure(job, records[job.slug])], records)
        print_last_line(sweep, jobs, records)
    lacking = protocol is not None and any(option.chosen is None for option in protocol.options)
    return EXIT_FAILED if lacking or any(is_failure(job, records[job.slug]) for job in jobs) else 0


def print_tuned(protocol: Protocol) -> None:
    """Print what was chosen of each option, and which choices lie near the end of a range."""
    say(f"Tuned by {protocol.budget} trials each, by validation; the best of each ran with {protocol.repeat} new seeds")
    say()
    print_table(tuned_table(protocol))
    for remark in edges(protocol):
        say(f"note: {remark}")
    say()


def print_failures(jobs: Sequence[FrozenJob], records: Mapping[str, Record]) -> None:
    """Print for each failed job the reason, the last line of its log and the command that runs it alone."""
    for job in jobs:
        record = records[job.slug]
        if record.state != "failed":
            continue
        message = record.failure.message.strip() if record.failure else "failed"
        say(f"\nfailed: {job.label}")
        for line in message.splitlines():
            say(f"  {line}")
        if record.last_line and record.last_line not in message:
            say(f"  last line: {record.last_line}")
        say(f"  alone: {alone(job, record)}")


def print_last_line(sweep: SweepDir, jobs: Sequence[FrozenJob], records: Mapping[str, Record]) -> None:
    """Print how many jobs ended in which state, and where the report is."""
    mine = [records[job.slug] for job in jobs]
    words = ", ".join(f"{count} {state}" for state, count in counts(mine).items())
    impossible = sum(bool(job.invalid) for job in jobs)
    words += f" ({impossible} impossible)" if impossible else ""
    others = len(sweep.jobs) - len(jobs)
    more = f" ({others} other{'s' if others > 1 else ''} in the folder)" if others else ""
    say(f"\n{len(jobs)} job{'s' if len(jobs) != 1 else ''}: {words}{more}. {sweep.path}/report.html")
    if others:
        say(f"All jobs in the folder:  {shlex.join(['dlrun', 'compare', str(sweep.path)])}")
