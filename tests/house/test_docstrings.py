"""Tables and examples in docstrings are what they look like: one that was wrapped as prose is found here."""

from __future__ import annotations

import ast
import re

import yaml

from dlrun import api, spec
from dlrun.models import sequential
from dlrun.spec import KINDS, TASKS, DataSpec


def example(text: str | None) -> str:
    """The indented lines of a docstring, from the first to the last."""
    lines = (text or "").splitlines()
    assert any(line.startswith("    ") for line in lines), "an example is indented"
    places = [i for i, line in enumerate(lines) if line.startswith("    ")]
    return "\n".join(line[4:] for line in lines[places[0] : places[-1] + 1])


def test_every_kind_and_every_task_has_its_row() -> None:
    kinds, _, tasks = (spec.__doc__ or "").partition("Tasks, with")
    assert tuple(re.findall(r"^    (\w+) +\S", kinds, re.MULTILINE)) == KINDS
    rows = [line for line in tasks.splitlines() if line.startswith("    ")]
    assert tuple(row.split()[0] for row in rows if row[4] != " ") == TASKS
    assert {(row.find(" target "), row.find(" output ")) for row in rows} == {(20, 59)}


def test_the_layers_of_the_example_can_be_built() -> None:
    layers = yaml.safe_load(example(sequential.__doc__))["layers"]
    images = DataSpec("x", "classification", "image", (1, 8, 8), 3, ("a", "b", "c"))
    network = sequential.sequential(images, layers)
    assert network.conv1.out_channels == 16
    assert network[-1].out_features == 3


def test_the_library_example_is_python() -> None:
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(example(api.__doc__))) if isinstance(node, ast.Call)]
    assert {"dlrun.compose", "dlrun.train", "dlrun.load_run"} <= set(calls)
