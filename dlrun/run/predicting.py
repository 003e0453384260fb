"""Predictions for inputs that the user names (`trainer.predict_on_best`), at each new best and at the end."""

from __future__ import annotations

from collections.abc import Sequence

from dlrun.engine.evaluation import eval_mode
from dlrun.errors import ConfigError, DataError, Problem
from dlrun.inference.answers import output_kind
from dlrun.inference.encode import Encoder
from dlrun.inference.predict import Answer, AnswerOptions, predict
from dlrun.inference.rows import LINE, Given, Row
from dlrun.inference.told import as_lines
from dlrun.inference.trained import Predictor
from dlrun.run.context import RunContext
from dlrun.spec import DataSpec

KEY = "trainer.predict_on_best"
MOST = 50  # inputs: their predictions are read by a person


def input_rows(spec: DataSpec, inputs: Sequence[str]) -> list[Row]:
    """The rows that the inputs stand for. Raises `ConfigError` for those that the model cannot be given."""
    if LINE in inputs:
        raise ConfigError(Problem(KEY, "standard input cannot be read again and again.", "Name the inputs."))
    try:
        rows = list(Given(spec, inputs).rows()) if inputs else []
        _, _, bad = Encoder(spec)(rows[:MOST])
    except DataError as error:
        raise ConfigError(Problem(KEY, str(error))) from error
    if bad:
        place = min(bad)
        raise ConfigError(Problem(KEY, f"{rows[place].name!r}: {bad[place]}"))
    if len(rows) > MOST:
        raise ConfigError(
            Problem(KEY, f"{len(rows)} inputs are more than {MOST}.", "`dlrun predict` takes any number.")
        )
    return rows


class BestPredictions:
    """The lines that a run prints: after a new best that is printed, or that changes a label, and at the end."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        state, spec = context.state, context.state.spec
        self.rows = input_rows(spec, context.config.trainer.predict_on_best)
        kind = output_kind(context.components.auto["loss"], state.loss)
        self.predictor = Predictor(state.model, spec, kind)
        self.predictor.preparation.to(state.device)
        self.options = AnswerOptions(folder=context.run.file("predictions"))
        self.labels: list[object] = []

    def answers(self) -> list[Answer]:
        """The answers of the weights as they are, in eval mode."""
        with eval_mode(self.context.state.model):
            return list(predict(self.predictor, self.rows, Encoder(self.context.state.spec), self.options))

    def after_best(self, printed: bool) -> list[str]:
        """The lines after a new best. `printed`: is its epoch?"""
        if not self.rows or writes_images(self.context.state.spec):
            return []
        answers = self.answers()
        labels: list[object] = [answer_label(answer) for answer in answers]
        if not printed and labels == self.labels:
            return []
        self.labels = labels
        return [f"    {line}" for line in as_lines(answers)]

    def at_the_end(self) -> list[str]:
        """The lines of the selected weights."""
        return [f"  predicts  {line}" for line in as_lines(self.answers())] if self.rows else []


def writes_images(spec: DataSpec) -> bool:
    """Whether answers are image files, of which one at the end is enough."""
    return spec.task == "reconstruction" or (spec.task == "labelling" and spec.input_kind != "text")


def answer_label(answer: Answer) -> object:
    """The label or labels of an answer; nothing of numbers, which change in every epoch."""
    fields = answer.fields
    return fields.get("predictions") or (fields["prediction"] if "probability" in fields else None)
