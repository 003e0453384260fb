"""What every YAML of conf/ builds and how it begins to train, and what every command imports: measured, and stored.

    python -m tests.house.golden --write     measure everything anew, and store it in golden.json

A move or a new name changes nothing of it. A change that is meant to change something stores it anew, and says so.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.deadline import deadline

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
CONF = ROOT / "conf"
STORED = Path(__file__).with_name("golden.json")
STEPS = 3

# --- every YAML, as a whole experiment that is shrunk to three steps -------------------------------------------------

ALWAYS = ["seed=0", "device=cpu", "device.threads=1", "device.fast=true", "trainer.log_every=1"]
ALWAYS += [f"trainer.max_steps={STEPS}"]
SHORT = ["trainer.max_batches=3", f"trainer.epochs={STEPS}"]
SMALL = ["trainer.batch_size=16"]
DATA_FOR = {
    "image": ["dataset=mnist", "dataset.limit=64", "dataset.val_fraction=0"],
    "text": ["dataset=names", "dataset.source=builtin"],
    "multi": ["dataset=scenes"],
    "tabular": ["dataset=iris"],
}
MODEL_FOR = {"text": "gru", "multi": "fusion"}
NEEDS = {
    "dataset=image_folder": ["dataset.path=IMAGES", "dataset.size=16", "dataset.workers=0"],
    "dataset=table": ["dataset.path=TABLE", "dataset.target=price", "model=mlp"],
    "dataset=hello": ["model=rnn"],
    "model=sequential": ["model.layers=[flatten, {linear: {out: 8}}, relu, {linear: {out: auto}}]"],
    "model=torchvision": ["model.arch=resnet18", "model.image_size=32", *DATA_FOR["image"]],
    "model=autoencoder": ["dataset.task=reconstruction"],
    "loss=bce": ["dataset=breast_cancer", "model=linear", "model.output_activation=sigmoid"],
    "loss=bce_with_logits": ["dataset=breast_cancer"],
    "loss=nll": ["model=sequential", "model.layers=[flatten, {linear: {out: auto}}, {log_softmax: {dim: 1}}]"],
    "loss=mse": ["dataset=diabetes"],
    "loss=mae": ["dataset=diabetes"],
    "loss=huber": ["dataset=diabetes"],
    "optimizer=lbfgs": ["optimizer.lr=0.05"],  # with 1 the loss jumps to 40, and a rounding error with it
    "device=cuda": ["device=cuda", "device.name=cpu"],  # there may be no GPU: the rest of the file has to work
    "device=mps": ["device.name=cpu"],
    "device=auto": ["device.name=cpu"],
}
# Batch norm over a handful of numbers makes a rounding error of 1e-7 one of 1e-2 in three steps.
UNSTEADY = ("model=googlenet", "model=torchvision", "experiment=mnist_googlenet")


def yaml_names() -> list[str]:
    """Every YAML as a word of the command line: `model=mlp`, `experiment=sweep/learning_rates`."""
    paths = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.glob("*/**/*.yaml"))
    return [f"{path.parts[0]}={'/'.join(path.parts[1:])}" for path in paths]


def header(name: str, key: str) -> list[str]:
    """The words of a line such as `# takes: tabular, image` of a YAML."""
    for line in (CONF / f"{name.replace('=', '/')}.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"# {key}:"):
            return line.split(":", 1)[1].replace(",", " ").split()
    return []


def words_for(name: str) -> list[str]:
    """The YAML, what else it needs to be a whole experiment, and what makes that small."""
    group = name.partition("=")[0]
    words = [*ALWAYS, name, *NEEDS.get(name, [])]
    if group == "model" and name != "model=torchvision":
        words += DATA_FOR[header(name, "takes")[0]]
    elif group == "dataset" and name != "dataset=hello":
        kind = header(name, "gives")[0]
        words += [f"model={MODEL_FOR[kind]}"] if kind in MODEL_FOR else []
    if group == "scheduler":  # one batch an epoch: a schedule that goes by epochs is seen, too
        words += ["trainer.max_batches=1", f"trainer.epochs={STEPS}"]
    elif group != "trainer":
        words += SHORT
    return words if group in ("trainer", "experiment") else [*words, *SMALL]


def measure_yaml(name: str, images: Path) -> dict[str, dict[str, Any]]:
    """The facts of a YAML by its name; of a sweep those of some jobs, evenly chosen."""
    from dlrun.config.expand import expand

    table = images.parent / "table.csv"
    rows = [f"{size},{'red' if size % 3 else 'blue'},{size * 7 % 50}" for size in range(40)]
    table.write_text("\n".join(["size,color,price", *rows]) + "\n", encoding="utf-8")
    words = [word.replace("IMAGES", str(images)).replace("TABLE", str(table)) for word in words_for(name)]
    jobs = expand(words, search_cwd=False).jobs
    chosen = jobs[:: max(1, len(jobs) // 4)]
    assert chosen, name
    assert not [problem for job in chosen for problem in job.problems]
    labels = [name] if len(jobs) == 1 else [f"{name} #{i}" for i in range(len(chosen))]
    return {label: train(job.config) for label, job in zip(labels, chosen, strict=True)}


def train(config: Any) -> dict[str, Any]:
    """Build and train three steps with an evaluation after them: keys, initial weights, losses, engine."""
    from dlrun.engine.loop import fit
    from dlrun.run.build import build

    built = build(config)
    weights = built.state.model.state_dict()
    facts = {"keys": " ".join(weights), "weights": digest(weights), "engine": " ".join(built.engine)}
    events = list(fit(built.state, built.batches, built.plan))
    losses = [row.loss for event in events for row in getattr(event, "rows", [])]
    assert built.state.step == len(losses) == STEPS
    assert events[-1].evaluated
    assert math.isfinite(events[-1].row["train_loss"])
    return facts | {"losses": [float(f"{loss:.6g}") for loss in losses]}


def digest(weights: dict[str, Any]) -> str:
    """A hash of the names, shapes and values, whatever their layout in memory."""
    found = hashlib.sha256()
    for name, tensor in weights.items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


# --- every command, in a process of its own ---------------------------------------------------------------------------

RUN = ["device=cpu", "trainer.epochs=1", "trainer.max_batches=2"]
SWEEP = ["-m", *RUN, "optimizer.lr=0.1,0.01", "sweep.workers=1", "sweep.dir=sweep", "run.figures=none"]
COMMANDS: dict[str, tuple[int, list[str]]] = {  # the exit code and the words, where there is `sweep` with its jobs
    "--help": (0, ["--help"]),
    "list": (0, ["list"]),
    "explain": (0, ["explain", "optimizer.lr"]),
    "--cfg job": (0, ["--cfg", "job"]),
    "runs": (0, ["runs", "--root", "sweep/jobs"]),
    "compare": (0, ["compare", "sweep"]),
    "report": (0, ["report", "sweep"]),
    "report of a run": (0, ["report", "sweep/jobs/lr0.1"]),  # which draws its figures
    "sweep status": (0, ["sweep", "status", "sweep"]),
    "resume of a finished run": (0, ["resume", "sweep/jobs/lr0.1"]),
    "error": (2, ["optimizer.lr=x"]),
    "show": (0, ["show"]),
    "predict": (0, ["predict", "sweep/jobs/lr0.1", "image.png"]),
    "evaluate": (0, ["evaluate", "sweep/jobs/lr0.1"]),
    "summary": (0, ["summary", *RUN]),
    "run": (0, [*RUN, "run.dir=run"]),
    "sweep": (0, SWEEP),
}
SLOW_YAMLS = ("model=torchvision", "model=googlenet", "experiment=mnist_googlenet", "experiment=mnist_inception")
SLOW = ("show", "summary", "run", "sweep", "predict", "evaluate")  # a second or more each: torch is imported
# Compared under any Python and torch. What these import themselves is compared under the same ones only.
DIRECT = {
    "PIL", "hydra", "matplotlib", "numpy", "omegaconf", "optuna", "pandas", "platformdirs", "ray", "rich", "scipy",
    "sklearn", "submitit", "tensorboard", "torch", "torchvision", "yaml",
}  # fmt: skip
WRAPPER = """
import json, sys
before = set(sys.modules)
from dlrun.cli import main
code = main(sys.argv[2:])
tops = {name.partition(".")[0] for name in sys.modules.keys() - before} & sys.modules.keys()
ours = {"dlrun", *sys.stdlib_module_names}
packages = [top for top in tops - ours if "-packages" in (getattr(sys.modules[top], "__file__", None) or "")]
with open(sys.argv[1], "w") as file:
    json.dump(sorted(packages), file)
