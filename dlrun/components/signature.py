"""Derive the contracts of a user's component from its signature, for components without a YAML file."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dlrun.components.registry import TABLES
from dlrun.config.schema import yamls
from dlrun.config.schema.contract import Alternative, Contract
from dlrun.config.schema.effects import EFFECTS, RESULT
from dlrun.config.schema.schema import COMPONENTS, Key, Option

# Parameters that dlrun passes to components of each kind, which users cannot configure.
PASSED = {
    "model": ("spec",),
    "dataset": ("seed",),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "epochs", "steps_per_epoch"),
    "loss": ("class_counts",),
    "metric": (),
    "logger": (),
}
OF_VALUES = {"loss": 2, "logger": 1}  # the number of parameters that a plain function is called with
EFFECTS_OF = {"logger": EFFECTS["shown"]}  # of the keys of components that do not change the result
TYPE_NAMES: dict[object, str] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    Path: "path",
    dict: "dict",
    list: "list",
    Any: "any",
}


def signature_options() -> tuple[Option, ...]:
    """An option for each component of a plug-in. A YAML file with the same name takes precedence over it."""
    return tuple(option(kind, name) for kind in COMPONENTS for name in TABLES[kind].plugins)


def option(kind: str, name: str) -> Option:
    """The option that describes a registered component, by its signature and docstring."""
    component = TABLES[kind].get(name)
    source = f"{inspect.getmodule(component).__name__}.{component.__qualname__}"  # type: ignore[union-attr]
    of_name = Contract((Alternative("str"),), EFFECTS_OF[kind]) if kind in EFFECTS_OF else None
    keys = {"name": Key("name", name, "", of_name, source)}
    for key, (default, contract) in find_contract(kind, name).items():
        text = "???" if default is inspect.Parameter.empty else yamls.dumps({"k": default})[3:].strip()
        keys[key] = Key(key, text, "", contract, source)
    description = (inspect.getdoc(component) or "").split("\n")[0]
    return Option(kind, name, source, None, f"dlrun {kind}={name}", description, {}, (), keys)


def find_contract(kind: str, name: str) -> dict[str, tuple[Any, Contract]]:
    """Import a component, and return the default and the contract of each parameter that a user may set.

    The default of a required parameter is `inspect.Parameter.empty`.
    """
    component = TABLES[kind].get(name)
    hints = _hints(component)
    found: dict[str, tuple[Any, Contract]] = {}
    parameters = list(inspect.signature(component).parameters.values())
    for parameter in parameters[OF_VALUES[kind] :] if is_plain_function(kind, component) else parameters:
        if parameter.name in PASSED[kind] or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if kind == "dataset" and parameter.name == "root":  # null stands for the default data root
            found["root"] = (None, Contract((Alternative("path"), Alternative("literal", None))))
            continue
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        contract = contract_of(hints.get(parameter.name, Any))
        if default is None and not (contract.has_null or contract.has("any")):
            contract = Contract((*contract.alternatives, Alternative("literal", None)))
        contract = replace(contract, effect=EFFECTS_OF.get(kind, RESULT))
        found[parameter.name] = (str(default) if isinstance(default, Path) else default, contract)
    return found


def is_plain_function(kind: str, component: Callable[..., Any]) -> bool:
    """Whether a component is a loss or a logger itself, not a function that makes one.

    It is if it has to be called with values: `def my_loss(output, target, scale=1.0)`, `def my_logger(record)`.
    """
    count = OF_VALUES.get(kind, 0)
    if not count or inspect.isclass(component):
        return False
    parameters = list(inspect.signature(component).parameters.values())
    first = [p for p in parameters[:count] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(first) == count and all(p.default is p.empty and p.name not in PASSED[kind] for p in first)


def accepted(component: Callable[..., Any], options: dict[str, object]) -> dict[str, object]:
    """The options for which a component has a parameter."""
    parameters = inspect.signature(component).parameters.values()
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in options.items() if anything or name in names}


def contract_of(annotation: object) -> Contract:
    """The contract that corresponds to an annotation. For an unknown annotation, anything is accepted."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return Contract((Alternative("literal", None),))
    if origin in (Union, types.UnionType):
        return Contract(tuple(a for argument in arguments for a in contract_of(argument).alternatives))
    if origin is Literal:
        return Contract(tuple(Alternative("literal", value) for value in arguments))
    if origin in (list, tuple) or getattr(origin, "__name__", "") in ("Sequence", "Iterable", "Collection"):
        inner = [argument for argument in arguments if argument is not Ellipsis]
        of = Contract(tuple(dict.fromkeys(a for argument in inner for a in contract_of(argument).alternatives)))
        return Contract((Alternative("list", of=of if inner else None),))
    if origin in (dict,) or getattr(origin, "__name__", "") == "Mapping":
        return Contract((Alternative("dict"),))
    return Contract((Alternative(TYPE_NAMES.get(annotation, "any")),))


def _hints(component: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function or of a class's `__init__`; empty if they cannot be resolved."""
    try:
        return get_type_hints(component.__init__ if inspect.isclass(component) else component)
    except (NameError, TypeError, AttributeError):
        return {}
