"""test_predictions.csv: what a run predicts for each of its test rows, by their numbers in the whole table."""

from __future__ import annotations

from torch import Tensor

from dlrun.inference.answers import output_kind
from dlrun.inference.each_row import predictions
from dlrun.inference.evaluate import Collected
from dlrun.run.context import RunContext
from dlrun.run.samples import Samples
from dlrun.spec import Batch
from dlrun.store.files import write_atomic
from dlrun.store.rundir import TEST_PREDICTIONS


class TestedRows:
    """Outputs and targets of all test rows of a run whose data number them; nothing of others."""

    def __init__(self, context: RunContext, part: str) -> None:
        self.context = context
        self.numbers = context.components.data.test_rows if part == "test" else ()
        self.kept: list[tuple[Batch, Tensor]] = []

    def __call__(self, batch: Batch, output: Tensor) -> None:
        """Keep a batch, without its inputs."""
        if self.numbers:
            self.kept.append((Batch((), batch.target), output))

    def write(self, samples: Samples) -> None:
        """Write the file, unless the loss is one of the user's whose outputs are no answers, as `samples` shows."""
        if not self.numbers or not samples.is_told():
            return
        state = self.context.state
        answered = Collected(state.spec, output_kind(self.context.components.auto["loss"], state.loss))
        for batch, output in self.kept:
            answered(batch, output)
        text = predictions(state.spec, answered.answered(), rows=self.numbers)
        write_atomic(self.context.run.file(TEST_PREDICTIONS), text.encode())
