"""Every registered model: it builds, gives the task's shape, trains every parameter, agrees with its YAML."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from dlrun.components.registry import MODELS
from dlrun.errors import ConfigError
from dlrun.spec import DataSpec
from tests.helpers.cases import slow_where

CONF = Path(__file__).parents[2] / "conf" / "model"
N, T, K = 4, 5, 3

SPECS = {
    "tabular": DataSpec("table", "classification", "tabular", (6,), K),
    "regression": DataSpec("line", "regression", "tabular", (1,), 1),
    "multilabel": DataSpec("tags", "multilabel", "tabular", (6,), K),
    "image": DataSpec("digits", "classification", "image", (1, 8, 8), K),
    "photo": DataSpec("photos", "classification", "image", (3, 33, 40), K),
    "reconstruction": DataSpec("digits", "reconstruction", "image", (1, 8, 8), 64),
    "mask": DataSpec("masks", "labelling", "image", (3, 8, 9), K),
    "text": DataSpec("names", "classification", "text", (T,), K, vocabulary=("", "?", *"abcde")),
    "hello": DataSpec("hello", "labelling", "text", (T,), 4, vocabulary=tuple("ehlo")),
    "sequence": DataSpec("waves", "classification", "sequence", (T, 2), K),
    "labelled": DataSpec("waves", "labelling", "sequence", (T, 2), K),
    "multi": DataSpec("scenes", "classification", "multi", (3, 8, 8), K, other_shapes=((1, 8, 8),)),
    "multi_mask": DataSpec("scenes", "labelling", "multi", (3, 8, 8), K, other_shapes=((1, 8, 8),)),
    "multi_table": DataSpec("scenes", "regression", "multi", (3, 8, 8), K, other_shapes=((7,),)),
}

VECTORS = ("tabular", "regression", "multilabel", "image")
STEPS = ("text", "hello", "sequence", "labelled")
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *[(model, spec, {}) for model in ("linear", "polynomial", "mlp", "parameter_list") for spec in VECTORS],
    *[(model, "reconstruction", {}) for model in ("linear", "mlp", "autoencoder", "encoder_decoder")],
    ("mlp", "tabular", {"hidden": []}),
    ("mlp", "tabular", {"batch_norm": True, "dropout": 0.5, "output_activation": "log_softmax"}),
    *[(model, spec, {}) for model in ("cnn", "vgg", "inception", "googlenet", "resnet") for spec in ("image", "photo")],
    *[("torchvision", spec, {"arch": "shufflenet_v2_x0_5"}) for spec in ("image", "photo")],
    ("cnn", "photo", {"batch_norm": True, "global_pool": True, "pool_type": "avg", "strides": 2}),
    ("vgg", "image", {"batch_norm": True, "taps": [0, 4]}),
    ("inception", "image", {"batch_norm": True}),
    ("googlenet", "photo", {"stem": "large", "batch_norm": False}),
    ("resnet", "photo", {"transition": "pool", "batch_norm": False, "blocks": [2, 1, 1]}),
    *[(model, spec, {}) for model in ("rnn", "lstm", "gru", "rnn_cell") for spec in STEPS],
    *[
        (model, spec, {"num_layers": 2, "bidirectional": True, "dropout": 0.2, "embedding": None})
        for model in ("rnn", "lstm", "gru")
        for spec in STEPS
    ],
    *[(model, spec, {"output": "hidden"}) for model in ("rnn", "gru", "rnn_cell") for spec in ("hello", "text")],
    ("autoencoder", "reconstruction", {"mode": "unpool", "output_activation": "sigmoid"}),
    ("autoencoder", "reconstruction", {"mode": "interpolate"}),
    *[("encoder_decoder", spec, {}) for spec in (*VECTORS, "mask")],
    ("encoder_decoder", "reconstruction", {"layers": "conv"}),
    *[("fusion", spec, {}) for spec in ("multi", "multi_mask", "multi_table")],
    *[("sequential", spec, {}) for spec in ("tabular", "image", "sequence", "multilabel", "regression")],
]


def random_inputs(spec: DataSpec, n: int) -> tuple[Tensor, ...]:
    """A batch of `n` samples as the spec describes them."""
    if spec.input_kind == "text":
        codes = torch.randint(0, spec.vocab_size, (n, T))
        return codes, torch.tensor([T, 1, 3, 2])[:n]
    return tuple(torch.randn(n, *shape) for shape in (spec.input_shape, *spec.other_shapes))


def output_shape(spec: DataSpec, n: int) -> tuple[int, ...]:
    """What spec.py says of the task's output."""
    if spec.task == "reconstruction":
        return (n, *spec.input_shape)
    if spec.task != "labelling":
        return (n, spec.num_outputs)
    per_pixel = len(spec.input_shape) == 3
    return (n, spec.num_outputs, *(spec.input_shape[1:] if per_pixel else (T,)))


