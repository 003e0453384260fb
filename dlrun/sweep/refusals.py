"""What a sweep refuses before it begins: overrides without effect, and jobs that cannot be run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dlrun.config.expand import Expansion
from dlrun.config.schema.words import key_of
from dlrun.errors import ConfigError, Problem

INSTEAD = {
    "run.dir": "sweep.dir",
    "run.name": "sweep.name",
    "run.overwrite": "sweep.refresh=true",
    "run.figures": "one value",
}


def refuse_useless(overrides: Sequence[str], swept: Iterable[str]) -> None:
    """Raise `ConfigError` for overrides without effect: of the folder of one run, or of a key that is swept."""
    given = {key_of(word) for word in overrides}
    problems = [
        Problem(key, "is for one run: each job of a sweep has its folder.", f"For the sweep: {INSTEAD.get(key, '')}")
        for key in dict.fromkeys([*(key_of(word) for word in overrides), *swept])
        if key.startswith("run.") and (key != "run.figures" or key in swept)
    ]
    for key in sorted(given):
        if key.startswith("sweep.params.") and (other := key.removeprefix("sweep.params.")) in given:
            problems.append(Problem(key, f"does nothing beside {other}=...", "Give one of them."))
    if problems:
        raise ConfigError(problems)


def refuse_impossible(expansion: Expansion, settings: dict[str, Any]) -> None:
    """Raise `ConfigError` that names every invalid job, unless `sweep.skip_invalid=true`."""
    bad = [job for job in expansion.jobs if job.config is None]
    if not bad or settings["skip_invalid"]:
        return
    found: dict[Problem, list[str]] = {}  # the labels of the jobs that have each problem
    for job in bad:
        for problem in job.problems:
            found.setdefault(problem, []).append(" ".join(job.overrides[len(expansion.overrides) :]))
    problems = []
    for problem, (first, *more) in found.items():
        others = f" (and {len(more)} more jobs)" if more else ""
        problems.append(replace(problem, key=f"{first}{others}: {problem.key}"))
    text = f"{len(bad)} of {len(expansion.jobs)} jobs cannot be run; nothing was started."
    problems.append(Problem("sweep", text, "sweep.skip_invalid=true goes on without them."))
    raise ConfigError(problems)
