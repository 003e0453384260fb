"""Layers and memory formats of the fast step, and the rule that chooses them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dlrun.engine.allocator import keep_freed_memory
from dlrun.engine.choose import choose_step
from dlrun.engine.fast.chain import chain
from dlrun.engine.fast.channels_last import channels_last, lay_out_channels_last
from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.packed_gru import packed_gru
from dlrun.engine.fast.rules import StepOptions
from dlrun.engine.fast.straight import straight
from dlrun.engine.state import TrainState
from dlrun.engine.step import PlainStep
from dlrun.models.mlp import mlp
from dlrun.models.recurrent import gru
from dlrun.objectives.losses import cross_entropy, mse
from dlrun.spec import DataSpec
from tests.helpers.steps import (
    IMAGE,
    TABLE,
    TEXT,
    Rows,
    assert_same,
    batches_of,
    compare,
    small_cnn,
    small_mlp,
    state_of,
    train,
    with_norm,
)


def in_channels_last(state: TrainState) -> FusedStep:
    lay_out_channels_last(state.model)
    return FusedStep(update=fused_update(state.optimizer), forward=channels_last(state.model))


def test_channels_last_equals_plain() -> None:
    state, plain = (state_of(small_cnn, IMAGE, momentum=0.9) for _ in range(2))
    step = in_channels_last(state)
    compare(step, state, plain, batches_of(IMAGE))
    assert state.model.features.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_state_in_another_memory_format_is_laid_out_anew() -> None:
    state, plain = (state_of(small_cnn, IMAGE, momentum=0.9) for _ in range(2))
    for each in (state, plain):
        train(PlainStep(), each, batches_of(IMAGE, 3))
    step = in_channels_last(state)
    compare(step, state, plain, batches_of(IMAGE))


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
def test_accumulated_gradients_in_another_memory_format() -> None:
    """As a checkpoint brings them that was written without the fast path, between two accumulated batches."""
    state, plain = (state_of(small_cnn, IMAGE) for _ in range(2))
    step = in_channels_last(state)
    batches = batches_of(IMAGE, 3)
    for each, taken in ((state, step), (plain, PlainStep())):
        taken(each, batches[0], 0.5, False)
        for p in each.model.parameters():
            assert p.grad is not None
            p.grad = p.grad.contiguous()
        taken(each, batches[1], 0.5, True)
        taken(each, batches[2])
    assert_same(state, plain)


@pytest.mark.parametrize(
    "shape",
    [
        {"num_layers": 1},
        {"num_layers": 2},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "bidirectional": True, "dropout": 0.4},
    ],
)
def test_packed_gru_equals_torchs(shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = gru(TEXT, hidden_size=5, embedding=4, **shape)
    fast = packed_gru(model)
    assert fast is not None
    for batch in batches_of(TEXT, 3):
        found, outputs = [], []
        for call in (model, fast):
            torch.manual_seed(3)  # dropout
            model.zero_grad()
            output = call(*batch.inputs)
            output.square().sum().backward()
            outputs.append(output.detach())
            found.append([p.grad for p in model.parameters()])
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_packed_gru_of_frozen_letters_and_of_a_single_step() -> None:
    model = gru(TEXT, hidden_size=5, embedding=4)
    model.embedding.requires_grad_(False)
    fast = packed_gru(model)
    assert fast is not None
    codes, lengths = torch.tensor([[1, 0], [2, 0]]), torch.tensor([1, 1])
    fast(codes, lengths).sum().backward()
    assert model.embedding.weight.grad is None
    torch.testing.assert_close(fast(codes, lengths), model(codes, lengths), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="at least 1"):
        fast(codes, torch.tensor([1, 0]))


def test_packed_gru_leaves_other_models_alone() -> None:
    assert packed_gru(gru(TEXT, embedding=None)) is None
    assert packed_gru(small_mlp(TABLE)) is None
    padded = gru(TEXT)
    padded.embedding = nn.Embedding(9, 32, padding_idx=0)
    assert packed_gru(padded) is None
    hooked = gru(TEXT)
    hooked.rnn.register_forward_hook(lambda *_: None)
    assert packed_gru(hooked) is None
    labels = DataSpec("tags", "labelling", "text", (7,), 3, vocabulary=tuple("_ab"))
    assert packed_gru(gru(labels)) is None


def test_a_subclass_does_not_inherit_the_fast_step() -> None:
    """It may do anything in `forward`; one that does the same says so itself."""
    model, loss = gru(TEXT), cross_entropy()
    assert packed_gru(model) is not None
    assert chained(mlp(TABLE), loss=loss)
    model.__class__ = type("Mine", (type(model),), {})
    loss.__class__ = type("Mine", (type(loss),), {})
    assert packed_gru(model) is None
    assert not chained(mlp(TABLE), loss=loss)
    model.__class__ = type("Mine", (type(model),), {"dlrun_fast": "packed_gru"})
    loss.__class__ = type("Mine", (type(loss),), {"dlrun_fast": "chain"})
    assert packed_gru(model) is not None
    assert chained(mlp(TABLE), loss=loss)


def test_a_loss_over_a_function_of_the_users_is_left_to_autograd() -> None:
    loss = mse()
    assert chained(mlp(TABLE), loss=loss)
    loss.function = lambda output, target, reduction: output.relu_().sum()
    assert not chained(mlp(TABLE), loss=loss)


def test_straight_calls_every_layer_and_sees_hooks() -> None:
    model = small_mlp(TABLE).eval()
    x = torch.randn(4, 6)
    calls = straight(model)
    assert calls is not None
    torch.testing.assert_close(calls(x), model(x), rtol=0, atol=0)
    model.head.register_forward_hook(lambda *_: None)
    assert straight(model) is None
    layer, activation = nn.Linear(6, 6), nn.Tanh()
    model = nn.Sequential(layer, activation, layer, activation)
    calls = straight(model)
    assert calls is not None
    torch.testing.assert_close(calls(x), model(x), rtol=0, atol=0)
    assert straight(small_cnn(IMAGE)) is None


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    ("options", "reduction"),
    [({}, "mean"), ({"reduction": "sum"}, "sum"), ({"label_smoothing": 0.1}, None), ({"ignore_index": 1}, None)],
)
def test_chain_gives_the_gradients_of_autograd_to_the_bit(
    activation: str, accumulate: int, options: dict[str, Any], reduction: str | None
) -> None:
    def make(spec: DataSpec) -> nn.Module:
        return mlp(spec, hidden=[5, 4], activation=activation)

    state, plain = (state_of(make, IMAGE, optimizer="adam") for _ in range(2))
    state.loss = plain.loss = cross_entropy(**options)
    written_out = chain(state.model, state.loss, 3)
    assert written_out is not None
    assert written_out.cross_entropy == reduction
    step = FusedStep(update=fused_update(state.optimizer), chain=written_out)
    again = FusedStep(update=fused_update(plain.optimizer))
    batches = batches_of(IMAGE, 10)
    losses = [train(one, s, batches, accumulate) for one, s in ((step, state), (again, plain))]
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    assert_same(state, plain, rtol=0, atol=0)


def test_chain_leaves_frozen_weights_alone_and_takes_a_layer_without_bias() -> None:
    states = []
    for one in ("chain", "autograd"):
        state = state_of(lambda spec: nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)))
        state.model[2].weight.requires_grad_(False)
        written_out = chain(state.model, state.loss, 1) if one == "chain" else None
        assert (written_out is not None) == (one == "chain")
        step = FusedStep(chain=written_out, clip_norm=0.1)
        train(step, state, batches_of(TABLE))
        states.append(state)
    assert_same(*states, rtol=0, atol=0)


def chained(model: nn.Module, dimensions: int = 1, loss: Any = None) -> bool:
    return chain(model, loss or cross_entropy(), dimensions) is not None


def test_chain_is_for_plain_chains_alone() -> None:
    assert chained(mlp(TABLE))
    assert not chained(small_mlp(TABLE))  # dropout
    assert not chained(with_norm(TABLE))
    assert not chained(gru(TEXT))
    assert not chained(nn.Sequential(nn.Linear(6, 3)), 2)  # a linear layer over rows of rows
    assert not chained(nn.Sequential(nn.ReLU(), nn.Linear(6, 3)))
    assert not chained(mlp(TABLE, hidden=[1, 4]))
    layer, activation = nn.Linear(6, 6), nn.ReLU()
    assert not chained(nn.Sequential(layer, nn.ReLU(), layer))
    assert not chained(mlp(TABLE).double())
    again = nn.Sequential(layer, activation, nn.Linear(6, 6), activation, nn.Linear(6, 3))
    written_out = chain(again, cross_entropy(), 1)
    assert written_out is not None
    assert len(written_out.layers) == 5
    assert not chained(mlp(TABLE), loss=nn.CrossEntropyLoss())  # another's loss may change its output in place


def test_chain_and_straight_see_who_else_is_there() -> None:
    hooked = [mlp(TABLE) for _ in range(6)]
    hooked[0].head.register_forward_hook(lambda *_: None)
    hooked[1].head.register_full_backward_hook(lambda *_: None)
    hooked[2].head.forward = lambda x: x
    hooked[3].forward = lambda x: x
    assert [straight(model) for model in hooked[:4]] == [None] * 4
    hooked[4].head.bias.register_hook(lambda *_: None)
    hooked[5].head.bias.register_post_accumulate_grad_hook(lambda *_: None)
    assert [chained(model) for model in hooked] == [False] * 6
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert straight(mlp(TABLE)) is None
        assert not chained(mlp(TABLE))
    finally:
        handle.remove()


def test_freed_memory_is_kept_where_there_is_glibc() -> None:
    assert keep_freed_memory() == (sys.platform == "linux" and "glibc" in " ".join(platform_libc()))


def platform_libc() -> tuple[str, str]:
    import platform

    return platform.libc_ver()


@pytest.mark.parametrize(
    ("make", "spec", "words"),
    [
        (small_mlp, TABLE, ["fused"]),
        (mlp, TABLE, ["fused", "chain"]),
        (small_cnn, IMAGE, ["fused", "channels_last"]),
        (gru, TEXT, ["fused", "packed_gru"]),
    ],
)
def test_the_rule_is_seen_in_the_words_and_one_key_switches_it_off(
    make: Callable[..., nn.Module], spec: DataSpec, words: list[str]
) -> None:
    options = StepOptions(Rows(batches_of(spec, 2)))
    step, found = choose_step(state_of(make, spec), options, fast=True)
    assert found == words
    state, plain = state_of(make, spec), state_of(make, spec)
    step, _ = choose_step(state, options, fast=True)
    compare(step, state, plain, batches_of(spec))
    assert choose_step(state_of(make, spec), options, fast=False)[1] == ["plain"]
    assert choose_step(state_of(make, spec, "nadam"), options, fast=True)[1][0] == "lean"
