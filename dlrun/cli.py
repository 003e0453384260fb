"""The command line: parses arguments and calls the function of a command.

Arguments with `=` are configuration, wherever they stand; what belongs to a command is a flag.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from dlrun.command_line import CommandLine
from dlrun.commands import COMMANDS
from dlrun.config.overrides import other_tools
from dlrun.config.schema.schema import all_keys, set_config_dir, text_schema, unread_conf
from dlrun.config.schema.words import key_of
from dlrun.errors import ConfigError, DlrunError, Problem, RunError, did_you_mean, of_the_system
from dlrun.manual import MANUAL
from dlrun.plain import printable

FLAGS = {  # of every command, for the help page
    "-m, --multirun": "run every combination of the values given (optimizer=sgd,adam)",
    "--cfg job": "print the configuration and stop; with --resolve, interpolations are replaced",
    "--config-dir DIR": "look for YAML files in DIR first",
    "--plugin FILE": "import a Python file with components of your own (may be repeated)",
    "--quiet": "print results and errors only",
    "--completion SHELL": "print the script that switches on completion in bash, zsh or fish",
    "--help, --version": "this page; the version",
}
GLOBAL = {  # flags of every command, with the number of arguments that follow
    "--multirun": 0,
    "--cfg": 1,
    "--resolve": 0,
    "--config-dir": 1,
    "--plugin": 1,
    "--quiet": 0,
    "--completion": 1,
    "--complete": 2,
    "--help": 0,
    "--version": 0,
}
LONG_WORD = re.compile(r"(\S{300})\S{700,}")  # of an error: its beginning is enough to know it by
GROUP_WORDS = ("experiment", "model", "dataset", "optimizer", "scheduler", "loss", "trainer", "device")
SHORT_FLAGS = {"-m": "--multirun", "-h": "--help", "-q": "--quiet", "-c": "--cfg", "-o": "--output"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code. Only a bug of dlrun ends in a traceback."""
    given = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # closed by `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        expect_working_folder()
        line = parse(given)
        if argv is None and (
            twice := _given_twice(line.overrides)
        ):  # typed by hand; in a program's list the last counts
            raise ConfigError(twice)
        code = run(line)
        sys.stdout.flush()
        return code
    except DlrunError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `dlrun list | head`
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (refused := of_the_system(error)) is not None:
            print_error(refused)
            return refused.exit_code
        traceback.print_exc()
        print("\nThis is a bug of dlrun's, not yours: please report it with the lines above.", file=sys.stderr)
        return 1


def expect_working_folder() -> None:
    """Raise `RunError` where the folder that the shell is in has been removed: nothing works there, not even torch."""
    try:
        os.getcwd()
    except OSError as error:
        raise RunError(f"the working folder cannot be entered ({error.strerror}). Change to another one.") from None


def run(line: CommandLine) -> int:
    """Answer `--version`, `--help` and completion, or call the command's function."""
    set_config_dir(line.value("--config-dir"))
    if "--version" in line.flags:
        from dlrun import __version__

        print(f"dlrun {__version__}")
        return 0
    if "--complete" in line.flags:
        return _complete(*line.flags["--complete"][-2:])
    if shell := line.value("--completion"):
        from dlrun.config.schema.completion import script

        print(script(shell), end="")
        return 0
    command = COMMANDS[line.command]
    if "--help" in line.flags:
        return _print_help(line)
    fewest, most = command.plain
    usage = f"Usage: {command.usage}"
    if line.plain and not line.command:
        raise ConfigError([_stray(word) for word in line.plain])
    if not fewest <= len(line.plain) <= most:
        raise ConfigError(
            Problem(line.command, "has too few words." if len(line.plain) < fewest else "has too many words.", usage)
        )
    if line.overrides and not command.overrides:
        raise ConfigError(Problem(line.overrides[0], f"{line.command} takes no configuration.", usage))
    if "--multirun" in line.flags and line.command:
        raise ConfigError(Problem("--multirun", f"{line.command} looks at one configuration.", usage))
    if command.overrides and not line.quiet and (note := unread_conf()):
        print(note, file=sys.stderr)
    return _print_config(line) if "--cfg" in line.flags else command.call(line)


# --- reading ----------------------------------------------------------------------------------------------------------


def parse(argv: list[str]) -> CommandLine:
    """Parse the arguments of a command line. Raises `ConfigError` for an unknown flag."""
    line, rest = CommandLine(argv), list(argv)
    while rest:
        word = rest.pop(0)
        following = "".join(rest[:1])
        if following.startswith("=") or (word.endswith("=") and rest and not is_override(following)):
            spaced = word + following + ("".join(rest[1:2]) if following == "=" else "")
            raise ConfigError(Problem(word, "KEY=VALUE is written without spaces.", f"Write {spaced}"))
        if word.startswith("-") and len(word) > 1 and not re.match(r"-\.?\d", word):
            _take_flag(word, rest, line)
        elif is_override(word):
            line.overrides.append(word)
        elif not line.command and not line.plain and word in COMMANDS:
            line.command = word
        else:
            line.plain.append(word)
    return line


def is_override(word: str) -> bool:
    """Whether an argument is configuration. An existing path with a `=` in it is not."""
    left, equals, _ = word.partition("=")
    return word.startswith("~") or bool(equals and not ("/" in left and os.path.exists(word)))


