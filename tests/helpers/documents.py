"""Run the commands of a document and compare what they print with what stands in it.

    python -m tests.helpers.documents docs/using-a-model.md          say what differs
    python -m tests.helpers.documents docs/using-a-model.md --write  put in what is printed today

A block of lines that are indented by four spaces is run if it begins with `$ ` (a shell command; `dlrun` is called in
this process) or `>>> ` (Python). Lines of a command that do not begin so are what it prints. Numbers may differ a
little, as they do between processors; times, speeds and dates are not compared.
"""

from __future__ import annotations

import code
import contextlib
import difflib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dlrun import cli

INDENT = "    "
NUMBER = re.compile(r"(?<![\w.-])-?\d[\d,]*\.?\d*(?:e-?\d+)?%?")
UNLIKE = [  # what is another one each time
    (re.compile(r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d"), "DATE"),
    (re.compile(r"\d\d-\d\d-\d\d-"), "TIME-"),
    (re.compile(r"[\d,.]+ s in all.*samples/s"), "SPEED"),
    (re.compile(r"[\d,]+/s\b"), "SPEED"),
    (re.compile(r"[\d,.]+ ms a row"), "SPEED"),
    (re.compile(r"cpu \(\d+ threads?\)"), "CPU"),
]
RELATIVE, ABSOLUTE = 0.2, 0.08  # of a number, or of a share


@dataclass
class Step:
    """A command of a document: its line, and the lines that stand below it."""

    line: int  # 0 is the first
    text: str
    printed: list[str] = field(default_factory=list)


def steps_of(text: str) -> Iterator[Step]:
    """The commands of a document, in order."""
    step: Step | None = None
    for number, line in enumerate(text.splitlines()):
        inside = line.removeprefix(INDENT)
        if not line.startswith(INDENT):
            step = step if step is not None and not line.strip() and step.printed else None
            if step is not None:
                step.printed.append("")
            continue
        if inside.startswith(("$ ", ">>> ", "...")):
            step = Step(number, inside)
            yield step
        elif step is not None:
            step.printed.append(inside)


class Reader:
    """Runs the commands of a document in one folder and one Python session."""

    def __init__(self) -> None:
        self.python = code.InteractiveInterpreter({})
        self.pending: list[str] = []

    def run(self, step: Step) -> str:
        """What the command prints, to standard output and error in the order of a terminal that shows both."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if step.text.startswith("$ "):
                self.shell(step.text[2:], out)
            else:
                self.pending.append(step.text[4:])
                more = self.python.runsource("\n".join(self.pending), symbol="single")
                self.pending = self.pending if more else []
        return out.getvalue()

    def shell(self, line: str, out: io.StringIO) -> None:
        """A `dlrun` command, also behind a pipe, or anything else."""
        before, pipe, after = line.rpartition(" | ")
        command = after if pipe else line
        if not command.startswith("dlrun "):
            bin = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # whose `python` has torch
            env = {**os.environ, "PATH": bin}
            found = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=env)
            out.write(found.stdout + found.stderr)
            return
        given = subprocess.run(["bash", "-c", before], capture_output=True, check=True).stdout if pipe else b""
        stdin = sys.stdin
        sys.stdin = io.TextIOWrapper(io.BytesIO(given))
        try:
            cli.main(shlex.split(command, comments=True)[1:])
        finally:
            sys.stdin = stdin


def printed_today(text: str, folder: Path) -> list[tuple[Step, list[str]]]:
    """Every command of a document with the lines that it prints, run in a folder."""
    reader, here = Reader(), Path.cwd()
    os.chdir(folder)
    try:
        return [(step, reader.run(step).replace(f"{Path.cwd()}/", "").splitlines()) for step in steps_of(text)]
    finally:
        os.chdir(here)


def alike(written: list[str], printed: list[str]) -> bool:
    """Whether two outputs say the same, but for times and the last digits of numbers."""
    old, new = ("\n".join(line.rstrip() for line in lines).strip() for lines in (written, printed))
    for pattern, name in UNLIKE:
        old, new = pattern.sub(name, old), pattern.sub(name, new)
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return re.sub(r"\s+", " ", NUMBER.sub("#", old)) == re.sub(r"\s+", " ", NUMBER.sub("#", new)) and near(old, new)
    return near(old, new)


def near(old: str, new: str) -> bool:
    """Whether the numbers of two texts are about the same, one by one."""
    return all(map(close, NUMBER.findall(old), NUMBER.findall(new)))


def close(old: str, new: str) -> bool:
    """Whether two numbers are about the same."""
    a, b = (float(text.rstrip("%").replace(",", "")) for text in (old, new))
    scale = 100.0 if old.endswith("%") else 1.0
    return abs(a - b) <= max(RELATIVE * max(abs(a), abs(b)), ABSOLUTE * scale)


def differences(page: Path, folder: Path) -> list[str]:
    """A unified diff of each command whose output is not what stands in the document."""
    found = []
    for step, printed in printed_today(page.read_text(encoding="utf-8"), folder):
        if not alike(step.printed, printed):
            lines = difflib.unified_diff([s for s in step.printed if s], printed, "written", "printed", lineterm="")
            found.append("\n".join([f"{page.name}:{step.line + 1}: {step.text}", *lines]))
    return found


def rewritten(text: str, folder: Path) -> str:
    """The document with what its commands print today."""
    lines = text.splitlines()
    for step, printed in reversed(printed_today(text, folder)):
        end = step.line + 1
        while end < len(lines) and lines[end].startswith(INDENT) and not re.match(r"    (\$ |>>> |\.\.\.)", lines[end]):
            end += 1
        shown = [(INDENT + line).rstrip() for line in printed if line.strip()]
        lines[step.line + 1 : end] = shown
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Compare or rewrite documents; returns the exit code."""
    code = 0
    for page in [Path(word) for word in arguments if not word.startswith("-")]:
        with tempfile.TemporaryDirectory() as folder:
            if "--write" in arguments:
                page.write_text(rewritten(page.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
            elif found := differences(page, Path(folder)):
                print("\n\n".join(found))
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
