"""Augmentation by name: a YAML list becomes torchvision's v2 transforms, checked word by word.

    augment: [{random_horizontal_flip: {p: 0.5}}, {random_crop: {size: 28, padding: 2}}, auto_augment]

The names are torchvision's own (https://docs.pytorch.org/vision/stable/transforms.html, "v2 API reference"),
written small with underscores. They work on stored images, uint8 (C, H, W). torchvision is imported here
only.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dlrun.data.seeds import derive
from dlrun.errors import ConfigError, Problem, allowed_words, did_you_mean
from dlrun.generators import forked

KEY = "dataset.augment"
DRAWS = 4  # trial images through the whole list: an impossible crop shows before the first step
# Not for one stored image of a fixed size: containers, whole batches, conversions of type, changes of shape.
EXCLUDED = re.compile(
    r"transform$|compose|random_(apply|choice|order)|cut_mix|mix_up|lambda|identity|normalize|to_|pil|convert"
    r"|.*bounding|sanitize|.*key_points|uniform_temporal|linear_transformation|set_clamping|(five|ten)_crop"
    r"|random_(shortest_size|resize$|zoom_out|io_u_crop)|scale_jitter"
)


def build_augment(steps: Sequence[Any]) -> Callable[[Tensor], Tensor]:
    """One callable for the list, picklable. Raises `ConfigError` with every problem of it."""
    from torchvision.transforms import v2

    known = transforms()
    built, problems = [], []
    for place, step in enumerate(steps):
        try:
            built.append(_build(f"{KEY}[{place}]", step, known))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return v2.Compose(built)


def transforms() -> dict[str, type]:
    """The transforms that may be named."""
    from torchvision.transforms import v2

    found = {_snake(name): value for name, value in vars(v2).items() if not name.startswith("_")}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, type) and issubclass(value, v2.Transform) and not EXCLUDED.match(name)
    }


def check_augment(augment: Callable[[Tensor], Tensor], image: Tensor, seed: int) -> None:
    """Some draws on one image: `ConfigError` where they fail, or change its shape or type."""
    with forked(derive(seed, "augment:trial")):
        for _ in range(DRAWS):
            try:
                out = augment(image)
            except (ValueError, TypeError, RuntimeError) as error:
                shape = tuple(image.shape)
                raise ConfigError(Problem(KEY, f"cannot be applied to images {shape}: {error}.")) from error
            if out.shape != image.shape or out.dtype != torch.uint8:
                what = f"makes {tuple(out.shape)} {out.dtype} of {tuple(image.shape)} {image.dtype}."
                raise ConfigError(Problem(KEY, what, "Shape and type must stay: set dataset.size instead."))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _build(key: str, step: object, known: Mapping[str, type]) -> Any:
    if isinstance(step, str):
        step = {step: None}
    if not isinstance(step, Mapping) or len(step) != 1:
        raise ConfigError(Problem(key, f"{step!r} is not a name or {{name: {{argument: value}}}}."))
    name, given = next(iter(step.items()))
    if name not in known:
        hint = did_you_mean(name, known) or f"Allowed: {', '.join(sorted(known))}."
        raise ConfigError(Problem(key, f"there is no augmentation {name!r}.", hint))
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ConfigError(Problem(f"{key}.{name}", f"{given!r} is not {{argument: value}}."))
    _check_arguments(f"{key}.{name}", known[name], given)
    arguments = dict(given)
    try:
        if isinstance(arguments.get("interpolation"), str):
            from torchvision.transforms import InterpolationMode

            arguments["interpolation"] = InterpolationMode(arguments["interpolation"])
        return known[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(Problem(f"{key}.{name}", f"{error}.")) from error


def _check_arguments(key: str, transform: type, given: Mapping[str, Any]) -> None:
    takes = inspect.signature(transform).parameters
    problems = [
        Problem(f"{key}.{word}", "unknown argument.", allowed_words(word, takes)) for word in given if word not in takes
    ]
    problems += [
        Problem(f"{key}.{word}", "is missing.")
        for word, parameter in takes.items()
        if parameter.default is parameter.empty and word not in given and parameter.kind.name != "VAR_KEYWORD"
    ]
    if problems:
        raise ConfigError(problems)
