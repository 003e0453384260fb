"""Thirty kinds of damaged file, and a watch over the commands that meet one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dlrun import cli
from tests.helpers.deadline import deadline

SECONDS = 10  # that one command may take on a quiet machine
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def text(words: str | bytes) -> Callable[[Path], object]:
    """The file holds this."""
    return lambda path: path.write_bytes(words.encode() if isinstance(words, str) else words)


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """The file holds what is made of its content."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


KINDS: dict[str, Callable[[Path], Any]] = {
    "gone": lambda path: path.unlink(),
    "empty": text(""),
    "cut": changed(lambda data: data[: len(data) // 2]),
    "first byte": changed(lambda data: data[:1]),
    "twice": changed(lambda data: data + data),
    "backwards": changed(lambda data: data[::-1]),
    "a bit": changed(lambda data: data[:40] + bytes(byte ^ 1 for byte in data[40:41]) + data[41:]),
    "zeros": changed(lambda data: bytes(len(data))),
    "noise": text(bytes(range(256)) * 20),
    "not UTF-8": text(b"\xff\xfe\x80 x: 1\n"),
    "other line ends": changed(lambda data: data.replace(b"\n", b"\r\n")),
    "a byte order mark": changed(lambda data: b"\xef\xbb\xbf" + data),
    "a list": text("[1, 2, 3]"),
    "a number": text("3"),
    "a text": text('"x"'),
    "null": text("null"),
    "an object": text('{"a": {"b": [1, {"c": null}]}}'),
    "wrong types": text('{"state": [], "name": {}, "started": 3, "step": "x", "model": 1, "best": 3, "versions": []}'),
    "odd numbers": text('{"seconds": 1e999, "step": -1, "epoch": 1e30, "started": "9999-99-99", "exit_code": NaN}'),
    "an old year": text('{"state": "running", "started": "0001-01-01T00:00:00+14:00", "name": "", "pid": 0}'),
    "digits": text("1" * 10_000),
    "5,000 brackets": text("[" * 5000),
    "200,000 brackets": text("[" * 200_000),
    "nested sections": text("- " * 20_000),
    "a part of itself": text("&a {x: *a}"),
    "an alias bomb": text(BOMB),
    "tags": text("a: !!python/object/apply:os.abort []\n"),
    "a long line": text("x" * 300_000 + ",1\n"),
    "many columns": text(",".join("abc" * 500) + "\n" + "1,2\n" * 3),
    "control characters": text("\x1b]0;x\x07: \x1b[2J\n"),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("/nowhere/at/all")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
}


def damage(path: Path, kind: str) -> None:
    """Make this file (an empty one if there is none) one of the kinds."""
    path.touch()
    KINDS[kind](path)


def sampled(cases: Sequence[tuple[str, ...]], stride: int) -> list[Any]:
    """The cases for `-m faults`, by every command; one of so many is for the normal run, by a third of the commands."""
    every = [pytest.param(*case, slice(None), marks=pytest.mark.faults, id="-".join(case)) for case in cases]
    few = [(*case, slice(i % 3, None, 3)) for i, case in enumerate(cases[::stride])]
    return [*every, *(pytest.param(*case, id="-".join((*case[:-1], "some commands"))) for case in few)]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A command that takes too long fails; figures are not rendered."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def survives(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> int:
    """The command ends in time, without a traceback or a control character. Its exit code."""
    signal.alarm(round(deadline(SECONDS)))
    code = cli.main(list(words))
    signal.alarm(0)
    printed = capsys.readouterr()
    assert code in (0, 2, 3, 4), [words, code, printed.err]
    assert "Traceback" not in printed.err + printed.out, [words, printed]
    assert "\x1b" not in printed.err + printed.out, words
    return code
