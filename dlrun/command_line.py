"""A parsed command line, and what a command is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dlrun.errors import ConfigError, Problem


@dataclass
class CommandLine:
    """A parsed command line: the command, its plain arguments, configuration overrides, and flags with their values."""

    argv: list[str]
    command: str = ""
    plain: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    flags: dict[str, list[str]] = field(default_factory=dict)

    def value(self, flag: str) -> str | None:
        """The last value of a flag, or None."""
        return self.flags[flag][-1] if self.flags.get(flag) else None

    @property
    def quiet(self) -> bool:
        """Whether --quiet was given."""
        return "--quiet" in self.flags

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of composition."""
        return {"plugin_files": self.flags.get("--plugin", [])}

    def number(self, flag: str, default: int) -> int:
        """The value of a flag as an integer >= 1. Raises `ConfigError` for others."""
        text = self.value(flag)
        if text is not None and not (text.isdecimal() and int(text) > 0):
            raise ConfigError(Problem(flag, f"takes a whole number from 1, not {text!r}."))
        return default if text is None else int(text)


@dataclass(frozen=True)
class Command:
    """A command and its function. `flags` have the number of arguments that follow, -1 for all with `=`."""

    call: Callable[[CommandLine], int]
    usage: str
    summary: str
    flags: dict[str, int] = field(default_factory=dict)
    plain: tuple[int, int] = (0, 0)  # fewest and most plain arguments
    overrides: bool = True
