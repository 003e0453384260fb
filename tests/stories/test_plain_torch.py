"""The numbers are plain PyTorch's: loops written by hand, from the same weights and in the same order, agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dlrun
from dlrun.data.seeds import derive, permutation
from dlrun.run.build import build
from tests.helpers.cases import slow_where

EPOCHS = 2


def train_with_dlrun(words: list[str], folder: Path) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of every step, and the weights at the end."""
    config = dlrun.compose([*words, f"trainer.epochs={EPOCHS}", f"run.dir={folder}", "device=cpu"])
    run = dlrun.train(config)
    lines = (run.path / "steps.csv").read_text().splitlines()[1:]
    return [float(line.split(",")[1]) for line in lines], run.model("last").state_dict()


def train_by_hand(words: list[str], make_optimizer: Any, forward: Any) -> tuple[list[float], dict[str, Tensor]]:
    """The loop as anybody would write it. Only data, initial weights and order are asked of dlrun."""
    config = dlrun.compose([*words, "device=cpu"])
    built = build(config)
    part, size = built.data.train, config.trainer.batch_size
    model: nn.Module = built.state.model
    torch.manual_seed(derive(config.seed, "noise"))
    optimizer = make_optimizer(model.parameters())
    losses = []
    model.train()
    for epoch in range(EPOCHS):
        order = permutation(config.seed, epoch, part.samples)
        for start in range(0, part.samples, size):
            rows = order[start : start + size]
            output = forward(model, [x[rows] for x in part.inputs])
            loss = F.cross_entropy(output, part.target[rows].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, model.state_dict()


def digits(model: nn.Module, inputs: list[Tensor]) -> Tensor:
    return model(inputs[0].float() / 16.0)


def mnist(model: nn.Module, inputs: list[Tensor]) -> Tensor:
    return model((inputs[0].float() / 255.0 - 0.1307) / 0.3081)


def names(model: nn.Module, inputs: list[Tensor]) -> Tensor:
    """Embedding, packed GRU, last hidden state, linear: spelled out with torch's own layers."""
    parts = dict(model.named_modules())
    codes, lengths = inputs
    packed = nn.utils.rnn.pack_padded_sequence(
        parts["embedding"](codes.long()), lengths.long(), batch_first=True, enforce_sorted=False
    )
    _, hidden = parts["rnn"](packed)
    return parts["head"](hidden[-1])


CASES = {
    "mlp on digits, adam": (
        ["model=mlp", "dataset=digits", "optimizer=adam"],
        lambda p: torch.optim.Adam(p, lr=0.001),
        digits,
    ),
    "cnn on mnist, momentum": (
        ["model=cnn", "dataset=mnist", "dataset.root=MNIST", "optimizer=momentum", "optimizer.lr=0.01"],
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        mnist,
    ),
    "gru on names, sgd": (
        ["model=gru", "dataset=names", "dataset.source=builtin", "optimizer=sgd", "optimizer.lr=0.1"],
        lambda p: torch.optim.SGD(p, lr=0.1),
        names,
    ),
}


@pytest.mark.parametrize(
    ("case", "fast"),
    slow_where(
        lambda case: not case[1] and "mlp" not in case[0], [(name, fast) for name in CASES for fast in (True, False)]
    ),
)
def test_the_losses_are_those_of_a_loop_written_by_hand(
    case: str, fast: bool, tmp_path: Path, mnist_root: Path
) -> None:
    words, make_optimizer, forward = CASES[case]
    words = [word.replace("MNIST", str(mnist_root)) for word in words] + [f"device.fast={str(fast).lower()}"]
    ours, our_weights = train_with_dlrun(words, tmp_path / "run")
    losses, weights = train_by_hand(words, make_optimizer, forward)
    assert len(ours) == len(losses) > EPOCHS
    assert ours == pytest.approx(losses, abs=1e-6, rel=1e-6 if not fast else 1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(our_weights[name], value, atol=1e-5, rtol=1e-4)
