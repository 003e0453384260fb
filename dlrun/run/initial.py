"""Trained weights to start from: a run, a checkpoint file, or an experiment that is trained first if need be."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from torch import nn

from dlrun.assembly.weights import head_of, load_weights, some, weights_of
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
ALL = "all:"  # before the rest: the head is loaded as well where it was trained for other classes
INIT = "init"  # the run, in the directory of the one that starts from it
SHARED = ("trainer", "trainer.max_batches", "device", "device.precision", "seed")  # and whatever changes speed alone


def check_initial(config: Config, state: TrainState) -> None:
    """Load the run or checkpoint that `init_from` names: one that cannot be loaded is refused before a run begins."""
    word = (config.init_from or PREFIX).removeprefix(ALL)
    if not word.startswith(PREFIX):
        load(config, file_of(word), state.model, state.spec)


def load_initial(context: RunContext, model: nn.Module, *, train: Train) -> str:
    """Load what `init_from` names into the model; returns a line that says what was loaded, skipped and missing.

    An experiment may have to be trained first, by `train`, in the run's own directory.
    """
    word = context.config.init_from.removeprefix(ALL)
    path = trained(context, word.removeprefix(PREFIX), train) if word.startswith(PREFIX) else file_of(word)
    return load(context.config, path, model, context.state.spec)


def load(config: Config, path: Path, model: nn.Module, spec: DataSpec) -> str:
    """Load one file into the model; the line for the header.

    A head for as many, but other classes is left out, unless it is asked for with `init_from=all:...`.
    """
    checkpoint = files.read_unchecked(path)
    before = (checkpoint.get("spec") or {}).get("labels") or ()
    other = len(before) == len(spec.labels) and list(before) != list(spec.labels)
    head = head_of(model, spec.num_outputs) if other and not config.init_from.startswith(ALL) else ()
    why = f" of other classes: {some(list(before))}; init_from=all:... loads it"
    report = load_weights(model, weights_of(checkpoint), head, why)
    return f"  start: {shorter(path)}: {report.words()}"


def file_of(word: str) -> Path:
    """The checkpoint that a path or a run's name stands for. Raises `RunError`."""
    path = user_path(word)
    return path if os.path.isfile(path) else weights_file(find_run(word))


def weights_file(run: RunDir) -> Path:
    """best.pt of a run, or its last.pt."""
    for path in (run.best, run.last):
        if path.exists():
            return path
    raise RunError(f"{run.path} has no checkpoint to start from.")


def shared_words(words: Sequence[str], config: Config, other: Config) -> list[str]:
    """The words of a run's command that also hold for the run that it starts from, if that has their keys.

    The words of a resumed run come from a file: values are taken from the configuration, so that nothing is resolved
    on the word of others.
    """
    schema = current_schema()
    shared = []
    for word in words:
        key = key_of(word)
        if key in SHARED or schema.effect(key, config).name == "speed":
            value = as_text(thaw(config.get(key))).replace("${", "\\${")
            shared += [word] if key in GROUPS and "${" not in word else []
            shared += [f"{key}={value}"] if key in other.flat() else []
    return shared


def is_finished(run: RunDir) -> bool:
    return bool(run.read_status().get("state") == "finished")


def of_identity(runs: Sequence[RunDir], identity: str) -> RunDir | None:
    """The first of these runs with that identity: as it is stored or, for runs of an older dlrun, computed anew."""
    for run in runs:
        if read_json(run.environment).get("identity") == identity:
            return run
    for run in runs:
        with suppress(ConfigError):  # of a plug-in that is not loaded, say
            if Config.from_yaml(run.config).identity == identity:
                return run
    return None


def trained(context: RunContext, experiment: str, train: Train) -> Path:
    """The weights of a finished run of that experiment: one that is there, or one trained now in RUN/init."""
    word = f"experiment={experiment}"
    config = compose([word, *shared_words(context.overrides, context.config, compose([word]))])
    there = list(find_runs(OUTPUTS))
    finished = [run for path in [*there, *(run / INIT for run in there)] if is_finished(run := RunDir(path))]
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
