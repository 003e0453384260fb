"""The rule of `device.threads=auto`: the largest product of a forward pass, in models of every kind."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.engine import threads
from dlrun.engine.threads import auto_threads, largest_product, threads_of


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "processors", lambda: 8)
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


class Own(nn.Module):
    """A user's module, which computes in its own code with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(20, 30))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ni,ij->nj", x, self.weight)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        answer, _ = self.inner(x, x, x, need_weights=False)
        return answer  # type: ignore[no-any-return]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Bilinear(3, 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x[:, :3], x[:, 3:])  # type: ignore[no-any-return]


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.GRU(6, 10, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.inner(packed)[1]  # type: ignore[no-any-return]


class Function(nn.Module):
    """An LSTM that is called as a function, which oneDNN computes as one operation."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.LSTM(6, 10, batch_first=True)
        self.weights = nn.ParameterList(inner.parameters())

    def forward(self, x: Tensor) -> Tensor:
        first = (x.new_zeros(1, len(x), 10), x.new_zeros(1, len(x), 10))
        return torch.lstm(x, first, list(self.weights), True, 1, 0.0, False, False, True)[0]


ROWS = 2
CASES = {
    "linear": (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), [(4,)], 4 * 8),
    "linear for each position": (nn.Linear(4, 8), [(5, 4)], 5 * 4 * 8),
    "convolution": (nn.Conv2d(3, 6, 3), [(3, 8, 8)], 6 * 6 * 6 * 27),
    "grouped convolution": (nn.Conv1d(4, 6, 3, groups=2), [(4, 8)], 6 * 6 * 2 * 3),
    "transposed convolution": (nn.ConvTranspose2d(3, 6, 3, stride=2), [(3, 4, 4)], 4 * 4 * 3 * 6 * 9),
    "own code": (Own(), [(20,)], 20 * 30),
    "attention": (Attention(), [(5, 16)], 5 * 16 * 48),
    "attention over long inputs": (Attention(), [(200, 16)], 200 * 200 * 16),
    "encoder layer": (nn.TransformerEncoderLayer(16, 2, 64, batch_first=True), [(5, 16)], 5 * 16 * 64),
    "bilinear": (Twice(), [(7,)], 3 * 4 * 5),
    "gru": (nn.GRU(6, 10, batch_first=True), [(50, 6)], 30 * 10),
    "lstm of wide inputs": (nn.LSTM(60, 10, batch_first=True), [(50, 60)], 40 * 60),
    "lstm cell": (nn.LSTMCell(6, 10), [(6,)], 40 * 10),
    "lstm as a function": (Function(), [(50, 6)], 40 * 10),
    "two directions": (nn.RNN(6, 10, 2, batch_first=True, bidirectional=True), [(50, 6)], 10 * 20),
    "nothing to multiply": (nn.Flatten(), [(4,)], 0),
}


@pytest.mark.parametrize("name", CASES)
def test_the_largest_product_of_a_sample(name: str) -> None:
    model, shapes, expected = CASES[name]
    assert largest_product(model, [torch.rand(ROWS, *shape) for shape in shapes]) == ROWS * expected


def test_a_recurrent_layer_is_counted_by_its_steps() -> None:
    inputs = [torch.rand(3, 50, 6), torch.tensor([50, 2, 30])]
    assert largest_product(Packed(), inputs) == 3 * 30 * 10
    steps_first = nn.GRU(6, 10)
    assert largest_product(steps_first, [torch.rand(50, 3, 6)]) == 3 * 30 * 10


@pytest.mark.parametrize(
    ("batch", "torchs", "expected"),
    [
        (499, 8, 1),  # 4.99 million
        (500, 8, 4),
        (500, 3, 3),  # as OMP_NUM_THREADS=3 asks for
        (500, 1, 1),
    ],
)
def test_one_thread_for_small_products_else_four_or_what_there_is(
    batch: int, torchs: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(torchs)
    model, rows = nn.Linear(100, 100), [torch.rand(ROWS, 100)]
    assert auto_threads(model, rows, batch) == expected
    assert torch.get_num_threads() == torchs
    monkeypatch.setattr(threads, "processors", lambda: 2)
    assert auto_threads(model, rows, batch) == min(expected, 2)


class Meddler(nn.Module):
    """Changes what it can reach, and draws from every generator."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(len(x))
        x.add_(random.random() + float(np.random.rand()) + torch.rand(()))
        return self.linear(self.norm(F.dropout(x)))  # type: ignore[no-any-return]


def test_nothing_of_the_run_changes() -> None:
    model, x = Meddler().train(), torch.rand(2, 4)
    before, rows = {key: value.clone() for key, value in model.state_dict().items()}, x.clone()
    states = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[union-attr]
    assert largest_product(model, [x]) == 2 * 4 * 4
    assert model.training
    assert model.seen == []
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(x, rows)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[union-attr]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_a_model_that_cannot_be_tried_takes_what_there_is() -> None:
    assert auto_threads(nn.Linear(3, 3), [torch.rand(2, 4)], 1) == 4


def test_the_compiler_is_not_imported_to_count() -> None:
    """It takes seconds. Another test may have imported it."""
    before = "torch._dynamo" in sys.modules
    largest_product(nn.Linear(4, 4), [torch.rand(2, 4)])
    assert ("torch._dynamo" in sys.modules) == before


def test_the_number_is_put_back() -> None:
    with threads_of(3):
        assert torch.get_num_threads() == 3
        torch.set_num_threads(5)
    assert torch.get_num_threads() == 8
    with threads_of(None):
        torch.set_num_threads(2)
    assert torch.get_num_threads() == 8
