"""The menu: which groups and options there are, and what the comments of their YAML files say of each key.

Only text is read here (no Hydra, no torch, no YAML parser), so that `dlrun --help`, `list` and completion answer at
once. A file begins with the command that uses it, a line that says what it is, and headers (`# takes: image`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from dlrun.config.contract import Contract, parse_contract
from dlrun.errors import ConfigError, Problem

PRIMARY = "dlrun_primary"
SETTINGS = "dlrun.yaml"
GROUPS = {  # in the order of the primary config, with the plural that `dlrun list` takes
    "model": "models",
    "dataset": "datasets",
    "loss": "losses",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
    "device": "devices",
    "trainer": "trainers",
    "checkpoint": "checkpoints",
    "logger": "loggers",
    "experiment": "experiments",
}
COMPONENTS = ("model", "dataset", "loss", "optimizer", "scheduler")  # the groups whose `name` is in a registry
HEADER = re.compile(r"^(takes|gives|for|expect)s?:\s*(.*)$", re.IGNORECASE)
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w-]*):(?:\s+(?P<rest>.*))?$")


@dataclass(frozen=True)
class Key:
    """One line of the menu: a dotted key within its section, its default as written, help and contract."""

    key: str
    default: str
    help: str
    contract: Contract | None
    source: str = ""  # the file it is written in


@dataclass(frozen=True)
class Option:
    """One choice of a group: a YAML file, or a component of the user's read from its signature (`path` is None)."""

    group: str
    name: str
    source: str
    path: Path | None = None
    command: str = ""
    description: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    keys: dict[str, Key] = field(default_factory=dict)  # what the file itself says

    @property
    def component(self) -> str:
        """The registered name that it picks (`momentum` picks `sgd`), or the empty string."""
        return self.keys["name"].default.strip("'\"") if "name" in self.keys else ""


def builtin_conf() -> Path:
    """The folder of dlrun's own YAML files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


_GIVEN: list[str | Path] = []


def set_config_dir(config_dir: str | Path) -> None:
    """From now on this process looks in this folder first, whatever it composes or reads (`--config-dir`)."""
    config_dirs(config_dir)
    _GIVEN[:] = [config_dir]


def config_dirs(config_dir: str | Path | None = None, search_cwd: bool = True) -> tuple[Path, ...]:
    """Where YAML files are looked for, first found wins: `--config-dir`, ./conf with a dlrun.yaml, ours."""
    dirs: list[Path] = []
    config_dir = config_dir or (_GIVEN[0] if _GIVEN else None)
    if config_dir is not None:
        given = Path(config_dir).expanduser()
        if not given.is_dir():
            raise ConfigError(Problem("--config-dir", f"{config_dir} is not a folder."))
        dirs.append(given.resolve())
    own = Path.cwd() / "conf"
    if search_cwd and (own / SETTINGS).is_file():
        dirs.append(own.resolve())
    return tuple(dict.fromkeys([*dirs, builtin_conf()]))


def settings_files(dirs: Iterable[Path]) -> list[Path]:
    """Every dlrun.yaml of the user's, the weakest first."""
    return [path for d in reversed(list(dirs)) if (path := d / SETTINGS).is_file() and d != builtin_conf()]


class Menu:
    """Everything that can be chosen in some folders. Build it with `menu()`, which reads each state once."""

    def __init__(self, dirs: tuple[Path, ...], extra: tuple[Option, ...] = ()) -> None:
        self.dirs, self.extra = dirs, extra
        self._groups: dict[str, dict[str, Option]] = {}

    def options(self, group: str) -> dict[str, Option]:
        """The options of a group by name, sorted. The first folder that has a name wins."""
        if group not in self._groups:
            found = {option.name: option for option in self.extra if option.group == group}
            for folder in reversed(self.dirs):
                for path in sorted((folder / group).rglob("*.yaml")):
                    name = path.relative_to(folder / group).with_suffix("").as_posix()
                    found[name] = _shadow(read_option(path, group, name, folder), found.get(name))
            self._groups[group] = dict(sorted(found.items()))
        return self._groups[group]

    def chain(self, option: Option, seen: tuple[str, ...] = ()) -> Iterator[Option]:
        """The option and what it inherits from by `defaults`, nearest first. A loop ends quietly."""
        yield option
        for base in option.bases:
            below = self.options(option.group).get(base)
            if below and base not in seen:
                yield from self.chain(below, (*seen, option.name))

    def full(self, option: Option) -> Option:
        """The option with the keys that it inherits; its own values and the nearest contract of each."""
        keys: dict[str, Key] = {}
        headers: dict[str, str] = {}
        for part in reversed(list(self.chain(option))):
            headers.update(part.headers)
            for key, new in part.keys.items():
                old = keys.get(key)
                inherit = old is not None and new.contract is None
                keys[key] = replace(new, contract=old.contract, help=new.help or old.help) if inherit and old else new
        return replace(option, keys=keys, headers=headers)

    @cached_property
    def primary(self) -> dict[str, Key]:
        """The keys of no group: `seed`, `run.dir`, `sweep.params`, ..."""
        return self.primary_option.keys

    @cached_property
    def primary_option(self) -> Option:
        """The primary config; that of the first folder that has one."""
        folder = next(d for d in self.dirs if (d / f"{PRIMARY}.yaml").is_file())
        return read_option(folder / f"{PRIMARY}.yaml", "", PRIMARY, folder)

    @cached_property
    def groups(self) -> dict[str, tuple[str, str]]:
        """Each group's usual option and what the group is about, from the primary config's defaults list."""
        found = dict.fromkeys(GROUPS, ("", ""))
        path = self.primary_option.path
        for line in path.read_text(encoding="utf-8").splitlines() if path else ():
            match = re.match(r"^\s+- (\w+): (\S+)\s*(?:#\s*(.*))?$", line)
            if match and match[1] in found:
                found[match[1]] = (match[2], match[3] or "")
        return found

    def section(self, group: str, name: str) -> Option | None:
        """What the section of a group may hold, by the `name` in it; `None` when nothing has that name.

        Components differ by name. The options of the other groups (trainer, device) share one set of keys.
        """
        options = self.options(group)
        if group in COMPONENTS:
            same = [option for option in options.values() if option.component == name]
            same.sort(key=lambda option: (option.name != name, len(option.bases)))
            return self.full(same[0]) if same else None
        keys: dict[str, Key] = {}
        for option in options.values():
            for key, info in self.full(option).keys.items():
                if key not in keys or not keys[key].contract:
                    keys[key] = info
        return Option(group, name, "", keys=keys)

    def check_contracts(self) -> list[Problem]:
        """The keys of YAML files whose comment states no contract, and bases that are not there."""
        problems = []
        for group in GROUPS:
            for option in self.options(group).values() if group != "experiment" else ():
                missing = [b for b in option.bases if b not in self.options(group)]
                problems += [Problem(option.source, f"inherits from {base!r}, which is not there.") for base in missing]
                for key in self.full(option).keys.values():
                    if key.contract is None and not (key.key == "name" and group in COMPONENTS):
                        problems.append(Problem(option.source, f"{key.key} has no contract in its comment."))
        return problems


