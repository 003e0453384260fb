"""`init_from`: start from the weights of a run, of a checkpoint file, or of an experiment."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from torch import nn

from dlrun.assembly.weights import first_names, head_of, load_weights, weights_of
from dlrun.config.compose import compose
from dlrun.config.config import Config, current_schema, thaw
from dlrun.config.overrides.values import as_text
from dlrun.config.schema.schema import GROUPS
from dlrun.config.schema.words import key_of
from dlrun.engine.state import TrainState
from dlrun.errors import ConfigError, RunError, TrainingFailed
from dlrun.run.context import RunContext
from dlrun.run.outcome import Train
from dlrun.run.screen import Screen, shorter
from dlrun.run.signals import EXIT_CODES, Interrupted
from dlrun.spec import DataSpec
from dlrun.store import checkpoint as files
from dlrun.store.find import OUTPUTS, find_run, find_runs, user_path
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir

PREFIX = "experiment:"
ALL = "all:"  # prefix that loads the head, too, where it was trained for other classes
INIT = "init"  # the directory of the experiment's run, in that of the run that starts from it
SHARED_KEYS = ("trainer", "trainer.max_batches", "device", "device.precision", "seed")  # and all that affect speed only


def check_initial(config: Config, state: TrainState) -> None:
    """Raise an error before a run begins if the run or checkpoint of `init_from` cannot be loaded."""
    word = (config.init_from or PREFIX).removeprefix(ALL)
    if not word.startswith(PREFIX):
        load_weights_file(config, file_of(word), state.model, state.spec)


def load_initial(context: RunContext, model: nn.Module, *, train: Train) -> str:
    """Load the weights of `init_from` into the model. Returns a line on what was loaded, skipped and missing.

    If no run of an experiment is found, `train` trains it in the directory of the run.
    """
    word = context.config.init_from.removeprefix(ALL)
    path = trained(context, word.removeprefix(PREFIX), train) if word.startswith(PREFIX) else file_of(word)
    return load_weights_file(context.config, path, model, context.state.spec)


def load_weights_file(config: Config, path: Path, model: nn.Module, spec: DataSpec) -> str:
    """Load a file into the model. Returns the line for the header.

    The head is left out if it was trained for the same number of other classes, unless `init_from=all:...` is given.
    """
    checkpoint = files.read_tensors(path)
    before = (checkpoint.get("spec") or {}).get("labels") or ()
    other = len(before) == len(spec.labels) and list(before) != list(spec.labels)
    head = head_of(model, spec.num_outputs) if other and not config.init_from.startswith(ALL) else ()
    why = f" of other classes: {first_names(list(before))}; init_from=all:... loads it"
    report = load_weights(model, weights_of(checkpoint), head, why)
    return f"  start: {shorter(path)}: {report.words()}"


def file_of(word: str) -> Path:
    """The checkpoint at a path, or of a run by its name. Raises `RunError`."""
    path = user_path(word)
    return path if os.path.isfile(path) else weights_file(find_run(word))


def weights_file(run: RunDir) -> Path:
    """The path of best.pt of a run, or else of last.pt. Raises `RunError` if there is neither."""
    for path in (run.best, run.last):
        if path.exists():
            return path
    raise RunError(f"{run.path} has no checkpoint to start from.")


def shared_words(words: Sequence[str], config: Config, other: Config) -> list[str]:
    """The overrides of a run that also apply to the run that it starts from, if that one has these keys.

    Values are taken from the configuration: overrides of a resumed run come from a file, and interpolations in them
    must not be resolved.
    """
    schema = current_schema()
    shared = []
    for word in words:
        key = key_of(word)
        if key in SHARED_KEYS or schema.effect(key, config).name == "speed":
            value = as_text(thaw(config.get(key))).replace("${", "\\${")
            shared += [word] if key in GROUPS and "${" not in word else []
            shared += [f"{key}={value}"] if key in other.flat() else []
    return shared


def of_identity(runs: Sequence[RunDir], identity: str) -> RunDir | None:
    """The first of these runs with this identity, which is computed from config.yaml for runs of older versions."""
    for run in runs:
        if read_json(run.environment).get("identity") == identity:
            return run
    for run in runs:
        with suppress(ConfigError):  # a plug-in is not loaded, for instance
            if Config.from_yaml(run.config).identity == identity:
                return run
    return None


def trained(context: RunContext, experiment: str, train: Train) -> Path:
    """The weights of a finished run of an experiment, which is trained in RUN/init if there is none yet."""
    word = f"experiment={experiment}"
    config = compose([word, *shared_words(context.overrides, context.config, compose([word]))])
    there = list(find_runs(OUTPUTS))
    runs = [RunDir(path) for path in (*there, *(run / INIT for run in there))]
    finished = [run for run in runs if run.read_status().get("state") == "finished"]
    if found := of_identity(finished, config.identity):
        return weights_file(found)
    place = context.run.path / INIT
    context.screen.line(f"  first: experiment {experiment} is trained in {shorter(place)}")
    values = config.to_dict() | {"resume": "auto"}
    values["run"] |= {"dir": str(place), "name": None, "overwrite": False}
    outcome = train(Config.checked(values), argv=context.argv, screen=Screen(silent=True, terminal=False))
    if outcome.exit_code in EXIT_CODES.values():
        stopped = outcome.exit_code == EXIT_CODES[signal.SIGINT]
        raise Interrupted(signal.SIGINT if stopped else signal.SIGTERM)
    if outcome.failure is not None:
        what = f"experiment {experiment}, which init_from needs, failed: see {place}/train.log."
        raise TrainingFailed(what, outcome.failure.kind)
    return weights_file(RunDir(place))
