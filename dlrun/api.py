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
from typing import TYPE_CHECKING, Any

from dlrun.config.config import Config
from dlrun.errors import ConfigError, Problem, TrainingFailed
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir

if TYPE_CHECKING:
    from dlrun.spec import DataSpec


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
        return read_json(RunDir(self.path).summary)

    @property
    def metrics(self) -> Any:
        """metrics.csv as a pandas DataFrame, with one row for each epoch."""
        import pandas

        return pandas.read_csv(self.path / "metrics.csv")

    def model(self, checkpoint: str = "best", device: str = "cpu") -> Any:
        """The trained model, a plain `torch.nn.Module` in eval mode.

        `checkpoint`: best (of a finished run that selects none: the last) or last. `device`: as for `device=`.
        Raises `RunError` when that checkpoint is missing or damaged, `ConfigError` for a device that is not there.
        """
        from dlrun.inference.trained import load_trained

        return load_trained(self.path, checkpoint, device).model

    @property
    def spec(self) -> DataSpec:
        """What the inputs and outputs of the model mean: shapes, labels, vocabulary, preprocessing."""
        from dlrun.inference.trained import load_spec

        return load_spec(self.path, self.checkpoint)

    @property
    def checkpoint(self) -> str:
        """`best` where the run has one, else `last`."""
        return "best" if RunDir(self.path).best.is_file() else "last"

    def evaluate(
        self,
        split: str | None = None,
        checkpoint: str = "best",
        *,
        overrides: Sequence[str] = (),
        threshold: float | str | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """What `dlrun evaluate` finds: `metrics`, `baseline`, `classes`, ..., and the `folder` that it is written to.

        Args:
            split: test, val or train; None: test, where the data have it.
            checkpoint: best or last, or the path of one.
            overrides: such as `["dataset.test_path=more.csv"]`.
            threshold: the probability from which the second of two classes, or a tag, is the answer; or best.
            name: of the folder.
        """
        from dlrun.inference.evaluate_command import EvaluateRequest, evaluate_run

        words = [overrides] if isinstance(overrides, str) else overrides
        asked = EvaluateRequest(split, str(checkpoint), None if threshold is None else str(threshold), name)
        folder, found = evaluate_run(RunDir(self.path), words, asked)
        return {**found, "folder": folder}

    def predictor(self, checkpoint: str = "best", device: str = "cpu") -> Any:
        """The model with its preprocessing before it and its answers behind it, a `torch.nn.Module` in eval mode.

        It takes inputs as the data set stores them (uint8 pixels, codes and lengths, numbers) and gives
        probabilities (N, classes), or values in the units of the data; `.labels` are the names of the classes. Raises
        as `model` does.
        """
        from dlrun.inference.trained import load_trained

        return load_trained(self.path, checkpoint, device).predictor()

    def predict(
        self,
        inputs: object,
        *,
        checkpoint: str = "best",
        device: str = "cpu",
        top: int = 3,
        threshold: float | str | None = None,
        batch_size: int = 256,
        invert: bool = False,
        folder: str | Path | None = None,
    ) -> Any:
        """A DataFrame of predictions, a row an input, in their order.

        Args:
            inputs: what `dlrun predict` takes, and what stands for it in Python: texts, paths of images, a
                DataFrame with the features by name, or an array (N, ...) as the data set stores them (a tuple for
                several inputs).
            checkpoint: best or last, or the path of one.
            device: as for `device=`.
            top: so many classes are told.
            threshold: the probability from which the second of two classes, or a tag, is the answer; None: 0.5; best:
                the one that an evaluation found.
            batch_size: rows at a time.
            invert: images are dark on white, and those of the training are not.
            folder: where masks and reconstructions are written; None: RUN/predictions.

        The columns are `input`, `prediction`, and of classes `probability`, `prediction_2`, `probability_2`, ...; rows
        that could not be used have an `error`.
        """
        from dlrun.inference.from_python import predict_frame

        options = (top, batch_size, folder, threshold, invert)
        return predict_frame(self.path, inputs, str(checkpoint), device, options)

    def export(
        self,
        format: str | None = None,
        output: str | Path | None = None,
        *,
        logits: bool = False,
        checkpoint: str = "best",
        overwrite: bool = False,
    ) -> Path:
        """Write the model as a file that needs no dlrun, as `dlrun export` does, and return its path.

        Args:
            format: onnx, pt2, safetensors or state-dict; None: what the ending of `output` says, else onnx.
            output: the file; None: in the run's directory.
            logits: the outputs before softmax or sigmoid, instead of probabilities.
            checkpoint: best or last, or the path of one.
            overwrite: replace the file if it exists.

        Raises `CheckFailed` where the file, run again in a fresh process, answers otherwise than the model.
        """
        from dlrun.inference.export.command import ExportRequest, export_run
        from dlrun.store.rundir import RunDir

        asked = ExportRequest(format, None if output is None else str(output), logits, str(checkpoint), overwrite)
        return export_run(RunDir(self.path), (), asked).path


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
