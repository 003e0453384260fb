"""Jobs of a sweep share what is equal: the result is what composing each by itself gives."""

import hashlib
import json

import pytest

from dlrun.config.compose import compose
from dlrun.config.config import Config, current_schema
from dlrun.config.expand import expand
from dlrun.errors import ConfigError

WORDS = ["optimizer=sgd,adam", "optimizer.lr=0.1,1e-3", "seed=0,1", "model=mlp,cnn", "run.name=007", "dataset=mnist"]


def plain_identity(config: Config) -> str:
    """The hash as it is defined: of one JSON object of all dotted keys that change the result."""
    schema = current_schema()
    values = {key: value for key, value in config.flat().items() if schema.effect(key, config).changes_result}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def test_each_job_is_what_its_own_command_composes() -> None:
    for job in expand(WORDS).jobs:
        alone = compose(job.overrides)
        assert job.config == alone
        assert list(job.config or ()) == list(alone)
        assert job.config
        assert job.config.identity == plain_identity(alone) == alone.identity


def test_equal_sections_are_one_object_and_copies_are_not() -> None:
    first, second = (job.config for job in expand(["seed=0,1"]).jobs)
    assert first
    assert second
    assert first.model is second.model
    assert first.shared()["model"] is second.shared()["model"]
    assert first.to_dict() == first.shared()
    first.to_dict()["model"]["name"] = first.section("model")["name"] = first.flat()["model.name"] = "other"
    assert second.model.name != "other"
    assert second.to_dict()["model"]["name"] != "other"


@pytest.mark.parametrize("word", ["optimizer.lr=oops", "model.nothing=1", "trainer.epochs=-1"])
def test_a_section_that_was_checked_before_has_its_problems_again(word: str) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match=word.partition("=")[0]):
            compose([word])


def test_equal_values_of_other_types_are_checked_apart() -> None:
    """1, 1.0 and true are equal in Python: 1 is taken for an lr as a float, true is not."""
    assert repr(compose(["optimizer.lr=1.0"]).optimizer.lr) == repr(compose(["optimizer.lr=1"]).optimizer.lr) == "1.0"
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        compose(["optimizer.lr=true"])
