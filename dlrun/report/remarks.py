"""Remarks on a comparison, a sentence each: what the runs support, and what they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlrun.report.folds import on_folds, on_missing_folds
from dlrun.report.intervals import ConfidenceInterval
from dlrun.report.pairs import Pairs
from dlrun.report.stats import LOST, RunGroup, frozen, is_number, partition
from dlrun.report.tables import format_number, format_value

Label = Callable[[RunGroup], str]
SMALL_LEAD = 0.10  # a lead below this share of the better value is called small
NAMED = 6  # settings in one remark
MANY = 10  # settings, from which the best value is noticeably biased by the selection
REPEAT = "repeat with seed=0,1,2"


def remarks(
    ranked: Sequence[RunGroup],
    metric: str,
    mode: str,
    label: Label,
    target: float | None = None,
    *,
    pairs: Pairs,
    grid: bool = True,
    comparable: bool = True,
    repeat: str = REPEAT,
    notes: Sequence[str] = (),
    by_last: bool = False,
    by_test: bool = False,
    monitor: str = "",
) -> list[str]:
    """All remarks on groups in the order of `stats.rank`, that on the best one first.

    Args:
        ranked: best first, groups without a value last.
        metric: the name of the metric that they are ranked by.
        mode: min or max.
        label: names a group.
        target: a value of the metric to be reached, if any.
        pairs: the tests of the groups.
        grid: whether the settings are a grid; otherwise there are no remarks on its edges.
        comparable: whether the metric means the same in every group; otherwise there are no remarks on the ranking.
        repeat: the advice on how to run more seeds.
        notes: remarks on the runs and the metric, which come second.
        by_last: whether the metric is that of the last epoch.
        by_test: whether the metric is that of the test part, which has chosen nothing.
        monitor: the metric whose target is reached; empty: the ranked one.
    """
    known = [one for one in ranked if one.value is not None]
    in_folds = any(one.folds for one in known)
    found = [
        on_best(known, pairs, metric, label, repeat) if comparable else "",
        *notes,
        *(on_folds(known, metric, label) if in_folds and comparable else ()),
        on_missing_folds(ranked, label) if in_folds else "",
        *(on_edges(ranked) if grid and comparable else ()),
        on_failures(ranked, label),
        on_choice(known) if comparable else "",
        "" if by_test else on_selection(metric, by_last=by_last),
        on_target(ranked, monitor or metric, mode, target),
    ]
    return [text for text in found if text]


def on_best(known: Sequence[RunGroup], pairs: Pairs, metric: str, label: Label, repeat: str = REPEAT) -> str:
    """The best option, and those that it cannot be told apart from."""
    if len(known) < 2 or known[0].value is None or known[1].value is None:
        return ""
    best, mine = known[0], [pair for pair in pairs.of(known[0]) if pair.second.value is not None]
    if all(pair.kind == "none" for pair in mine) and not best.folds:
        return _on_one_seed(known[0].value, known[1].value, label(best), label(known[1]), metric, repeat)
    alike = [label(pair.second) for pair in mine if not pair.differ]
    start = f"the best by {metric} is {label(best)}"
    if not alike:
        return f"{start}, told apart from {'the other' if len(mine) == 1 else f'each of the {len(mine)} others'}."
    names = "; ".join(alike[:NAMED]) + (f" and {len(alike) - NAMED} more" if len(alike) > NAMED else "")
    others = len(mine) - len(alike)
    rest = f", and told apart from the {'other' if others == 1 else f'{others} others'}" if others else ""
    return f"{start}; it cannot be told apart from {names}{rest}."


def _on_one_seed(
    best: ConfidenceInterval, second: ConfidenceInterval, first: str, other: str, metric: str, repeat: str
) -> str:
    start = f"the best by {metric} is {first}, on one seed: "
    lead = abs(best.center - second.center)
    share = lead / abs(best.center) if best.center else float("inf")
    if share < SMALL_LEAD:
        apart = f"lead over {other}: {format_number(lead)}, {share:.1%}"
        return f"{start}a difference this small is not supported ({apart}); {repeat}."
    return f"{start}how much of its lead over {other} is chance, cannot be said; {repeat}."


def on_edges(ranked: Sequence[RunGroup]) -> list[str]:
    """Remarks on numbers whose best value is the smallest or largest that was tried: better ones may lie beyond."""
    keys = [key for key in ranked[0].keys if any(is_number(one.keys[key]) for one in ranked)] if ranked else []
    found = []
    for key in keys:
        if is_lr(key):
            parts = partition(ranked, lambda one: [one.keys.get(name) for name in ("optimizer", "optimizer.name")])
            found += [_on_edge(part, key, 2, several=len(parts) > 1) for part in parts]
        else:
            found.append(_on_edge(ranked, key, 3))
    return [text for text in found if text]


def _on_edge(groups: Sequence[RunGroup], key: str, least: int, *, several: bool = False) -> str:
    """The remark on one key, among groups whose other settings are those of the best.

    Values that diverged count as tried; those with which training did not begin do not.
    """
    best = groups[0]
    if best.value is None or not is_number(best.keys[key]):
        return ""
    others = frozen({name: value for name, value in best.keys.items() if name != key})
    beside = [one for one in groups if frozen({k: v for k, v in one.keys.items() if k != key}) == others]
    beside = [one for one in beside if any(row.began for row in one.rows)]
    tried = sorted({one.keys[key] for one in beside if is_number(one.keys[key])})
    value = best.keys[key]
    if len(tried) < least or tried[0] < value < tried[-1] or _is_bound(value, tried):
        return ""
    what = "learning rate" if is_lr(key) else key
    of = f" of {best.keys.get('optimizer', best.keys.get('optimizer.name'))}" if several else ""
    way = "smaller" if value == tried[0] else "larger"
    span = f"{format_value(tried[0])} to {format_value(tried[-1])}"
    return f"best {what}{of} lies at the edge of the grid: {format_value(value)} of {span}; try {way} ones."


def _is_bound(value: float, tried: Sequence[float]) -> bool:
    """Whether an edge is a natural bound: most numbers end at 0, counts at 1, and shares at 1."""
    count = all(isinstance(one, int) for one in tried)
    if value == tried[0]:
        return value == 0 or (count and value == 1)
    return value == 1 and tried[0] >= 0 and not count


def is_lr(key: str) -> bool:
    """Whether a key is a learning rate."""
    return key == "lr" or key.endswith(".lr")


def on_failures(ranked: Sequence[RunGroup], label: Label) -> str:
    """How many runs diverged, failed or did not finish, and what becomes of them."""
    rows = [row for one in ranked for row in one.rows]
    diverged = [one for one in ranked if one.diverged]
    failed = sum(row.status in ("failed", "dead") and not row.diverged for row in rows)
    pruned = sum(row.status == "pruned" for row in rows)
    open_ = sum(row.status in ("running", "waiting", "interrupted", "unknown") for row in rows)
    words = []
    if diverged:
        names = "; ".join(f"{label(one)}: {one.diverged} of {len(one.rows)}" for one in diverged[:4])
        more = f"; and {len(diverged) - 4} more settings" if len(diverged) > 4 else ""
        words.append(f"{sum(one.diverged for one in diverged)} of {len(rows)} diverged ({names}{more})")
    if failed:
        words.append(f"{failed} of {len(rows)} failed")
    if pruned:
        words.append(f"{pruned} of {len(rows)} pruned")
    if open_:
        words.append(f"{open_} of {len(rows)} not finished")
    lost, ended = sum(row.lost for row in rows), sum(row.status in LOST for row in rows)
    means = ["a lost run loses every pair, and its setting shows a median"] if lost else []
    means += ["what has not ended, or never began, is left out"] if lost < ended + open_ else []
    return f"{', '.join(words)}; {'; '.join(means)}." if words else ""


def on_choice(known: Sequence[RunGroup]) -> str:
    """The remark that the best of many settings is biased by the selection."""
    if len(known) < MANY:
        return ""
    return f"the best of {len(known)} settings was chosen by this metric: expect it to be a little worse on new data."


def on_selection(metric: str, *, by_last: bool = False) -> str:
    """The remark on a ranking by anything but the validation part."""
    if metric.startswith("test_"):
        return f"ranked by {metric}: the test part chose the best epoch and setting, so it flatters both."
    if metric.startswith("train_"):
        last = " at the end, since its best epoch may be a lucky one" if by_last else ""
        return f"ranked by {metric}{last}: it says how well the training data is fitted, not new data."
    return ""


def on_target(ranked: Sequence[RunGroup], metric: str, mode: str, target: float | None) -> str:
    """How many runs reached the target, if there is one."""
    if target is None:
        return ""
    goal = f"{metric} {'>=' if mode == 'max' else '<='} {format_number(target)}"
    rows = [row for one in ranked for row in one.rows]
    reached = sum(row.reached is not None for row in rows)
    return f"{goal} was reached by {reached} of {len(rows)} runs." if reached else f"no run reached {goal}."
