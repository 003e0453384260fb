"""The layer table: names, shapes and parameter counts, without a trace on the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dlrun.checks.summary import LayerRow, format_shape, layer_table, summary_command
from dlrun.components.registry import MODELS
from dlrun.config.compose import compose
from dlrun.errors import ComponentError
from dlrun.models.mlp import mlp
from dlrun.models.parameters import parameter_list
from dlrun.models.recurrent import gru
from dlrun.spec import DataSpec

TABLE = DataSpec("table", "classification", "tabular", (6,), 3)
NARROW = """
import dlrun
from torch import nn

@dlrun.register.model("narrow")
def narrow(spec):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, spec.num_outputs))
"""
IMAGE = DataSpec("digits", "classification", "image", (1, 8, 8), 3)


def total(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_rows_of_a_small_mlp() -> None:
    net = mlp(TABLE, hidden=[4])
    net.head.bias.requires_grad_(False)
    rows = layer_table(net, (torch.randn(2, 6),))
    assert rows == [
        LayerRow("flatten", "Flatten", (2, 6), 0, 0),
        LayerRow("body.linear1", "Linear", (2, 4), 28, 28),
        LayerRow("body.activation1", "ReLU", (2, 4), 0, 0),
        LayerRow("head", "Linear", (2, 3), 15, 12),
        LayerRow("output", "Identity", (2, 3), 0, 0),
    ]


@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg", "googlenet", "resnet", "sequential", "encoder_decoder"])
def test_the_rows_add_up_to_the_model(name: str) -> None:
    net = MODELS.get(name)(IMAGE)
    rows = layer_table(net, (torch.randn(2, 1, 8, 8),))
    assert sum(row.parameters for row in rows) == total(net)
    assert all(row.output_shape is not None for row in rows)
    assert rows[-1].output_shape == (2, 3)


def test_packed_text_and_bare_parameters_have_rows() -> None:
    spec = DataSpec("names", "classification", "text", (5,), 3, vocabulary=tuple("_?abc"))
    net = gru(spec, hidden_size=8, bidirectional=True)
    rows = layer_table(net, (torch.ones(2, 5, dtype=torch.int64), torch.tensor([3, 5])))
    assert [row.name for row in rows] == ["embedding", "rnn", "head"]
    assert rows[1].output_shape == (2, 5, 16)
    bare = parameter_list(TABLE, count=2, width=4)
    rows = layer_table(bare, (torch.randn(2, 6),))
    assert sum(row.parameters for row in rows) == total(bare)
    assert LayerRow("params", "ParameterList", None, 32, 32) in rows


def test_shared_layers_count_once() -> None:
    layer = nn.Linear(3, 3)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert sum(row.parameters for row in layer_table(net, (torch.randn(1, 3),))) == 12
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert [row.parameters for row in layer_table(tied, (torch.randn(1, 3),))] == [12, 3]


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    net[2].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    layer_table(net, (torch.randn(1, 3),))
    with pytest.raises(RuntimeError):
        layer_table(net, (torch.randn(1, 4),))
    assert [m.training for m in net] == [True, True, False]
    assert not any(m._forward_hooks for m in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_command_prints_layers_shapes_and_what_learns(capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(["model=mlp", "model.hidden=[5]", "dataset=iris", "freeze=[body]", "device.threads=1"])
    assert summary_command(config) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "mlp on iris: classification, input N x 4; N is the batch size"
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["body.linear1"] == ["body.linear1", "Linear", "N", "x", "5", "25", "0"]
    assert rows["head"] == ["head", "Linear", "N", "x", "3", "18", "18"]
    assert out.splitlines()[-1].startswith("43 parameters, of which 18 learn")


def test_a_model_that_cannot_take_the_data_is_refused_as_a_run_would_refuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("narrow.py").write_text(NARROW)
    config = compose(["plugins=[narrow.py]", "model=narrow", "dataset=iris", "device.threads=1"])
    with pytest.raises(ComponentError, match="mat1 and mat2 shapes cannot be multiplied"):
        summary_command(config)


def test_a_summary_needs_no_batch_size_optimizer_or_step_that_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    """96 rows in batches of 95 end with one, which batch norm cannot be trained on; its layers can be shown."""
    words = ["model=mlp", "model.batch_norm=true", "dataset=iris", "device.threads=1"]
    assert summary_command(compose([*words, "trainer.batch_size=95", "optimizer.groups=[{match: nosuch, lr: 1}]"])) == 0
    assert "BatchNorm1d" in capsys.readouterr().out


def test_nothing_frozen_needs_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert summary_command(compose(["model=linear", "dataset=iris", "device.threads=1"])) == 0
    assert "learn\n" not in capsys.readouterr().out.partition("parameters, of which")[0]


def test_a_module_that_is_never_called_has_no_shape() -> None:
    assert format_shape(None, 2) == "-"
    assert format_shape((3, 4), 2) == "3 x 4"


def test_all_layers_of_a_summary_see_texts_of_one_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert summary_command(compose(["model=gru", "dataset=names", "device.threads=1"])) == 0
    out = capsys.readouterr().out
    assert "input N x 13, N; N is the batch size; texts of the longest length, 13" in out
    assert "N x 13 x 32" in out
    assert "N x 13 x 64" in out
