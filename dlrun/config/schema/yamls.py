"""Reading and writing YAML so that what is written is read back the same.

PyYAML follows YAML 1.1, where `1e-3` is a string and a key given twice is silently the last one. Here, as in
OmegaConf (which reads the files of `conf/`), `1e-3` is a number and a duplicate key is an error. Strings that
look like numbers are written in quotes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from dlrun.errors import ConfigError, Problem, first_line

FLOAT = re.compile(  # as OmegaConf's loader reads them
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
     |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
     |\.[0-9_]+(?:[eE][-+][0-9]+)?
     |[-+]?\.(?:inf|Inf|INF)
     |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
FIRST_CHARACTERS = list("-+0123456789.")


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe loading with numbers like `1e-3` and without duplicate keys. Dates stay text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands here twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """Writes lists of plain values on one line and sections below each other."""


def _resolvers(table: dict[str, Any]) -> dict[str, Any]:
    """PyYAML's rules for plain scalars, but for its floats and its dates."""
    away = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    return {first: [rule for rule in rules if rule[0] not in away] for first, rules in table.items()}


for _class in (Loader, Dumper):
    _class.yaml_implicit_resolvers = _resolvers(_class.yaml_implicit_resolvers)
    _class.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, FIRST_CHARACTERS)


def _represent_list(dumper: Dumper, values: list[Any]) -> yaml.Node:
    plain = not any(isinstance(value, (dict, list)) and value for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=plain)


def _represent_str(dumper: Dumper, value: str) -> yaml.Node:
    # Interpolations are data once a configuration is resolved; quotes keep `${` from looking like one.
    style = "'" if "${" in value else None
    if not value.isprintable():  # line ends and the like, which YAML would fold
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Dumper.add_representer(list, _represent_list)
Dumper.add_representer(str, _represent_str)


def dumps(values: dict[str, Any]) -> str:
    """YAML text of plain Python values, in their order."""
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def loads(text: str, name: str) -> Any:
    """The values in YAML text. Raises `ConfigError` with the line in `name` when it is no YAML."""
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(yaml_problem(error, name)) from None
    except (ValueError, RecursionError) as error:  # e.g. an integer of 10,000 digits
        raise ConfigError(Problem(name, f"cannot be read: {error}")) from None


def load(path: Path) -> Any:
    """The values in a YAML file. Raises `ConfigError` when it is missing, unreadable or no YAML."""
    return loads(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file of the user's. Raises `ConfigError` when it is missing or is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(Problem(str(path), f"cannot be read: {reason}.")) from None


def yaml_problem(error: yaml.YAMLError, name: str) -> Problem:
    """What PyYAML found wrong, on one line, with the line of the file."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    reason = getattr(error, "problem", None) or first_line(error)
    return Problem(f"{name}{where}", f"is not valid YAML: {reason}.")
