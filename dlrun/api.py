"""dlrun from Python: compose a configuration, train it, look at a run.

    import dlrun

    config = dlrun.compose(["model=mlp", "dataset=digits", "trainer.epochs=3"])
    run = dlrun.train(config)
    print(run.summary["test"]["accuracy"], run.path)
    model = dlrun.load_run(run.path).model()

For notebooks, tests and other programs.
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
    """A run on disk."""

    path: Path

    @property
    def config(self) -> Config:
        """The configuration that it ran with."""
        return Config.from_yaml(self.path / "config.yaml")

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json: best, last, test, baseline, counts, times (empty while the run is not finished)."""
        from dlrun.store.reading import read_json
        from dlrun.store.rundir import RunDir

        return read_json(RunDir(self.path).summary)

    @property
    def metrics(self) -> Any:
        """metrics.csv as a pandas DataFrame, one row an epoch."""
        import pandas

        return pandas.read_csv(self.path / "metrics.csv")

    def model(self, checkpoint: str = "best", device: str = "cpu") -> Any:
        """The trained model, a plain `torch.nn.Module` in eval mode.

        `checkpoint`: best (of a finished run that selects none: the last) or last. `device`: as for `device=`.
        Raises `RunError` when that checkpoint is missing or damaged, `ConfigError` for a device that is not there.
        """
        from dlrun.run.trained import trained_model

        return trained_model(self.path, checkpoint, device)


def compose(overrides: Sequence[str] = (), **options: Any) -> Config:
    """A checked, frozen configuration of one run. Raises `ConfigError` with every problem at once."""
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
    """Train a configuration (or a list of overrides) to a finished run.

    `quiet=False` prints what the command prints: header, a line an epoch, closing table. None does so in a notebook.
    Raises `ConfigError` or `DataError` before the first step, `TrainingFailed` when the run itself fails, and
    `KeyboardInterrupt` after Ctrl-C, when it has been saved (`resume=auto` goes on with it).
    """
    from dlrun.run import rerun, runner, screen
    from dlrun.store.marks import is_run

    frozen = config if isinstance(config, Config) else compose(config)
    if isinstance(config, Config) and config.run.dir and config.resume != "auto" and is_run(Path(config.run.dir)):
        frozen = rerun.elsewhere(config)  # it came out of that run's config.yaml
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
    """A run by path, by `run.name`, or `last`. Raises `RunError` when there is none."""
    from dlrun.store.find import find_run

    return Run(find_run(str(run)).path)
