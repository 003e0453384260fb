"""The five lines of Python that use an exported file without dlrun."""

from __future__ import annotations

import json

from dlrun.inference.export.facts import FILE, KEY, type_name
from dlrun.inference.export.graph import ExportGraph
from dlrun.spec import DataSpec

LENGTH = 3  # of the example of a text or sequence


def usage_lines(kind: str, name: str, graph: ExportGraph, spec: DataSpec) -> list[str]:
    """The lines, for a file of that name in the working folder."""
    file = json.dumps(name)
    inputs = {key: example_input(graph, spec, key, "np" if kind == "onnx" else "torch") for key in graph.inputs}
    if kind == "onnx":
        given = ", ".join(f'"{key}": {value}' for key, value in inputs.items())
        return [
            "import json, numpy as np, onnxruntime",
            f"net = onnxruntime.InferenceSession({file})",
            f'about = json.loads(net.get_modelmeta().custom_metadata_map["{KEY}"])',
            f"answers = net.run(None, {{{given}}})[0]",
            answer_line(graph),
        ]
    if kind == "pt2":
        return [
            f'import json, torch; extra = {{"{FILE}": ""}}',
            f"net = torch.export.load({file}, extra_files=extra).module()",
            f'about = json.loads(extra["{FILE}"])',
            f"answers = net({', '.join(inputs.values())})",
            answer_line(graph),
        ]
    read = (
        ["from safetensors.torch import load_file", f"weights = load_file({file})"]
        if kind == "safetensors"
        else ["import torch", f"weights = torch.load({file}, weights_only=True)"]
    )
    module = "from train import make_model  # the module: `dlrun eject` writes it into train.py"
    return [*read, module, "net = make_model()", "net.load_state_dict(weights)"]


def example_input(graph: ExportGraph, spec: DataSpec, name: str, library: str) -> str:
    """One row of an input: zeros, or the last letters of the vocabulary."""
    make = f"{library}.{'array' if library == 'np' else 'tensor'}"
    if spec.input_kind == "text":
        word = "".join(spec.vocabulary[-1:] * LENGTH)
        codes = f'{make}([[about["vocabulary"].index(letter) for letter in {word!r}]])'
        return codes if name == "codes" else f"{make}([{len(word)}])"
    kind = type_name(dict(zip(graph.inputs, graph.module.stored, strict=True))[name])
    free = {"rows": 1, "length": LENGTH}
    sizes = tuple(free[size] if isinstance(size, str) else size for size in graph.inputs[name])
    return f"{library}.zeros({sizes}, dtype={library}.{kind})"


def answer_line(graph: ExportGraph) -> str:
    """The line that prints the answer to the first row."""
    name, sizes = graph.output
    if name in ("probabilities", "logits") and len(sizes) == 2 and graph.module.spec.task == "classification":
        label = 'about["labels"][int(answers[0].argmax())], ' if sizes[1] != 1 else ""
        return f"print({label}answers[0])"
    return "print(answers[0])"
