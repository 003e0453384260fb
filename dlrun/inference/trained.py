"""The model that a run has trained, out of its checkpoints, with all that is needed to use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from dlrun.assembly.assemble import build_loss, build_metric, new_model
from dlrun.components.plugins import loaded
from dlrun.config.config import Config
from dlrun.data.transforms import Preparation
from dlrun.engine.device import choose_device
from dlrun.errors import ConfigError, Problem, RunError, did_you_mean
from dlrun.generators import forked
from dlrun.inference.answers import OutputKind, answers, class_names, output_kind
from dlrun.objectives.loss import Loss
from dlrun.plain import Values
from dlrun.spec import DataSpec, TaskMetric
from dlrun.store import checkpoint as files
from dlrun.store.contents import WEIGHTS
from dlrun.store.evaluations import threshold_of
from dlrun.store.find import user_path
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir


class Predictor(nn.Module):
    """Inputs as stored (uint8 pixels, codes and lengths, numbers) to answers, as `inference.answers` describes them."""

    def __init__(self, model: nn.Module, spec: DataSpec, kind: OutputKind) -> None:
        super().__init__()
        self.model, self.spec, self.kind = model, spec, kind
        self.preparation = Preparation(spec)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of classes or tags, in the order of the answers."""
        return class_names(self.spec)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Answers for rows as stored, on the device of the model."""
        return answers(self.spec, self.kind, self.model(*self.preparation.prepare_inputs(inputs)))


@dataclass(frozen=True)
class Trained:
    """A run's model in eval mode on a device, and what its inputs and outputs mean."""

    run: RunDir
    config: Config
    spec: DataSpec
    model: nn.Module
    loss_name: str
    loss: Loss
    metric: TaskMetric
    kind: OutputKind
    checkpoint: Path  # the file that the weights are from

    @property
    def threads(self) -> int | None:
        """The number of threads with which the run was trained, for equal bits; None on a GPU, or if it is unknown."""
        on_cpu = all(p.device.type == "cpu" for p in self.model.parameters())
        return self.run.threads if on_cpu else None

    def predictor(self) -> Predictor:
        """The model with its preparation before it and its answers behind it."""
        return Predictor(self.model, self.spec, self.kind).eval()


def load_trained(path: Path, checkpoint: str = "best", device: str = "cpu") -> Trained:
    """The model of a run in eval mode.

    `checkpoint`: best (of a finished run that selects none: the last), last, or the path of a checkpoint of this run's
    model. `device`: as for `device=`. Raises `RunError` when that checkpoint is missing, damaged or of another model,
    or a plug-in is not given; `ConfigError` for a device that is not there.
    """
    run, home = RunDir(path), choose_device(device)
    file = checkpoint_file(run, checkpoint)
    values = files.read_checkpoint(file, str(home), WEIGHTS)
    config = own_config(run)
    expect_same(file, values.get("config"), config)
    spec = DataSpec.from_dict(values["spec"])
    with files.loading(file), forked(0):  # its first weights are drawn, and thrown away
        model = new_model(config, spec)
        model.load_state_dict(values["model"])
    name, loss = build_loss(config, spec, [1] * max(1, len(spec.labels)))
    metric = build_metric(spec, loss)
    return Trained(run, config, spec, model.to(home).eval(), name, loss.to(home), metric, output_kind(name, loss), file)


def load_spec(path: Path, checkpoint: str = "best") -> DataSpec:
    """What the inputs and outputs of a run's model mean, without building it. Raises as `load_trained` does."""
    values = files.read_checkpoint(checkpoint_file(RunDir(path), checkpoint), fields=WEIGHTS)
    return DataSpec.from_dict(values["spec"])


def checkpoint_file(run: RunDir, checkpoint: str) -> Path:
    """The file of a checkpoint by its name or path. Raises `RunError`."""
    summary = read_json(run.summary)
    selects_none = bool(summary) and summary.get("best") is None
    known = {"best": run.last if selects_none else run.best, "last": run.last}
    file = known.get(checkpoint) or user_path(checkpoint)
    if file.is_file():
        return file
    if checkpoint in known:
        there = [name for name, path in known.items() if path.is_file()]
        hint = f"Try --checkpoint {there[0]}." if there else f"{run.path} has no checkpoint yet."
        raise RunError(f"there is no checkpoint {file}. {hint}")
    hint = did_you_mean(checkpoint, known) or "Give best, last or the path of a checkpoint."
    raise RunError(f"there is no checkpoint {checkpoint!r}. {hint}")


def expect_same(file: Path, trained_with: Values | None, config: Config) -> None:
    """Raise `RunError` for a checkpoint that was trained with another model or on another data set than the run."""
    for group in ("dataset", "model"):
        other = ((trained_with or {}).get(group) or {}).get("name", config.get(f"{group}.name"))
        if other != config.get(f"{group}.name"):
            mine = config.get(f"{group}.name")
            raise RunError(f"{file} is a checkpoint of {group}={other}, and this run was trained with {group}={mine}.")


def threshold_for(trained: Trained, text: str | None) -> float | None:
    """The probability that `--threshold` asks for. Raises `ConfigError` and `RunError` where there is none."""
    if text is None:
        return None
    spec = trained.spec
    if spec.task != "multilabel" and (spec.task != "classification" or len(class_names(spec)) != 2):
        what = f"goes with two classes or tags; {spec.name} has neither."
        raise ConfigError(Problem("--threshold", what))
    return threshold_of(trained.run, text)


def own_config(run: RunDir) -> Config:
    """The configuration that the run was trained with. Raises `RunError` where a plug-in of its is not given."""
    try:
        return Config.from_yaml(run.config)
    except ConfigError as error:
        known = {plugin.sha256 for plugin in loaded()}
        needed = [p for p in read_json(run.environment).get("plugins") or [] if p.get("sha256") not in known]
        if not needed:
            raise
        flags = " ".join(f"--plugin {p.get('name')}" for p in needed)
        raise RunError(f"{run.path} was trained with components of your own: give {flags}\n\n{error}") from error


def split_off_device(overrides: Sequence[str]) -> tuple[str, list[str]]:
    """The device that `device=NAME` asks for, and the other overrides."""
    named = [word.partition("=")[2] for word in overrides if word.partition("=")[0] in ("device", "device.name")]
    others = [word for word in overrides if word.partition("=")[0] not in ("device", "device.name")]
    return (named or ["cpu"])[-1], others
