"""Every model on every kind of data, as it is built, exported and run again: minutes, so slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun.assembly.assemble import build_loss, build_metric
from dlrun.components.registry import MODELS
from dlrun.config.compose import compose
from dlrun.data.transforms import Scale, Standardize, write_steps
from dlrun.errors import ConfigError
from dlrun.inference.answers import output_kind
from dlrun.inference.export.check import ExportRows, check_graph
from dlrun.inference.export.files import expect_exportable, write_export
from dlrun.inference.export.graph import export_graph
from dlrun.inference.trained import Trained
from dlrun.spec import DataSpec
from dlrun.store.rundir import RunDir
from tests.models.test_every_model import CASES, SPECS, build

MORE: list[tuple[str, str, dict[str, Any]]] = [
    ("autoencoder", "reconstruction", {"mode": "interpolate", "interpolation": "area"}),
    ("torchvision", "photo", {"arch": "resnet18", "image_size": 48}),
    ("torchvision", "image", {"arch": "resnet18"}),
    *[
        (model, spec, {"bidirectional": both, "num_layers": layers})
        for model in ("rnn", "lstm", "gru")
        for spec in ("text", "hello", "sequence", "labelled")
        for both, layers in ((True, 1), (False, 2))
    ],
]
pytestmark = [pytest.mark.slow]


def trained_on(model: str, spec: DataSpec, kwargs: dict[str, Any]) -> Trained:
    """A model with random weights and statistics, as if it came out of a run."""
    if spec.input_kind in ("image", "multi"):
        one = Standardize([0.3] * spec.input_shape[0], [0.5] * spec.input_shape[0])
        others = [write_steps([Standardize([2.0] * shape[-1], [3.0] * shape[-1])]) if len(shape) == 1 else []
                  for shape in spec.other_shapes]  # fmt: skip
        spec = spec.replace(preprocessing={"inputs": [write_steps([Scale(255.0), one]), *others]})
    if spec.task == "regression":
        target = write_steps([Standardize([20.0] * spec.num_outputs, [5.0] * spec.num_outputs)])
        spec = spec.replace(preprocessing={**spec.preprocessing, "target": target})
    net = build(model, spec, kwargs)
    for name, values in net.named_buffers():
        if "running" in name:
            values.uniform_(0.5, 1.5)
    config = compose(["device=cpu"])
    name, loss = build_loss(config, spec, [1] * spec.num_outputs)
    kind = output_kind(name, loss)
    return Trained(RunDir("."), config, spec, net.eval(), name, loss, build_metric(spec, loss), kind, Path("best.pt"))


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
@pytest.mark.parametrize(("model", "spec_name", "kwargs"), [*CASES, *MORE], ids=lambda v: str(v))
def test_every_model_answers_the_same_out_of_its_file(
    model: str, spec_name: str, kwargs: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    trained = trained_on(model, SPECS[spec_name], kwargs)
    spec = trained.spec
    stored = torch.uint8 if spec.input_kind in ("image", "multi") else torch.float32
    types = (
        (torch.int64, torch.int64) if spec.input_kind == "text" else (stored, *[torch.float32] * len(spec.other_shapes))
    )
    recurrent = MODELS.known(model).module.endswith("recurrent")
    if recurrent and (kind == "pt2" or model == "rnn_cell"):
        with pytest.raises(ConfigError, match=r"fixes the length|has no graph"):
            expect_exportable(trained, kind)
        return
    expect_exportable(trained, kind)
    graph = export_graph(trained, False, types)
    file = tmp_path / f"model.{kind}"
    write_export(file, kind, graph, {}, {"a": "ü"})
    checked = check_graph(trained, graph, ExportRows(None), file, kind, tmp_path)
    assert checked.difference <= 1e-5
    assert {1, 64} <= set(checked.sizes)
