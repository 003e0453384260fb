"""The table of pairs of options, what it rests on, and pairs.csv, which holds all of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from dlrun.errors import count_of
from dlrun.report import paired
from dlrun.report.folds import span
from dlrun.report.pairs import Pair, Pairs
from dlrun.report.stats import RunGroup
from dlrun.report.tables import Table, format_value

PAIRS_FILE = "pairs.csv"
MOST_SHOWN = 15  # pairs, of six options; of more options those with the best one are shown
NAMED = 3  # pairs in a note
Label = Callable[[RunGroup], str]


def pair_table(pairs: Pairs, label: Label) -> Table | None:
    """The table of pairs: difference, share of seeds, p of both tests and verdict; None if there is nothing to test."""
    shown = shown_pairs(pairs)
    if not shown:
        return None
    columns = [
        ("option", [label(pair.first) for pair in shown]),
        ("against", [label(pair.second) for pair in shown]),
        ("n", [_size(pair) for pair in shown]),
        ("difference", [span(pair.difference) for pair in shown]),
        ("better on", ["" if pair.wins is None else f"{pair.wins} of {len(pair.differences)}" for pair in shown]),
        ("p", [format_p(pair.p_adjusted) for pair in shown]),
        ("exact p", [format_p(pair.exact_adjusted) for pair in shown]),
        ("verdict", [verdict(pair) for pair in shown]),
        ("seeds for 80 %", ["" if pair.differ else format_needed(pair) for pair in shown]),
    ]
    columns = [(header, cells) for header, cells in columns if any(cells)]
    return Table(
        [header for header, _ in columns],
        list(zip(*(cells for _, cells in columns), strict=True)),
        notes=notes_on(pairs, shown, label),
        spare=["n", "better on", "seeds for 80 %", "exact p", "difference"],
        elsewhere=f"all pairs are in {PAIRS_FILE}",
    )


def shown_pairs(pairs: Pairs) -> list[Pair]:
    """All pairs of a few options; of many, the best with the next ones. None where each option has a single run."""
    if all(pair.kind == "none" for pair in pairs.found):
        return []
    return list(pairs.found) if len(pairs.found) <= MOST_SHOWN else pairs.of(pairs.found[0].first)[:MOST_SHOWN]


def verdict(pair: Pair) -> str:
    """`differ`, `not told apart`, or that there is no test."""
    if pair.differ:
        return "differ"
    return "no test" if pair.p is None and pair.exact is None else "not told apart"


def _size(pair: Pair) -> str:
    """`6`: pairs; `6, 5`: unpaired runs."""
    return str(pair.sizes[0]) if pair.wins is not None else f"{pair.sizes[0]}, {pair.sizes[1]}"


def format_p(p: float | None) -> str:
    """A p with three decimals or two digits; empty for None."""
    if p is None:
        return ""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}" if p > 0 else "0"


def format_needed(pair: Pair) -> str:
    """`8 to 30`: seeds; empty if they are not known."""
    if pair.needed is None or math.isinf(pair.needed[0]):
        return "" if pair.needed is None else f"more than {paired.MOST_SEEDS:,}"
    low, high = pair.needed
    end = f"more than {paired.MOST_SEEDS:,}" if math.isinf(high) else f"{high:,.0f}"
    return end if low == high else f"{low:,.0f} to {end}"


def notes_on(pairs: Pairs, shown: Sequence[Pair], label: Label) -> tuple[str, ...]:
    """What the table rests on: which runs are pairs, which tests were taken, and what they do not hold."""
    corrected = f"Holm's correction over {count_of(pairs.count, 'pair')}" if pairs.count > 1 else ""
    if len(pairs.found) < pairs.count:
        corrected = f"Bonferroni's correction for all {pairs.count:,} pairs, of which those with the best are tested"
    if not shown:
        return ()
    more = f"{len(shown)} of {len(pairs.found):,} pairs are shown: all are in {PAIRS_FILE}."
    found = [
        more if len(shown) < len(pairs.found) else "",
        *_on_pairing(shown, label),
        *_on_exact(shown, pairs.count),
        f"p after {corrected}; differences with 95 % intervals, each by itself." if corrected else "",
        "Tests and intervals hold the chance of seeds and splits as far as these vary, not that in tuning.",
    ]
    return tuple(text for text in found if text)


def _on_pairing(shown: Sequence[Pair], label: Label) -> list[str]:
    """What runs of one seed share, and which options share nothing."""
    found = []
    seeds = [pair for pair in shown if pair.kind == "seeds"]
    if seeds:
        equal = all(pair.shares_weights for pair in seeds)
        weights = "first weights" if equal else "not the first weights, where the models differ"
        found.append(f"Seeds are pairs: they share split, batches and {weights}." if equal else
                     f"Seeds are pairs: they share split and batches, {weights}.")  # fmt: skip
    if any(pair.kind == "folds" for pair in shown):
        found.append("Folds and seeds are pairs; Nadeau's and Bengio's t test over the folds' means, and no exact one, "
                     "since folds share training rows.")  # fmt: skip
    apart = [pair for pair in shown if pair.kind == "unpaired" and pair.p is not None]
    if apart:
        which = "" if len(apart) == len(shown) else f" {_named(apart, label)}:"
        why = "no seeds" if all(_same_data(pair) for pair in apart) else "no split or batches"
        found.append(f"Unpaired runs:{which} they share {why}, so Welch's test is taken.")
    return found


def _same_data(pair: Pair) -> bool:
    return pair.first.rows[0].data == pair.second.rows[0].data


def _named(some: Sequence[Pair], label: Label) -> str:
    names = "; ".join(f"{label(pair.first)} and {label(pair.second)}" for pair in some[:NAMED])
    return names + (f" and {len(some) - NAMED} more" if len(some) > NAMED else "")


def _on_exact(shown: Sequence[Pair], count: int) -> list[str]:
    """Whether the t test stands alone, and what the exact test needs."""
    seeds = [pair for pair in shown if pair.kind == "seeds"]
    if not seeds:
        return []
    needs = paired.exact_needs(count)
    least = f"an exact test needs {needs}" if needs else f"no exact test is fine enough for {count:,} pairs"
    found = []
    for n in sorted({pair.sizes[0] for pair in seeds if pair.exact is None and not pair.lost}):
        found.append(f"{n} seeds: rests on normal differences; {least}.")
    if any(pair.exact is None and pair.lost for pair in seeds):
        found.append(f"Where runs were lost only the exact test counts: {least}.")
    if any(pair.exact is not None for pair in seeds):
        found.append("Two differ where the t test and the exact sign-flip test both say so (p at most 0.05).")
    return found


def pairs_csv(pairs: Pairs, label: Label) -> str:
    """A row for each pair of options, with their settings; empty where no option has more than one run."""
    if all(pair.kind == "none" for pair in pairs.found):
        return ""
    lines = [pair_values(pair, label) for pair in pairs.found]
    for line, pair in zip(lines, pairs.found, strict=True):
        for side, one in (("option", pair.first), ("against", pair.second)):
            line |= {f"{side}.{key}": format_value(value) for key, value in one.keys.items()}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in line.items()} for line in lines)
    return text.getvalue()


def pair_values(pair: Pair, label: Label) -> dict[str, Any]:
    """The plain values of a pair; None where there is none."""
    found, needed = pair.difference, pair.needed or (None, None)
    return {
        "option": label(pair.first), "against": label(pair.second), "test": pair.kind, "n": pair.sizes[0],
        "n_against": pair.sizes[1], "difference": found.center if found else None,
        "difference_is": ("median" if found.is_median else "mean") if found else None,
        "low": found.low if found else None, "high": found.high if found else None,
        "std": found.std if found else None, "better_on": pair.wins,
        "share": pair.wins / len(pair.differences) if pair.wins is not None and pair.differences else None,
        "p": pair.p, "p_adjusted": pair.p_adjusted, "exact_p": pair.exact, "exact_p_adjusted": pair.exact_adjusted,
        "differ": pair.differ, "shares_weights": pair.shares_weights if pair.kind == "seeds" else None,
        "seeds_needed_low": needed[0], "seeds_needed_high": needed[1],
    }  # fmt: skip
