"""The engine's own rules: what is best, what a mode is, how often to evaluate; and the lines that a person sees."""

from __future__ import annotations

import io
import multiprocessing
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import dlrun
from dlrun.data.loader import LoaderBatches
from dlrun.engine.evaluation import eval_mode
from dlrun.engine.loop import EpochRecord, Progress, accumulated_batches, fit, select
from dlrun.engine.state import Plan
from dlrun.objectives.losses import cross_entropy
from dlrun.run.build import build
from dlrun.run.epochs import EpochTable, epoch_line
from dlrun.run.planning import auto_eval_every
from dlrun.run.screen import Screen
from dlrun.spec import Batch
from tests.helpers.steps import Rows

ROW = {
    "epoch": 3, "step": 30, "train_loss": 0.5, "train_accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 0.875,
    "lr": 0.001, "epoch_seconds": 1.0, "samples_per_second": 12345.6,
}  # fmt: skip
COLUMNS = list(ROW)


def judged(values: list[float], **plan: Any) -> SimpleNamespace:
    """What `select` makes of these values of val_loss."""
    state = SimpleNamespace(
        best=None, patience_value=None, without_improvement=0, stop_reason=None, keep_best_weights=lambda: None
    )
    for epoch, value in enumerate(values, 1):
        row = {"epoch": epoch, "val_loss": value}
        select(state, row, Plan(step=print, epochs=9, **plan))  # type: ignore[arg-type]
    return state


def test_nan_is_never_the_best_nor_in_the_way_of_it() -> None:
    nan = float("nan")
    assert judged([nan]).best is None
    assert judged([nan, 2.0, nan, 1.0, nan]).best.epoch == 4
    assert judged([nan, nan, nan], patience=3).stop_reason is not None


def test_patience_counts_what_is_no_improvement() -> None:
    assert judged([3.0, 2.9, 2.8], patience=2, min_delta=0.5).stop_reason is not None
    assert judged([3.0, 2.9, 2.4], patience=2, min_delta=0.5).stop_reason is None
    assert judged([3.0, 2.9], min_delta=0.5).best.epoch == 2, "the best needs no min_delta"


