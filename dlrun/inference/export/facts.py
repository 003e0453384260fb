"""What an exported file says of itself, as one JSON object: strings stay outside the graph."""

from __future__ import annotations

import hashlib

import torch

from dlrun.data.vocabulary import PLAIN, Vocabulary
from dlrun.inference.answers import class_names
from dlrun.inference.export.graph import ExportGraph
from dlrun.inference.trained import Trained
from dlrun.package import PACKAGE
from dlrun.plain import Values
from dlrun.spec import DataSpec
from dlrun.store.reading import read_json

KEY, FILE = "dlrun", "about.json"  # of the object in the metadata; its file in formats that are archives
FOLDING = "NFC, without surrounding blanks"
ASCII_FOLDING = (
    "; then letters lose their marks where that leaves ASCII: `replace` first, NFKD without combining marks next"
)
TABLE = "the graph takes encoded numbers, one for each of feature_names; `table` says how columns become them"


def export_facts(trained: Trained, graph: ExportGraph | None) -> Values:
    """The metadata of a file. `graph`: None for a file of weights, which prepare nothing."""
    spec, config = trained.spec, trained.config
    found: Values = {
        "made_by": PACKAGE.name,
        "versions": read_json(trained.run.environment).get("versions") or {},
        "run": run_identity(trained),
        "model": config.get("model.name"),
        "dataset": config.get("dataset.name"),
        "task": spec.task,
        "input_kind": spec.input_kind,
        "inputs": {}, "outputs": {},
        "labels": list(class_names(spec)) if spec.task in ("classification", "multilabel", "labelling") else [],
        "feature_names": list(spec.feature_names),
        "target_names": list(spec.target_names),
        "preprocessing": {key: value for key, value in spec.preprocessing.items() if key != "table"},
        "preprocessing_is_in_the_graph": graph is not None,
    }  # fmt: skip
    if graph is not None:
        types = dict(zip(graph.inputs, graph.module.stored, strict=True))
        found["inputs"] = {
            name: {"type": type_name(types[name]), "shape": list(shape)} for name, shape in graph.inputs.items()
        }
        name, sizes = graph.output
        found["outputs"] = {name: {"type": "float32", "shape": list(sizes)}}
    if spec.input_kind == "text":
        found |= {"vocabulary": list(spec.vocabulary), "folding": folding_rule(spec), "longest": spec.input_shape[0]}
    else:
        found["input_shapes"] = [list(shape) for shape in (spec.input_shape, *spec.other_shapes)]
    if "table" in spec.preprocessing:
        found |= {"table": spec.preprocessing["table"], "table_note": TABLE}
    return found


def run_identity(trained: Trained) -> Values:
    """Which run and which of its checkpoints the weights are from."""
    summary = read_json(trained.run.summary)
    name = trained.config.get("run.name")
    return {
        "name": str(name) if name else trained.run.path.resolve().name,
        "identity": trained.config.identity,
        "checkpoint": trained.checkpoint.name,
        "checkpoint_sha256": hashlib.sha256(trained.checkpoint.read_bytes()).hexdigest(),
        "test": summary.get("test") or {},
    }


def folding_rule(spec: DataSpec) -> Values:
    """How texts are folded before they are coded, in words and as a table."""
    vocabulary = Vocabulary.of(spec)
    rule: Values = {"rule": FOLDING + (ASCII_FOLDING if vocabulary.ascii else ""), "ascii": vocabulary.ascii}
    if vocabulary.ascii:
        rule["replace"] = {chr(point): str(text) for point, text in PLAIN.items()}
    unknown = {"padding": 0, "unknown": 1} if vocabulary.has_unknown else {}
    return rule | unknown


def type_name(kind: torch.dtype) -> str:
    """`float32`, `uint8`, `int64`."""
    return str(kind).removeprefix("torch.")
