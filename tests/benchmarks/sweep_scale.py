"""What a sweep of N jobs costs beside the training of its jobs: one job is trained, the folders of the others are made.

    python tests/benchmarks/sweep_scale.py [N ...] [--real JOBS] [--folder FOLDER]        (100 1000 10000 by default)

Each part is a fresh process, measured from outside: seconds of CPU (user and system), seconds by the clock, and its
largest resident set. `compose, freeze` plans a new sweep and writes its sweep.yaml; `again` is the same command when
all jobs are finished. Then JOBS of the folders are removed and the command trains these jobs; `parent` is what its own
process, which starts the jobs, takes of one core between the begin of the first and the end of the last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from table import markdown_table

from dlrun.config.schema import yamls
from dlrun.store.marks import is_run
from dlrun.sweep.folder import FrozenJob, SweepDir, expect_sweep
from dlrun.sweep.state import Record, read_record, write_record

FIXED = ("dataset=digits", "model=mlp", "trainer.epochs=5", "device=cpu")
SEEDS, OPTIMIZERS = 5, ("sgd", "momentum", "rmsprop", "adam")
HEAD = ["jobs", "compose, freeze", "status", "compare", "again", "most memory", "parent", "jobs a second", "an own job"]
PLAN = """
import sys, dlrun.cli
from dlrun.config.expand import expand
from dlrun.sweep import command
from dlrun.sweep.folder import SweepDir
words = sys.argv[2:]
expansion = expand(words, search_cwd=False)
sweep = SweepDir(sys.argv[1])
sweep.open()
sweep.settings = expansion.config.section("sweep")
jobs, todo = command.prepare(sweep, expansion, sweep.settings, quiet=True)
sweep.write()
sweep.close()
assert len(jobs) == len(todo)
"""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    cpu: float  # seconds
    wall: float  # seconds
    mib: float

    def __str__(self) -> str:
        return f"{self.cpu:.2f} ({self.wall:.2f})"


def words_of(count: int) -> list[str]:
    """The words of a sweep of that many jobs."""
    rates = count // (SEEDS * len(OPTIMIZERS))
    if rates * SEEDS * len(OPTIMIZERS) != count:
        raise SystemExit(f"{count}: a sweep here has a multiple of {SEEDS * len(OPTIMIZERS)} jobs")
    numbers = ",".join(f"{(rate + 1) / (10 * rates):.6g}" for rate in range(rates))
    return [*FIXED, f"optimizer={','.join(OPTIMIZERS)}", f"optimizer.lr={numbers}", f"seed=range({SEEDS})"]


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """A Python process in this folder, its output in a file."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with open(folder / "output.txt", "a") as output:
        return subprocess.Popen([sys.executable, *words], cwd=folder, env=environment, stdout=output, stderr=output)


