"""What a key changes: stated in its contract, inherited by files that restate it, and shown in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.config.schema.comments import Key, Option, builtin_conf
from dlrun.config.schema.contract import TuneRange, parse_contract
from dlrun.config.schema.effects import EFFECTS, RESULT
from dlrun.config.schema.pages import help_page, list_page
from dlrun.config.schema.schema import COMPONENTS, GROUPS, Schema, config_dirs, read_schema

SCHEMA = read_schema(config_dirs())


def test_facts_follow_the_contract() -> None:
    contract = parse_contract("float > 0 or null; speed; was old; was older; tune 1e-4 to 1, log")
    assert contract is not None
    assert str(contract) == "float > 0 or null"
    assert contract.effect == EFFECTS["speed"]
    assert contract.was == ("old", "older")
    assert contract.tune == TuneRange(1e-4, 1, log=True)
    assert contract.accept(1) == 1.0
    plain = parse_contract("int; tune 2 to 64")
    assert plain is not None
    assert (plain.effect, plain.was, plain.tune) == (RESULT, (), TuneRange(2, 64))


@pytest.mark.parametrize(
    "text",
    ["int; sped", "int;", "; speed", "int; was", "int; was a b", "int; tune", "int; tune 1", "int; tune a to b",
     "int; tune 2 to 1", "float; tune 0 to 1, log", "float; tune 1 to 2, linear", "see it; speed"],
)  # fmt: skip
def test_other_facts_make_it_a_remark(text: str) -> None:
    assert parse_contract(text) is None


@pytest.mark.parametrize(
    ("effect", "keys"),
    [
        ("", "seed freeze init_from plugins optimizer.lr model.name device.precision device.strategy trainer.eval_every"
             " dataset.val_fraction trainer.early_stop.min_delta"),
        ("selects", "checkpoint.monitor checkpoint.mode"),
        ("length", "trainer.epochs trainer.max_steps"),
        ("stops", "trainer.early_stop.patience"),
        ("speed", "device.name device.threads device.compile device.fast device.deterministic dataset.workers"
                  " dataset.in_memory dataset.root trainer.detect_anomaly"),
        ("shown", "trainer.print_every trainer.log_every trainer.profile logger.name logger"),
        ("kept", "checkpoint.keep checkpoint.every_epochs checkpoint.every_steps checkpoint.every_minutes resume"
                 " run.dir run.name run.overwrite sweep.workers sweep.params sweep.params.optimizer.lr"),
    ],
)  # fmt: skip
def test_every_key_has_the_effect_of_its_contract(effect: str, keys: str) -> None:
    assert {key: SCHEMA.effect(key).name for key in keys.split()} == dict.fromkeys(keys.split(), effect)


def test_a_key_of_another_version_changes_what_its_neighbours_change() -> None:
    assert SCHEMA.effect("sweep.of_a_later_version").name == "kept"
    assert SCHEMA.effect("logger.of_a_later_version").name == "shown"
    for key in ("device.new", "trainer.new", "model.new", "new", "new.key"):
        assert SCHEMA.effect(key) == RESULT, key


def test_one_key_of_a_group_has_one_effect_in_all_its_files() -> None:
    """So that it can be told from a word alone, whichever option is chosen."""
    for group in COMPONENTS:
        found: dict[str, set[str]] = {}
        for option in SCHEMA.options(group).values():
            for key, info in SCHEMA.full(option).keys.items():
                found.setdefault(key, set()).add(info.contract.effect.name if info.contract else "")
        assert {key: effects for key, effects in found.items() if len(effects) > 1} == {}, group


def test_a_component_of_a_plug_in_says_itself_what_its_keys_change() -> None:
    key = Key("workers", "4", "", parse_contract("int"))
    name = Key("name", "own", "", None)
    schema = Schema(config_dirs(), (Option("dataset", "own", "own", keys={"name": name, "workers": key}),))
    assert schema.effect("dataset.workers", {"dataset": {"name": "own"}}) == RESULT
    assert schema.effect("dataset.workers", {"dataset": {"name": "mnist"}}).name == "speed"
    assert schema.effect("dataset.workers") == RESULT  # which of them is not known


def test_a_file_that_restates_a_contract_inherits_its_effect(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    files = {
        "trainer/mine.yaml": "defaults: [default, _self_]\nprint_every: 5   # seldom (int >= 1)\n",
        "trainer/alone.yaml": "print_every: 7   # more seldom (int >= 1)\nepochs: 3\n",
        "dataset/mnist.yaml": "name: mnist\nworkers: 3   # my processes (int >= 0)\nroot: null\n",
        "dataset/small.yaml": "defaults: [mnist, _self_]\nworkers: 0   # none (int >= 0)\n",
        "device/mine.yaml": "defaults: [auto, _self_]\nthreads: 2   # two (int >= 1; shown)\n",
        "dlrun_primary.yaml": (builtin_conf() / "dlrun_primary.yaml").read_text().replace("; kept)", ")"),
    }
    for name, text in files.items():
        (conf / name).parent.mkdir(parents=True, exist_ok=True)
        (conf / name).write_text(text)
    schema = read_schema(config_dirs(conf))
    own = schema.full(schema.options("trainer")["mine"]).keys["print_every"]
    assert (str(own.contract), own.help, own.contract and own.contract.effect.name) == ("int >= 1", "seldom", "shown")
    assert schema.effect("trainer.print_every").name == "shown"
    assert schema.effect("dataset.workers", {"dataset": {"name": "mnist"}}).name == "speed"
    assert {schema.full(schema.options("dataset")[n]).keys["workers"].default for n in ("mnist", "small")} == {"3", "0"}
    assert schema.effect("run.name").name == "kept"
    threads = schema.full(schema.options("device")["mine"]).keys["threads"].contract
    assert threads is not None
    assert threads.effect.name == "shown"  # a file that states an effect means it
    section = schema.section("trainer", "")
    assert section is not None
    assert (section.keys["epochs"].default, section.keys["print_every"].default) == (
        "20",
        "auto",
    )  # not the first file's


def test_effects_are_shown_in_words() -> None:
    page = help_page(SCHEMA, {}, {})
    assert "auto: about 50 lines when piped (int >= 1 or auto; shown)\n" in page
    for effect in EFFECTS.values():
        assert f"\n  {effect.name:<8}  {effect.words}\n" in page
    assert "jsonl        One JSON object an epoch in metrics.jsonl, for other programs.  [changes only what is" in (
        list_page("loggers", SCHEMA)
    )
    assert list_page("devices", SCHEMA).splitlines()[0] == "  auto  CUDA if there is a GPU, then MPS, then the CPU."
    for group in GROUPS:
        assert "changes the result" not in list_page(group, SCHEMA)
