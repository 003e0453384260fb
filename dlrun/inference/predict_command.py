"""`dlrun predict RUN INPUT...`: a trained model's answers to what the user gives it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.engine.threads import threads_of
from dlrun.errors import ConfigError, DataError, Problem, RunError, cannot_write, count_of, did_you_mean
from dlrun.inference import told
from dlrun.inference.encode import Encoder
from dlrun.inference.predict import BATCH, Answer, options_for, predict
from dlrun.inference.rows import Given
from dlrun.inference.trained import load_trained, split_off_device
from dlrun.inference.which import best_run
from dlrun.plain import say
from dlrun.store.files import write_atomic
from dlrun.store.find import user_path

FAILED = 3  # the exit code where some inputs could not be used
NAMED = 10  # of them that are said


@dataclass(frozen=True)
class PredictRequest:
    """What the command line asks of `predict` besides the run and its inputs."""

    checkpoint: str = "best"
    output: str | None = None
    json: bool = False
    invert: bool = False
    top: int = 3
    batch_size: int = BATCH
    folder: str | None = None  # where images are written; None: in the run
    threshold: str | None = None  # a probability, or `best`


def predict_command(word: str, inputs: Sequence[str], overrides: Sequence[str], asked: PredictRequest) -> int:
    """Print or write the answers. Returns 3 where some of the inputs could not be used, else 0.

    They are computed with as many threads as the run was trained with.
    Raises `RunError` for a run that cannot be used, `DataError` for a file that cannot be read, `ConfigError` for an
    override that is not the device's.
    """
    told.check_format(asked.output)
    run, note = best_run(word)
    trained = load_trained(run.path, asked.checkpoint, requested_device(overrides))
    if note:
        say(note, file=sys.stderr)
    given, encoder = Given(trained.spec, inputs), Encoder(trained.spec, asked.invert)
    options = options_for(trained, asked.top, asked.batch_size, asked.folder, asked.threshold, asked.invert)
    with threads_of(trained.threads):
        answers = list(predict(trained.predictor(), given.rows(), encoder, options))
    bad = [answer for answer in answers if answer.error]
    if len(bad) == len(answers):
        raise DataError("\n".join(["no input can be used.", *complaints(bad)]) if bad else "no input is given.")
    write(answers, asked)
    if bad and (asked.json or asked.output):  # on the screen they stand among the others
        for line in complaints(bad):
            say(f"  not predicted: {line}", file=sys.stderr)
    skipped = [f"not used: {', '.join(f'{n} {what}' for what, n in given.skipped.items())}"] if given.skipped else []
    for remark in [*skipped, *given.remarks, *encoder.remarks()]:
        say(f"  remark: {remark}", file=sys.stderr)
    return FAILED if bad else 0


def complaints(bad: Sequence[Answer]) -> list[str]:
    """What is wrong with the first of the rows that could not be used, and how many more there are."""
    lines = [f"{answer.place}: {answer.error}" for answer in bad[:NAMED]]
    return [*lines, *([f"and {len(bad) - NAMED} more"] if len(bad) > NAMED else [])]


def write(answers: Sequence[Answer], asked: PredictRequest) -> None:
    """Write the file that was asked for, or print."""
    if asked.output is None:
        for line in told.as_json_lines(answers).rstrip("\n").split("\n") if asked.json else told.as_lines(answers):
            say(line)
        return
    path = user_path(asked.output)
    try:
        write_atomic(path, told.as_file(answers, asked.output).encode())
    except OSError as error:
        raise RunError(cannot_write(Path(path), error)) from error
    say(f"{count_of(len(answers), 'prediction')} in {path}", file=sys.stderr if asked.json else None)


def requested_device(overrides: Sequence[str]) -> str:
    """The device that `device=NAME` asks for; the CPU where nothing does. Raises `ConfigError` for anything else."""
    device, others = split_off_device(overrides)
    if others:
        key = others[0].partition("=")[0]
        hint = did_you_mean(key, ["device"]) or "Only device=cpu, cuda, cuda:N or mps can be chosen here."
        raise ConfigError(Problem(key, "does not change how a trained model predicts.", hint))
    return device
