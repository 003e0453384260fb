"""The evaluations of a run: RUN/evaluations/NAME/evaluation.json."""

from __future__ import annotations

from pathlib import Path

from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import Values, number
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir


def evaluations(run: RunDir) -> list[tuple[Path, Values]]:
    """The folders of a run's evaluations and what they hold, the newest first; what cannot be read is left out."""
    found = [(file.parent, read_json(file)) for file in run.path.glob("evaluations/*/evaluation.json")]
    return sorted((pair for pair in found if pair[1]), key=lambda pair: str(pair[1].get("made")), reverse=True)


def test_evaluations(run: RunDir) -> int:
    """How often the run's own test part was evaluated: at the end of training, and since."""
    own = [values for _, values in evaluations(run) if values.get("part") == "test" and not values.get("source")]
    return len(own) + ("test" in read_json(run.summary))


def threshold_of(run: RunDir, text: str) -> float:
    """The threshold that `--threshold` names: a probability, or the best one. Raises `ConfigError` and `RunError`."""
    if text == "best":
        return known_threshold(run)
    value = number(text)
    if not 0 <= value <= 1:
        raise ConfigError(Problem("--threshold", f"takes a number from 0 to 1, or best, not {text!r}."))
    return value


def known_threshold(run: RunDir) -> float:
    """The threshold with the best F1 on validation that an evaluation found. Raises `RunError` where none did."""
    for _, values in evaluations(run):
        best = values.get("threshold")
        if isinstance(best, dict) and isinstance(best.get("value"), float):
            return float(best["value"])
    what = f"no evaluation of {run.path} has found the best threshold (of two classes, on a validation part)."
    raise RunError(f"{what} Run `dlrun evaluate {run.path}` first.")
