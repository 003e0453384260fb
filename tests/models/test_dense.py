"""linear, polynomial, mlp, cnn and parameter_list against the same networks written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlrun.errors import ConfigError
from dlrun.models.cnn import cnn
from dlrun.models.mlp import linear, mlp, polynomial
from dlrun.models.parameters import parameter_list
from dlrun.spec import DataSpec

MNIST = DataSpec("mnist", "classification", "image", (1, 28, 28), 10)
LINE = DataSpec("line", "regression", "tabular", (1,), 1)


def kinds(module: nn.Module) -> list[str]:
    """The class names of the leaves, in order, after the one that flattens the input."""
    leaves = [m for m in module.modules() if not list(m.children())]
    return [type(m).__name__ for m in leaves if type(m) not in (nn.Sequential, nn.Flatten)]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_mnist_mlp_equals_the_one_written_by_hand() -> None:
    torch.manual_seed(3)
    net = mlp(MNIST, hidden=[300, 100], batch_norm=[True, True])
    torch.manual_seed(3)
    by_hand = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 300), nn.BatchNorm1d(300), nn.ReLU()),
        *(nn.Linear(300, 100), nn.BatchNorm1d(100), nn.ReLU()),
        nn.Linear(100, 10),
    )
    x = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(net(x), by_hand(x), rtol=0, atol=0)


def test_the_raw_breast_cancer_net_can_be_said() -> None:
    spec = DataSpec("breast_cancer", "classification", "tabular", (30,), 1)
    net = mlp(
        spec,
        hidden=[25, 20, 15, 10, 5],
        activation=["relu", "relu", "relu", "sigmoid", "sigmoid"],
        output_activation="sigmoid",
    )
    widths = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert widths == [(30, 25), (25, 20), (20, 15), (15, 10), (10, 5), (5, 1)]
    assert [k for k in kinds(net) if k != "Linear"] == ["ReLU"] * 3 + ["Sigmoid"] * 3
    output = net(torch.randn(8, 30))
    assert output.shape == (8, 1)
    assert ((output > 0) & (output < 1)).all()


def test_the_order_in_a_hidden_layer_is_linear_norm_activation_dropout() -> None:
    net = mlp(LINE, hidden=[4], activation="tanh", batch_norm=True, dropout=0.3)
    assert kinds(net) == ["Linear", "BatchNorm1d", "Tanh", "Dropout", "Linear", "Identity"]
    assert next(m.p for m in net.modules() if isinstance(m, nn.Dropout)) == 0.3


def test_batch_norm_by_layer() -> None:
    net = mlp(LINE, hidden=[4, 5, 6], batch_norm=[True, False, True])
    assert [m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm1d)] == [4, 6]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"hidden": [4, 4], "activation": ["relu"]}, r"^model\.activation: has 1 entries for 2 layers"),
        ({"hidden": [4], "batch_norm": [True, True]}, r"^model\.batch_norm: has 2 entries for 1 layers"),
        ({"activation": "rellu"}, r"^model\.activation: .*'rellu'. Did you mean relu"),
        ({"hidden": [4, 4], "activation": ["relu", "tan"]}, r"^model\.activation: .*'tan'. Did you mean tanh"),
        ({"output_activation": "sigmoyd"}, r"^model\.output_activation: .*Did you mean sigmoid"),
    ],
)
def test_mlp_errors_name_the_key(kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mlp(LINE, **kwargs)


def test_log_softmax_is_over_the_classes() -> None:
    net = mlp(MNIST, hidden=[8], output_activation="log_softmax")
    total = net(torch.randn(3, 1, 28, 28)).exp().sum(dim=1)
    torch.testing.assert_close(total, torch.ones(3))


def test_polynomial_weighs_the_powers() -> None:
    net = polynomial(LINE, degree=3)
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[2.0, 3.0, 5.0]]))
        net.head.bias.fill_(7.0)
    x = torch.tensor([[2.0], [-1.0]])
    torch.testing.assert_close(net(x), 2 * x + 3 * x**2 + 5 * x**3 + 7)


def test_polynomial_starts_uniform_in_the_unit_interval_when_asked() -> None:
    spec = DataSpec("wide", "regression", "tabular", (200,), 1)
    torch.manual_seed(0)
    values = torch.cat([p.flatten() for p in polynomial(spec, init="uniform").parameters()])
    assert values.min() >= 0
    assert values.max() < 1
    assert 0.4 < values.mean() < 0.6
    assert min(p.min() for p in polynomial(spec).parameters()) < 0


def test_bias_can_be_left_out() -> None:
    assert [name for name, _ in linear(LINE, bias=False).named_parameters()] == ["head.weight"]
    assert [name for name, _ in polynomial(LINE, bias=False).named_parameters()] == ["head.weight"]


def test_mnist_cnn1_of_the_notes() -> None:
    """Three 3x3 convolutions, each pooled, then ReLU: maps of 13, 5 and 1, and Linear(30, 10)."""
    net = cnn(MNIST, channels=[10, 20, 30], kernels=3, padding=0, pool_first=True, head=[])
    torch.manual_seed(0)
    assert kinds(net) == ["Conv2d", "MaxPool2d", "ReLU"] * 3 + ["Linear", "Identity"]
    x, sides = torch.randn(2, 1, 28, 28), []
    for layer in net.features:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            sides.append(x.shape[-1])
    assert sides == [13, 5, 1]
    assert net.head.linear1.in_features == 30
    assert count(net) == (9 + 1) * 10 + (90 + 1) * 20 + (180 + 1) * 30 + 31 * 10


def test_mnist_cnn2_of_the_notes() -> None:
    net = cnn(MNIST, channels=[10, 20, 30], kernels=[5, 5, 3], padding=0, pool_first=True, head=[20, 15])
    assert [m.kernel_size[0] for m in net.modules() if isinstance(m, nn.Conv2d)] == [5, 5, 3]
    linears = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert linears == [(30, 20), (20, 15), (15, 10)]


@pytest.mark.parametrize("pool_first", [False, True])
def test_the_activation_may_follow_the_pooling(pool_first: bool) -> None:
    net = cnn(MNIST, channels=[4], pool_first=pool_first, batch_norm=True)
    between = ["MaxPool2d", "ReLU"] if pool_first else ["ReLU", "MaxPool2d"]
    assert kinds(net.features) == ["Conv2d", "BatchNorm2d", *between]


def test_cnn_lists_by_layer_and_one_by_one_kernels() -> None:
    net = cnn(MNIST, channels=[4, 2, 8], kernels=[5, 1, 3], strides=[2, 1, 1], padding=[2, 0, 1], pool=[1, 1, 2])
    assert net.features(torch.randn(1, 1, 28, 28)).shape == (1, 8, 7, 7)
    assert sum(isinstance(m, nn.MaxPool2d) for m in net.modules()) == 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"channels": [8], "kernels": 31, "padding": 0}, r"^model\.kernels: the 31x31 kernel of layer 1 .*28x28"),
        ({"channels": [8] * 6}, r"^model\.pool: the 2x2 pooling of layer 5 .*1x1 map"),
        ({"channels": [8, 8], "kernels": [3]}, r"^model\.kernels: has 1 entries for 2 layers"),
        ({"channels": [8, 8], "pool": [2, 2, 2]}, r"^model\.pool: has 3 entries"),
        ({"channels": [8, 8], "padding": [1]}, r"^model\.padding: has 1 entries"),
    ],
)
def test_cnn_errors_name_the_key_and_the_layer(kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cnn(MNIST, **kwargs)


def test_t49_the_parameter_list_starts_at_a_sane_scale() -> None:
    """With N(0, 1) matrices ten steps give outputs of about 1e7."""
    spec = DataSpec("table", "regression", "tabular", (10,), 1)
    for seed in range(5):
        torch.manual_seed(seed)
        assert parameter_list(spec)(torch.randn(100, 10)).std() < 10


def test_t48_the_learnable_vector_is_initialised() -> None:
    net = parameter_list(DataSpec("table", "regression", "tabular", (3,), 1), count=4, width=7)
    assert torch.equal(net.gain, torch.ones(7))
    assert isinstance(net.gain, nn.Parameter)
    assert [p.shape for p in net.params] == [(7, 7)] * 4


def test_the_parameter_list_follows_its_formula() -> None:
    net = parameter_list(DataSpec("table", "regression", "tabular", (3,), 2), count=4, width=5)
    sample = torch.randn(1, 3)
    x = net.enter(sample)[0]
    for i, p in enumerate(net.params):
        x = net.params[i // 2] @ x + p @ x
    torch.testing.assert_close(net(sample)[0], net.head(x))
