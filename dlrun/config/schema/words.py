"""The words of a command line as text, without the grammar of their values: for those who only store or repeat them."""

from __future__ import annotations

from collections.abc import Iterable

from dlrun.config.schema.schema import GROUPS, Schema


def key_of(word: str) -> str:
    """The key of an override: `optimizer.lr` of `+optimizer.lr=0.1`."""
    return word.lstrip("+~").partition("=")[0].strip()


def repeated(words: Iterable[str], schema: Schema) -> list[str]:
    """The words that repeat a run elsewhere: without those about its place or its moment (run.*, resume, sweep.*)."""
    return [word for word in words if is_repeated(key_of(word), schema)]


def is_repeated(key: str, schema: Schema) -> bool:
    """Whether a key belongs to the experiment. What a group says is kept (`checkpoint.keep`) does."""
    return key.partition(".")[0] in GROUPS or schema.effect(key).name != "kept"
