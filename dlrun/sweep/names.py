"""Names of sweep folders and of the jobs in them, the same for equal commands."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from dlrun.config.overrides.values import as_text
from dlrun.config.schema.schema import Schema
from dlrun.config.schema.words import key_of, respelled_word
from dlrun.report.jobs import short_names
from dlrun.report.tables import format_value

LONGEST_NAME = 60  # characters of a name; file systems allow 255, people fewer
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def last_words(words: Iterable[str]) -> dict[str, str]:
    """The overrides in effect, by key: the last one, with those before it that it is merged into or adds to."""
    last: dict[str, str] = {}
    for word in words:
        key, text = key_of(word), word.lstrip("+")
        left, _, value = text.partition("=")
        adds = key in last and (value.startswith("{") or left.endswith("+"))
        last[key] = f"{last[key]} {text}" if adds else text
    return last


def result_words(fixed: Iterable[str], schema: Schema) -> list[str]:
    """The overrides that change the result, the last one for each key; sorted."""
    return sorted(word for key, word in last_words(fixed).items() if schema.effect(key).changes_result)


def job_words(fixed: Iterable[str], swept: Mapping[str, Any], schema: Schema) -> tuple[str, ...]:
    """The overrides that identify a job: its swept values and the fixed ones that change the result; sorted."""
    last = dict(_last_result_words(tuple(fixed), schema))
    last |= {key: f"{key}={as_text(value)}" for key, value in swept.items()}
    return tuple(sorted(last.values()))


@lru_cache(maxsize=512)
def _last_result_words(fixed: tuple[str, ...], schema: Schema) -> dict[str, str]:
    return last_words(result_words(fixed, schema))


def sweep_name(words: Iterable[str], keys: Iterable[str], search: str) -> str:
    """The name of a folder, from the overrides that change the result and the names of the swept keys.

    The values of swept keys are left out: the same command with one more value is the same sweep.
    """
    fixed, swept = sorted(words), sorted(keys)
    parts = [in_short(word) for word in fixed if "=" in word and not word.startswith("plugins=")]
    parts += [search] if search != "grid" else []
    parts += ["by", *(key.rsplit(".", 1)[-1] for key in swept)] if swept else []
    return shortened("-".join(tidy(part) for part in parts) or "sweep", [fixed, swept, search], always=True)


def former_name(fixed: Iterable[str], keys: Iterable[str], search: str) -> str:
    """The name that dlrun 0.1 gave a folder: it left out whole sections and used all other overrides."""
    apart = ("run", "resume", "logger", "checkpoint", "sweep")
    last = {key_of(word): word.lstrip("+") for word in fixed}
    selects = [word for key, word in last.items() if key in ("checkpoint.monitor", "checkpoint.mode")]
    words = [word for key, word in last.items() if key.split(".")[0] not in apart and key != "device.name"]
    return sweep_name([*words, *selects], keys, search)


def name_today(sweep: Mapping[str, Any], folder: str, schema: Schema) -> str:
    """Today's name for the sweep of a sweep.yaml whose folder was named by dlrun 0.1; empty for others.

    The overrides of an unfinished job may have changed since, so a name that is stored in sweep.yaml is used first.
    """
    kept = sweep.get("name")
    if isinstance(kept, Mapping):
        return str(kept.get("today")) if kept.get("folder") == folder else ""
    jobs = sweep.get("jobs")
    job = next(iter(jobs.values()), None) if isinstance(jobs, Mapping) else None
    if not isinstance(job, Mapping):
        return ""
    fixed, keys = list(map(str, job.get("fixed") or ())), list(job.get("swept") or ())
    search = str((sweep.get("settings") or {}).get("search"))
    if former_name(fixed, keys, search) != folder:
        return ""
    words = result_words([respelled_word(word, schema) for word in fixed], schema)
    return sweep_name(words, map(schema.today, keys), search)


def in_short(word: str) -> str:
    """An override in a name: `mlp` of `model=mlp`, `epochs3` of `trainer.epochs=3`."""
    key, _, value = word.partition("=")
    return value if "." not in key and not value.isdigit() else key.rsplit(".", 1)[-1] + value


def job_slug(swept: Mapping[str, Any], keys: Sequence[str], taken: Container[str]) -> str:
    """A short name of a job among the others in its folder: `adam-lr0.1-seed0`.

    `keys` are all keys that the sweep varies; `taken` are the slugs of its other jobs in lower case, since there are
    file systems that ignore case.
    """
    short = _short_names(tuple(keys))
    parts = []
    for key, value in swept.items():
        text = tidy(format_value(value))
        parts.append(text if "." not in key and isinstance(value, str) else f"{short.get(key, key)}{text}")
    slug = shortened("-".join(filter(None, parts)) or "job", dict(swept))
    return slug if slug.lower() not in taken else shortened(slug, dict(swept), always=True)


@lru_cache(maxsize=64)
def _short_names(keys: tuple[str, ...]) -> dict[str, str]:
    return short_names(keys)


def tidy(text: str) -> str:
    """The text with all characters but `[A-Za-z0-9._-]`, which need no quoting, replaced by `_`."""
    return NOT_IN_NAMES.sub("_", text).strip("_.-")


def shortened(name: str, facts: object, *, always: bool = False) -> str:
    """The name, cut to `LONGEST_NAME` if it is longer; then (or with `always`) a hash of `facts` is appended."""
    if len(name) <= LONGEST_NAME and not always:
        return name
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:6]
    return f"{name[: LONGEST_NAME - 7].rstrip('_.-')}-{digest}"