def _take_flag(word: str, rest: list[str], line: CommandLine) -> None:
    """Add a flag with its arguments: `--plugin FILE`, `--plugin=FILE`, `--force K=V K=V`."""
    name, equals, value = word.partition("=")
    name = SHORT_FLAGS.get(name, name)
    known = {**GLOBAL, **COMMANDS[line.command].flags}
    if name not in known:
        hint = _key_for_flag(name, value or next(iter(rest), "")) or did_you_mean(name, [*known, *SHORT_FLAGS])
        hint = hint or f"Usage: {COMMANDS[line.command].usage}"
        raise ConfigError(Problem(name, "there is no such flag.", hint))
    taken = [value] if equals else []
    count = known[name]
    while rest and (len(taken) < count or (count < 0 and is_override(rest[0]))):
        taken.append(rest.pop(0))
    if len(taken) < abs(count) or (equals and count == 0):
        missing = "takes no value." if count == 0 else "needs a value after it."
        raise ConfigError(Problem(name, missing, f"Usage: {COMMANDS[line.command].usage}"))
    line.flags.setdefault(name, []).extend(taken)


def _key_for_flag(flag: str, value: str) -> str:
    """The hint for a flag of other tools (`--epochs 3`) that is a key here (`trainer.epochs=3`)."""
    meant = other_tools.keys_meant(flag.lstrip("-").replace("-", "_"), all_keys(text_schema()))
    value = value if value and not value.startswith("-") else "VALUE"
    return f"Settings have no dashes: {meant[0]}={value}" if meant else ""


def _given_twice(overrides: Sequence[str]) -> list[Problem]:
    """Problems of keys that two words set to different values, as in `seed=1 seed=2`; `KEY+=[...]` adds to a list."""
    setting = [word for word in overrides if "=" in word and not word.partition("=")[0].endswith("+")]
    first = {key_of(word): word for word in reversed(setting)}
    return [
        Problem(key, f"is given twice: {first[key]} and {word}.", "Leave one of them out.")
        for key, word in ((key_of(word), word) for word in setting)
        if first[key] != word
    ]


def _stray(word: str) -> Problem:
    """The problem of an argument that is neither a command nor configuration."""
    if "]" in word or "[" in word or "," in word:
        return Problem(
            word, "is half of a value with spaces in it.", "Put the word in quotes: 'model.hidden=[64, 64]'."
        )
    for group, options in ((group, text_schema().options(group)) for group in GROUP_WORDS):
        if word in options:
            return Problem(word, "is not a command.", f"Did you mean {group}={word}?")
    hint = other_tools.OTHER_COMMANDS.get(word) or did_you_mean(word, COMMANDS) or "`dlrun --help` lists the commands."
    return Problem(word, "is neither a command nor KEY=VALUE.", hint)


def print_error(error: DlrunError) -> None:
    """Print an error on stderr, a line for each problem."""
    bold, red, plain = ("\x1b[1m", "\x1b[31m", "\x1b[0m") if _color() else ("", "", "")
    if isinstance(error, ConfigError):
        problems = list(dict.fromkeys(error.problems))
        lines = ["error:" if len(problems) == 1 else f"{len(problems)} errors:"]
        for problem in problems:
            break_ = " " if len(str(problem)) <= 110 else "\n      "
            key, rest = printable(problem.key), printable(f"{problem.message}{break_}{problem.hint}")
            lines.append(f"  {bold}{key}{plain}: {rest}".rstrip())
    else:
        lines = ["error:", *(f"  {line}".rstrip() for line in printable(str(error)).split("\n"))]
    print(LONG_WORD.sub(r"\1...", "\n".join([f"{bold}{red}{lines[0]}{plain}", *lines[1:]])), file=sys.stderr)


def _color() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _print_help(line: CommandLine) -> int:
    from dlrun.config.schema.pages import help_page

    command = COMMANDS[line.command]
    if line.command:
        print(f"usage: {command.usage}\n\n{command.summary[:1].upper()}{command.summary[1:]}.")
        print("\n".join(filter(None, [MANUAL.get(line.command)])))
    else:
        print(help_page(text_schema(), {name: c.summary for name, c in COMMANDS.items() if name}, FLAGS))
    return 0


def _complete(shell: str, line: str) -> int:
    from dlrun.config.schema.completion import complete

    flags = [flag for flag in [*GLOBAL, "-m"] if flag != "--complete"]
    print("\n".join(complete(shell, line, text_schema(), [name for name in COMMANDS if name], flags, _runs)))
    return 0


def _runs() -> list[str]:
    """Completions of RUN, the newest first: `last`, the names of runs, and paths where a name is ambiguous."""
    from dlrun.store.find import named_places

    found = {name: places for name, places in named_places().items() if re.fullmatch(r"[\w./=+-]+", name)}
    return ["last", *(name if len(places) == 1 else str(place) for name, places in found.items() for place in places)]


def _print_config(line: CommandLine) -> int:
    """`--cfg job`: check the configuration and print it as YAML."""
    from dlrun.config.expand import open_settled
    from dlrun.config.schema.yamls import dumps

    if line.value("--cfg") != "job":
        raise ConfigError(
            Problem("--cfg", f"prints the job's configuration, not {line.value('--cfg')!r}.", "Write --cfg job.")
        )
    draft = open_settled(line.overrides, **line.options).single()
    config = draft.config()
    print(config.to_yaml() if "--resolve" in line.flags else dumps(draft.values()), end="")
    return 0
