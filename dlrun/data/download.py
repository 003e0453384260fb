"""Fetching files: checked, retried, and never half there.

A file appears under its name only when it is whole: it is written beside it, hashed on the way, synced and
renamed. `$DLRUN_MIRROR` (http, https or file) replaces the hosts: it holds what the data root holds, packed
as the original host packs it (`$DLRUN_MIRROR/MNIST/raw/train-images-idx3-ubyte.gz`). No torch here.
"""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import md5 as new_md5
from pathlib import Path
from typing import BinaryIO

from dlrun.errors import DataError
from dlrun.plain import say

MIRROR_VARIABLE = "DLRUN_MIRROR"
TRIES = 3
PAUSE_SECONDS = 0.5  # before the second try; doubled for each one after
TIMEOUT_SECONDS = 20.0  # without a byte
CHUNK = 1 << 18
FAILURES = (OSError, http.client.HTTPException, ValueError)  # URLError and timeouts are OSErrors


def fetch(relative: str, urls: Sequence[str], path: Path, *, md5: str | None = None) -> str:
    """Download one file to `path` and return the URL that gave it.

    `relative` is its place below a mirror, `urls` the public ones, tried in turn. Raises `DataError`, which
    says what was tried and why it failed; then nothing is left at `path`.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    tried: list[str] = []
    for url in [f"{mirror.rstrip('/')}/{relative}"] if mirror else urls:
        say(f"downloading {url}", file=sys.stderr)
        for attempt in range(TRIES):
            try:
                _download(url, path, md5)
                return url
            except FAILURES as error:
                failure = f"{url}: {_reason(error)}"
                if not _worth_repeating(error):
                    break
                time.sleep(PAUSE_SECONDS * 2**attempt if attempt + 1 < TRIES else 0)
        tried.append(failure)
    raise DataError("download failed: " + "; ".join(tried))


def _download(url: str, path: Path, md5: str | None) -> None:
    digest = new_md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as source, replacing(path) as out:
        received = 0
        while chunk := source.read(CHUNK):
            received += len(chunk)
            digest.update(chunk)
            out.write(chunk)
        announced = source.headers.get("Content-Length")
        if announced is not None and int(announced) != received:
            raise ValueError(f"broke off after {received} of {announced} bytes")
        if md5 is not None and digest.hexdigest() != md5:
            raise ValueError(f"wrong checksum: MD5 {digest.hexdigest()} instead of {md5}")


def _worth_repeating(error: Exception) -> bool:
    return not (isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing that becomes `path` when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def gunzip(packed: Path, path: Path, check: Callable[[Path], object]) -> None:
    """Unpack a .gz file to `path`. `check` reads the packed file first and raises `DataError` if it is not
    sound.
    """
    check(packed)
    try:
        with gzip.open(packed) as source, replacing(path) as out:
            shutil.copyfileobj(source, out, CHUNK)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: cannot be unpacked to {path} ({error}).") from error
