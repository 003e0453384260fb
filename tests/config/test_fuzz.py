"""Wrong configurations by the thousand: exit code 2, the key named, never a traceback.

The normal run draws 500 of them; `pytest -m faults` draws 10,000 more.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrun.cli import main
from dlrun.config.compose import compose
from dlrun.config.config import Config
from dlrun.config.expand import expand
from dlrun.config.schema.schema import GROUPS, config_dirs, read_schema
from dlrun.config.schema.yamls import dumps
from dlrun.errors import ConfigError, Problem

SCHEMA = read_schema(config_dirs())
DEFAULTS = compose().flat()
KEYS = [key for key in DEFAULTS if key != "plugins" and not key.endswith(".name")]
NUMBERS = [key for key in KEYS if isinstance(DEFAULTS[key], (int, float)) and not isinstance(DEFAULTS[key], bool)]
BOOLS = [key for key in KEYS if isinstance(DEFAULTS[key], bool)]
ALL_KEYS = (
    {f"{g}.{k}" for g in GROUPS for o in SCHEMA.options(g).values() for k in o.keys} | set(SCHEMA.primary) | set(GROUPS)
)

# Text that people type, and text that lexers, YAML and interpolation stumble over.
NASTY = st.sampled_from(
    [*"=,:;()[]{}<>'\"`~^$@!#%&*|\\/?+-. \t\n0e", "${", "null", "é", "\u2028", "???", "\x7f", "1e", "--"]
)
TEXT = st.text(max_size=12) | st.lists(NASTY, max_size=8).map("".join)
WORD = st.from_regex(r"[a-z_]{1,9}", fullmatch=True)
SCALAR = TEXT | WORD | st.integers().map(str) | st.floats().map(str)
NESTED = st.recursive(
    WORD | st.sampled_from(["null", "1", "true", "${seed}", "${x}", "${oc.env:HOME}", "''", "1.5"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(inner, inner), max_size=2).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
VALUE = SCALAR | NESTED


def small(strategy: Any, examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Draw so many examples of a strategy."""
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]
    options = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=checks)
    return lambda test: options(given(strategy)(test))


def composes_or_names_its_problems(words: list[str], compose_words: Callable[[list[str]], Any]) -> None:
    """No exception but a `ConfigError` with a message for each key."""
    found: list[Problem] = []
    try:
        compose_words(words)
    except ConfigError as error:
        found = error.problems or [Problem("", "")]
    for problem in found:
        assert problem.key
        assert problem.message
        assert "Traceback" not in str(problem)


def refused(word: str, key: str) -> None:
    """The command says what is wrong, with the key, and exits with 2."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = main([word])
    assert code == 2, (word, err.getvalue())
    assert key in err.getvalue()
    assert "Traceback" not in err.getvalue()


# --- words of any kind ---

ANY_WORD = (
    TEXT.map(lambda text: f"{text}=")
    | st.tuples(st.sampled_from(["", "+", "++", "~"]), st.sampled_from(sorted(ALL_KEYS)) | TEXT | WORD, VALUE).map(
        lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"
    )
    | st.tuples(st.sampled_from(KEYS), VALUE).map("=".join)
).filter(lambda word: "plugins" not in word)


def any_words(words: list[str]) -> None:
    composes_or_names_its_problems(words, lambda given: compose(given).to_yaml())


def any_sweep(words: list[str]) -> None:
    composes_or_names_its_problems(words, expand)


# --- words that are surely wrong, with the key that the answer must name ---

UNKNOWN = st.tuples(st.sampled_from(KEYS), WORD).map(lambda p: f"{p[0]}{p[1]}").filter(lambda key: key not in ALL_KEYS)
WRONG = (
    UNKNOWN.map(lambda key: (f"{key}=1", key))
    | st.tuples(st.sampled_from(["", "+", "++"]), WORD, WORD)
    .filter(lambda p: p[1] not in ALL_KEYS and p[1] not in ("run", "sweep", "hydra"))
    .map(lambda p: (f"{p[0]}{p[1]}.{p[2]}=1", f"{p[1]}.{p[2]}"))
    | st.tuples(st.sampled_from(NUMBERS), st.from_regex(r"[g-m][a-z0-9 ]{0,9}", fullmatch=True)).map(
        lambda p: (f"{p[0]}={p[1]}", p[0])
    )
    | st.tuples(st.sampled_from(NUMBERS), st.integers(max_value=-1)).map(lambda p: (f"{p[0]}={p[1]}", p[0]))
    | st.tuples(st.sampled_from(NUMBERS), st.sampled_from(["nan", "inf", "-inf", "[]", "{}", "true", "''", "1,2"])).map(
        lambda p: (f"{p[0]}={p[1]}", p[0])
    )
    | st.tuples(st.sampled_from(BOOLS), st.integers() | WORD.filter(lambda w: w not in ("true", "false", "auto"))).map(
        lambda p: (f"{p[0]}={p[1]}", p[0])
    )
    | st.tuples(st.sampled_from(list(GROUPS)), WORD)
    .filter(lambda p: p[1] not in SCHEMA.options(p[0]) and p[1] != "null")
    .map(lambda p: (f"{p[0]}={p[1]}", p[0]))
    | st.tuples(st.sampled_from(["hydra.", "hydra/"]), WORD).map(lambda p: (f"{p[0]}{p[1]}=1", f"{p[0]}{p[1]}"))
)


def wrong_word(pair: tuple[str, str]) -> None:
    refused(*pair)


# --- YAML ---

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(KEYS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORD | st.sampled_from([*KEYS, *GROUPS]), inner, max_size=3)
    ),
    max_leaves=6,
)


def any_values(values: Any) -> None:
    path = PLACE / "experiment/fuzz.yaml"
    path.write_text(dumps(values) if isinstance(values, dict) else f"{values}\n", errors="replace")
    composes_or_names_its_problems(["experiment=fuzz"], lambda words: compose(words, config_dir=PLACE))
    run = PLACE / "config.yaml"
    run.write_text(
        dumps({**compose().to_dict(), **values}) if isinstance(values, dict) else str(values), errors="replace"
    )
    composes_or_names_its_problems([], lambda words: Config.from_yaml(run))


PLACE = Path()


@pytest.fixture(autouse=True, scope="module")
def _place(tmp_path_factory: pytest.TempPathFactory) -> None:
    global PLACE
    PLACE = tmp_path_factory.mktemp("conf")
    (PLACE / "experiment").mkdir()


VALUES = TEXT | st.dictionaries(
    st.sampled_from([*GROUPS, "seed", "run", "sweep", "defaults", "freeze"]) | TEXT, PLAIN, max_size=4
)

test_any_words = small(st.lists(ANY_WORD, min_size=1, max_size=3), 175)(any_words)
test_any_sweep = small(st.lists(ANY_WORD, min_size=1, max_size=2), 75)(any_sweep)
test_wrong_words = small(WRONG, 225)(wrong_word)
test_any_yaml = small(VALUES, 25)(any_values)

test_many_any_words = pytest.mark.faults(small(st.lists(ANY_WORD, min_size=1, max_size=3), 3000)(any_words))
test_many_any_sweeps = pytest.mark.faults(small(st.lists(ANY_WORD, min_size=1, max_size=2), 1000)(any_sweep))
test_many_wrong_words = pytest.mark.faults(small(WRONG, 4500)(wrong_word))
test_many_any_yaml = pytest.mark.faults(small(VALUES, 1500)(any_values))
