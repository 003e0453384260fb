"""A run as one plain PyTorch file, held to be the same before anybody sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from dlrun.config.config import Config
from dlrun.errors import ConfigError, Problem, enumerated
from dlrun.leaving.covered import evaluated, metric_of, not_covered, not_measured
from dlrun.leaving.data import DataText, data_text
from dlrun.leaving.layout import WIDTH, Call, lines, quoted
from dlrun.leaving.model import model_text
from dlrun.leaving.source import imports, needed_packages
from dlrun.leaving.training import loss_text, optimizer_text, schedule_text
from dlrun.objectives.optimizers import needs_closure
from dlrun.package import PACKAGE
from dlrun.run.build import build
from dlrun.run.context import Components

if TYPE_CHECKING:
    from jinja2 import Environment

NEEDS = (
    "Needs {packages}. On a CPU with one thread, the loss of every step is to the bit that of `dlrun rerun` with "
    "device=cpu device.threads=1 device.fast=false. The fast steps that dlrun takes otherwise, more threads and other "
    "devices round differently, and training amplifies that: to 1e-3 after two epochs of a residual network."
)
ON_ONE_THREAD = {"name": "cpu", "threads": 1, "fast": False}  # where the numbers of both are equal to the bit
PLAIN_NAME = re.compile(r"[^\w .,+=-]")  # what is not of a name is left out of the docstring


@dataclass(frozen=True)
class Ejected:
    """The text of a file, and files that it reads from its own folder, by name."""

    text: str
    components: Components
    files: dict[str, Path] = field(default_factory=dict)


def eject(config: Config, *, title: str, file: str) -> Ejected:
    """The plain file of a configuration. Raises `ConfigError` with everything that cannot be written out."""
    if problems := not_covered(config):
        raise ConfigError(problems)
    components = build(on_one_thread(config))
    parts = list(components.data.parts())
    if problems := list(not_measured(parts, components.plan.monitor, components.state)):
        raise ConfigError(problems)
    if not components.batches["train"].resident:
        what = "the images do not fit in memory, where the plain file keeps them."
        raise ConfigError(Problem("dataset", what, "Make dataset.size smaller."))
    data = data_text(config, components.data)
    return Ejected(file_text(config, components, data, title, file), components, data.files)


def on_one_thread(config: Config) -> Config:
    """The configuration on one thread of a CPU, with the plain step and the data in memory."""
    values = config.to_dict()
    values["device"] |= ON_ONE_THREAD
    values["dataset"] |= {"in_memory": "auto"} if "in_memory" in values["dataset"] else {}
    return Config.checked(values)


def file_text(config: Config, components: Components, data: DataText, title: str, file: str) -> str:
    """All templates filled."""
    env = plain_templates()
    values = loop_values(config, components)
    values |= {"about": PLAIN_NAME.sub("", title), "file": PLAIN_NAME.sub("", file), "needs": "", "imports": ""}
    values |= {
        "data": tidy_python(env.get_template(data.template).render(data.values)),
        "constants": constants(data.values),
    }
    values["model"] = model_text(config.model.name, components.state.model)
    template = env.get_template("train.py.j2")
    head = imports(template.render(values))
    needs = fill(NEEDS.format(packages=enumerated(needed_packages(head))), WIDTH)
    return tidy_python(template.render(values | {"imports": head, "needs": needs}))


def loop_values(config: Config, components: Components) -> dict[str, Any]:
    """What the template of the loop is told."""
    state, plan, trainer = components.state, components.plan, config.trainer
    parts = list(components.data.parts())
    part, train, metric = evaluated(parts), components.batches["train"], metric_of(state)
    threads = config.device.threads  # auto and null: torch's choice
    wrong = "(output.double() - target).abs().sum().item()"
    threshold = 0.5 if state.loss.probabilities else 0
    right = f"((output >= {threshold}) == target)" if state.spec.num_outputs == 1 else "(output.argmax(1) == target)"
    return {
        "seed": config.seed, "epochs": trainer.epochs, "batch_size": train.batch_size, "accumulate": trainer.accumulate,
        "eval_batch": components.batches[part].batch_size, "eval_every": plan.eval_every, "patience": plan.patience,
        "min_delta": plan.min_delta, "clip_norm": trainer.clip_norm, "stop_at_loss": plan.stop_at_loss,
        "max_steps": trainer.max_steps, "shuffle": trainer.shuffle and len(train) > 1, "mode": plan.mode,
        "part": part, "last_part": "test" if "test" in parts else part, "monitored": plan.monitor.partition("_")[2],
        "metric": metric, "counted": wrong if metric == "mae" else f"{right}.sum().item()",
        "text": state.spec.input_kind == "text", "threads": threads if isinstance(threads, int) else None,
        "device": device_text(config.device.name), "closure": needs_closure(state.optimizer),
        "loss": loss_text(config, components.auto["loss"]), "optimizer": optimizer_text(config, state.optimizer),
        "schedule": schedule_text(config, state),
    }  # fmt: skip


def constants(values: dict[str, Any]) -> list[str]:
    """Where the data are and how they are normalized, as lines at the top of the file."""
    found: list[str] = []
    if values.get("root") and "source" in values and "mean" in values:
        found += laid_out("ROOT", values["root"])
    for name, table in zip(("FILE", "TEST_FILE"), values.get("tables", ()), strict=False):
        found += laid_out(name, table["path"])
    for part, folder in values.get("folders", {}).items():
        found += laid_out(f"{part.upper()}_FOLDER", folder)
    for key in ("classes", "endings"):
        if "folders" in values:
            words = Call("", tuple(map(quoted, values[key])), is_list=True)
            found += lines(words, before=f"{key.upper()} = ")
    if "mean" in values:
        found += [f"MEAN = {values['mean']}  # of pixels in [0, 1]", f"STD = {values['std']}"]
    return found


def laid_out(name: str, path: str) -> list[str]:
    """`NAME = Path("...")`, split where it is long."""
    head, _, rest = path.partition("(")
    simple = path.endswith(")") and head == "Path" and "(" not in rest
    return lines(Call(head, (rest[:-1],)) if simple else path, before=f"{name} = ")


def device_text(name: str) -> str:
    """The device of a run as an expression."""
    if name == "auto" or name.startswith("cuda"):
        cuda = "cuda" if name == "auto" else name
        return f'torch.device("{cuda}" if torch.cuda.is_available() else "cpu")'
    return f'torch.device("{name}")'


def plain_templates() -> Environment:
    """The templates of this package."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = PACKAGE / "leaving" / "templates"
    return Environment(loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def tidy_python(text: str) -> str:
    """At most two empty lines in a row, none at the end, one inside of functions."""
    text = re.sub(r"\n{4,}", "\n\n\n", re.sub(r"[ \t]+\n", "\n", text))
    return re.sub(r"\n{2,}(?=[ ])", lambda found: "\n\n" if found[0].count("\n") > 1 else found[0], text).strip() + "\n"
