"""Labelled rows to evaluate a trained model on: a part of its own data, or other data of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from dlrun.assembly.assemble import build_data, fit_to_loss
from dlrun.components.registry import DATASETS
from dlrun.config.compose import overlay
from dlrun.data.base import Data, Loading, Split
from dlrun.data.vocabulary import LabelMap, Vocabulary
from dlrun.errors import ConfigError, DataError, Problem
from dlrun.inference.trained import Trained
from dlrun.plain import Values

PARTS = ("test", "val", "train")
SAME = ("task", "input_kind", "num_outputs", "input_shape", "other_shapes")


@dataclass(frozen=True)
class LabelledRows:
    """The part to evaluate, the parts there are, how they are read, and what made them others than the run's own."""

    part: str
    parts: dict[str, Split]
    loading: Loading = field(default_factory=Loading)
    source: str = ""  # the overrides or the path; "" for the run's own data
    remark: str = ""


def find_rows(trained: Trained, split: str | None, overrides: Sequence[str]) -> LabelledRows:
    """The rows to evaluate on.

    `overrides` may change `dataset.*`. Raises `ConfigError` for others and for a part that there is not, `DataError`
    for data of another kind and classes that the model does not know.
    """
    elsewhere = other_rows(trained, overrides)
    if elsewhere is not None:
        if split not in (None, "test"):
            raise ConfigError(Problem("--split", f"{split} is a part of the run's own data, and other data are given."))
        return LabelledRows("test", {"test": elsewhere[0]}, source=elsewhere[1])
    config = overlay(trained.config, overrides)
    data = encode_as_trained(trained, build_data(config))
    parts = data.parts()
    chosen = split or next(name for name in PARTS if name in parts)
    if chosen not in PARTS:
        raise ConfigError(Problem("--split", f"there is no {chosen!r}.", f"Allowed: {', '.join(PARTS)}."))
    if chosen not in parts:
        raise ConfigError(Problem("--split", f"{data.spec.name} has no {chosen} part.", f"It has {', '.join(parts)}."))
    if config.identity == trained.config.identity:  # keys such as dataset.root only say where the same rows lie
        return LabelledRows(chosen, parts, data.loading)
    source = " ".join(overrides)
    elsewhere_words = any("path" in word.partition("=")[0] for word in overrides)
    remark = "" if elsewhere_words else f"{source} may put rows that were trained on into the {chosen} part"
    return LabelledRows(chosen, parts, data.loading, source, remark)


def other_rows(trained: Trained, overrides: Sequence[str]) -> tuple[Split, str] | None:
    """The rows of `dataset.test_path=PATH`, where that is all that is given and the data set can read them alone."""
    keys = [override.partition("=")[0] for override in overrides]
    for key in keys:
        if not key.startswith("dataset."):
            hint = "Only dataset.* and device=NAME can be given."
            raise ConfigError(Problem(key, "does not change how a trained model is evaluated.", hint))
    reads = DATASETS.known(trained.config.dataset.name).reads
    if keys != ["dataset.test_path"] or not reads:
        return None
    path = Path(overrides[0].partition("=")[2]).expanduser()
    module, _, function = reads.partition(":")
    part: Split = getattr(import_module(module), function)(trained.spec, path)
    return part, str(path)


def encode_as_trained(trained: Trained, data: Data) -> Data:
    """The data with targets and texts numbered as the model knows them. Raises `DataError` where that cannot be."""
    spec = trained.spec
    data = fit_to_loss(data, trained.loss_name)
    if data.spec.input_kind == "text" and data.spec.vocabulary != spec.vocabulary:
        recoded_parts: Values = {name: recoded(trained, data, part) for name, part in data.parts().items()}
        data = replace(data, **recoded_parts)
    for key in SAME:
        now, then = getattr(data.spec, key), getattr(spec, key)
        if now != then and not (key == "input_shape" and spec.input_kind in ("text", "sequence")):
            if key == "num_outputs" and data.spec.labels:
                LabelMap(spec.labels).apply(data.spec.labels)
            raise DataError(f"these data are not what the model was trained on: {key} is {now}, and was {then}.")
    if data.spec.labels != spec.labels:
        numbers = LabelMap(spec.labels).apply(data.spec.labels)
        parts: Values = {name: replace(part, target=numbers[part.target.long()]) for name, part in data.parts().items()}
        data = replace(data, **parts)
    return data


def recoded(trained: Trained, data: Data, part: Split) -> Split:
    """Texts in the codes of the model's own vocabulary."""
    texts = Vocabulary.of(data.spec).inverse(part.inputs[0])
    return replace(part, inputs=Vocabulary.of(trained.spec).encode_folded(texts))