def cost_of(words: list[str], folder: Path, also: int = 0) -> Cost:
    """Run a Python process to its end. Its exit code must be 0, or `also`."""
    began = time.perf_counter()
    process = start(words, folder)
    _, status, used = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in (0, also):
        raise SystemExit(f"{words[:4]} ended with {code}: {(folder / 'output.txt').read_text()[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss / 1024)


def trained(folder: Path) -> SweepDir:
    """A sweep of one job, trained for real: what the folders of the others are made of."""
    cost_of(["-m", "dlrun", "-m", *FIXED, "seed=0", "sweep.dir=model"], folder)
    return expect_sweep(str(folder / "model"))


def make_finished(sweep: SweepDir, model: SweepDir) -> None:
    """Make the folder of each job as if it had been run: the files of the one that was, with numbers of its own."""
    (source,) = model.jobs.values()
    run = model.run(source.slug).path
    names = ("environment.json", "steps.csv", "train.log", "confusion.csv")
    texts = {name: (run / name).read_bytes() for name in names if (run / name).exists()}
    record = read_record(model, source.slug)
    log = model.log(source.slug).read_bytes()
    for number, job in enumerate(sweep.jobs.values()):
        place = sweep.run(job.slug).path
        (place / "checkpoints").mkdir(parents=True)
        for name, text in texts.items():
            (place / name).write_bytes(text)
        (place / "checkpoints" / "last.pt").write_bytes(b"")
        own_files(job, run, place, 0.5 + (number * 7919 % 997) / 997)
        write_record(sweep, job.slug, Record(**{**vars(record), "handle": ""}))
        sweep.log(job.slug).write_bytes(log)
        (sweep.state / f"{job.slug}.result.json").write_text('{"exit_code": 0}')


@cache
def section_text(section: str) -> str:
    """A section, given as JSON, as a run writes it."""
    return yamls.dumps(json.loads(section))


def own_files(job: FrozenJob, run: Path, place: Path, factor: float) -> None:
    """The files of a run that differ from job to job."""
    sections = (section_text(json.dumps({name: value})) for name, value in job.values.items())
    (place / "config.yaml").write_text("".join(sections))
    (place / "overrides.txt").write_text("\n".join(job.overrides) + "\n")
    status = json.loads((run / "status.json").read_text()) | {"name": job.slug}
    (place / "status.json").write_text(json.dumps(status, indent=2))
    summary = json.loads((run / "summary.json").read_text())
    for part in ("best", "last", "test"):
        for name, value in summary[part].items():
            if "loss" in name:
                summary[part][name] = value * factor
    (place / "summary.json").write_text(json.dumps(summary, indent=2))
    head, *rows = (run / "metrics.csv").read_text().splitlines()
    columns = head.split(",")
    lines = [head]
    for row in rows:
        cells = [c if "loss" not in n else str(float(c) * factor) for n, c in zip(columns, row.split(","), strict=True)]
        lines.append(",".join(cells))
    (place / "metrics.csv").write_text("\n".join(lines) + "\n")


def parent_share(words: list[str], folder: Path, sweep: SweepDir, removed: list[str]) -> tuple[float, float, float]:
    """Run the jobs whose folders were removed. Returns the parent's share of a core, its MiB, and jobs a second."""
    process = start(words, folder)
    paths = [sweep.run(slug).path for slug in removed]
    seen: list[tuple[float, float, int]] = []  # time, seconds of CPU, jobs that have ended
    mib = 0.0
    while process.poll() is None:
        begun = sum(path.exists() for path in paths)
        ended = sum((path / "summary.json").exists() for path in paths)
        cpu, mib = used_by(process.pid, mib)
        if begun and (not seen or seen[-1][2] < len(paths)):
            seen.append((time.perf_counter(), cpu, ended))
        time.sleep(0.2)
    if process.returncode or len(seen) < 2:
        raise SystemExit(f"the jobs ended with {process.returncode}: {(folder / 'output.txt').read_text()[-2000:]}")
    seconds, cpu = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
    return cpu / seconds, mib, (seen[-1][2] - seen[0][2]) / seconds


def used_by(number: int, before: float) -> tuple[float, float]:
    """The seconds of CPU that a process has used itself, and its largest resident set in MiB."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return 0.0, before
    peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"), float(peak[0]) / 1024 if peak else before


def measure(count: int, real: int, folder: Path, model: SweepDir) -> list[str]:
    """One line of the table."""
    words = words_of(count)
    place = folder / f"sweep{count}"
    plan = cost_of(["-c", PLAN, str(place), *words], folder)
    sweep = expect_sweep(str(place))
    make_finished(sweep, model)
    command = ["-m", "dlrun", "-m", *words, f"sweep.dir={place}"]
    status = cost_of(["-m", "dlrun", "sweep", "status", str(place)], folder)
    again = cost_of(command, folder)
    compare = cost_of(["-m", "dlrun", "compare", str(place)], folder)
    cells = [f"{count:,}", *map(str, (plan, status, compare, again))]
    memory = max(cost.mib for cost in (plan, status, compare, again))
    print(*cells, f"{memory:.0f} MiB", flush=True)
    if not real:
        return [*cells, f"{memory:.0f} MiB", "", "", ""]
    removed = list(sweep.jobs)[:: max(1, count // real)][:real]
    for slug in removed:
        assert is_run(sweep.run(slug).path)
        shutil.rmtree(sweep.run(slug).path)
        (sweep.state / f"{slug}.json").unlink()
    share, mib, rate = parent_share(command, folder, sweep, removed)
    print(f"parent {share:.1%} of a core, {mib:.0f} MiB, {rate:.1f} jobs a second", flush=True)
    return [*cells, f"{max(memory, mib):.0f} MiB", f"{share:.1%}", f"{rate:.1f}", f"{1000 * share / rate:.1f} ms"]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=int, nargs="*", default=[100, 1000, 10_000], metavar="N")
    parser.add_argument("--real", type=int, default=100, help="jobs that are trained while the parent is watched")
    parser.add_argument("--folder", type=Path, help="a new folder, which is kept (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (given.folder or Path(name)).absolute()
        folder.mkdir(exist_ok=True)
        model = trained(folder)
        lines = [measure(count, given.real, folder, model) for count in given.counts]
    print("\nSeconds of CPU (by the clock).\n")
    print(markdown_table(HEAD, lines))


if __name__ == "__main__":
    main()
