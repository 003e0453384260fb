"""dlrun against the textbook loop and its peers: `python tests/benchmarks/bench.py --help`, and README.md.

Every number comes from a fresh process on one core with one thread. The programs take turns, round by round, and
a ratio is formed within a round, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import growth
import table
from process import Result, Setting, quiet_core, run_dlrun, run_peer

TASKS = ("digits_mlp", "mnist_mlp", "mnist_cnn", "names_gru")
OWN = ("textbook", "fixed_batch")  # run in dlrun's environment
PEERS = ("lightning", "accelerate", "ignite", "skorch", "fastai", "keras")
LEFT_OUT = {("dlrun_compiled", "names_gru")}  # packed text is not compiled: dlrun says so, and does not start
EPOCHS = {"digits_mlp": 200, "mnist_mlp": 5, "mnist_cnn": 3, "names_gru": 4}
SHORT_EPOCHS = {"digits_mlp": 30, "mnist_mlp": 3, "mnist_cnn": 2, "names_gru": 2}

VERSIONS = """
import platform, torch
build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
mkl = "with" if torch.backends.mkl.is_available() else "without"
commit = (torch.version.git_version or "unknown")[:10]
print(f"Python {platform.python_version()}, torch {torch.__version__} ({build} build of {commit}, {mkl} MKL)")
"""  # run in the environment it asks about


def main() -> None:
    options = arguments()
    core = quiet_core() if options.core is None else options.core
    peers_python = options.peers.absolute() if options.peers else None  # a link is what makes it an environment
    limit = options.limit or (6_400 if options.short else 12_800)
    setting = Setting(options.root.resolve(), core, limit, peers_python)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.growth:
        text = growth.report(setting)
        finish(options.out / "growth.md", text)
    elif options.checkpoint:
        finish(options.out / "checkpoint.md", growth.checkpoint_report(setting, options.rounds))
    else:
        compare(options, setting)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="the data root, with MNIST and names")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"), help="where to write")
    parser.add_argument("--peers", type=Path, help="the python of the peers' environment; without: no peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--names", nargs="+", help="only these programs, and the textbook loop")
    parser.add_argument("--limit", type=int, help="rows of MNIST that an epoch has")
    parser.add_argument("--core", type=int, help="the core to pin to; the last one")
    parser.add_argument("--short", action="store_true", help="two rounds without peers: under 3 minutes")
    parser.add_argument("--compile", action="store_true", help="dlrun with device.compile=true, too")
    parser.add_argument("--growth", action="store_true", help="cost against width, batch size and data size")
    parser.add_argument("--checkpoint", action="store_true", help="the price of a checkpoint an epoch")
    return parser.parse_args()


def compare(options: argparse.Namespace, setting: Setting) -> None:
    """The main table: all programs on all tasks, in turns."""
    rounds = 2 if options.short else options.rounds
    names = programs(options, setting)
    epochs = SHORT_EPOCHS if options.short else EPOCHS
    results: table.Rounds = {}
    starts: dict[str, list[Result]] = {}
    for number in range(rounds):
        for task in options.tasks:
            for name in names:
                if (name, task) in LEFT_OUT:
                    continue
                result = measure(name, task, epochs[task], setting)
                results.setdefault((name, task), []).append(result)
                said = result.failure or f"{result.speed or 0:,.0f} samples/s"
                print(f"round {number + 1}/{rounds}  {task:10}  {name:14}  {said}", flush=True)
        for name in ("bare", *names):
            if name not in ("fixed_batch", "dlrun_compiled"):
                result = start(name, setting)
                starts.setdefault(name, []).append(result)
    tables = [
        table.speed_table(results, names, options.tasks),
        table.start_table(starts),
        table.memory_table(results, names, options.tasks),
    ]
    table.plot(results, names, options.tasks, options.out / "benchmark.png")
    records = {f"{name} {task}": [asdict(r) for r in column] for (name, task), column in results.items()}
    (options.out / "benchmark.json").write_text(json.dumps(records, indent=1))
    head = "Training samples a second against the textbook loop in the same round: median (least to most).\n"
    finish(options.out / "benchmark.md", "\n".join([head, *tables, where(setting, rounds)]))


def programs(options: argparse.Namespace, setting: Setting) -> list[str]:
    """The textbook loop first, then dlrun and what else was asked for."""
    peers = PEERS if setting.peers_python is not None and not options.short else ()
    names = ["textbook", "dlrun", *(["dlrun_compiled"] if options.compile else []), "fixed_batch", *peers]
    if options.names:
        names = ["textbook", *(name for name in names if name in options.names)]
    return list(dict.fromkeys(names))


def measure(name: str, task: str, epochs: int, setting: Setting) -> Result:
    """One program on one task."""
    if not name.startswith("dlrun"):
        return run_peer(name, task, epochs, setting, own=name in OWN)
    words = [f"trainer.epochs={epochs}"]
    if name == "dlrun_compiled":
        words.append("device.compile=true")
    return run_dlrun(task, words, setting)


def start(name: str, setting: Setting) -> Result:
    """One program's start-up on mnist_mlp."""
    if name == "dlrun":
        return run_dlrun("mnist_mlp", ["trainer.max_steps=1"], setting)
    few = Setting(setting.root, setting.core, 640, setting.peers_python)
    return run_peer(name, "mnist_mlp", 1, few, own=name in (*OWN, "bare"))


def where(setting: Setting, rounds: int) -> str:
    """The machine and the versions."""
    lines = [f"{rounds} rounds, one core, one thread, {setting.limit:,} rows of MNIST; {cpu()}."]
    lines.append(f"dlrun, textbook, fixed_batch and bare: {versions(sys.executable)}.")
    if setting.peers_python is not None:
        lines.append(f"The peers: {versions(str(setting.peers_python))}.")
    return "\n".join(lines) + "\n"


def versions(python: str) -> str:
    """Python and torch of an environment, and which build of torch it is."""
    try:
        said = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "versions unknown"
    return said.stdout.strip()


def cpu() -> str:
    """The processor's name, as far as the system says it."""
    info = Path("/proc/cpuinfo")
    lines: Sequence[str] = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def finish(path: Path, text: str) -> None:
    """Write and show."""
    path.write_text(text)
    print(f"\n{text}\nwritten: {path}")


if __name__ == "__main__":
    main()
