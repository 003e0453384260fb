"""Which parameters an optimizer is handed, and in which groups (learning rates by glob, spared biases)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from dlrun.errors import ConfigError, Problem, did_you_mean

KEY = "optimizer.groups"
NORM_LAYERS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
Group = dict[str, Any]


class Trainable(list[Group]):
    """The trainable parameters of a model as one group, ready for any optimizer of torch or of a user.

    Frozen parameters are not in it: weight decay and momentum cannot move what the optimizer never sees.
    The list remembers the model, so that an optimizer of ours can cut it into groups by name.
    Raises `ConfigError` when nothing is left to train.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        params = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not params:
            message = "no parameter is left to train: the model has none, or all of them are frozen."
            raise ConfigError(Problem("freeze", message, "Freeze fewer."))
        super().__init__([{"params": params}])


def parameter_groups(
    model: nn.Module,
    *,
    options: Sequence[str] = ("lr", "weight_decay"),
    weight_decay: float = 0.0,
    decay_norm_and_bias: bool = True,
    groups: Sequence[Mapping[str, Any]] = (),
) -> list[Group]:
    """The trainable parameters of `model`, in the groups that torch.optim takes.

    Each of `groups` is `{match: GLOB or [GLOB, ...], lr: 0.1, ...}`, with any of `options` besides `match`. A
    parameter belongs to the first that matches its name (`*` spans dots), the others to the optimizer's own
    settings, which come first. With `decay_norm_and_bias=False` parameters of one dimension (biases, scales) and
    those of torch's normalization layers have weight decay 0 everywhere. Empty groups are left out.
    Raises `ConfigError` for a glob that matches no trainable parameter, and for an unknown setting.
    """
    names = {name: p for name, p in model.named_parameters() if p.requires_grad}
    spared = set() if decay_norm_and_bias else norms_and_biases(model)
    problems = _problems(groups, options, names, [n for n, _ in model.named_parameters() if n not in names])
    if problems:
        raise ConfigError(problems)
    result: list[Group] = []
    for index, settings in enumerate([{}, *groups]):
        own = {key: value for key, value in settings.items() if key != "match"}
        members = [name for name in names if _owner(name, groups) == index - 1]
        decays = own.get("weight_decay", weight_decay) != 0
        cut = [name for name in members if name in spared and decays]
        rest = [name for name in members if name not in cut]
        if rest:
            result.append({"params": [names[name] for name in rest], **own})
        if cut:
            result.append({"params": [names[name] for name in cut], **own, "weight_decay": 0.0})
    return result


def norms_and_biases(model: nn.Module) -> set[str]:
    """The names of all parameters with fewer than two dimensions, and of everything in a normalization layer of torch.

    Structure decides, not a name: a layer of a user's that is called `NormalMap` decays, a scale of its own does not.
    """
    names = {name: parameter.dim() < 2 for name, parameter in model.named_parameters()}
    for prefix, module in model.named_modules():
        if isinstance(module, NORM_LAYERS):
            names |= dict.fromkeys((f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters()), True)
    return {name for name, is_spared in names.items() if is_spared}


def _globs(group: Mapping[str, Any]) -> list[str]:
    match = group.get("match")
    return [match] if isinstance(match, str) else list(match or [])


def _owner(name: str, groups: Sequence[Mapping[str, Any]]) -> int:
    """The index of the first group with a glob that fits, or -1."""
    fits = (i for i, group in enumerate(groups) if any(fnmatchcase(name, glob) for glob in _globs(group)))
    return next(fits, -1)


def _problems(
    groups: Sequence[Mapping[str, Any]], options: Sequence[str], names: Mapping[str, Any], frozen: list[str]
) -> list[Problem]:
    """All problems of the groups at once."""
    problems = []
    for i, group in enumerate(groups):
        key = f"{KEY}[{i}]"
        if not _globs(group):
            problems.append(Problem(key, "says no parameters.", "Write {match: 'head.*', lr: 0.1}."))
        problems += [_unknown(key, word, options) for word in group if word not in ("match", *options)]
        for word, value in group.items():
            if word in ("lr", "weight_decay") and (not _is_number(value) or value < 0):
                problems.append(Problem(f"{key}.{word}", f"{value!r} is no number from 0 up."))
        for glob in _globs(group):
            if not any(fnmatchcase(name, glob) for name in names):
                problems.append(_matches_nothing(key, glob, list(names), frozen))
            elif not any(fnmatchcase(name, glob) and _owner(name, groups) == i for name in names):
                message = f"{glob!r} is covered by a group before it."
                problems.append(Problem(key, message, "Put the narrower group first."))
    return problems


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unknown(key: str, word: str, options: Sequence[str]) -> Problem:
    hint = did_you_mean(word, ["match", *options]) or f"Allowed: match, {', '.join(options)}."
    return Problem(f"{key}.{word}", "unknown setting of a group.", hint)


def _matches_nothing(key: str, glob: str, names: list[str], frozen: list[str]) -> Problem:
    """A glob without parameters: all frozen, or misspelled (with the nearest names)."""
    if any(fnmatchcase(name, glob) for name in frozen):
        return Problem(key, f"{glob!r} matches only parameters that are frozen.", "See freeze.")
    heads = sorted({f"{name.rsplit('.', 1)[0]}.*" for name in names if "." in name})
    first = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    hint = did_you_mean(glob, [*names, *heads]) or f"The parameters are {first}."
    return Problem(key, f"{glob!r} matches no parameter of the model.", hint)
