"""Parse the comments of a YAML file: its command, its description, and the help and contract of each key.

    # dlrun optimizer=sgd optimizer.lr=0.1        a command that uses the file
    # Stochastic gradient descent.                the description
    # for: classification                         headers
    lr: 0.01   # learning rate (float > 0)        a key with its default, help and contract

The file is read as text, without a YAML parser, so that help and completion are fast.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

from dlrun import bounded
from dlrun.config.schema.contract import Contract, parse_contract
from dlrun.errors import ConfigError, Problem
from dlrun.package import PACKAGE

HEADER = re.compile(r"^(takes|gives|for|expect)s?:\s*(.*)$", re.IGNORECASE)
KEY_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w-]*):(?:\s+(?P<rest>.*))?$")


@dataclass(frozen=True)
class Key:
    """A key of a section, as one line of a YAML file describes it."""

    key: str  # dotted, without its group
    default: str  # as it is written
    help: str
    contract: Contract | None
    source: str = ""  # the file


@dataclass(frozen=True)
class Option:
    """An option of a group: a YAML file, or a user's component described by its signature (`path` is None)."""

    group: str
    name: str
    source: str
    path: Path | None = None
    command: str = ""
    description: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    keys: dict[str, Key] = field(default_factory=dict)  # those of the file itself, without its bases

    @property
    def component(self) -> str:
        """The registered name of the component that it chooses (`momentum` chooses `sgd`), or the empty string."""
        return self.keys["name"].default.strip("'\"") if "name" in self.keys else ""


@cache
def builtin_conf() -> Path:
    """The folder of dlrun's own YAML files: inside the installed package, or beside it in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def read_option(path: Path, group: str, name: str, folder: Path) -> Option:
    """Parse the comments of one YAML file in one of the folders of YAML files."""
    ours = folder == builtin_conf()
    source = f"dlrun:conf/{path.relative_to(folder).as_posix()}" if ours else short_path(path)
    return _read_file(path, file_state(path), group, name, source)


def file_state(path: Path) -> tuple[int, int]:
    """Modification time and size of a file, as a key for caches of its content. Raises `ConfigError`."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error.strerror}.")) from None
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2048)
def _read_file(path: Path, _state: tuple[int, int], group: str, name: str, source: str) -> Option:
    try:
        lines = bounded.read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}")) from None
    command, description, headers = _read_header(lines)
    keys, bases = _read_keys(lines, source)
    return Option(group, name, source, path, command, description, headers, bases, keys)


def short_path(path: Path) -> str:
    """A path relative to the working folder if it lies below it, else unchanged."""
    cwd = Path.cwd()
    return path.relative_to(cwd).as_posix() if path.is_relative_to(cwd) else str(path)


def _read_header(lines: list[str]) -> tuple[str, str, dict[str, str]]:
    """The command, the description and the `# word: text` headers at the top of a file."""
    command, texts, headers = "", [], {}
    for line in lines:
        if not line.startswith("#"):
            break
        text = line.lstrip("#").strip()
        header = HEADER.match(text)
        if text.startswith("@package") or not text:
            continue
        if not command and text.startswith("dlrun"):
            command = text
        elif header:
            headers[header[1].lower()] = header[2].strip()
        else:
            texts.append(text)
    return command, " ".join(texts), headers


def _read_keys(lines: list[str], source: str) -> tuple[dict[str, Key], tuple[str, ...]]:
    """The keys of a file with their comments, sections as dotted keys, and the bases that `defaults` names."""
    keys: dict[str, Key] = {}
    stack: list[tuple[int, str]] = []  # (indent, key) of the open sections
    bases: tuple[str, ...] = ()
    last, wide = "", 0  # the key whose comment may continue on the next line, and the column of that comment
    for line in lines:
        continuation = re.match(r"^ +#\s?(.*)$", line)
        if continuation and last and line.index("#") == wide:
            keys[last] = _with_comment(keys[last], f"{keys[last].help} {continuation[1].strip()}")
            continue
        match = KEY_LINE.match(line)
        if not match:
            last = last if not line.strip() else ""
            continue
        indent = len(match["indent"])
        value, comment = _split_comment(match["rest"] or "")
        stack = [(i, k) for i, k in stack if i < indent]
        dotted = ".".join([*(k for _, k in stack), match["key"]])
        if dotted == "defaults":
            bases = tuple(re.findall(r"(?<![\w/])(?!_self_)[A-Za-z][\w/-]*(?![\w:])", value)) if value else ()
            continue
        if stack and (_inside_value(keys, stack) or stack[0][1] == "defaults"):
            continue
        keys[dotted] = _with_comment(Key(dotted, value, "", None, source), comment)
        last, wide = dotted, (line.rindex("# ") if comment and "# " in line else 0)
        if not value:
            stack.append((indent, match["key"]))
    sections = {key.rpartition(".")[0] for key in keys}
    return {key: info for key, info in keys.items() if not (key in sections and info.contract is None)}, bases


def _inside_value(keys: dict[str, Key], stack: list[tuple[int, str]]) -> bool:
    """Whether a line is part of the value of a key that has a contract itself (a dict)."""
    above = ".".join(k for _, k in stack)
    return above in keys and keys[above].contract is not None


def _with_comment(key: Key, comment: str) -> Key:
    """Add the help and the contract of a comment to a key."""
    match = re.match(r"^(?P<help>.*?)\s*\((?P<contract>[^()]*)\)$", comment.strip())
    contract = parse_contract(match["contract"].strip()) if match else None
    help_text = match["help"] if match and contract else comment.strip()
    return replace(key, help=help_text, contract=contract)


def _split_comment(text: str) -> tuple[str, str]:
    """Split `value  # comment` at the first ` #` outside of quotes."""
    quote = ""
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (i == 0 or text[i - 1] in " \t"):
            return text[:i].strip(), text[i + 1 :].strip()
    return text.strip(), ""
