"""Shell completion of options, keys, commands and runs, from the text of the YAML files.

The scripts call `dlrun --complete SHELL LINE`, where LINE is the command line up to the cursor.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from dlrun.config.schema.schema import GROUPS, Schema
from dlrun.errors import ConfigError, Problem, allowed_words

TAKE_FILES = ("inspect",)  # commands whose words are files, which the shell completes itself
TAKE_A_RUN = (["resume"], ["rerun"], ["replay"], ["compare"], ["report"])  # commands that take a RUN
SCRIPTS = {
    "bash": """\
# dlrun's completion for bash: add to ~/.bashrc:  eval "$(dlrun --completion bash)"
_dlrun() {
    local IFS=$'\\n'
    COMPREPLY=($(dlrun --complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -o nospace -o default -F _dlrun dlrun
""",
    "zsh": """\
# dlrun's completion for zsh: add to ~/.zshrc, after compinit:  eval "$(dlrun --completion zsh)"
_dlrun() {
    local -a found
    found=("${(@f)$(dlrun --complete zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -Q -S '' -- $found || _files
}
compdef _dlrun dlrun
""",
    "fish": """\
# dlrun's completion for fish: dlrun --completion fish > ~/.config/fish/completions/dlrun.fish
complete -c dlrun -f -a '(dlrun --complete fish (commandline -cp) 2>/dev/null)'
""",
}


def script(shell: str) -> str:
    """The script that enables completion. Raises `ConfigError` for a shell that is not supported."""
    if shell not in SCRIPTS:
        raise ConfigError(Problem("--completion", f"there is no script for {shell!r}.", allowed_words(shell, SCRIPTS)))
    return SCRIPTS[shell]


def complete(
    shell: str,
    line: str,
    schema: Schema,
    commands: Iterable[str],
    flags: Iterable[str],
    runs: Callable[[], list[str]] = list,
) -> list[str]:
    """Completions of the last word of a line, in the form that the shell expects.

    `runs` lists the possible values of RUN; it is called where a command takes one.
    """
    words = _split(line)
    current = words.pop() if words and not line.endswith((" ", "\t")) else ""
    if words[1:] in TAKE_A_RUN and not current.startswith("-"):
        found = _starting(runs(), current)
    elif words[1:2] and words[1] in TAKE_FILES and not current.startswith(("-", "dataset.")):
        found = []
    else:
        found = completions(words[1:], current, schema, commands, flags)
    if shell == "bash":  # bash replaces only the part after the last `=` or `:`, and adds no space
        cut = max(current.rfind("="), current.rfind(":")) + 1
        return [word[cut:] + ("" if word.endswith(("=", ".")) else " ") for word in found]
    return found


def completions(
    before: list[str], current: str, schema: Schema, commands: Iterable[str], flags: Iterable[str]
) -> list[str]:
    """Whole words that begin with `current`; `before` are the words before it."""
    if current.startswith("-"):
        return _starting(flags, current)
    if "=" in current:
        return _values(current, schema)
    if before[-1:] == ["list"]:
        return _starting(GROUPS.values(), current)
    group = current.partition(".")[0]
    if "." in current and group in GROUPS:
        chosen = dict(word.split("=", 1) for word in before if "=" in word)
        option = schema.options(group).get(chosen.get(group) or schema.groups[group][0])
        keys = schema.full(option).keys if option else {}
        return _starting([f"{group}.{key}=" for key in keys if key != "name"], current)
    words = [f"{group}=" for group in GROUPS] + [f"{key}=" for key in schema.primary]
    sections = [f"{group}." for group in GROUPS if group != "experiment"] if current else []
    return _starting([*([] if before else commands), *words, *sections], current)


def _values(current: str, schema: Schema) -> list[str]:
    """Options of a group, or literal values of a key. After a comma, the last item is completed."""
    key, _, value = current.partition("=")
    head, comma, last = value.rpartition(",")
    contract = schema.contract(key)
    known = list(schema.options(key)) if key in GROUPS else contract.words if contract else []
    if contract and contract.has("bool"):
        known = [*known, "true", "false"]
    return _starting([f"{key}={head}{comma}{word}" for word in known], f"{key}={head}{comma}{last}")


def _starting(words: Iterable[str], start: str) -> list[str]:
    return [word for word in words if word.startswith(start)]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an open quote
        return line.split()
