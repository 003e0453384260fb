"""The text of `dlrun --help` and `dlrun list`."""

from __future__ import annotations

import textwrap

from dlrun.components.registry import METRICS
from dlrun.config.schema.effects import RESULT
from dlrun.config.schema.schema import GROUPS, Key, Option, Schema
from dlrun.errors import ConfigError, Problem, did_you_mean

EXAMPLES = """\
  dlrun                                               an MLP on scikit-learn's digits, in seconds
  dlrun model=gru dataset=names device=cuda           choose options of groups
  dlrun optimizer=adam optimizer.lr=0.01 seed=3       set keys
  dlrun -m optimizer=sgd,adam seed=range(3)           a sweep: every combination
  dlrun experiment=names_gru trainer=smoke            an experiment, cut down to a smoke test
  dlrun explain optimizer.lr                          what a key is, and who set it
  dlrun --cfg job model=cnn dataset=mnist             the configuration, without running it"""

HELP_GROUPS = ("trainer", "device", "checkpoint")  # groups whose keys are the same for all options


def help_page(schema: Schema, commands: dict[str, str], flags: dict[str, str]) -> str:
    """The text of `dlrun --help`."""
    lines = ["dlrun: run deep-learning experiments from configuration", ""]
    lines += ["usage: dlrun [FLAGS] [GROUP=OPTION | KEY=VALUE] ...", "       dlrun COMMAND [ARGUMENTS] [FLAGS]", ""]
    lines += ["examples:", EXAMPLES, "", "commands (dlrun COMMAND --help says more):"]
    lines += [f"  {name:<14} {text}" for name, text in commands.items()]
    lines += ["", "flags:", *(f"  {name:<21} {text}" for name, text in flags.items())]
    lines += ["", "groups (usual option first):"]
    for group in GROUPS:
        usual, text = schema.groups[group]
        names = [name for name in schema.options(group) if name != usual]
        listed = ", ".join([usual, *names] if usual not in ("", "null") else names)
        lines.append(f"  {group:<11} {text}")
        lines += textwrap.wrap(listed, 108, initial_indent=" " * 14, subsequent_indent=" " * 14, break_long_words=False)
    lines.append("")
    lines.append(
        "keys (dlrun explain GROUP=OPTION lists those of models, datasets, losses, optimizers and schedulers):"
    )
    shown = list(schema.primary.values())
    lines += key_table(shown, "")
    for group in HELP_GROUPS:
        section = schema.section(group, "")
        keys = list(section.keys.values()) if section else []
        lines += ["", *key_table(keys, f"{group}.")]
        shown += keys
    lines += ["", "after the semicolon, what a key changes (all others change the result):", *effect_legend(shown)]
    lines += ["", "Settings of your own live in ./conf/dlrun.yaml; ./conf/GROUP/OPTION.yaml beside it adds an option."]
    return "\n".join(lines)


def list_page(word: str | None, schema: Schema) -> str:
    """The text of `dlrun list` or `dlrun list models`. Raises `ConfigError` for an unknown group."""
    if word is None:
        return "\n\n".join("\n".join([f"{plural}:", *list_options(group, schema)]) for group, plural in GROUPS.items())
    by_word = {**{plural: group for group, plural in GROUPS.items()}, **{group: group for group in GROUPS}}
    by_word["metrics"] = by_word["metric"] = "metric"
    if word not in by_word:
        hint = did_you_mean(word, by_word) or f"Allowed: {', '.join(GROUPS.values())}."
        raise ConfigError(Problem(word, "is not a kind of thing that can be listed.", hint))
    if by_word[word] == "metric":
        return "\n".join(f"  {name}" for name in METRICS.names())
    return "\n".join(list_options(by_word[word], schema))


def list_options(group: str, schema: Schema) -> list[str]:
    """A line for each option of a group: its name, its description, and what it takes, gives or is made for."""
    options = schema.options(group)
    width = max((len(name) for name in options), default=0)
    lines = []
    for name, option in options.items():
        full = schema.full(option)
        notes = [f"{word}: {full.headers[word]}" for word in ("takes", "gives", "for") if word in full.headers]
        notes += [effect_of_option(option, schema)] if group != "experiment" else []
        note = f"  [{'; '.join(filter(None, notes))}]" if any(notes) else ""
        lines.append(f"  {name:<{width}}  {option.description}{note}".rstrip())
        if "expect" in option.headers:
            lines.append(f"  {'':<{width}}  expect: {option.headers['expect']}")
    return lines or ["  (none)"]


def effect_of_option(option: Option, schema: Schema) -> str:
    """The effect that all keys of an option have in common, in words; empty if they change the result."""
    found = {schema.effect(f"{option.group}.{key}", {option.group: {"name": option.component}}) for key in option.keys}
    return found.pop().words if len(found) == 1 and RESULT not in found else ""


def key_table(keys: list[Key], prefix: str) -> list[str]:
    """A line for each key: its default, help and contract, with its effect unless it changes the result."""
    left = [f"{prefix}{key.key}={key.default}" for key in keys]
    width = min(max(map(len, left), default=0), 44)
    lines = []
    for text, key in zip(left, keys, strict=True):
        facts = [str(key.contract), key.contract.effect.name] if key.contract else []
        contract = f"({'; '.join(filter(None, facts))})" if facts else ""
        lines.append(f"  {text:<{width}}  {' '.join(filter(None, [key.help, contract]))}".rstrip())
    return lines


def effect_legend(keys: list[Key]) -> list[str]:
    """A line for each effect of these keys, except that of changing the result."""
    found = dict.fromkeys(key.contract.effect for key in keys if key.contract and key.contract.effect != RESULT)
    return [f"  {effect.name:<8}  {effect.words}" for effect in found]
