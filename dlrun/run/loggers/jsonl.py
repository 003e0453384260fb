"""metrics.jsonl: a JSON object for each epoch, for other programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from dlrun.plain import json_value
from dlrun.store.files import open_append, write_atomic
from dlrun.store.rundir import RunDir


def jsonl(run: RunDir, history: list[dict[str, float]]) -> Callable[[Mapping[str, float]], None]:
    """Write the rows of `history`. Returns a function that appends a row."""
    path = run.file("metrics.jsonl")
    write_atomic(path, "".join(json.dumps(json_value(row)) + "\n" for row in history).encode())

    def write(row: Mapping[str, float]) -> None:
        with open_append(path) as file:
            file.write(json.dumps(json_value(row)) + "\n")

    return write