def _shadow(option: Option, below: Option | None) -> Option:
    """A file of the user's that hides one of ours of the same name borrows the contracts it does not state."""
    if below is None or below.component != option.component:
        return option
    keys = {}
    for name, key in option.keys.items():
        lent = below.keys.get(name)
        keys[name] = key if key.contract or not lent else replace(lent, default=key.default, source=key.source)
    missing = {} if option.bases else {k: v for k, v in below.keys.items() if k not in keys}
    return replace(option, keys={**keys, **missing}, headers={**below.headers, **option.headers})


def fingerprint(dirs: tuple[Path, ...]) -> tuple[tuple[str, int, int], ...]:
    """Path, time and size of every YAML file below some folders: differs when any file has changed."""
    found = []
    for folder in dirs:
        paths = [*folder.glob("*.yaml"), *(path for group in GROUPS for path in (folder / group).rglob("*.yaml"))]
        for path in sorted(paths):
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


_CACHE: dict[object, Menu] = {}


def menu(dirs: tuple[Path, ...], extra: tuple[Option, ...] = ()) -> Menu:
    """The menu of these folders as they are now, with options that plug-ins add; unchanged files are not read again."""
    state = (dirs, fingerprint(dirs), tuple((o.group, o.name, repr(o.keys)) for o in extra))
    if state not in _CACHE:
        if len(_CACHE) >= 8:
            _CACHE.pop(next(iter(_CACHE)))
        _CACHE[state] = Menu(dirs, extra)
    return _CACHE[state]


def read_option(path: Path, group: str, name: str, folder: Path) -> Option:
    """What the comments of one YAML file say. `source` is its path from the folder above `conf`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}")) from None
    ours = folder == builtin_conf()
    source = f"conf/{path.relative_to(folder).as_posix()}" if ours else short_path(path)
    command, description, headers = _read_header(lines)
    keys, bases = _read_keys(lines, source)
    return Option(group, name, source, path, command, description, headers, bases, keys)


def short_path(path: Path) -> str:
    """A path as the user would write it: from the working folder, if it lies below."""
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
    last, wide = "", 0  # the key whose comment may go on in the next line, and where that comment began
    for line in lines:
        going_on = re.match(r"^ +#\s?(.*)$", line)
        if going_on and last and line.index("#") == wide:
            keys[last] = _with_comment(keys[last], f"{keys[last].help} {going_on[1].strip()}")
            continue
        match = KEY.match(line)
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
    """Does a line stand inside the value of a key with a contract of its own (a dict)?"""
    above = ".".join(k for _, k in stack)
    return above in keys and keys[above].contract is not None


def _with_comment(key: Key, comment: str) -> Key:
    """The key with the help and the contract that a comment states."""
    match = re.match(r"^(?P<help>.*?)\s*\((?P<contract>[^()]*)\)$", comment.strip())
    contract = parse_contract(match["contract"].strip()) if match else None
    help_text = match["help"] if match and contract else comment.strip()
    return replace(key, help=help_text, contract=contract)


def _split_comment(text: str) -> tuple[str, str]:
    """Cut `value  # comment` at the first ` #` outside of quotes."""
    quote = ""
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (i == 0 or text[i - 1] in " \t"):
            return text[:i].strip(), text[i + 1 :].strip()
    return text.strip(), ""
