"""What can be written out as plain PyTorch. Everything else is refused by name, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator

from dlrun.config.config import Config, current_schema
from dlrun.engine.state import TrainState
from dlrun.errors import Problem

COVERED = {  # components by group; all optimizers and schedules of dlrun's are lines of torch
    "model": ("mlp", "linear", "cnn", "sequential", "vgg", "resnet", "rnn", "lstm", "gru"),
    "dataset": (
        *("digits", "breast_cancer", "iris", "wine", "diabetes"),
        *("names", "mnist", "fashion_mnist", "image_folder"),
    ),
    "loss": ("auto", "cross_entropy", "nll", "mse", "mae", "huber", "bce", "bce_with_logits"),
    "optimizer": (
        *("sgd", "rmsprop", "adam", "adamw", "adamax", "nadam"),
        *("radam", "adagrad", "adadelta", "asgd", "rprop", "lbfgs"),
    ),
    "scheduler": (
        *("none", "step", "multistep", "exponential", "cosine", "warmup_cosine"),
        *("linear", "polynomial", "onecycle", "plateau", "cyclic"),
    ),
}
WHOLE = ("model.", "scheduler.")  # sections of which every key is written
KEYS = {  # that are written besides
    "seed",
    *(f"trainer.{key}" for key in ("epochs", "max_steps", "batch_size", "shuffle", "accumulate", "clip_norm")),
    *(f"trainer.{key}" for key in ("stop_at_loss", "eval_every", "early_stop.patience", "early_stop.min_delta")),
    *("checkpoint.monitor", "checkpoint.mode", "loss.label_smoothing", "loss.delta"),
    *(f"dataset.{key}" for key in ("test_fraction", "val_fraction", "standardize", "standardize_target", "split")),
    *(f"dataset.{key}" for key in ("train_path", "test_path", "val_path", "path", "header", "ascii", "vocabulary")),
    *(f"dataset.{key}" for key in ("mean", "std", "limit", "size", "color")),
}
ALLOWED: dict[str, tuple[object, ...]] = {  # values of other keys that change nothing in the text
    "device.precision": ("fp32",),
    "device.strategy": ("single",),
    "dataset.task": ("classification",),
    "dataset.source": ("auto", "builtin"),
    "loss.reduction": ("mean",),
    "optimizer.decay_norm_and_bias": (True,),
}
NOT_OF_OPTIMIZERS = ("groups", "decay_norm_and_bias")
NOTHING: tuple[object, ...] = (None, False, 0, "", [], {})  # what leaves a key without an effect
HINT = "docs/leaving.md lists what is."


def not_covered(config: Config) -> list[Problem]:
    """A problem for each component and each key of the configuration that cannot be written out."""
    schema = current_schema()
    problems = []
    for group, names in COVERED.items():
        name = config.get(f"{group}.name")
        if name not in names:
            problems.append(Problem(group, f"{name} cannot be written out as plain PyTorch yet.", HINT))
    named = {problem.key for problem in problems}
    for key, value in config.flat().items():
        if key.split(".")[0] in named or is_written(key) or value in ALLOWED.get(key, NOTHING):
            continue
        if schema.effect(key, config).changes_result:
            problems.append(Problem(key, f"{as_yaml_has_it(value)} cannot be written out as plain PyTorch yet.", HINT))
    return problems


def is_written(key: str) -> bool:
    """Whether a key is one that the text follows."""
    group, _, rest = key.partition(".")
    of_optimizer = group == "optimizer" and rest not in NOT_OF_OPTIMIZERS
    return key in KEYS or of_optimizer or rest == "name" or key.startswith(WHOLE)


def as_yaml_has_it(value: object) -> str:
    """A value as YAML has it, shortened."""
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def not_measured(parts: list[str], monitor: str, state: TrainState) -> Iterator[Problem]:
    """Problems of what selects the best epoch: the text measures the loss and one metric, on val, else on test."""
    if parts == ["train"]:
        what = "no row is left to evaluate on, and the file would have nothing to select by."
        yield Problem("dataset.val_fraction", what, "Give a share of the rows to val or test.")
        return
    known = [f"{evaluated(parts)}_{name}" for name in ("loss", metric_of(state))]
    if monitor not in known:
        yield Problem("checkpoint.monitor", f"{monitor} cannot be written out yet.", f"Covered: {', '.join(known)}.")


def evaluated(parts: list[str]) -> str:
    """The part that is evaluated in training."""
    return "val" if "val" in parts else "test"


def metric_of(state: TrainState) -> str:
    """The metric that the text computes beside the loss."""
    return "mae" if state.spec.task == "regression" else "accuracy"