class Stubborn(nn.Module):
    """Its normalisation stays as it is, whatever the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout()

    def train(self, mode: bool = True) -> Stubborn:
        super().train(mode)
        self.norm.eval()
        return self


@pytest.mark.parametrize("model", [Stubborn(), nn.Sequential(nn.BatchNorm1d(4), nn.Dropout())])
def test_evaluation_leaves_every_mode_as_it_was(model: nn.Module) -> None:
    model.train()
    before = [module.training for module in model.modules()]
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before


def test_training_is_in_train_mode_whatever_the_caller_did_between() -> None:
    built = build(dlrun.compose(["device=cpu", "model.dropout=0.5", "trainer.epochs=2", "device.fast=false"]))
    step, modes = built.plan.step, []

    def watched(state: Any, *arguments: Any) -> Any:
        modes.append(all(module.training for module in state.model.modules()))
        return step(state, *arguments)

    for _ in fit(built.state, built.batches, SimpleNamespace(**vars(built.plan) | {"step": watched})):  # type: ignore[arg-type]
        built.state.model.eval()
    assert modes
    assert all(modes)


@pytest.mark.parametrize("words", [["dataset=diabetes"], ["dataset=digits"]])
def test_the_record_of_an_epoch_does_not_depend_on_the_clock(words: list[str]) -> None:
    def train_rows(chunk_seconds: float) -> list[dict[str, float]]:
        built = build(dlrun.compose([*words, "device=cpu", "trainer.epochs=2", "trainer.batch_size=16"]))
        plan = SimpleNamespace(**vars(built.plan) | {"chunk_seconds": chunk_seconds})
        rows = [e.row for e in fit(built.state, built.batches, plan) if isinstance(e, EpochRecord)]  # type: ignore[arg-type]
        return [{k: v for k, v in row.items() if "second" not in k} for row in rows]

    assert train_rows(0.0) == train_rows(1e9)


def records(*words: str) -> list[EpochRecord]:
    """What training by these words yields at the end of each epoch."""
    built = build(dlrun.compose([*words, "device=cpu"]))
    return [event for event in fit(built.state, built.batches, built.plan) if isinstance(event, EpochRecord)]


def test_samples_per_second_are_the_samples_of_an_epoch_by_its_seconds_of_training() -> None:
    whole, cut = records("dataset=iris", "trainer.batch_size=8", "trainer.epochs=2", "trainer.max_steps=15")
    samples = build(dlrun.compose(["dataset=iris", "device=cpu"])).data.train.samples
    assert whole.row["samples_per_second"] * whole.seconds["train"] == pytest.approx(samples)
    assert cut.partial
    assert cut.row["samples_per_second"] * cut.seconds["train"] == pytest.approx((15 - -(-samples // 8)) * 8)


def test_a_plateau_is_stepped_in_epochs_with_an_evaluation_only() -> None:
    """No improvement is large enough, so every evaluation but the first halves the rate of the epochs after it."""
    words = ["dataset=iris", "optimizer=sgd", "optimizer.lr=0.1", "trainer.epochs=10", "trainer.eval_every=3"]
    schedule = ["scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5"]
    found = records(*words, *schedule, "scheduler.threshold_mode=abs", "scheduler.threshold=1000")
    assert [record.evaluated for record in found] == [epoch in (3, 6, 9, 10) for epoch in range(1, 11)]
    assert [record.row["lr"] for record in found] == pytest.approx([0.1] * 6 + [0.05] * 3 + [0.025])


def test_evaluation_is_rarer_only_where_it_costs_and_the_run_is_long() -> None:
    def every(rows: int, batches: int, epochs: int, evaluated: int = 100) -> int:
        class Source(SimpleNamespace):
            def __len__(self) -> int:
                return int(self.count)

        parts = {"train": Source(count=batches, samples=rows), "val": Source(count=1, samples=evaluated)}
        return auto_eval_every(nn.Linear(30, 10), parts, epochs)

    assert every(rows=342, batches=1, epochs=10_000) > 5
    assert every(rows=342, batches=1, epochs=50) == 1, "few epochs: a curve wants its points"
    assert every(rows=60_000, batches=900, epochs=10_000, evaluated=10_000) == 1


def test_an_epoch_in_a_pipe_names_its_numbers() -> None:
    line = epoch_line(ROW, 20, True)
    assert line.startswith("epoch  3/20  train_loss 0.5000  train_accuracy 0.7500  val_loss 0.2500")
    assert line.endswith("lr 0.001  12,346/s  *")


def test_an_epoch_on_a_terminal_stands_under_its_head() -> None:
    table = EpochTable(COLUMNS, 20, 100)
    parts, names = table.head()
    line = table.line(ROW, True)
    assert parts.split() == ["train", "val"]
    assert names.split() == ["epoch", "loss", "accuracy", "loss", "accuracy", "lr", "samples/s"]
    assert line.split() == ["3/20", "0.5000", "0.7500", "0.2500", "0.8750", "0.001", "12,346", "*"]
    assert line.index("0.2500") + 6 == names.index("loss", 20) + 4 == parts.index("val") + 3
    assert table.head() == []
    unevaluated = {key: value for key, value in ROW.items() if not key.startswith("val")}
    assert len(table.line(unevaluated, True)) == len(line)


def test_a_narrow_terminal_gets_fewer_columns() -> None:
    for width in (25, 40, 60, 80):
        table = EpochTable(COLUMNS, 10_000, width)
        assert all(len(text) <= width for text in (*table.head(), table.line(ROW, True)))
    assert "samples/s" not in EpochTable(COLUMNS, 20, 60).head()[1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [50, 120])
def test_the_bar_goes_and_the_lines_stay(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": str(width), "TERM": "xterm-256color", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    screen = Screen()
    screen.expect(COLUMNS, 20)
    screen.start_bar(100, 0)
    counts = SimpleNamespace(sums=SimpleNamespace(counts=[3, 4]), metric=SimpleNamespace(train_result=halves))
    screen.advance(Progress(2, 5, 10, 25, 0.5, 2.0, 100, [], counts), 25, 20)  # type: ignore[arg-type]
    screen.bar.refresh()
    screen.advance(Progress(2, 5, 10, 25, 155232928654.2222, 2.0, 100, [], counts), 26, 20)  # type: ignore[arg-type]
    screen.epoch(EpochRecord(ROW, True, True, False, {}), 20)
    screen.bar.refresh()
    screen.stop_bar()
    printed = terminal.getvalue()
    assert "epoch 3/20" in printed
    assert "loss 0.5000" in printed
    assert "loss 1.552e+11" in printed
    assert ("accuracy 0.7500" in printed) == (width > 100), "what there is no room for is left out"
    assert "0.8750" in printed
    assert printed.count("\033[?25l") == printed.count("\033[?25h") == 1, "the cursor is back"


def halves(counts: torch.Tensor) -> dict[str, float]:
    return {"accuracy": (counts[0] / counts[1]).item()}


def test_quiet_prints_the_last_line_and_logs_all(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(quiet=True)
    screen.line("early")
    screen.open_log(tmp_path / "train.log")
    screen.pairs([("model", "mlp"), ("data", "digits")])
    screen.epoch(EpochRecord(ROW, False, True, False, {}), 20)
    screen.line("Finished: here", style="green", always=True)
    screen.close()
    assert capsys.readouterr().out == "Finished: here\n"
    assert (tmp_path / "train.log").read_text().splitlines() == [
        "early", "  model  mlp", "  data   digits", epoch_line(ROW, 20, False), "Finished: here",
    ]  # fmt: skip


def accumulating(reduction: str, targets: list[list[int]], cursor: int = 0) -> list[tuple[int, float, bool]]:
    """The first target, the share and the end of step of each batch, three an optimizer step; 9 is ignored."""
    batches = Rows([Batch((), torch.tensor(target)) for target in targets])
    loss = cross_entropy(ignore_index=9, reduction=reduction)
    state = SimpleNamespace(loss=loss, cursor=cursor, epoch=0)
    return [(int(b.target[0]), share, end) for b, share, end in accumulated_batches(state, batches, 3)]  # type: ignore[arg-type]


def test_the_share_of_an_accumulated_batch_is_what_the_loss_of_the_larger_batch_is_divided_by() -> None:
    targets = [[0, 9, 9], [1, 1, 9], [2, 2, 2], [3, 3, 3], [4, 9, 9], [9, 9, 9]]
    shares = [
        (0, 1 / 6, False),
        (1, 2 / 6, False),
        (2, 3 / 6, True),
        (3, 3 / 4, False),
        (4, 1 / 4, False),
        (9, 0, True),
    ]
    assert accumulating("mean", targets) == shares
    assert accumulating("mean", targets, cursor=4) == shares[4:], "a run that goes on in the middle of a step"
    assert accumulating("mean", targets[-1:]) == [(9, 0, True)], "nothing counts, and nothing is divided by 0"
    assert accumulating("sum", targets[:4]) == [(0, 1, False), (1, 1, False), (2, 1, True), (3, 1, True)]


def test_the_workers_of_a_source_stay_from_epoch_to_epoch() -> None:
    built = build(dlrun.compose(["device=cpu", "trainer.epochs=3", "trainer.max_batches=2"]))
    data = built.data
    part = replace(data.train, augment=torch.clone)
    source = LoaderBatches(part, data.spec, batch_size=64, workers=1)
    workers = set()
    for _ in fit(built.state, {"train": source}, replace(built.plan, epochs=3)):
        workers |= {child.pid for child in multiprocessing.active_children()}
    source.close()
    assert len(workers) == 1