def build(model: str, spec: DataSpec, kwargs: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.get(model)(spec, **kwargs)


@pytest.mark.parametrize(("model", "spec_name", "kwargs"), CASES, ids=lambda v: str(v))
def test_every_model_gives_the_tasks_shape_and_trains_every_parameter(
    model: str, spec_name: str, kwargs: dict[str, Any]
) -> None:
    spec = SPECS[spec_name]
    net = build(model, spec, kwargs)
    assert net.training
    output = net(*random_inputs(spec, N))
    assert output.shape == output_shape(spec, N)
    # A random projection, since some outputs (log_softmax) have a sum without gradient.
    (output * torch.randn_like(output)).sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None]
    assert idle == []
    assert any(p.grad.abs().sum() > 0 for p in net.parameters() if p.grad is not None)
    net.eval()
    assert net(*random_inputs(spec, 1)).shape == output_shape(spec, 1)


@pytest.mark.parametrize("model", MODELS.builtin)
def test_cases_cover_every_kind_that_the_yaml_says_it_takes(model: str) -> None:
    takes = next(
        line.removeprefix("# takes:").split(",")
        for line in (CONF / f"{model}.yaml").read_text().splitlines()
        if line.startswith("# takes:")
    )
    tried = {SPECS[spec].input_kind for name, spec, _ in CASES if name == model}
    assert tried == {kind.strip() for kind in takes}


@pytest.mark.parametrize("model", MODELS.builtin)
def test_yaml_keys_and_defaults_equal_the_signature(model: str) -> None:
    text = (CONF / f"{model}.yaml").read_text()
    values = yaml.safe_load(text)
    assert text.startswith(f"# dlrun model={model}")
    assert values.pop("name") == model
    parameters = dict(inspect.signature(MODELS.get(model)).parameters)
    assert next(iter(parameters)) == "spec"
    parameters.pop("spec")
    defaults = {key: list(p.default) if isinstance(p.default, tuple) else p.default for key, p in parameters.items()}
    assert values == defaults
    assert list(values) == list(defaults)
    assert all(p.annotation is not p.empty for p in parameters.values())


@pytest.mark.parametrize("model", MODELS.builtin)
def test_data_of_another_kind_is_refused(model: str) -> None:
    takes = {SPECS[spec].input_kind for name, spec, _ in CASES if name == model}
    refused = [spec for spec in SPECS.values() if spec.input_kind not in takes]
    for spec in refused:
        with pytest.raises(ConfigError, match=rf"^model: {model} takes .*{spec.name} is {spec.input_kind}"):
            MODELS.get(model)(spec)
    assert refused


def test_tasks_that_a_model_cannot_serve_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model: cnn serves .*the task of masks is labelling"):
        MODELS.get("cnn")(SPECS["mask"])
    with pytest.raises(ConfigError, match=r"^model: autoencoder serves reconstruction"):
        MODELS.get("autoencoder")(SPECS["image"])


DEEP = ("vgg", "inception", "googlenet", "resnet", "torchvision")


@pytest.mark.parametrize(
    ("model", "spec_name", "kwargs"), slow_where(lambda case: case[0] in DEEP, CASES), ids=lambda v: str(v)
)
def test_building_is_repeatable_and_needs_no_statistics(model: str, spec_name: str, kwargs: dict[str, Any]) -> None:
    spec = SPECS[spec_name]
    first = build(model, spec, kwargs)
    state_after = torch.get_rng_state()
    second = build(model, spec, kwargs)
    assert torch.equal(torch.get_rng_state(), state_after)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
        if key.endswith("num_batches_tracked"):
            assert value == 0  # no dry forward has moved BatchNorm


@pytest.mark.gpu
@pytest.mark.parametrize(("model", "spec_name", "kwargs"), CASES, ids=lambda v: str(v))
def test_the_gpu_gives_what_the_cpu_gives(model: str, spec_name: str, kwargs: dict[str, Any]) -> None:
    spec = SPECS[spec_name]
    net = build(model, spec, kwargs).eval()
    inputs = random_inputs(spec, N)
    expected = net(*inputs)
    output = net.cuda()(*(x.cuda() for x in inputs))
    if spec.input_kind == "text" and spec.task == "labelling":  # padding may differ
        keep = (torch.arange(T) < inputs[1][:, None]).unsqueeze(1).expand_as(expected)
        output, expected = output.cpu()[keep], expected[keep]
    torch.testing.assert_close(output.cpu(), expected, rtol=1e-2, atol=1e-2)
