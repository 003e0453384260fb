"""Read and write YAML so that values are the same after a round trip.

PyYAML follows YAML 1.1, where `1e-3` is a string and a key given twice is silently the last one. Here, as in
OmegaConf (which reads the files of `conf/`), `1e-3` is a number and a duplicate key is an error. Strings that
look like numbers are written in quotes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from dlrun import bounded
from dlrun.errors import ConfigError, Problem, first_line

FLOAT = re.compile(  # as OmegaConf's loader reads them
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
     |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
     |\.[0-9_]+(?:[eE][-+][0-9]+)?
     |[-+]?\.(?:inf|Inf|INF)
     |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
MOST_ALIASED = 100_000  # values that all aliases of a file may expand to
FIRST_CHARACTERS = list("-+0123456789.")


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that reads `1e-3` as a number, dates as text, and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; a duplicate key is an error."""
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands here twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """A dumper that writes lists of plain values on one line, and sections in block style."""


def _resolvers(table: dict[str, Any]) -> dict[str, Any]:
    """PyYAML's rules for plain scalars, without those for floats and dates."""
    away = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    return {first: [rule for rule in rules if rule[0] not in away] for first, rules in table.items()}


NOT_PLAIN = ("binary", "omap", "pairs", "set", "timestamp")  # types that JSON cannot hold
Loader.yaml_constructors = {
    tag: make for tag, make in Loader.yaml_constructors.items() if not (tag or "").endswith(NOT_PLAIN)
}
for _class in (Loader, Dumper):
    _class.yaml_implicit_resolvers = _resolvers(_class.yaml_implicit_resolvers)
    _class.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, FIRST_CHARACTERS)


def _represent_list(dumper: Dumper, values: list[Any]) -> yaml.Node:
    plain = not any(isinstance(value, (dict, list)) and value for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=plain)


def _represent_str(dumper: Dumper, value: str) -> yaml.Node:
    style = "'" if "${" in value else None  # a resolved value is no interpolation, and quotes show it
    if not value.isprintable():  # YAML folds line ends in other styles
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Dumper.add_representer(list, _represent_list)
Dumper.add_representer(str, _represent_str)


def dumps(values: dict[str, Any]) -> str:
    """Write plain Python values as YAML, in their order."""
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def loads(text: str, name: str) -> Any:
    """Parse YAML text. Raises `ConfigError` with `name` and the line if it is not valid."""
    try:
        if reason := reason_not_to_load(text):
            raise ConfigError(Problem(name, f"cannot be read: {reason}."))
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(yaml_problem(error, name)) from None
    except (ValueError, RecursionError) as error:  # e.g. an integer of 10,000 digits
        raise ConfigError(Problem(name, f"cannot be read: {error}")) from None


def load_file(path: Path) -> Any:
    """Read a YAML file. Raises `ConfigError` if it is missing, unreadable or not valid."""
    return loads(read_user_file(path), str(path))


def read_user_file(path: Path) -> str:
    """The text of a user's file. Raises `ConfigError` if it is missing or not UTF-8."""
    try:
        return bounded.read_text(path)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null byte in the path
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(Problem(str(path), f"cannot be read: {reason}.")) from None


def reason_not_to_load(text: str) -> str:
    """Why a text must not be loaded, or the empty string.

    The C parser crashes on deeply nested text, and a few lines of nested aliases can expand to gigabytes.
    """
    if "*" not in text and sum(map(text.count, "[{-?:")) <= bounded.DEEPEST:  # each level needs one of these characters
        return ""
    sizes: dict[str, int] = {}  # the number of nodes of each anchor whose node is complete
    inside: list[tuple[str | None, int]] = []  # the anchors of open nodes, and the counts at which they began
    nodes = aliased = 0
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in inside):
                return f"&{event.anchor} is a part of itself"
            size = sizes.get(event.anchor, 1)
            nodes, aliased = nodes + size, aliased + size
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, begin = inside.pop()
            sizes[anchor or ""] = nodes - begin
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                inside.append((event.anchor, nodes))
        if len(inside) > bounded.DEEPEST:
            return f"more than {bounded.DEEPEST} sections and lists are nested in each other"
        if aliased > MOST_ALIASED:
            return "its aliases stand for too much"
    return ""


def yaml_problem(error: yaml.YAMLError, name: str) -> Problem:
    """An error of PyYAML as a problem that names the line of the file."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    reason = getattr(error, "problem", None) or first_line(error)
    return Problem(f"{name}{where}", f"is not valid YAML: {reason}.")
