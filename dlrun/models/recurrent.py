"""Recurrent networks over text and sequences: rnn, lstm, gru, and a loop over single RNN cells.

Inputs are codes (N, T) int64 with lengths (N,), or a sequence (N, T, F). As classifiers (and for regression)
they read the state after the last step and give (N, K); as labellers they read every step and give (N, K, T),
where what stands at padded positions means nothing. Elman 1990 (rnn); Hochreiter and Schmidhuber 1997 (lstm);
Cho et al. 2014 (gru: torch applies the reset gate after the matrix product, some texts before).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlrun.errors import ConfigError, Problem
from dlrun.models.parts import VECTOR_TASKS, check
from dlrun.spec import DataSpec

TASKS = (*VECTOR_TASKS, "labelling")


class OneHot(nn.Module):
    """Codes (N, T) int64 to (N, T, V) float: 1 at the code, 0 elsewhere."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size

    def forward(self, codes: Tensor) -> Tensor:
        """(N, T) to (N, T, V)."""
        return one_hot(codes, self.vocab_size).to(torch.get_default_dtype())


class Recurrent(nn.Module):
    """`embedding` (one-hot, or nothing for sequences), `rnn`, `head` (nothing if the state is the output)."""

    dlrun_fast = "packed_gru"  # of this very class: see engine/fast/packed_gru.py

    def __init__(self, embedding: nn.Module, rnn: nn.RNNBase, head: nn.Module, every_step: bool) -> None:
        super().__init__()
        self.embedding = embedding
        self.rnn = rnn
        self.head = head
        self.every_step = every_step

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (N, T) with lengths (N,), or (N, T, F): to (N, K), or (N, K, T) for every step.

        Packing stops each row at its own length, so padding never shows; rows keep their order. The initial
        state is zeros, made by torch to fit this very batch.
        """
        inputs = self.embedding(x)  # (N, T, F)
        if lengths is not None:
            # Packing wants the lengths on the CPU, wherever the codes are.
            inputs = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, final = self.rnn(inputs)
        if not self.every_step:
            return self.head(self.last_state(final))
        if lengths is not None:
            states, _ = pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])
        return self.head(states).transpose(1, 2)  # (N, T, K) to (N, K, T)

    def last_state(self, final: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """The last layer's state after the last step: (N, H), or (N, 2 H) as forward, then backward."""
        hidden = final[0] if isinstance(final, tuple) else final  # an LSTM gives (hidden, cell)
        return torch.cat([hidden[-2], hidden[-1]], dim=1) if self.rnn.bidirectional else hidden[-1]


class CellLoop(nn.Module):
    """A recurrent network as a loop over one `nn.RNNCell`, called step by step."""

    def __init__(self, embedding: nn.Module, cell: nn.RNNCell, head: nn.Module, every_step: bool) -> None:
        super().__init__()
        self.embedding = embedding
        self.cell = cell
        self.head = head
        self.every_step = every_step

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (N, T) with lengths (N,), or (N, T, F): to (N, K), or (N, K, T) for every step."""
        inputs = self.embedding(x)  # (N, T, F)
        state = inputs.new_zeros(inputs.shape[0], self.cell.hidden_size)
        states = []
        for t in range(inputs.shape[1]):
            new = self.cell(inputs[:, t], state)
            # A row that has ended keeps its last state.
            state = new if lengths is None else torch.where((lengths > t).unsqueeze(1), new, state)
            states.append(state)
        if not self.every_step:
            return self.head(state)
        return self.head(torch.stack(states, dim=1)).transpose(1, 2)


def rnn(
    spec: DataSpec,
    hidden_size: int = 64,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    embedding: int | None = 32,
    output: str = "auto",
    nonlinearity: str = "tanh",
) -> nn.Module:
    """A plain recurrent network (Elman 1990), h' = tanh(W x + b + U h + c). Keys as in `gru`."""
    plan = _plan(spec, "rnn", hidden_size, embedding, output)
    return plan.build(nn.RNN, num_layers, bidirectional, dropout, nonlinearity=nonlinearity)


