"""Columns that say too much: those that give the target away, and those whose rows belong together.

A column gives the target away where a tree on it alone reaches `SURE` of balanced accuracy (of R2 for numbers, of the
values or of their ranks, which a few huge targets do not rule) on rows that it was not fitted on. It may have been
written down after the target was known; it may also be an honest one. No torch here.
"""

from __future__ import annotations

import math

import numpy as np

SURE = 0.99
SAMPLE = 2_000  # rows that are looked at, of each class equally many
LEAVES = 32  # of a tree that classifies; with many classes two for each
NUMBER_LEAVES = 64  # of one that predicts numbers
LEAF = 5  # rows at least in each
FOLDS = 3
FEWEST = 15  # rows of a class, or half as many as of all: fewer are guessed by chance
GROUPS = 10  # values at least that a column of groups has
LIMITS = (-1e30, 1e30)  # of numbers that a tree can cut, which has 32 bits
CHANCE = 1e-6  # the target is constant within each value by chance with this probability at most


class TargetSample:
    """A sample of the rows, and their target: class numbers, or numbers where `classes` is false. NaN: unknown."""

    def __init__(self, values: np.ndarray, classes: bool) -> None:
        random = np.random.default_rng(0)
        self.classes = classes
        known = random.permutation(np.flatnonzero(~np.isnan(values)))
        if classes:
            numbers, counts = np.unique(values[known], return_counts=True)
            common = numbers[np.argsort(-counts, kind="stable")][: SAMPLE // FEWEST]
            each = [known[values[known] == number][: max(SAMPLE // len(common), FEWEST)] for number in common]
            parts = [part for part in each if len(part) >= FEWEST]
            known = np.concatenate(parts) if len(parts) > 1 else known[:0]
        self.rows = np.sort(known[:SAMPLE]) if not classes else np.sort(known)
        self.values = values[self.rows].clip(*LIMITS)

    @property
    def enough(self) -> bool:
        """Whether something could be said of it."""
        return len(self.rows) >= 2 * FEWEST and len(np.unique(self.values)) > 1

    def score(self, column: np.ndarray, levels: bool) -> float:
        """How well one column (N, parts), numbers or the numbers of its levels, predicts the target."""
        from scipy.stats import rankdata

        if not self.enough:
            return 0.0
        cells = column[self.rows]
        absent = np.isnan(cells)
        if levels:
            inputs = np.where(absent, -1, cells)
        else:
            inputs = np.hstack([np.where(absent, 0, cells).clip(*LIMITS), absent])
        targets = [self.values] if self.classes else [self.values, rankdata(self.values)]
        return max(self.on_unseen(inputs, target, levels) for target in targets)

    def on_unseen(self, inputs: np.ndarray, target: np.ndarray, levels: bool) -> float:
        """Balanced accuracy or R2 on folds that the tree was not fitted on."""
        from sklearn.metrics import balanced_accuracy_score, r2_score
        from sklearn.model_selection import KFold
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        leaves = max(LEAVES, 2 * len(np.unique(target))) if self.classes else NUMBER_LEAVES
        kind = DecisionTreeClassifier if self.classes else DecisionTreeRegressor
        found = np.empty(len(target))
        for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(target):
            ready = self.in_order(inputs[:, 0], target, train) if levels else inputs
            tree = kind(max_leaf_nodes=leaves, min_samples_leaf=LEAF, random_state=0)
            found[test] = tree.fit(ready[train], target[train]).predict(ready[test])
        return float(balanced_accuracy_score(target, found) if self.classes else r2_score(target, found))

    def in_order(self, levels: np.ndarray, target: np.ndarray, train: np.ndarray) -> np.ndarray:
        """Levels as numbers that a tree can cut (N, K): the shares of the classes, or the mean of the target, among
        the training rows of the level; of all training rows for a level that has fewer than `LEAF`.
        """
        wanted = (target[:, None] == np.unique(target)).astype(float) if self.classes else target[:, None]
        number = np.unique(levels, return_inverse=True)[1]
        counts = np.bincount(number[train], minlength=int(number.max()) + 1)[:, None]
        sums = np.zeros((len(counts), wanted.shape[1]))
        np.add.at(sums, number[train], wanted[train])
        return np.where(counts >= LEAF, sums / np.maximum(counts, 1), wanted[train].mean(0))[number]


def is_group(codes: np.ndarray, target: np.ndarray, classes: bool, number: bool) -> bool:
    """Whether rows with one value belong together: values repeat, and the target is constant within each.

    `codes` and `target` (N,) are numbers, NaN where a cell is missing. The values are `GROUPS` or more, and more than
    two a class: fewer are another word for the target, as is a `number` that each target has one of. It is ruled out
    that the target is constant by chance.
    """
    known = ~(np.isnan(codes) | np.isnan(target))
    if not known.any():
        return False
    value = np.unique(codes[known], return_inverse=True)[1]
    label = np.unique(target[known], return_inverse=True)[1]
    values, labels = int(value.max()) + 1, int(label.max()) + 1
    if values < GROUPS or len(value) < 2 * values or (classes and values <= 2 * labels) or labels < 2:
        return False
    if (number and values == labels) or len(np.unique(value * labels + label)) != values:
        return False
    shares = np.bincount(label) / len(label)
    sizes, counts = np.unique(np.bincount(value), return_counts=True)
    each = [max(float((shares**size).sum()), 1e-300) for size in sizes.tolist()]
    chance = sum(n * math.log(p) for p, n in zip(each, counts.tolist(), strict=True))
    return chance < math.log(CHANCE)
