"""What `balanced` means for class weights: numbers from the rows of each class in the training part."""

from __future__ import annotations

from collections.abc import Sequence

from dlrun.errors import ConfigError, Problem

Weights = Sequence[float] | str | None


def balanced_weight(weight: Weights, class_counts: Sequence[int] | None) -> Sequence[float] | None:
    """The weights as given; for `balanced`, those that make the classes weigh the same in training.

    They are rows / (classes x rows of the class), as in scikit-learn; a class without rows has weight 1.
    """
    if not isinstance(weight, str):
        return weight
    counts = _counts("weight", weight, class_counts)
    present = sum(1 for count in counts if count)
    return [sum(counts) / (present * count) if count else 1.0 for count in counts]


def balanced_pos_weight(weight: Weights, class_counts: Sequence[int] | None) -> Sequence[float] | None:
    """The weights as given; for `balanced`, rows of class 0 / rows of class 1."""
    if not isinstance(weight, str):
        return weight
    counts = _counts("pos_weight", weight, class_counts)
    if len(counts) != 2 or 0 in counts:
        what = f"balanced wants two classes with rows in each; the classes have {list(counts)} rows."
        raise ConfigError(Problem("loss.pos_weight", what, "Give one number a label."))
    return [counts[0] / counts[1]]


def _counts(key: str, word: str, class_counts: Sequence[int] | None) -> Sequence[int]:
    if word != "balanced":
        raise ConfigError(Problem(f"loss.{key}", f"{word!r} is no weight.", "Did you mean balanced?"))
    if class_counts is None:
        what = "balanced needs classes to count, one a row; these data have none."
        raise ConfigError(Problem(f"loss.{key}", what, "Give a list of numbers."))
    return class_counts
