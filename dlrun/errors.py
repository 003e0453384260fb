"""The errors for users. Each message says what is wrong, where, and what to do about it.

Every error has the exit code of the command (see docs/architecture.md). Any exception that is not a `DlrunError` is a
bug of dlrun's: it is shown with its traceback, and the exit code is 1.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Kind = Literal[  # of a failure
    "diverged",  # a loss, gradients or weights are not finite
    "out_of_memory",  # of the device or of the machine
    "disk_full",  # the run's files cannot be written
    "component",  # an exception in a component of the user's
    "input",  # the configuration, the data or a run directory is at fault
    "signal",  # stopped or killed from outside
    "timeout",  # killed by the sweep after sweep.job_timeout
    "crash",  # the process ended without a word
    "bug",  # an exception in dlrun itself
]
COMPONENT_RAISES = (Exception, SystemExit, GeneratorExit, KeyboardInterrupt)  # whatever a user's code may raise


def first_line(message: object) -> str:
    """The first line of a message or of an error's message; "" if it is empty."""
    return (str(message).strip().splitlines() or [""])[0]


def in_words(error: BaseException) -> str:
    """Type and message of an error, such as `ValueError: boom`."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


def cannot_write(path: object, error: OSError) -> str:
    """The message for a path that cannot be written to."""
    return f"cannot write to {path}: {error.strerror or error}."


class DlrunError(Exception):
    """Base class of all errors that a user can correct. `exit_code` is that of the command."""

    exit_code = 2
    kind: Kind = "input"


@dataclass(frozen=True)
class Problem:
    """A problem of a configuration: the dotted key, what is wrong, and what would be right."""

    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" + (f" {self.hint}" if self.hint else "")


class ConfigError(DlrunError):
    """All problems of a configuration."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataError(DlrunError):
    """Missing, damaged or unsuitable data; the message names the file, the line and the remedy."""


class RunError(DlrunError):
    """A run directory or checkpoint that cannot be used as asked."""


class InUse(RunError):
    """A directory is in use by another process, which `owner` describes."""

    def __init__(self, path: object, owner: str) -> None:
        self.owner = owner
        super().__init__(f"{path} is in use by another dlrun process ({owner}).")


def of_the_system(error: BaseException) -> RunError | None:
    """What the operating system refuses, whatever asked for it: a further open file, a name of 5,000 characters."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return RunError("too many files are open at once. Allow more of them, for example with ulimit -n 1024.")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return RunError(f"{error.filename}: {error.strerror}.")
    return None


class CheckFailed(DlrunError):
    """A check such as verify-resume found a difference, or a sweep has failed jobs."""

    exit_code = 3


class TrainingFailed(DlrunError):
    """Training failed for the reason that `kind` names."""

    exit_code = 4

    def __init__(self, message: str, kind: Kind) -> None:
        self.kind = kind
        super().__init__(message)


class Diverged(TrainingFailed):
    """A loss or a weight is not finite; `what` says which one, and when."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: training diverged.", "diverged")


class ComponentError(TrainingFailed):
    """An exception in a user's component, which is shown with its traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "component")


def count_of(number: float, word: str) -> str:
    """A number with its noun: `1 epoch`, `2 epochs`, `10,000 steps`, `3 batches`."""
    return f"{number:,.0f} {word}{'' if number == 1 else 'es' if word.endswith(('tch', 'nch', 'ss')) else 's'}"


def an(word: str) -> str:
    """A word with its indefinite article: `an optimizer`, `a model`."""
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def enumerated(words: Iterable[object]) -> str:
    """Words as a sentence has them: `a`, `a and b`, `a, b and c`."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean X?` with the nearest of the known words, or the empty string if none is near."""
    words = [str(k) for k in known]
    swapped = [k for k in words if sorted(k) == sorted(str(word))]  # letters in another order: the commonest slip
    near = swapped or get_close_matches(str(word), words, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def allowed_words(word: str, known: Collection[str]) -> str:
    """A hint for an unknown word: the nearest of the known words, or all of them if none is near."""
    return did_you_mean(word, known) or f"Allowed: {', '.join(known)}."
