"""For every registered component the YAML file and the signature say the same."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlrun.components.registry import METRICS, TABLES
from dlrun.components.signature import PASSED, contract_of, find_contract
from dlrun.config.schema import yamls
from dlrun.config.schema.contract import Alternative, Contract
from dlrun.config.schema.schema import COMPONENTS, config_dirs, read_schema
from dlrun.objectives.metrics import metric_for
from dlrun.spec import TASKS, DataSpec

SCHEMA = read_schema(config_dirs())
ALL = [(kind, name) for kind in COMPONENTS for name in TABLES[kind].builtin]


def parameters(kind: str, name: str, stated: Iterable[str]) -> dict[str, tuple[Any, Contract]]:
    """What a user may set by the signature. Every dataset is told the data root; only some read files below it."""
    found = find_contract(kind, name)
    return {key: value for key, value in found.items() if (kind, key) != ("dataset", "root") or key in stated}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_keys_and_defaults_are_the_signatures(kind: str, name: str) -> None:
    option = SCHEMA.section(kind, name)
    assert option is not None, f"conf/{kind} has no file for {name}"
    stated = {key: yamls.loads(info.default, key) for key, info in option.keys.items() if key != "name"}
    signature = parameters(kind, name, stated)
    assert set(stated) == set(signature)
    defaults = {key: default for key, (default, _) in signature.items()}
    for key, default in defaults.items():
        assert default is not inspect.Parameter.empty, f"{key} has no default"
        assert (stated[key], type(stated[key])) == (default, type(default)), key


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_contract_fits_its_annotation(kind: str, name: str) -> None:
    option = SCHEMA.section(kind, name)
    assert option is not None
    component = TABLES[kind].get(name)
    for key, (_, annotation) in parameters(kind, name, option.keys).items():
        contract = option.keys[key].contract
        assert contract is not None, key
        for alternative in contract.alternatives:
            assert fits(alternative, annotation), f"{key}: {alternative} is not in {annotation}"
        for alternative in annotation.alternatives:
            if alternative.type == "literal":
                assert alternative in contract.alternatives, f"{key}: {alternative} is missing in the YAML"
    unannotated = [
        parameter.name
        for parameter in inspect.signature(component).parameters.values()
        if parameter.annotation is parameter.empty and parameter.name not in PASSED[kind]
    ]
    assert unannotated == []


def fits(alternative: Alternative, annotation: Contract) -> bool:
    """Is everything that this alternative accepts accepted by the annotation?"""
    kinds = {"path": ("path", "str"), "int": ("int", "float"), "literal": ("literal",)}
    for other in annotation.alternatives:
        if other.type == "any" or (alternative.type == "literal" and literal_fits(alternative.literal, other)):
            return True
        if other.type in kinds.get(alternative.type, (alternative.type,)) and alternative.type != "literal":
            of, wanted = alternative.of, other.of
            if (
                wanted is None
                or str(wanted) == "any"
                or (of is not None and all(fits(inner, wanted) for inner in of.alternatives))
            ):
                return True
    return False


def literal_fits(value: Any, other: Alternative) -> bool:
    return (other.type == "literal" and other.literal == value) or other.type == type(value).__name__


def test_every_option_picks_a_registered_component() -> None:
    for kind in COMPONENTS:
        for name, option in SCHEMA.options(kind).items():
            component = SCHEMA.full(option).component
            assert component in TABLES[kind].builtin or (kind, component) == ("loss", "auto"), (kind, name)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_metric_that_names_what_it_measures(task: str) -> None:
    """No YAML lists them: the data's task chooses."""
    spec = DataSpec("d", task, "tabular", (2,), 2)
    metric = METRICS.get(metric_for(spec))(spec)
    assert metric.names
    assert set(metric.train_names) <= set(metric.names)
    assert set(METRICS.builtin) == {metric_for(replace(spec, task=task)) for task in TASKS}


def test_the_comparison_finds_differences() -> None:
    def component(a: int, b: str | None, c: list[float], d: Path) -> None: ...

    hints = {k: contract_of(v) for k, v in inspect.get_annotations(component, eval_str=True).items() if k != "return"}
    assert fits(Alternative("int"), hints["a"])
    assert not fits(Alternative("float"), hints["a"])
    assert fits(Alternative("literal", None), hints["b"])
    assert fits(Alternative("literal", "word"), hints["b"])
    assert not fits(Alternative("literal", None), hints["a"])
    assert not fits(Alternative("list", of=Contract((Alternative("str"),))), hints["c"])
    assert fits(Alternative("path"), hints["d"])
