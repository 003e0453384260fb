"""Names that the same command finds again: of a sweep's folder, and of the jobs in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlrun.config.config import APART
from dlrun.config.expand import as_text
from dlrun.report.jobs import short_names
from dlrun.report.tables import format_value

SELECTING = ("checkpoint.monitor", "checkpoint.mode")  # choose best.pt, the ranking and what is pruned
LONGEST = 60  # characters of a name; file systems allow 255, people fewer
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def key_of(word: str) -> str:
    """The key of an override: `optimizer.lr` of `+optimizer.lr=0.1`."""
    return word.lstrip("+~").partition("=")[0].strip()


def matters(key: str) -> bool:
    """Whether a fixed key changes results (and so tells jobs and sweeps apart)."""
    return key in SELECTING or (key.split(".")[0] not in APART and key != "device.name")


def job_key(fixed: Iterable[str], swept: Mapping[str, Any]) -> tuple[str, ...]:
    """What a job is found by: every swept value, and the last word for each fixed key that matters; sorted."""
    last = {key_of(word): word.lstrip("+") for word in fixed if matters(key_of(word))}
    last |= {key: f"{key}={as_text(value)}" for key, value in swept.items()}
    return tuple(sorted(last.values()))


def sweep_name(fixed: Sequence[str], keys: Iterable[str], search: str) -> str:
    """A folder's name from the fixed overrides and the names, not the values, of the swept keys.

    The same command with a value more is the same sweep; how many workers it has does not matter.
    """
    words = list(job_key(fixed, {}))
    swept = sorted(keys)
    parts = [in_short(word) for word in words if "=" in word and not word.startswith("plugins=")]
    parts += [search] if search != "grid" else []
    parts += ["by", *(key.rsplit(".", 1)[-1] for key in swept)] if swept else []
    return shortened("-".join(tidy(part) for part in parts) or "sweep", [words, swept, search], always=True)


def in_short(word: str) -> str:
    """An override in a name: `mlp` of `model=mlp`, `epochs3` of `trainer.epochs=3`."""
    key, _, value = word.partition("=")
    return value if "." not in key and not value.isdigit() else key.rsplit(".", 1)[-1] + value


def job_slug(swept: Mapping[str, Any], keys: Sequence[str], taken: Iterable[str]) -> str:
    """A short name of a job among the others in its folder: `adam-lr0.1-seed0`.

    `keys` are all keys that the sweep varies; `taken` are the slugs of its other jobs. File systems that ignore case
    tell the names apart, too.
    """
    short = short_names(list(keys))
    parts = []
    for key, value in swept.items():
        text = tidy(format_value(value))
        parts.append(text if "." not in key and isinstance(value, str) else f"{short.get(key, key)}{text}")
    slug = shortened("-".join(filter(None, parts)) or "job", dict(swept))
    others = {name.lower() for name in taken}
    return slug if slug.lower() not in others else shortened(slug, dict(swept), always=True)


def tidy(text: str) -> str:
    """Only characters that need no quoting anywhere: `[A-Za-z0-9._-]`."""
    return NOT_IN_NAMES.sub("_", text).strip("_.-")


def shortened(name: str, facts: Any, *, always: bool = False) -> str:
    """The name, cut if it is long; then (or always) with a few digits of a hash of what it stands for."""
    if len(name) <= LONGEST and not always:
        return name
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:6]
    return f"{name[: LONGEST - 7].rstrip('_.-')}-{digest}"