def lstm(
    spec: DataSpec,
    hidden_size: int = 64,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    embedding: int | None = 32,
    output: str = "auto",
) -> nn.Module:
    """Long short-term memory (Hochreiter and Schmidhuber 1997). Keys as in `gru`."""
    plan = _plan(spec, "lstm", hidden_size, embedding, output)
    return plan.build(nn.LSTM, num_layers, bidirectional, dropout)


def gru(
    spec: DataSpec,
    hidden_size: int = 64,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    embedding: int | None = 32,
    output: str = "auto",
) -> nn.Module:
    """A network of gated recurrent units (Cho et al. 2014).

    (N, T) codes or (N, T, F) to (N, K), or (N, K, T) as a labeller.

    `embedding` is the width of the learned vector of each code, `None` for one-hot vectors; a sequence has
    none. `output` is `last_state` (classifiers), `every_step` (labellers: a linear layer at each step) or
    `hidden`: the state itself is the output, its size the number of outputs. `auto` follows the task. Raises
    `ConfigError` for data without steps, and for options that contradict each other.
    """
    plan = _plan(spec, "gru", hidden_size, embedding, output)
    return plan.build(nn.GRU, num_layers, bidirectional, dropout)


def rnn_cell(
    spec: DataSpec, hidden_size: int = 64, embedding: int | None = 32, output: str = "auto", nonlinearity: str = "tanh"
) -> nn.Module:
    """`rnn` with one layer, as a visible loop over `nn.RNNCell`. Keys as in `gru`."""
    plan = _plan(spec, "rnn_cell", hidden_size, embedding, output)
    cell = nn.RNNCell(plan.features, plan.hidden_size, nonlinearity=nonlinearity)
    return CellLoop(plan.embedding, cell, plan.head(plan.hidden_size), plan.every_step)


@dataclass(frozen=True)
class _Plan:
    """What spec and keys come to: how steps enter, how wide the state is, and what is read from it."""

    embedding: nn.Module
    features: int  # F, the width of one step's input
    hidden_size: int
    num_outputs: int
    every_step: bool
    state_is_output: bool

    def head(self, width: int) -> nn.Module:
        """From a state of `width` to the outputs."""
        return nn.Identity() if self.state_is_output else nn.Linear(width, self.num_outputs)

    def build(
        self, cell: Callable[..., nn.RNNBase], num_layers: int, bidirectional: bool, dropout: float, **kwargs: str
    ) -> Recurrent:
        """The network on torch's own `cell`."""
        if dropout and num_layers == 1:
            message = "acts between the layers, and a single layer has none."
            raise ConfigError(Problem("model.dropout", message, "Use model.num_layers=2 or dropout=0."))
        if bidirectional and self.state_is_output:
            message = "makes the state twice as wide as the outputs, which output=hidden makes it be."
            raise ConfigError(Problem("model.bidirectional", message, "Use model.output=auto."))
        rnn = cell(
            self.features,
            self.hidden_size,
            num_layers=num_layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
            **kwargs,
        )
        head = self.head(self.hidden_size * (2 if bidirectional else 1))
        return Recurrent(self.embedding, rnn, head, self.every_step)


def _plan(spec: DataSpec, model: str, hidden_size: int, embedding: int | None, output: str) -> _Plan:
    """Checks the data and `output`, and makes the layer that turns codes into vectors."""
    check(spec, model, ("text", "sequence"), TASKS)
    every_step = spec.task == "labelling"
    if output == ("last_state" if every_step else "every_step"):
        message = f"is {output}, and the task of {spec.name} is {spec.task}."
        raise ConfigError(Problem("model.output", message, "Use model.output=auto."))
    if output == "hidden":
        hidden_size = spec.num_outputs
    layer: nn.Module = nn.Identity()
    features = spec.input_shape[-1]
    if spec.input_kind == "text":
        if spec.vocab_size < 1:
            raise ConfigError(Problem("model", f"{model} reads text, and {spec.name} has no vocabulary."))
        # No padding_idx: in some vocabularies code 0 is a letter, and packing hides the padding anyway.
        features = embedding or spec.vocab_size
        layer = nn.Embedding(spec.vocab_size, embedding) if embedding else OneHot(spec.vocab_size)
    return _Plan(layer, features, hidden_size, spec.num_outputs, every_step, output == "hidden")
