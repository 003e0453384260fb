"""`dlrun inspect`: what is in a table, in a list of texts with labels, or in a folder of images, without torch.

Nothing is changed, and nothing is left out on its word: what is found is said, with the command that trains on it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from dlrun.checks.findings import Findings
from dlrun.checks.inspect_images import inspect_images
from dlrun.checks.inspect_table import inspect_table
from dlrun.checks.inspect_texts import as_texts, inspect_texts
from dlrun.data.image_files import ENDINGS, hidden
from dlrun.data.paths import resolve
from dlrun.data.table.read import Reading, read_table
from dlrun.errors import ConfigError, DataError, Problem
from dlrun.plain import Values, json_value, say
from dlrun.report.tables import print_table

REPLACED = ("dataset=", "dataset.path=", "dataset.target=")  # overrides that the command spells itself


def inspect_command(
    paths: Sequence[str], keys: Values, target: str | None, overrides: Sequence[str], as_json: bool
) -> int:
    """Print what was found, as tables or as one JSON object. Returns the exit code.

    `keys` are the keys of `dataset=table`, with the `overrides` applied. Raises `DataError` for files that cannot be
    read, `ConfigError` for keys that do not go with them.
    """
    found = inspect_files(paths, keys, target, overrides)
    command = shlex.join(["dlrun", *found.command]) if found.command else None
    if as_json:
        facts = {**found.facts, "notes": [*found.notes], "remarks": [*found.remarks], "command": command}
        say(json.dumps(json_value(facts), ensure_ascii=False))
        return 0
    say("\n".join(found.notes))
    for table in found.tables:
        say()
        print_table(table)
    if found.remarks:
        say("\n" + "\n".join(f"  remark: {line}" for line in found.remarks))
    if command:
        say(f"\nTo train on it:\n    {command}")
    return 0


def inspect_files(paths: Sequence[str], keys: Values, target: str | None, overrides: Sequence[str]) -> Findings:
    """The findings on the files or the folder."""
    folders = [path for path in paths if path and resolve(path).is_dir()]
    if folders:
        given = ["--target"] * (target is not None) + list(overrides) + [path for path in paths if path != folders[0]]
        if given:
            raise ConfigError(Problem(given[0], f"does not go with a folder of images, {folders[0]}."))
        return inspect_images(folders[0], images_in(resolve(folders[0])))
    images = [path for path in paths if resolve(path).suffix.lower() in ENDINGS]
    if images:
        raise DataError(f"{images[0]}: is an image. Name the folder that holds a folder of images for each class.")
    wanted = [keys["target"]] if isinstance(keys["target"], str) else list(keys["target"] or [])
    if len(wanted) > 1:
        raise ConfigError(Problem("dataset.target", "is one column here: targets are inspected one by one."))
    target = target or next(iter(wanted), None)
    words = [word for word in overrides if not word.startswith(REPLACED)]
    table = read_table(list(paths), Reading(keys["header"], keys["delimiter"], keys["encoding"]))
    texts = as_texts(paths, table, keys, target) if not words else None
    return inspect_texts(texts) if texts is not None else inspect_table(paths, table, keys, target, words)


def images_in(folder: Path) -> Path:
    """The folder, if it may hold images. Raises `DataError` for others."""
    inside = [entry for entry in folder.iterdir() if not hidden(entry.name)]
    if any(entry.is_dir() or entry.suffix.lower() in ENDINGS for entry in inside):
        return folder
    raise DataError(
        f"{folder}: holds neither folders of images nor images. Of a folder of tables, name the files: "
        f"dlrun inspect '{folder}/*.csv'"
    )
