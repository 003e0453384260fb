"""The keys of each kind of checkpoint file, and a check for the value of each key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from dlrun.errors import RunError
from dlrun.plain import Values

Check = Callable[[object], bool]


def is_count(value: object) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def of_type(*types: type) -> Check:
    """A check for values of these types. A bool does not count as a number."""
    return lambda value: isinstance(value, types) and not isinstance(value, bool)


is_number, is_text, is_list, is_dict = of_type(int, float), of_type(str), of_type(list), of_type(dict)


def is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def is_tensors(value: object) -> bool:
    """Whether a value is a `state_dict`: tensors by name, and possibly extra states of modules."""
    return isinstance(value, dict) and any(map(is_tensor, value.values())) and all(isinstance(k, str) for k in value)


def none_or(check: Check) -> Check:
    """A check that also lets None pass."""
    return lambda value: value is None or check(value)


def has(fields: Mapping[str, Check]) -> Check:
    """A check for a dictionary with these keys, whose values pass the check of each key."""
    return lambda value: (
        isinstance(value, dict) and all(key in value and fits(value[key]) for key, fits in fields.items())
    )


def is_total(value: object) -> bool:
    """Whether a value is a total of an unfinished epoch: None, a number, or a list of numbers."""
    return value is None or is_number(value) or (isinstance(value, list) and all(map(is_number, value)))


def is_totals(value: object) -> bool:
    return isinstance(value, dict) and all(map(is_total, value.values()))


RANDOM: Check = has({"python": is_list, "numpy": is_list, "torch": is_tensor})
BEST: Check = has({"value": is_number, "epoch": is_count, "row": is_dict})
WEIGHTS: dict[str, Check] = {"model": is_tensors, "epoch": is_count, "step": is_count, "spec": is_dict}
BEST_FILE: dict[str, Check] = WEIGHTS | {"best": BEST}
LAST_FILE: dict[str, Check] = WEIGHTS | {
    "best": none_or(BEST),
    "optimizer": has({"state": is_dict, "param_groups": is_list}),
    "scheduler": none_or(is_dict),
    "scaler": none_or(is_dict),
    "rng": lambda value: isinstance(value, list) and bool(value) and all(map(RANDOM, value)),
    "grads": none_or(is_dict),
    "sums": is_totals,
    "stopper": has({"value": none_or(is_number), "without_improvement": is_count, "reason": lambda value: True}),
    "cursor": is_count,
    "history": has({"columns": is_list, "values": is_tensor, "kept": is_tensor}),
}
CRASH_FILE: dict[str, Check] = {
    "reason": is_text,
    "step": is_count,
    "epoch": is_count,
    "inputs": lambda value: isinstance(value, list) and bool(value) and all(map(is_tensor, value)),
    "target": is_tensor,
    "model": is_tensors,
    "rng": RANDOM,
}


OPTIONAL: dict[str, Check] = {  # keys that some kinds of files, and those of older versions, lack
    "config": is_dict,
    "engine": lambda value: isinstance(value, list) and all(map(is_text, value)),
    "loss": is_dict,
    "seconds": has({"train": is_number, "eval": is_number}),
    "weight": lambda value: value is None or is_tensor(value),  # of the rows of a batch that failed
}


def expect(path: Path, values: Values, fields: Mapping[str, Check]) -> Values:
    """Return the values if each field passes its check. Raises `RunError` that names the first one that does not."""
    for key in fields:
        if key not in values:
            raise RunError(f"{path} is no such checkpoint of dlrun's: it has no {key!r}.")
    for key, check in {**OPTIONAL, **fields}.items():
        if key in values and not check(values[key]):
            raise RunError(f"{path} is damaged: what it holds as {key!r} is of the wrong kind.")
    return values


def expect_format(path: Path, values: Values, newest: int) -> None:
    """Raise `RunError` for a checkpoint of a later version of dlrun, and for a format that is not a number."""
    written = values.get("format", 0)
    if is_tensor(written):  # a `state_dict` file of torch with a weight of this name
        return
    if not isinstance(written, int | float) or math.isnan(written):
        raise RunError(f"{path} is damaged: its format is {written!r}, which is no number.")
    if written > newest:
        raise RunError(f"{path} was written by a newer dlrun (format {written}); this one reads {newest}.")
