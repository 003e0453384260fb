"""`Config`: the checked and frozen configuration that composition returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrun.components.signature import signature_options
from dlrun.config.checks import check_values
from dlrun.config.schema import yamls
from dlrun.config.schema.schema import COMPONENTS, Schema, config_dirs, read_schema
from dlrun.config.section import Section, derived, flat_values, shared_values, thaw
from dlrun.errors import ConfigError, Problem


class Config(Section):
    """A complete configuration: every key of the schema has a value of the right type, and there are no other keys.

    `config.optimizer.lr`, `config.get("optimizer.lr")`, `config.section("model")` (a plain copy), `to_yaml()`.
    Build one with `compose`, `Config.from_yaml` or `Config.checked`.
    """

    __slots__ = ()

    def get(self, key: str, default: object = None) -> Any:
        """The value of a dotted key, or the default when there is none."""
        value: Any = self
        for part in key.split("."):
            if not isinstance(value, Section) or part not in value._values:
                return default
            value = value._values[part]
        return value

    def section(self, name: str) -> dict[str, Any]:
        """A plain copy of a section, to change at will. Raises `KeyError` when there is none."""
        return thaw(self._values[name])

    def to_dict(self) -> dict[str, Any]:
        """A plain copy of everything: dicts, lists and scalars."""
        return thaw(self)

    def to_yaml(self) -> str:
        """YAML that `from_yaml` reads back as the same configuration."""
        return yamls.dumps(thaw(self))

    def flat(self) -> dict[str, Any]:
        """All values by dotted key, in order. An empty section counts as a value."""
        found: dict[str, Any] = {}
        for name, value in self._values.items():
            if isinstance(value, Section) and value:
                found |= {f"{name}.{key}": thaw(item) for key, item in flat_values(value).items()}
            else:
                found[name] = thaw(value)
        return found

    def shared(self) -> dict[str, Any]:
        """As `to_dict`, but equal sections of several configurations are one object: do not change them."""
        return {
            key: shared_values(item) if isinstance(item, Section) else thaw(item) for key, item in self._values.items()
        }

    def with_section(self, name: str, **values: object) -> Config:
        """The same configuration with other values in a section."""
        return Config({**self._values, name: {**self._values[name], **values}})

    @property
    def identity(self) -> str:
        """SHA-256 of the values of all keys that change the result, according to their contracts."""
        return identity_of(self, current_schema())

    @classmethod
    def stored(cls, values: Mapping[str, Any], schema: Schema) -> Config:
        """The configuration of a stored job. Keys that a later version has added take their defaults.

        Values that do not pass the check, because a plug-in is not loaded for instance, are kept as they are.
        """
        clean, problems = check_values(dict(values), schema)
        return cls(values if problems else clean)

    @classmethod
    def checked(cls, values: Mapping[str, Any], schema: Schema | None = None) -> Config:
        """Check plain values and freeze them. Raises `ConfigError` with every problem."""
        clean, problems = check_values(thaw(values), schema or current_schema())
        if problems:
            raise ConfigError(problems)
        return cls(clean)

    @classmethod
    def from_yaml(cls, path: str | Path, schema: Schema | None = None) -> Config:
        """Read and check the config.yaml of a run.

        Keys that a later version has added take their defaults. Plug-ins that the file names are not imported; the
        error names the components that are missing. Raises `ConfigError`.
        """
        values = yamls.load_file(Path(path))
        if not isinstance(values, dict):
            raise ConfigError(Problem(str(path), "is not a configuration: it must be `key: value` lines."))
        schema = schema or current_schema()
        clean, problems = check_values(values, schema)
        if problems:
            unknown = {problem.key: problem for problem in not_registered(values, schema)}
            raise ConfigError([unknown.get(problem.key, problem) for problem in problems])
        return cls(clean)


def identity_of(config: Config, schema: Schema) -> str:
    """`Config.identity` for a given schema, which saves looking up the current one for each of many configurations.

    It is the hash of one JSON object of dotted keys, sorted. Sections that configurations share are written once.
    """
    return str(derived(config, (identity_of, schema), lambda _: _identity(config, schema)))


def _identity(config: Config, schema: Schema) -> str:
    parts = {f"{name}." if isinstance(value, Section) else name: (name, value) for name, value in config.items()}
    texts = [_identity_part(*parts[key], schema) for key in sorted(parts)]
    return hashlib.sha256(f"{{{', '.join(filter(None, texts))}}}".encode()).hexdigest()


def _identity_part(name: str, value: object, schema: Schema) -> str:
    """What one section, or value of no section, adds to the text that `identity_of` hashes."""

    def text(section: Section) -> str:
        one = Config({name: section})
        values = {key: item for key, item in one.flat().items() if schema.effect(key, one).changes_result}
        return json.dumps(values, sort_keys=True, default=str)[1:-1]

    if isinstance(value, Section):
        return str(derived(value, (schema, name), text))
    changes = schema.effect(name).changes_result
    return json.dumps({name: thaw(value)}, default=str)[1:-1] if changes else ""


def current_schema(dirs: tuple[Path, ...] | None = None) -> Schema:
    """The schema as it is now: of the YAML files in `dirs`, and of the components that plug-ins have registered."""
    return read_schema(dirs or config_dirs(), signature_options())


def not_registered(values: Mapping[str, Any], schema: Schema) -> list[Problem]:
    """A problem for each component that is not registered: in all likelihood its plug-in was not loaded."""
    problems = []
    plugins = values.get("plugins") or []
    known = f" This run was made with plugins={plugins}." if plugins else ""
    for group in COMPONENTS:
        name = (values.get(group) or {}).get("name") if isinstance(values.get(group), Mapping) else None
        if name is not None and schema.section(group, str(name)) is None:
            message = f"the {group} {name!r} is not one of dlrun's; it came from a plug-in.{known}"
            problems.append(Problem(f"{group}.name", message, "Give the file that defines it: --plugin FILE."))
    return problems
