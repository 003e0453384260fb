"""Derive the contracts of a user's component from its signature, for components without a YAML file."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dlrun.components.registry import TABLES
from dlrun.config.schema import yamls
from dlrun.config.schema.contract import Alternative, Contract
from dlrun.config.schema.schema import COMPONENTS, Key, Option

# Parameters that dlrun passes to components of each kind, which users cannot configure.
PASSED = {
    "model": ("spec",),
    "dataset": ("seed",),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "epochs", "steps_per_epoch"),
    "loss": ("class_counts",),
    "metric": (),
}
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
    keys = {"name": Key("name", name, "", None, source)}
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
    for parameter in parameters[2:] if kind == "loss" and is_loss_function(component) else parameters:
        if parameter.name in PASSED[kind] or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if kind == "dataset" and parameter.name == "root":  # null stands for the default data root
            found["root"] = (None, Contract((Alternative("path"), Alternative("literal", None))))
            continue
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        contract = contract_of(hints.get(parameter.name, Any))
        if default is None and not (contract.has_null or contract.has("any")):
            contract = Contract((*contract.alternatives, Alternative("literal", None)))
        found[parameter.name] = (str(default) if isinstance(default, Path) else default, contract)
    return found


def is_loss_function(component: Callable[..., Any]) -> bool:
    """Whether a component is a loss itself, `def my_loss(output, target, scale=1.0)`, not a function that makes one."""
    if inspect.isclass(component):
        return False
    parameters = list(inspect.signature(component).parameters.values())
    first = [p for p in parameters[:2] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(first) == 2 and all(p.default is p.empty and p.name not in PASSED["loss"] for p in first)


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