sys.exit(code)
"""


def measure_command(command: str, folder: Path) -> str:
    """The packages of others that a command imports."""
    code, words = COMMANDS[command]
    report = folder / "packages.json"
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", WRAPPER, str(report), *words],
        cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=deadline(240),
    )  # fmt: skip
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return " ".join(json.loads(report.read_text()))


# --- what is stored ---------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """What the last digits, and the packages of packages, depend on."""
    import torch

    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "torch": torch.__version__.partition("+")[0],
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


class Golden:
    """golden.json. With `write`, what is measured is kept instead of compared."""

    def __init__(self, *, write: bool = False) -> None:
        now = environment()
        empty: dict[str, Any] = {"environment": now, "yamls": {}, "commands": {}}
        self.write = write
        self.facts = empty if write else json.loads(STORED.read_text(encoding="utf-8"))
        made = self.facts["environment"]
        self.same_torch = made["torch"] == now["torch"] and made["cpu"] == now["cpu"]
        self.same_packages = made["torch"] == now["torch"] and made["python"] == now["python"]

    def check_yaml(self, name: str, now: dict[str, Any]) -> list[str]:
        """What is another now than it was, in words."""
        if self.write:
            self.facts["yamls"][name] = now
        before = self.facts["yamls"].get(name)
        if before is None:
            return [f"{name} is new"]
        exact = ["keys", "engine", *(["weights"] if self.same_torch else [])]
        found = [f"{key}: {before[key]} -> {now[key]}" for key in exact if before[key] != now[key]]
        tolerances = [1e-5 if self.same_torch else 1e-4] * STEPS
        if name in UNSTEADY:
            tolerances[1:] = [0.05] * (STEPS - 1)
        pairs = zip(before["losses"], now["losses"], tolerances, strict=True)
        if not all(math.isclose(old, new, rel_tol=tolerance) for old, new, tolerance in pairs):
            found.append(f"losses: {before['losses']} -> {now['losses']}")
        return found

    def check_command(self, command: str, now: str) -> list[str]:
        """The packages that it imports and did not (+), and the other way round (-)."""
        if self.write:
            self.facts["commands"][command] = now
        old, new = (set(text.split()) for text in (self.facts["commands"][command], now))
        if not self.same_packages:
            old, new = old & DIRECT, new & DIRECT
        return [f"+{name}" for name in sorted(new - old)] + [f"-{name}" for name in sorted(old - new)]

    def save(self) -> None:
        """Write what was measured, a line an entry."""
        blocks = []
        for block, entries in self.facts.items():
            lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items())
            blocks.append(f" {json.dumps(block)}: {{\n{lines}\n }}")
        STORED.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`--write`: run the tests of this file, which keep what they measure."""
    if arguments != ["--write"]:
        print(__doc__)
        return 2
    tests = str(Path(__file__).with_name("test_golden.py"))
    environment = os.environ | {"WRITE_GOLDEN": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", tests]
    return subprocess.run(words, env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
