"""Recurrent models: padding never shows, states are joined forward then backward, cells by hand agree."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dlrun.errors import ConfigError
from dlrun.models.recurrent import gru, lstm, rnn, rnn_cell
from dlrun.spec import DataSpec

NAMES = DataSpec("names", "classification", "text", (6,), 3, vocabulary=tuple("_?abcdefgh"))
TAGGED = NAMES.replace(task="labelling", num_outputs=4)
HELLO = DataSpec("hello", "labelling", "text", (5,), 4, vocabulary=tuple("ehlo"))
WAVES = DataSpec("waves", "classification", "sequence", (6, 2), 3)
LENGTHS = torch.tensor([2, 6, 1, 4])  # not sorted


def codes(seed: int = 0) -> Tensor:
    """Four words of LENGTHS, right-padded with 0."""
    words = torch.randint(2, 10, (4, 6), generator=torch.Generator().manual_seed(seed))
    return words * (torch.arange(6) < LENGTHS[:, None])


MODELS = [
    (gru, {}),
    (gru, {"bidirectional": True, "num_layers": 2}),
    (lstm, {"bidirectional": True}),
    (rnn, {"num_layers": 2}),
    (rnn, {"embedding": None, "nonlinearity": "relu"}),
    (rnn_cell, {}),
    (rnn_cell, {"embedding": None}),
]


@pytest.mark.parametrize(("make", "kwargs"), MODELS)
def test_t33_padding_never_shows_and_rows_keep_their_order(make, kwargs) -> None:
    torch.manual_seed(0)
    net = make(NAMES, **kwargs).eval()
    x = codes()
    together = net(x, LENGTHS)
    alone = torch.cat([net(x[i : i + 1, :length], LENGTHS[i : i + 1]) for i, length in enumerate(LENGTHS)])
    torch.testing.assert_close(together, alone)
    other_padding = torch.where(torch.arange(6) < LENGTHS[:, None], x, torch.tensor(7))
    assert torch.equal(net(other_padding, LENGTHS), together)


@pytest.mark.parametrize(("make", "kwargs"), MODELS)
def test_a_labellers_real_steps_do_not_see_the_padding(make, kwargs) -> None:
    torch.manual_seed(0)
    net = make(TAGGED, **kwargs).eval()
    x = codes()
    together = net(x, LENGTHS)
    assert together.shape == (4, 4, 6)  # all T positions, though a batch may hold only shorter words
    for i, length in enumerate(LENGTHS):
        alone = net(x[i : i + 1, :length], LENGTHS[i : i + 1])
        torch.testing.assert_close(together[i, :, :length], alone[0])


def test_a_batch_may_be_wider_than_its_longest_word() -> None:
    net = gru(TAGGED).eval()
    assert net(codes()[[0, 2]], LENGTHS[[0, 2]]).shape == (2, 4, 6)


@pytest.mark.parametrize("make", [rnn, lstm, gru])
def test_t31_last_states_are_joined_forward_then_backward(make) -> None:
    torch.manual_seed(0)
    net = make(WAVES, hidden_size=5, num_layers=2, bidirectional=True).eval()
    x = torch.randn(3, 6, 2)
    states, final = net.rnn(x)
    joined = net.last_state(final)
    assert joined.shape == (3, 10)
    torch.testing.assert_close(joined[:, :5], states[:, -1, :5])  # forward: the last step
    torch.testing.assert_close(joined[:, 5:], states[:, 0, 5:])  # backward: the first step
    torch.testing.assert_close(net(x), net.head(joined))


def test_names_gru_is_the_one_of_the_notes() -> None:
    spec = NAMES.replace(vocabulary=tuple(chr(i) for i in range(128)), num_outputs=18)
    net = gru(spec, hidden_size=100, num_layers=2, embedding=100)
    assert (net.embedding.num_embeddings, net.embedding.embedding_dim) == (128, 100)
    assert net.embedding.padding_idx is None
    assert (net.rnn.input_size, net.rnn.hidden_size, net.rnn.num_layers) == (100, 100, 2)
    assert (net.head.in_features, net.head.out_features) == (100, 18)
    assert list(net.state_dict())[:2] == ["embedding.weight", "rnn.weight_ih_l0"]
    wide = gru(spec, hidden_size=100, num_layers=2, embedding=100, bidirectional=True)
    assert wide.head.in_features == 200


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_cell_by_hand_equals_torchs_layer(nonlinearity: str) -> None:
    torch.manual_seed(0)
    layer = rnn(TAGGED, hidden_size=7, nonlinearity=nonlinearity)
    cell = rnn_cell(TAGGED, hidden_size=7, nonlinearity=nonlinearity)
    weights = {key.removesuffix("_l0").replace("rnn.", "cell."): v for key, v in layer.state_dict().items()}
    cell.load_state_dict(weights)
    x, real = codes(), (torch.arange(6) < LENGTHS[:, None]).unsqueeze(1).expand(4, 4, 6)
    torch.testing.assert_close(cell(x, LENGTHS)[real], layer(x, LENGTHS)[real])


@pytest.mark.parametrize("make", [rnn_cell, rnn])
def test_t17_hidden_states_as_logits_are_bounded(make) -> None:
    """The tanh keeps the cross entropy above ln(1 + 3 e^-2) = 0.3408 a step, whatever the weights."""
    torch.manual_seed(0)
    net = make(HELLO, embedding=None, output="hidden", hidden_size=64)
    assert [p.shape[0] for p in net.parameters()] == [4] * 4  # hidden size: the number of outputs; no head
    word, target = torch.tensor([[1, 0, 2, 2, 3]]), torch.tensor([[3, 1, 2, 3, 2]])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(word, torch.tensor([5])), target)
        loss.backward()
        optimizer.step()
    assert math.log(1 + 3 * math.exp(-2)) < loss < 0.45


def test_one_hot_vectors_are_the_codes() -> None:
    net = gru(HELLO, embedding=None)
    assert net.rnn.input_size == 4
    assert net.embedding(torch.tensor([[3, 0]])).tolist() == [[[0, 0, 0, 1], [1, 0, 0, 0]]]


def test_t19_the_initial_state_fits_every_batch_size() -> None:
    for make in (rnn, rnn_cell, lstm):
        net = make(WAVES).eval()
        for n in (1, 3, 64):
            assert net(torch.randn(n, 6, 2)).shape == (n, 3)


def test_the_state_of_a_sequence_may_have_any_number_of_steps() -> None:
    net = lstm(WAVES.replace(task="labelling"))
    assert net(torch.randn(2, 9, 2)).shape == (2, 3, 9)


def test_dropout_acts_between_layers_in_training_alone() -> None:
    torch.manual_seed(0)
    net = gru(NAMES, num_layers=2, dropout=0.5)
    x = codes()
    assert not torch.equal(net(x, LENGTHS), net(x, LENGTHS))
    net.eval()
    assert torch.equal(net(x, LENGTHS), net(x, LENGTHS))


@pytest.mark.parametrize(
    ("spec", "kwargs", "message"),
    [
        (NAMES, {"dropout": 0.5}, r"^model\.dropout: .*num_layers=2"),
        (NAMES, {"output": "every_step"}, r"^model\.output: is every_step, .*classification"),
        (TAGGED, {"output": "last_state"}, r"^model\.output: is last_state, .*labelling"),
        (HELLO, {"output": "hidden", "bidirectional": True}, r"^model\.bidirectional: .*output"),
        (NAMES.replace(vocabulary=()), {}, r"^model: gru reads text, and names has no vocabulary"),
        (NAMES.replace(input_kind="tabular"), {}, r"^model: gru takes text and sequence"),
    ],
)
def test_contradictions_are_refused(spec: DataSpec, kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gru(spec, **kwargs)


@pytest.mark.gpu
def test_lengths_may_live_on_the_device() -> None:
    net = gru(NAMES).cuda().eval()
    x = codes().cuda()
    torch.testing.assert_close(net(x, LENGTHS.cuda()), net(x, LENGTHS))
