"""The sequential model: layers from YAML, sizes inferred, branches, and errors that name the layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from torch import nn

from dlrun.errors import ConfigError
from dlrun.models.layers import LAYERS, known_arguments
from dlrun.models.sequential import sequential
from dlrun.spec import DataSpec

TABLE = DataSpec("table", "classification", "tabular", (12,), 3)
DIGITS = DataSpec("digits", "classification", "image", (2, 8, 8), 10)
SOUND = DataSpec("sound", "classification", "sequence", (16, 4), 5)
HEAD = ["flatten", {"linear": {"out": "auto"}}]


def build(spec: DataSpec, text: str) -> nn.Sequential:
    """The model of `layers` as YAML text."""
    torch.manual_seed(0)
    return sequential(spec, layers=yaml.safe_load(text))


def test_inferred_sizes_equal_the_layers_by_hand() -> None:
    net = build(
        DIGITS,
        """
        - {name: conv1, conv2d: {out: 6, kernel_size: 3, padding: 1, bias: false}}
        - batch_norm2d
        - relu
        - {max_pool2d: {kernel_size: 3, stride: 2, ceil_mode: true}}
        - {dropout: {p: 0.2}}
        - flatten
        - {linear: {out: 20}}
        - {layer_norm: {}}
        - {leaky_relu: {negative_slope: 0.2}}
        - {name: last, linear: {out: auto}}
        """,
    )
    state = torch.get_rng_state()
    torch.manual_seed(0)
    by_hand = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(96, 20),
        nn.LayerNorm(20),
        nn.LeakyReLU(0.2),
        nn.Linear(20, 10),
    )
    assert torch.equal(torch.get_rng_state(), state)  # the dry forward has drawn nothing
    assert next(iter(net.state_dict())) == "conv1.weight"
    assert type(net[3]) is nn.MaxPool2d
    assert net.last.in_features == 20
    for own, theirs in zip(net.state_dict().values(), by_hand.state_dict().values(), strict=True):
        assert torch.equal(own, theirs)  # fresh BatchNorm statistics, too
    assert all(m.training for m in net.modules())
    x = torch.randn(4, 2, 8, 8)
    assert torch.equal(net.eval()(x), by_hand.eval()(x))


def test_no_lazy_module_is_left_behind() -> None:
    net = sequential(DIGITS, HEAD)
    assert not any("Lazy" in type(m).__name__ for m in net.modules())


@pytest.mark.parametrize(
    ("entry", "spec", "expected"),
    [
        ("{conv1d: {out: 7, kernel_size: 3, stride: 2}}", SOUND, nn.Conv1d(16, 7, 3, 2)),
        ("{conv_transpose1d: {out: 7, kernel_size: 3}}", SOUND, nn.ConvTranspose1d(16, 7, 3)),
        ("{conv2d: {out: 4, kernel_size: [3, 1], groups: 2}}", DIGITS, nn.Conv2d(2, 4, (3, 1), groups=2)),
        ("{conv2d: {out: 3, kernel_size: 3, dilation: 2}}", DIGITS, nn.Conv2d(2, 3, 3, dilation=2)),
        (
            "{conv2d: {out: 3, kernel_size: 3, padding: 1, padding_mode: reflect}}",
            DIGITS,
            nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
        ),
        (
            "{conv_transpose2d: {out: 3, kernel_size: 3, stride: 2, output_padding: 1}}",
            DIGITS,
            nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1),
        ),
        ("{group_norm: {num_groups: 2}}", DIGITS, nn.GroupNorm(2, 2)),
        ("{layer_norm: {normalized_shape: [2, 8, 8]}}", DIGITS, nn.LayerNorm((2, 8, 8))),
        ("{instance_norm2d: {affine: true}}", DIGITS, nn.InstanceNorm2d(2, affine=True)),
        ("{max_pool2d: {kernel_size: 2, dilation: 2}}", DIGITS, nn.MaxPool2d(2, dilation=2)),
        ("{avg_pool2d: {kernel_size: 3, count_include_pad: false, padding: 1}}", DIGITS, None),
        ("{adaptive_max_pool2d: 3}", DIGITS, nn.AdaptiveMaxPool2d(3)),
        ("{linear: 5}", DIGITS, nn.Linear(8, 5)),
        ("{prelu: {}}", DIGITS, nn.PReLU()),
        ("{interpolate: {scale_factor: 2, mode: area}}", DIGITS, nn.Upsample(scale_factor=2, mode="area")),
        ("{upsample: {size: [5, 4], mode: bicubic, align_corners: true}}", DIGITS, None),
        ("{softmax: {}}", DIGITS, nn.Softmax(dim=1)),
        ("relu6", DIGITS, nn.ReLU6()),
        ("silu", DIGITS, nn.SiLU()),
    ],
)
def test_single_layers(entry: str, spec: DataSpec, expected: nn.Module | None) -> None:
    first = build(spec, f"[{entry}, flatten, {{linear: {{out: auto}}}}]")[0]
    if expected is None:
        return  # the build itself has run the layer
    assert repr(first) == repr(expected)
    shapes = {key: value.shape for key, value in expected.state_dict().items()}
    assert {key: value.shape for key, value in first.state_dict().items()} == shapes


def test_volumes() -> None:
    text = """
        - {unflatten: {dim: 1, unflattened_size: [1, 2]}}
        - {conv3d: {out: 3, kernel_size: [1, 3, 3]}}
        - {batch_norm3d: {}}
        - {max_pool3d: {kernel_size: [2, 3, 3]}}
        - {conv_transpose3d: {out: 2, kernel_size: 2}}
        - {interpolate: {size: [2, 2, 2], mode: trilinear}}
        - flatten
        - {linear: {out: auto}}
    """
    assert build(DIGITS, text)(torch.randn(3, 2, 8, 8)).shape == (3, 10)


def test_every_layer_is_torchs_own_and_has_readable_arguments() -> None:
    assert {"linear", "conv_transpose3d", "batch_norm1d", "prelu", "selu", "rrelu", "lp_pool2d"} <= set(LAYERS)
    for name, cls in LAYERS.items():
        assert cls.__module__.startswith("torch.nn.modules")
        assert "device" not in known_arguments(name)


def test_bare_values_are_the_first_argument() -> None:
    text = "[{linear: 7}, {dropout: 0.3}, {unflatten: {dim: 1, unflattened_size: [1, 7]}}"
    net = build(TABLE, text + ", {max_pool1d: 2}, flatten, {linear: auto}]")
    assert (net[0].out_features, net[1].p, net[3].kernel_size, net[5].out_features) == (7, 0.3, 2, 3)


def test_a_residual_block_in_yaml() -> None:
    net = build(
        DIGITS,
        """
        - name: block
          add:
            - [{name: conv, conv2d: {out: 2, kernel_size: 3, padding: 1}}, relu]
            - []
        - flatten
        - {linear: {out: auto}}
        """,
    )
    x = torch.randn(2, 2, 8, 8)
    torch.testing.assert_close(net.block(x), torch.relu(net.block.branches[0].conv(x)) + x)
    assert net(x).shape == (2, 10)


def test_an_inception_block_in_yaml() -> None:
    net = build(
        DIGITS,
        """
        - concat:
            - [{conv2d: {out: 3, kernel_size: 1}}]
            - [{conv2d: {out: 2, kernel_size: 1}}, {conv2d: {out: 4, kernel_size: 3, padding: 1}}]
            - [{max_pool2d: {kernel_size: 3, stride: 1, padding: 1}}]
        - {batch_norm2d: {}}
        - flatten
        - {linear: {out: auto}}
        """,
    )
    assert net[1].num_features == 3 + 4 + 2
    x = torch.randn(2, 2, 8, 8)
    torch.testing.assert_close(net[0](x)[:, :3], net[0].branches[0](x))
    assert net(x).shape == (2, 10)


def test_t07_the_ordered_net_of_the_notes() -> None:
    """conv: conv1, relu1, pool; dense: dense1 (288 inputs), relu2, dense2: fits 3x6x6 images, and says so."""
    text = """
        - name: conv
          sequential:
            - {name: conv1, conv2d: {out: 32, kernel_size: 3, stride: 1, padding: 1}}
            - {name: relu1, relu: }
            - {name: pool, max_pool2d: {kernel_size: 2}}
        - flatten
        - name: dense
          sequential:
            - {name: dense1, linear: {in_features: 288, out: 128}}
            - {name: relu2, relu: }
            - {name: dense2, linear: {out: 10}}
    """
    small = DIGITS.replace(input_shape=(3, 6, 6))
    net = build(small, text)
    assert net.conv.conv1 is net[0][0]
    assert net(torch.randn(2, 3, 6, 6)).shape == (2, 10)
    message = r"^model\.layers\[2\]\.sequential\[0\]: linear 'dense1' takes \(N, 288\), and .* gives \(N, 512\)"
    with pytest.raises(ConfigError, match=message):
        build(small.replace(input_shape=(3, 8, 8)), text)


def test_other_tasks_end_in_their_own_shapes() -> None:
    restore = DIGITS.replace(task="reconstruction")
    net = build(restore, "[{conv2d: {out: 4, kernel_size: 3, padding: 1}}, {conv2d: {out: auto, kernel_size: 1}}]")
    assert net(torch.randn(2, 2, 8, 8)).shape == (2, 2, 8, 8)
    dense = "[flatten, {linear: 9}, {linear: {out: auto}}, {unflatten: {dim: 1, unflattened_size: [2, 8, 8]}}]"
    assert build(restore, dense)(torch.randn(2, 2, 8, 8)).shape == (2, 2, 8, 8)
    mask = DIGITS.replace(task="labelling", num_outputs=4)
    assert build(mask, "[{conv2d: {out: auto, kernel_size: 1}}]")(torch.randn(1, 2, 8, 8)).shape == (1, 4, 8, 8)


ERRORS: list[tuple[Any, str]] = [
    (["flaten"], r"^model\.layers\[0\]: there is no layer 'flaten'. Did you mean flatten\?"),
    (["ReLU"], r"Did you mean relu\?"),
    ([{"conv_2d": {"out": 1}}], r"Did you mean conv2d\?"),
    ([3], r"^model\.layers\[0\]: there is no layer 3"),
    ([["relu"]], r"^model\.layers\[0\]: there is no layer \['relu'\]"),
    ("relu", r"^model\.layers: is 'relu', and must be a list"),
    ([], r"^model\.layers: is empty"),
    ([{}], r"^model\.layers\[0\]: holds no layer"),
    ([{"linear": 3, "relu": None}], r"^model\.layers\[0\]: holds 'linear', 'relu'"),
    ([{"linear": {"ot": 3, "out": 4}}], r"^model\.layers\[0\]: linear has no argument 'ot'. Did you mean out\?"),
    ([{"dropout": {"device": "cpu"}}], r"dropout has no argument 'device'. Allowed: p, inplace"),
    ([{"identity": {"x": 1}}], r"identity has no argument 'x'. It has none"),
    ([{"relu": 3}], r"relu has no argument 'value'"),
    (["linear"], r"^model\.layers\[0\]: linear needs 'out'"),
    ([{"conv2d": {"out": 3}}], r"conv2d needs 'kernel_size'"),
    ([{"linear": {"out": 0}}], r"linear has out=0. Allowed: int >= 1 or auto"),
    ([{"conv2d": {"out_channels": 0, "kernel_size": 1}}], r"conv2d has out=0"),
    ([{"linear": {"out": "many"}}], r"linear has out='many'"),
    ([{"name": "a.b", "relu": None}], r"'a.b' cannot name a layer"),
    ([{"name": "1", "relu": None}], r"'1' cannot name a layer"),
    ([{"name": "training", "relu": None}], r"'training' cannot name a layer"),
    ([{"name": "a", "relu": None}, {"name": "a", "relu": None}], r"^model\.layers: the name 'a' is there twice"),
    (
        ["flatten", {"name": "fc", "linear": {"in_features": 100, "out": 3}}],
        r"^model\.layers\[1\]: linear 'fc' takes \(N, 100\), and layers\[0\] \(flatten\) gives \(N, 128\)",
    ),
    (
        [{"conv2d": {"in_channels": 3, "out": 3, "kernel_size": 1}}],
        r"^model\.layers\[0\]: conv2d takes \(N, 3, \.\.\.\), and the data gives \(N, 2, 8, 8\)",
    ),
    (
        ["flatten", {"conv2d": {"out": 3, "kernel_size": 1}}],
        r"^model\.layers\[1\]: conv2d takes \(N, C, H, W\), and layers\[0\] \(flatten\) gives \(N, 128\)",
    ),
    (
        [{"conv2d": {"out": 3, "kernel_size": 9}}],
        r"^model\.layers\[0\]: conv2d does not fit: the data gives \(N, 2, 8, 8\)\. .*\(9 x 9\)",
    ),
    ([{"conv2d": {"out": 3, "kernel_size": "x"}}], r"^model\.layers\[0\]: conv2d does not fit"),
    ([{"dropout": 3}], r"^model\.layers\[0\]: dropout does not fit: .*between 0 and 1"),
    (["upsample"], r"upsample does not fit"),
    ([{"max_pool2d": {"kernel_size": 2, "return_indices": True}}], r"more than one tensor.*mode=unpool"),
    ([{"flatten": {"start_dim": 0}}], r"flatten changes the batch dimension"),
    ([{"add": 3}], r"^model\.layers\[0\]\.add: is 3, and must be a list of branches"),
    ([{"add": []}], r"^model\.layers\[0\]\.add: is \[\]"),
    ([{"add": [["relu"], "relu"]}], r"^model\.layers\[0\]\.add\[1\]: is 'relu', and must be a list"),
    ([{"add": [[], ["flatten"]]}], r"add needs equal shapes, .*\(N, 2, 8, 8\) and \(N, 128\)"),
    ([{"concat": [[], [{"max_pool2d": 2}]]}], r"concat needs shapes that differ in the channels alone"),
    ([{"concat": [[], ["relu", "nope"]]}], r"^model\.layers\[0\]\.concat\[1\]\[1\]: there is no layer 'nope'"),
    (
        ["flatten", {"name": "fc", "linear": 9}],
        r"^model\.layers\[1\]: the last layer, linear 'fc', gives \(N, 9\), and .* needs \(N, 10\)",
    ),
]


@pytest.mark.parametrize(("layers", "message"), ERRORS, ids=lambda v: str(v)[:60])
def test_errors_name_the_layer_and_the_shapes(layers: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sequential(DIGITS, layers=layers)


def test_all_problems_of_form_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        sequential(DIGITS, layers=["relux", {"linear": {"outt": 3}}, {"add": [["nope"]]}])
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["model.layers[0]", "model.layers[1]", "model.layers[1]", "model.layers[2].add[0][0]"]


def test_masks_of_the_wrong_size_are_refused() -> None:
    mask = DIGITS.replace(task="labelling", num_outputs=4)
    with pytest.raises(ConfigError, match=r"gives \(N, 4, 6, 6\), and labelling on digits needs \(N, 4, 8, 8\)"):
        build(mask, "[{conv2d: {out: auto, kernel_size: 3}}]")
