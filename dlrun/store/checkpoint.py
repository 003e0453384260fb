"""Read and write checkpoints: files of tensors and plain Python values, each with a checksum.

A checkpoint is a `torch.save` archive that `torch.load(path, weights_only=True)` reads. The comment of the zip archive
holds its SHA-256. Files are written under a temporary name and renamed, so that there is never half a checkpoint.
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
from dlrun.errors import RunError, in_words
from dlrun.plain import Values
from dlrun.store.contents import LAST_FILE, Check, expect, expect_format
from dlrun.store.files import write_atomic
from dlrun.store.rundir import RunDir
from dlrun.torch_errors import is_out_of_memory

FORMAT = 1  # of the values; checkpoints of a later format are refused
ANY_FIELDS: dict[str, Check] = {}
COMMENT = b"dlrun sha256 "
END = 22  # bytes of a zip's end record, of which the last two are the length of the comment


def to_bytes(values: Values) -> bytes:
    """The content of a checkpoint file, checksum included."""
    import torch

    buffer = io.BytesIO()
    torch.save({"format": FORMAT} | values, buffer)
    data = buffer.getvalue()
    comment = COMMENT + hashlib.sha256(data).hexdigest().encode()
    return data[:-2] + struct.pack("<H", len(comment)) + comment


def verify(path: Path) -> None:
    """Raise `RunError` unless the checksum of a checkpoint is right."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    size = len(COMMENT) + 64
    body, comment = data[:-size], data[-size:]
    if len(data) < size + END or not comment.startswith(COMMENT):
        raise RunError(f"{path} is cut short or is no dlrun checkpoint.")
    if hashlib.sha256(body[:-2] + b"\0\0").hexdigest().encode() != comment[len(COMMENT) :]:
        raise RunError(f"{path} is damaged: its checksum does not fit.")


def read_checkpoint(path: Path, device: str = "cpu", fields: Mapping[str, Check] = ANY_FIELDS) -> Values:
    """Load a checkpoint of dlrun's without running code from it, and check that it has these fields.

    Raises `RunError` for a missing or damaged file.
    """
    if not path.is_file():
        raise RunError(f"there is no checkpoint {path}.")
    verify(path)
    return expect(path, read_tensors(path, device), fields)


def read_tensors(path: Path, device: str = "cpu") -> Values:
    """Load a checkpoint of dlrun's or any `state_dict` file of torch. Raises `RunError`, also for pickled objects."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the messages below say more
            os.close(open_regular(path))  # refuses a pipe, which `torch.load` would wait for
            values = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path} holds more than tensors and plain values (a whole pickled model, say). Loading it would run "
            "code from the file, so dlrun refuses: save model.state_dict() instead."
        ) from error
    except Exception as error:  # torch and zipfile raise many kinds for a damaged file
        if is_out_of_memory(error):
            raise
        raise RunError(f"{path} cannot be read as a checkpoint: {in_words(error)}") from error
    if not isinstance(values, dict):
        raise RunError(f"{path} holds a {type(values).__name__}, not a dictionary of tensors.")
    expect_format(path, values, FORMAT)
    return values


@contextmanager
def loading(what: object) -> Iterator[None]:
    """Context manager for loading the values of a checkpoint: `with loading(path):`.

    Torch raises `RuntimeError` or `ValueError` for weights of other names or shapes and for other parameter groups.
    The other exceptions that become a `RunError` here mean that the values are not those that dlrun writes.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise RunError(f"{what} does not fit this configuration: {in_words(error)}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{what} is damaged: {in_words(error)}") from error


def write_checkpoint(path: Path, values: Values) -> None:
    """Write a checkpoint atomically and durably: the previous file is kept until the new one is complete."""
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, to_bytes(values), sync=True)


def write_last(run: RunDir, values: Values, keep: int) -> None:
    """Write last.pt, and rename the ones before to last-1.pt, last-2.pt, ...; `keep` of them are kept in all."""
    data = to_bytes(values)  # before anything is renamed
    run.checkpoints.mkdir(exist_ok=True)
    fresh = run.checkpoints / "last.new.pt"
    write_atomic(fresh, data, sync=True)
    names = [run.last, *(run.checkpoints / f"last-{i}.pt" for i in range(1, keep))]
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.exists():
            os.replace(newer, older)
    os.replace(fresh, run.last)
    for extra in resume_candidates(run)[keep:]:
        extra.unlink()


def resume_candidates(run: RunDir) -> list[Path]:
    """The checkpoints that a run may be resumed from, newest first."""
    fresh = run.checkpoints / "last.new.pt"  # complete, but the process was killed before it was renamed
    numbered = [path for path in run.checkpoints.glob("last-*.pt") if path.stem[5:].isdecimal()]
    older = sorted(numbered, key=lambda path: int(path.stem[5:]))
    return [path for path in (fresh, run.last, *older) if path.is_file()]


def newest_checkpoint(run: RunDir, device: str = "cpu") -> tuple[Values, Path, list[str]]:
    """Read the newest valid checkpoint. Returns its values, its path, and why newer ones were skipped.

    Raises `RunError` if there is no valid one.
    """
    skipped: list[str] = []
    for path in resume_candidates(run):
        try:
            return read_checkpoint(path, device, LAST_FILE), path, skipped
        except RunError as error:
            skipped.append(str(error))
    raise RunError("\n".join([f"{run.path} has no checkpoint that can be read.", *skipped]))
