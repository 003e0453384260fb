"""`Failure`: why a run failed, as it is stored in status.json and shown in tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from dlrun.errors import Kind, first_line
from dlrun.plain import Values

EXIT_KINDS: dict[int, Kind] = {1: "bug", 2: "input", 130: "signal", 143: "signal"}
OLD_SENTENCES: dict[Kind, str] = {  # how the messages begin in versions that stored no kind
    "component": r"an exception in a component of yours",
    "diverged": r"the loss of step \d+ is .*: training diverged|anomaly: ",
    "out_of_memory": r"out of memory",
    "disk_full": r"cannot write to ",
    "timeout": r"no end after .* \(sweep\.job_timeout\)",
    "signal": r"stopped by SIG|killed: SIG",
}


@dataclass(frozen=True)
class Failure:
    """Why a run failed or stopped. The first line of `message` says what went wrong; details may follow."""

    kind: Kind
    message: str
    traceback: str = ""
    exit_code: int = 4

    @property
    def first_line(self) -> str:
        """What went wrong, in one line."""
        return first_line(self.message)

    @property
    def last_line(self) -> str:
        """The last line of the message: after a traceback, the exception."""
        return self.message.strip().splitlines()[-1]

    def to_values(self) -> Values:
        """The fields of status.json and of a job's result. `read_failure` is the inverse."""
        return {
            "kind": self.kind,
            "error": self.message,
            "traceback": self.traceback or None,
            "exit_code": self.exit_code,
        }


def read_failure(values: Mapping[str, object]) -> Failure | None:
    """Read the failure from a status.json or from a job's result or record. None if there is none."""
    message, code = str(values.get("error") or ""), values.get("exit_code")
    if not message:
        return None
    known: Kind | None = next((kind for kind in get_args(Kind) if kind == values.get("kind")), None)
    kind = known or guess_kind(message, code)
    return Failure(kind, message, str(values.get("traceback") or ""), code if isinstance(code, int) else 4)


def guess_kind(message: str, exit_code: object) -> Kind:
    """The kind of a failure that was written by a version without kinds."""
    if isinstance(exit_code, int) and exit_code in EXIT_KINDS:
        return EXIT_KINDS[exit_code]
    return next((kind for kind, sentence in OLD_SENTENCES.items() if re.match(sentence, message)), "crash")
