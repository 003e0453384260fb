"""What training carries from step to step. `state_dict()` is a complete checkpoint at every yield of `fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from dlrun.generators import load_rng_state, rng_state
from dlrun.objectives.without_dynamo import load_optimizer_state_dict, optimizer_state_dict
from dlrun.spec import Batch, DataSpec, Loss, Schedule, StateDict, TaskMetric


@dataclass
class EpochTotals:
    """The totals of the unfinished epoch: plain numbers, read from the device at chunk boundaries.

    Losses are added one by one in double precision, so the totals do not depend on where a chunk ended.
    """

    loss: float = 0.0  # sum of what the losses were means of
    weight: float = 0.0  # what `loss` is divided by
    samples: int = 0
    seconds: float = 0.0  # of training alone, without evaluation, checkpoints and printing
    waited: float = 0.0  # seconds of these that were spent on getting batches
    update_loss: float = 0.0  # the loss of the unfinished optimizer step, while gradients accumulate
    counts: list[float] | None = None  # the metric's counts

    def state_dict(self) -> StateDict:
        return dict(vars(self))


@dataclass
class Best:
    """The best evaluation so far by the monitored metric."""

    value: float
    epoch: int  # 1 = the first
    row: dict[str, float]


class History:
    """One row of plain numbers an epoch. In a checkpoint it is one float64 tensor, so that 10,000 rows stay cheap."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> StateDict:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        nan = float("nan")
        values = [[row.get(column, nan) for column in columns] for row in self.rows]
        kept = [[column in row for column in columns] for row in self.rows]
        return {
            "columns": columns,
            "values": torch.tensor(values, dtype=torch.float64),
            "kept": torch.tensor(kept, dtype=torch.bool),
        }

    def load_state_dict(self, state: StateDict) -> None:
        columns = state["columns"]
        rows = zip(state["values"].tolist(), state["kept"].tolist(), strict=True)
        self.rows = [_row(columns, values, kept) for values, kept in rows]


def _row(columns: Sequence[str], values: Sequence[float], kept: Sequence[bool]) -> dict[str, float]:
    row = {column: value for column, value, keep in zip(columns, values, kept, strict=True) if keep}
    return {key: int(value) if key in ("epoch", "step") else value for key, value in row.items()}


