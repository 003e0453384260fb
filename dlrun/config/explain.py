"""`dlrun explain`: what a key means, what it accepts, and which file or override set its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlrun.config.checks import nearest_key
from dlrun.config.compose import Draft, layers_of
from dlrun.config.schema.contract import Mismatch, format_yaml
from dlrun.config.schema.defaults import defaults
from dlrun.config.schema.effects import RESULT
from dlrun.config.schema.pages import effect_legend, key_table, list_options
from dlrun.config.schema.schema import COMPONENTS, GROUPS, Key, Option, Schema
from dlrun.errors import ConfigError, Problem, allowed_words
from dlrun.plain import flatten

COMMAND_LINE = "the command line"


@dataclass(frozen=True)
class Origin:
    """A file or an override that sets a key, and the value that it sets."""

    source: str
    value: Any


def provenance(draft: Draft) -> dict[str, list[Origin]]:
    """All origins of each dotted key, in order: the value of the last one applies. Raises `ConfigError`."""
    layers = [(layer.source, layer.values) for layer in layers_of(draft.schema, draft.choices)]
    set_keys = [word for word in draft.words if not word.is_group and not word.is_sweep]
    layers += [(f"{COMMAND_LINE}: {word.text}", {word.key: word.value}) for word in set_keys]
    origins: dict[str, list[Origin]] = {}
    for source, values in layers:
        for key, value in flatten(values).items():
            for inner in [k for k in origins if k.startswith(f"{key}.")]:
                del origins[inner]  # a plain value replaces a whole section
            origins.setdefault(key, []).append(Origin(source, value))
    return origins


def explain(word: str, draft: Draft) -> str:
    """Describe a KEY, a GROUP or a GROUP=OPTION. Raises `ConfigError` if there is no such thing."""
    left, equals, right = word.partition("=")
    if left in GROUPS:
        return _explain_option(left, right, draft.schema) if equals else _explain_group(left, draft)
    return _explain_key(draft.schema.today(left), draft)


def _explain_group(group: str, draft: Draft) -> str:
    usual, text = draft.schema.groups[group]
    chosen = draft.choices.get(group, usual)
    lines = [f"{group}: {text}", f"  now     {group}={chosen}", f"  usual   {group}={usual}", "", "options:"]
    return "\n".join([*lines, *list_options(group, draft.schema)])


def _explain_option(group: str, name: str, schema: Schema) -> str:
    options = schema.options(group)
    if name not in options:
        raise ConfigError(Problem(group, f"there is no option {name!r}.", allowed_words(name, options)))
    option = schema.full(options[name])
    lines = [f"{group}={name}: {option.description}", f"  file      {option.source}"]
    if option.command:
        lines.append(f"  example   {option.command}")
    lines += [f"  {word:<8}  {text}" for word, text in option.headers.items()]
    if group == "experiment":
        text = option.path.read_text(encoding="utf-8") if option.path else ""
        body = [line for line in text.splitlines() if not line.startswith("#")]
        return "\n".join([*lines, "", *(f"  {line}".rstrip() for line in body)])
    keys = [key for key in option.keys.values() if not (key.key == "name" and group in COMPONENTS)]
    table = [*key_table(keys, f"{group}."), *effect_legend(keys)] if keys else ["  It has no keys."]
    return "\n".join([*lines, "", *table])


def _explain_key(dotted: str, draft: Draft) -> str:
    """Describe a key: its meaning, type and default, and every file or override that has set it."""
    schema = draft.schema
    group, _, rest = dotted.partition(".")
    values = draft.values()
    info, owner = _find(dotted, values, schema)
    if info is None:
        below = [key for key in schema.primary if key.startswith(f"{dotted}.")]
        if below:
            return "\n".join([f"{dotted}: a section of keys", *key_table([schema.primary[k] for k in below], "")])
        inner = _subsection(dotted, values, schema)
        if inner:
            return "\n".join([f"{dotted}: a section of keys", *key_table(inner, f"{group}.")])
        raise ConfigError(Problem(dotted, "unknown key.", nearest_key(dotted, schema)))
    lines = [f"{dotted}: {info.help}" if info.help else dotted]
    origins = provenance(draft).get(dotted, [])
    present = origins[-1].value if origins else defaults(values, schema).get(dotted)
    if owner is not None and group in COMPONENTS and _component(values, group) != schema.full(owner).component:
        others = [n for n, o in schema.options(group).items() if rest in schema.full(o).keys]
        lines.append(
            f"  belongs   to {', '.join(f'{group}={n}' for n in others)}; now {group}={_component(values, group)}"
        )
        origins = []
    else:
        lines.append(f"  value     {format_yaml(present)}{_wrong(info, present)}")
    lines.append(f"  accepts   {info.contract or 'anything'}")
    lines.append(f"  effect    {(info.contract.effect if info.contract else RESULT).words}")
    if info.contract and info.contract.tune:
        lines.append(f"  tuned     {info.contract.tune} (sweep.budget)")
    lines.append(f"  default   {info.default}  ({info.source})")
    if origins:
        lines.append("  set by")
        for i, origin in enumerate(origins):
            replaced = f", replacing {format_yaml(origins[i - 1].value)}" if i else ""
            lines.append(f"    {origin.source} -> {format_yaml(origin.value)}{replaced}")
    return "\n".join(lines)


def _find(dotted: str, values: dict[str, Any], schema: Schema) -> tuple[Key | None, Option | None]:
    """A key and the option that has it: the present component if possible, else the first option that does."""
    if dotted in schema.primary:
        return schema.primary[dotted], None
    group, _, rest = dotted.partition(".")
    if group not in GROUPS or group == "experiment":
        return None, None
    present = schema.section(group, _component(values, group))
    for option in [*([present] if present else []), *map(schema.full, schema.options(group).values())]:
        if rest in option.keys:
            return option.keys[rest], option
    return None, None


def _subsection(dotted: str, values: dict[str, Any], schema: Schema) -> list[Key]:
    """The keys below a key that is a section of its group, such as `trainer.early_stop`."""
    group, _, rest = dotted.partition(".")
    present = schema.section(group, _component(values, group)) if group in GROUPS and group != "experiment" else None
    return [key for name, key in present.keys.items() if name.startswith(f"{rest}.")] if present else []


def _component(values: dict[str, Any], group: str) -> str:
    """The name of the component that is chosen in a group."""
    section = values.get(group)
    return str(section.get("name", "")) if isinstance(section, dict) else ""


def _wrong(info: Key, value: object) -> str:
    """A remark if the key does not accept its present value."""
    if info.contract is None or (isinstance(value, str) and "${" in value):
        return ""
    try:
        info.contract.accept(value)
    except Mismatch as mismatch:
        return f"   <- {mismatch}"
    return ""
