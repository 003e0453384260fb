"""Compose a configuration, train it, and read the run, from Python:

    import dlrun

    config = dlrun.compose(["model=mlp", "dataset=digits", "trainer.epochs=3"])
    run = dlrun.train(config)
    print(run.summary["test"]["accuracy"], run.path)
    model = dlrun.load_run(run.path).model()

These functions are for notebooks, tests and other programs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.config.config import Config
from dlrun.errors import ConfigError, Problem, TrainingFailed


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return Config.from_yaml(self.path / "config.yaml")

    @property
    def summary(self) -> dict[str, Any]:
        """The values of summary.json: best, last, test, baseline, counts, times. Empty until the run is finished."""
        from dlrun.store.reading import read_json
        from dlrun.store.rundir import RunDir

        return read_json(RunDir(self.path).summary)

    @property
    def metrics(self) -> Any:
        """metrics.csv as a pandas DataFrame, with one row for each epoch."""
        import pandas

        return pandas.read_csv(self.path / "metrics.csv")

    def model(self, checkpoint: str = "best", device: str = "cpu") -> Any:
        """Load the trained model, a plain `torch.nn.Module` in eval mode. See `dlrun.run.trained.trained_model`."""
        from dlrun.run.trained import trained_model

        return trained_model(self.path, checkpoint, device)


def compose(overrides: Sequence[str] = (), **options: Any) -> Config:
    """Compose the configuration of one run. Raises `ConfigError` with all problems at once."""
    from dlrun.config.expand import Expansion, plan

    if isinstance(overrides, str | Mapping):
        text = f"{type(overrides).__name__} {overrides!r} is no list of overrides."
        raise ConfigError(Problem("overrides", text, 'Write ["model=mlp", "trainer.epochs=3"].'))
    planned = plan(list(overrides), **options)
    if isinstance(planned, Expansion):
        swept = ", ".join(planned.swept)
        hint = f"Give each of them one value ({next(iter(planned.swept))}=...), or run the sweep: dlrun experiment=..."
        raise ConfigError(Problem("experiment", f"is a sweep over {swept}, not one run.", hint))
    return planned


def train(config: Config | Sequence[str], *, quiet: bool | None = None) -> Run:
    """Train a configuration or a list of overrides.

    `quiet=False` prints the same as the command: a header, a line for each epoch, and a closing table. None prints this
    in a notebook only.

    Raises `ConfigError` or `DataError` before the first step, `TrainingFailed` if training fails, and
    `KeyboardInterrupt` after Ctrl-C, when the run has been saved: `resume=auto` resumes it.
    """
    from dlrun.run import rerun, runner, screen
    from dlrun.store.marks import is_run

    frozen = config if isinstance(config, Config) else compose(config)
    if isinstance(config, Config) and config.run.dir and config.resume != "auto" and is_run(Path(config.run.dir)):
        frozen = rerun.elsewhere(config)  # it was read from that run's config.yaml
    words = [] if isinstance(config, Config) else list(config)
    shown = "ipykernel" in sys.modules if quiet is None else not quiet
    outcome = runner.train(frozen, overrides=words, screen=screen.Screen(terminal=False) if shown else None)
    if outcome.exit_code == 130:
        raise KeyboardInterrupt
    if (failure := outcome.failure) is not None:
        raise TrainingFailed(f"the run ended with exit code {failure.exit_code}: {failure.message}", failure.kind)
    assert outcome.run is not None
    return Run(outcome.run.path)


def load_run(run: str | Path) -> Run:
    """Find a run by path, by `run.name`, or by `last`. Raises `RunError` if there is none."""
    from dlrun.store.find import find_run

    return Run(find_run(str(run)).path)