@dataclass
class TrainState:
    """The model and everything that changes while it learns."""

    model: nn.Module
    loss: Loss
    metric: TaskMetric
    optimizer: torch.optim.Optimizer
    spec: DataSpec
    device: torch.device
    schedule: Schedule | None = None
    scaler: torch.amp.GradScaler | None = None
    frozen: tuple[nn.Module, ...] = ()  # modules whose weights are all frozen: they stay in eval mode
    epoch: int = 0  # epochs finished
    step: int = 0  # optimizer steps done
    cursor: int = 0  # batches done of the unfinished epoch
    sums: EpochTotals = field(default_factory=EpochTotals)
    history: History = field(default_factory=History)
    best: Best | None = None
    best_weights: dict[str, Tensor] | None = None
    patience_value: float | None = None  # the last value that counted as an improvement
    without_improvement: int = 0  # evaluations since then
    train_seconds: float = 0.0  # of training in all epochs that have ended
    eval_seconds: float = 0.0  # of evaluating after them
    stop_reason: str | None = None  # why training is over before its last epoch
    outside: list[Tensor] = field(
        init=False, repr=False
    )  # weights, also of the loss, that the optimizer does not update

    def __post_init__(self) -> None:
        owned = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        of_loss = self.loss.parameters() if isinstance(self.loss, nn.Module) else ()
        self.outside = [p for p in (*self.model.parameters(), *of_loss) if id(p) not in owned]

    def train_mode(self) -> None:
        """`train()`, but frozen modules keep their BatchNorm statistics and no dropout (trap T52)."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    def not_finite(self) -> list[str]:
        """The names of the weights that learn and are not finite."""
        return [
            name for name, p in self.model.named_parameters() if p.requires_grad and not bool(torch.isfinite(p).all())
        ]

    def keep_best_weights(self) -> None:
        """Hold a copy of the weights in memory; they are written with the next checkpoint."""
        self.best_weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def state_dict(self) -> StateDict:
        """A complete checkpoint: tensors and plain Python only, so that it loads with `weights_only=True`."""
        accumulated = {name: p.grad.detach().clone() for name, p in self.model.named_parameters() if p.grad is not None}
        return {
            "model": self.model.state_dict(),
            "loss": self.loss.state_dict() if isinstance(self.loss, nn.Module) else {},
            "optimizer": optimizer_state_dict(self.optimizer),
            "scheduler": None if self.schedule is None else self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "rng": [rng_state(self.device)],
            "grads": accumulated or None,
            "sums": self.sums.state_dict(),
            "seconds": {"train": self.train_seconds, "eval": self.eval_seconds},
            "stopper": {
                "value": self.patience_value,
                "without_improvement": self.without_improvement,
                "reason": self.stop_reason,
            },
            "epoch": self.epoch,
            "step": self.step,
            "cursor": self.cursor,
            "best": None if self.best is None else dict(vars(self.best)),
            "history": self.history.state_dict(),
            "spec": self.spec.to_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on exactly where `state_dict()` was taken."""
        self.model.load_state_dict(state["model"])
        if isinstance(self.loss, nn.Module) and state.get("loss"):  # a loss that averages over steps, say
            self.loss.load_state_dict(state["loss"])
        load_optimizer_state_dict(self.optimizer, state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["scheduler"])
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        for name, parameter in self.model.named_parameters():
            grad = (state["grads"] or {}).get(name)
            # In the weight's own memory format, which the checkpoint's may not be.
            parameter.grad = None if grad is None else torch.empty_like(parameter).copy_(grad)
        self.sums = EpochTotals(**state["sums"])
        self.patience_value = state["stopper"]["value"]
        self.without_improvement = state["stopper"]["without_improvement"]
        self.stop_reason = state["stopper"]["reason"]
        self.epoch, self.step, self.cursor = state["epoch"], state["step"], state["cursor"]
        seconds = state.get("seconds") or {}  # an older checkpoint has none
        self.train_seconds, self.eval_seconds = seconds.get("train", 0.0), seconds.get("eval", 0.0)
        self.best = None if state["best"] is None else Best(**state["best"])
        self.history.load_state_dict(state["history"])
        load_rng_state(state["rng"][0], self.device)


StepResult: TypeAlias = tuple[Tensor, Tensor]  # the loss of a batch (0-d), and the output of the model


class Step(Protocol):
    """One batch of training: forward, loss, backward and, where the batch ends an optimizer step, the update.

    `step.PlainStep` is the one to read first; each fast step gives the same numbers.
    """

    name: str

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """The batch's loss (0-d) and the model's output, both detached and still on the device.

        `scale` is the batch's share of an accumulated step; `update` says that this batch ends it.
        """


@dataclass(frozen=True)
class Plan:
    """How long to train, when to evaluate and stop: plain values, decided before the first step."""

    step: Step
    epochs: int
    max_steps: int | None = None
    accumulate: int = 1
    eval_every: int = 1  # epochs
    stop_at_loss: float | None = None
    patience: int | None = None
    min_delta: float = 0.0
    monitor: str = "val_loss"
    mode: str = "min"
    checkpoint_steps: int | None = None  # a chunk ends at every multiple of it
    log_every: int = 1  # optimizer steps between rows of steps.csv
    chunk_seconds: float = 0.5
    stop: Callable[[], bool] = lambda: False  # asked after every batch

    def with_stop(self, stop: Callable[[], bool]) -> Plan:
        """The same plan, asking `stop` after every batch."""
        return replace(self, stop=stop)


def better(new: float, old: float, mode: str, min_delta: float = 0.0) -> bool:
    """Is `new` better than `old` by more than `min_delta`?"""
    return new < old - min_delta if mode == "min" else new > old + min_delta
