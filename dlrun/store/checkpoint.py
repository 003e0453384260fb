"""Checkpoints on disk: one file each, whole or not there, with its own checksum, and never any code in it.

The file is an ordinary `torch.save` archive of tensors and plain Python, so `torch.load(path, weights_only=True)`
reads it. Its SHA-256 is the archive's zip comment: one file, written by one rename, that says whether it is whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dlrun.bounded import open_regular
from dlrun.errors import DlrunError, RunError, in_words
from dlrun.plain import Values
from dlrun.store.contents import LAST_FILE, Check, expect, expect_format
from dlrun.store.files import write_atomic
from dlrun.store.rundir import RunDir

FORMAT = 1  # of the values; a reader refuses one that is newer than itself
NOTHING: dict[str, Check] = {}
MARK = b"dlrun sha256 "
END = 22  # bytes of a zip's end record, whose last two hold the length of the comment


def pack(values: Values) -> bytes:
    """The bytes of a checkpoint file, checksum included."""
    import torch

    buffer = io.BytesIO()
    torch.save({"format": FORMAT} | values, buffer)
    data = buffer.getvalue()
    comment = MARK + hashlib.sha256(data).hexdigest().encode()
    return data[:-2] + struct.pack("<H", len(comment)) + comment


def check(path: Path) -> None:
    """Raise `RunError` unless the file is whole."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    size = len(MARK) + 64
    body, comment = data[:-size], data[-size:]
    if len(data) < size + END or not comment.startswith(MARK):
        raise RunError(f"{path} is cut short or is no dlrun checkpoint.")
    if hashlib.sha256(body[:-2] + b"\0\0").hexdigest().encode() != comment[len(MARK) :]:
        raise RunError(f"{path} is damaged: its checksum does not fit.")


def read(path: Path, device: str = "cpu", fields: Mapping[str, Check] = NOTHING) -> Values:
    """Load one checkpoint without running any code from it, and check that it has these fields.

    Raises `RunError` when that cannot be done.
    """
    if not path.is_file():
        raise RunError(f"there is no checkpoint {path}.")
    check(path)
    return expect(path, read_unchecked(path, device), fields)


def read_unchecked(path: Path, device: str = "cpu") -> Values:
    """Load a file of tensors and plain Python, of dlrun or of plain torch; pickled objects are refused."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the file is unusual is said better below
            os.close(open_regular(path))  # a pipe would block
            values = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path} holds more than tensors and plain values (a whole pickled model, say). Loading it would run "
            "code from the file, so dlrun refuses: save model.state_dict() instead."
        ) from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever torch and zipfile make of a file that is damaged
        raise RunError(f"{path} cannot be read as a checkpoint: {in_words(error)}") from error
    if not isinstance(values, dict):
        raise RunError(f"{path} holds a {type(values).__name__}, not a dictionary of tensors.")
    expect_format(path, values, FORMAT)
    return values


@contextmanager
def loading(what: object) -> Iterator[None]:
    """`with loading(path):` values that torch cannot load are a `RunError`, whatever torch raises."""
    try:
        yield
    except (DlrunError, MemoryError):
        raise
    except Exception as error:
        raise RunError(f"{what} does not fit this configuration: {in_words(error)}") from error


def write(path: Path, values: Values) -> None:
    """Write atomically and durably: the previous file is whole until the new one is."""
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, pack(values), sync=True)


def write_last(run: RunDir, values: Values, keep: int) -> None:
    """Write last.pt; the ones before become last-1.pt, last-2.pt, ... as far as they are kept."""
    data = pack(values)  # before anything is renamed
    run.checkpoints.mkdir(exist_ok=True)
    fresh = run.checkpoints / "last.new.pt"
    write_atomic(fresh, data, sync=True)
    names = [run.last, *(run.checkpoints / f"last-{i}.pt" for i in range(1, keep))]
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.exists():
            os.replace(newer, older)
    os.replace(fresh, run.last)
    for extra in candidates(run)[keep:]:
        extra.unlink()


def candidates(run: RunDir) -> list[Path]:
    """The checkpoints that resuming may start from, newest first."""
    fresh = run.checkpoints / "last.new.pt"  # whole, but its renaming was cut short
    numbered = [path for path in run.checkpoints.glob("last-*.pt") if path.stem[5:].isdecimal()]
    older = sorted(numbered, key=lambda path: int(path.stem[5:]))
    return [path for path in (fresh, run.last, *older) if path.is_file()]


def newest(run: RunDir, device: str = "cpu") -> tuple[Values, Path, list[str]]:
    """The newest checkpoint that is whole, its path, and what was skipped on the way. Raises `RunError` if none is."""
    skipped: list[str] = []
    for path in candidates(run):
        try:
            return read(path, device, LAST_FILE), path, skipped
        except RunError as error:
            skipped.append(str(error))
    raise RunError("\n".join([f"{run.path} has no checkpoint that can be read.", *skipped]))
