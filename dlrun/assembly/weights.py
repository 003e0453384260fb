"""Load pretrained weights, and freeze parameters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem, did_you_mean
from dlrun.plain import Values


@dataclass
class Loaded:
    """The names of the parameters and buffers that `load_weights` has loaded and has not."""

    loaded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # only in the file, or of another shape there
    missing: list[str] = field(default_factory=list)  # only in the model

    def words(self) -> str:
        """A line for the header."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped ({first_names(self.skipped)})")
        if self.missing:
            parts.append(f"{len(self.missing)} not in the file ({first_names(self.missing)})")
        return ", ".join(parts)


def first_names(names: list[str], count: int = 4) -> str:
    """The first few names, as text."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def load_weights(model: nn.Module, weights: dict[str, Tensor], without: Collection[str] = (), why: str = "") -> Loaded:
    """Copy every tensor with the same name and shape. `module.` prefixes of DataParallel are removed (trap T51).

    Args:
        model: the model to load into.
        weights: tensors by name.
        without: names that are not loaded.
        why: the reason for that, for the report.

    Raises `ConfigError` if no tensor fits, and for a frozen parameter that is not loaded.
    """
    weights = {name.removeprefix("module."): value for name, value in weights.items() if isinstance(value, Tensor)}
    own = model.state_dict()
    report = Loaded()
    fitting = {}
    for name, value in weights.items():
        if name in without:
            report.skipped.append(name + why)
        elif name in own and own[name].shape == value.shape:
            fitting[name] = value
            report.loaded.append(name)
        else:
            shape = f" {tuple(value.shape)} for {tuple(own[name].shape)}" if name in own else ""
            report.skipped.append(name + shape)
    report.missing = [name for name in own if name not in fitting and name not in weights]
    if not fitting:
        raise ConfigError(Problem("init_from", "no tensor fits this model by name and shape.", report.words()))
    refuse_frozen(model, report)
    model.load_state_dict(fitting, strict=False)
    return report


def refuse_frozen(model: nn.Module, report: Loaded) -> None:
    """Raise `ConfigError` for frozen parameters that were not loaded, which would keep their random weights."""
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    drawn = [name for name in frozen if name not in report.loaded]
    if drawn:
        skipped = next((words for words in report.skipped if words.partition(" ")[0] == drawn[0]), "not in the file")
        what = f"{first_names(drawn)} would be frozen with random weights: init_from does not load it ({skipped})."
        raise ConfigError(Problem("freeze", what, "Leave it out of freeze."))


def head_of(model: nn.Module, outputs: int) -> set[str]:
    """The parameters of the last layer that have one row for each output.

    It is the layer called `head`, or else the last two parameters are examined.
    """
    tensors = dict(model.named_parameters())
    names = [name for name in tensors if "head" in name.split(".")] or list(tensors)[-2:]
    return {name for name in names if tensors[name].shape[:1] == (outputs,)}


def weights_of(checkpoint: Values) -> dict[str, Tensor]:
    """The model's tensors in a checkpoint of dlrun's, or in a plain `state_dict` file."""
    inner = checkpoint.get("model", checkpoint)
    return inner if isinstance(inner, dict) else checkpoint


def matches(name: str, pattern: str) -> bool:
    """Whether a glob matches the name of a parameter, or of a module that contains it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:i]), pattern) for i in range(1, len(parts) + 1))


def freeze(model: nn.Module, patterns: list[str]) -> tuple[nn.Module, ...]:
    """Freeze the parameters that match any of these globs. Returns the modules with frozen parameters only.

    Those stay in eval mode, so that their BatchNorm statistics do not change either (trap T52).
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            modules = {name.rsplit(".", 1)[0] for name in names}
            hint = did_you_mean(pattern, [*names, *modules]) or f"Parameters: {first_names(names, 8)}."
            raise ConfigError(Problem("freeze", f"{pattern!r} matches no parameter.", hint))
    for name, parameter in model.named_parameters():
        if any(matches(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(Problem("freeze", "every parameter is frozen: nothing would learn."))
    return tuple(module for module in model.modules() if {p.requires_grad for p in module.parameters()} == {False})
