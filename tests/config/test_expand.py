"""Sweeps: from one command to many checked jobs."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from torch import nn

from dlrun.components.registry import register
from dlrun.config.compose import compose, import_plugins, read_draft
from dlrun.config.config import Config
from dlrun.config.expand import Expansion, expand, plan
from dlrun.config.overrides.values import Distribution, as_text, read_value
from dlrun.errors import ConfigError
from dlrun.spec import DataSpec
from dlrun.sweep.samplers.base import drawn
from dlrun.sweep.samplers.study import distribution

MANY = """\
# dlrun experiment=many
# Two optimizers from two seeds.
trainer: {epochs: 7}
optimizer: {lr: 0.3}
sweep:
  params:
    optimizer: [sgd, adam]
    seed: range(2)
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder with two experiments of our own."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "many.yaml").write_text(MANY)
    (folder / "one.yaml").write_text("# dlrun experiment=one\n# One run.\nseed: 9\n")
    return folder.parent


def words(expansion: Expansion) -> list[tuple[str, ...]]:
    return [job.overrides for job in expansion.jobs]


def test_every_combination_in_order() -> None:
    found = expand(["optimizer=sgd,adam", "trainer=smoke", "seed=range(2)"])
    assert found.overrides == ("trainer=smoke",)
    assert found.swept == {"optimizer": ["sgd", "adam"], "seed": [0, 1]}
    assert words(found) == [
        ("trainer=smoke", "optimizer=sgd", "seed=0"),
        ("trainer=smoke", "optimizer=sgd", "seed=1"),
        ("trainer=smoke", "optimizer=adam", "seed=0"),
        ("trainer=smoke", "optimizer=adam", "seed=1"),
    ]
    assert found.jobs[3].swept == {"optimizer": "adam", "seed": 1}


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("seed=0,1,2", [0, 1, 2]),
        ("seed=0,1,range(5,7)", [0, 1, 5, 6]),
        ("seed=choice(3,1)", [3, 1]),
        ("seed=sort(3,1)", [1, 3]),
        ("optimizer.lr=range(0.1,0.4,0.1)", [0.1, 0.2, 0.3]),
        ("model.hidden=[8],[8,8]", [[8], [8, 8]]),
        ("optimizer=glob([adam*],exclude=*w)", ["adam", "adamax"]),
        ("device=cpu,cuda:1", ["cpu", "cuda:1"]),
        ("scheduler=null,step", ["none", "step"]),
        ("run.name=a b,c=d,^x", ["a b", "c=d", "^x"]),
        ("init_from=null,x", [None, "x"]),
        ("model.batch_norm=true,false", [True, False]),
    ],
)
def test_hydras_sweep_grammar(word: str, values: list[object]) -> None:
    found = expand([word])
    key = word.partition("=")[0]
    assert found.swept == {key: values}
    assert [job.swept[key] for job in found.jobs] == values
    assert not any(job.problems for job in found.jobs)


def test_every_job_is_what_its_words_alone_compose() -> None:
    sweep = ["optimizer=sgd,momentum,adam", "trainer=smoke,default", "model.hidden=[8],[4,4]", "device=cpu,cuda:1"]
    found = expand([*sweep, "optimizer.lr=0.1,0.02", "run.name=${seed}-x", "seed=3"])
    assert len(found.jobs) == 48
    for job in found.jobs:
        assert job.config == compose(job.overrides)
        assert job.config is not None
        assert job.config.run.name == "3-x"


def test_equals_full_composition_by_hydra() -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from dlrun.config.schema.schema import builtin_conf

    found = expand(
        ["optimizer=sgd,momentum", "trainer=smoke,default", "optimizer.lr=0.1,1e-3", "model.hidden=[8],[4,4]"]
    )
    with initialize_config_dir(str(builtin_conf()), version_base="1.3"):
        for job in found.jobs[::3]:
            theirs = OmegaConf.to_container(hydra_compose("dlrun_primary", list(job.overrides)))
            assert read_draft(job.overrides, found.schema).values() == theirs
    GlobalHydra.instance().clear()


def test_the_last_word_for_a_key_counts() -> None:
    found = expand(["seed=0,1", "optimizer.lr=0.1,0.2", "seed=5"])
    assert found.swept == {"optimizer.lr": [0.1, 0.2]}
    assert words(found)[0] == ("seed=5", "optimizer.lr=0.1")
    found = expand(["seed=5", "seed=0,1"])
    assert words(found) == [("seed=0",), ("seed=1",)]


def test_equal_jobs_are_one_job() -> None:
    assert len(expand(["seed=1,1,2"]).jobs) == 2


def test_impossible_jobs_are_named_and_the_others_stand() -> None:
    found = expand(["model=mlp,gru", "optimizer.lr=0.1,-1"])
    assert [bool(job.config) for job in found.jobs] == [True, False, False, False]
    assert [problem.key for problem in found.jobs[1].problems] == ["optimizer.lr"]
    assert "gru takes text or sequence" in str(found.jobs[2].problems[0])


@pytest.mark.parametrize(
    ("sweep", "key", "said"),
    [
        (["model=mlp,gruu", "optimizer.lrr=1"], "model", "Did you mean gru?"),
        (["model=mlp,gruu", "optimizer.lrr=1"], "optimizer.lrr", "Did you mean optimizer.lr?"),
        (["seed=0,1", "trainer.epochs=0"], "trainer.epochs", "must be int >= 1"),
        (["plugins=[a.py],[b.py]"], "plugins", "cannot be swept"),
        (["sweep.trials=1,2"], "sweep.trials", "cannot be swept"),
        (["optimizer.lr=interval(0.1,1)"], "optimizer.lr", "sweep.search=random"),
        (["optimizer=interval(0.1,1)"], "optimizer", "an interval has no options"),
        (["optimizer=glob(x*)"], "optimizer", "no option matches"),
        (["seed=range(100000)", "trainer.epochs=1,2"], "seed", "these are 200000 jobs"),
    ],
)
def test_what_is_wrong_with_all_jobs_is_an_error(sweep: list[str], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(sweep)
    assert said in next(str(problem) for problem in caught.value.problems if problem.key == key)


def test_an_experiment_that_sweeps(conf: Path) -> None:
    options: dict[str, Any] = {"config_dir": conf}
    found = plan(["experiment=many"], **options)
    assert isinstance(found, Expansion)
    assert found.swept == {"optimizer": ["sgd", "adam"], "seed": [0, 1]}
    assert words(found)[1] == ("experiment=many", "optimizer=sgd", "seed=1")
    for job in found.jobs:
        assert job.config is not None
        assert (job.config.optimizer.lr, job.config.trainer.epochs, job.config.section("sweep")["params"]) == (
            0.3,
            7,
            {},
        )


def test_a_swept_key_with_one_value_is_fixed(conf: Path) -> None:
    found = plan(["experiment=many", "optimizer=rprop"], config_dir=conf)
    assert isinstance(found, Expansion)
    assert found.swept == {"seed": [0, 1]}
    one = plan(["experiment=many", "optimizer=rprop", "seed=4"], config_dir=conf)
    assert isinstance(one, Config)
    assert (one.optimizer.name, one.optimizer.lr, one.seed, one.section("sweep")["params"]) == ("rprop", 0.3, 4, {})
    other = plan(["experiment=many", "optimizer=sgd,momentum", "seed=4"], config_dir=conf)
    assert isinstance(other, Expansion)
    assert other.swept == {"optimizer": ["sgd", "momentum"]}


def test_sweeping_over_experiments_that_sweep(conf: Path) -> None:
    found = expand(["experiment=many,one"], config_dir=conf)
    assert words(found)[-1] == ("experiment=one",)
    assert len(found.jobs) == 5
    assert found.swept == {"experiment": ["many", "one"], "optimizer": ["sgd", "adam"], "seed": [0, 1]}


def test_wrong_sweep_params_are_named(conf: Path) -> None:
    (conf / "experiment" / "many.yaml").write_text("sweep: {params: {optimizer: [sgd, adm], seed: []}}\n")
    with pytest.raises(ConfigError, match=r"Did you mean adam|has no values"):
        plan(["experiment=many"], config_dir=conf)
    (conf / "experiment" / "many.yaml").write_text("sweep: {params: [1]}\n")
    with pytest.raises(ConfigError, match=r"sweep\.params: must be dict"):
        plan(["experiment=many"], config_dir=conf)


def test_one_run_without_m(conf: Path) -> None:
    assert isinstance(plan(["seed=3"]), Config)
    with pytest.raises(ConfigError, match="dlrun -m seed=0,1"):
        plan(["seed=0,1"])
    alone = plan(["seed=3"], multirun=True)
    assert isinstance(alone, Expansion)
    assert words(alone) == [("seed=3",)]


@pytest.mark.parametrize("sizes", ["0,64,32", "64,0,32", "32,64,0"])
@pytest.mark.parametrize("range_", [[], ["optimizer.lr=interval(0.1,1)"]])
def test_a_search_refuses_values_that_are_impossible_in_any_order(sizes: str, range_: list[str]) -> None:
    words = [*range_, f"trainer.batch_size={sizes}", "optimizer=sgd,adam", "sweep.search=random"]
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=0: trainer\.batch_size: .*>= 1") as caught:
        expand(words)
    assert [problem.key for problem in caught.value.problems][1:] == ["sweep"]
    found = expand([*words, "sweep.skip_invalid=true"])
    assert found.swept["trainer.batch_size"] == [int(size) for size in sizes.split(",") if size != "0"]
    assert found.left_out == ("trainer.batch_size=0",)


def test_a_value_that_is_possible_beside_another_one_is_searched() -> None:
    """gru takes no images: not beside the first data set, but beside the second."""
    words = ["dataset=digits,names", "model=gru,mlp", "optimizer=sgd,adam", "sweep.search=random"]
    for range_ in ([], ["optimizer.lr=interval(0.1,1)"]):
        found = expand([*words, *range_])
        assert found.swept["model"] == ["gru", "mlp"]
    many = [f"{key}=1,2,3" for key in ("seed", "trainer.epochs", "trainer.eval_every")]
    found = expand(
        [*words, *many, "optimizer.lr=interval(0.1,1)", "trainer.batch_size=0,0.5,8", "sweep.skip_invalid=true"]
    )
    assert found.left_out == ("trainer.batch_size=0", "trainer.batch_size=0.5")
    assert found.swept["model"] == ["gru", "mlp"]


def test_a_search_makes_its_jobs_one_by_one() -> None:
    sweep = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "trainer.epochs=interval(1,9)", "optimizer=sgd,adam"]
    found = expand([*sweep, "sweep.search=tpe", "seed=2"])
    assert found.jobs == []
    assert found.swept == {
        "optimizer.lr": Distribution(1e-4, 1e-1, log=True),
        "trainer.epochs": Distribution(1, 9, integer=True),
        "optimizer": ["sgd", "adam"],
    }
    assert found.config.sweep.search == "tpe"
    job = found.job({"optimizer.lr": 0.012345678901234567, "trainer.epochs": 3, "optimizer": "adam"})
    assert job.config is not None
    assert (job.config.optimizer.name, job.config.optimizer.lr, job.config.trainer.epochs) == (
        "adam",
        0.012345678901234567,
        3,
    )
    assert job.config == compose(job.overrides)


@pytest.mark.parametrize(
    "value",
    [1, 0.1, 1e-17, True, None, "a", "1", "1e3", "a b", "a,b", "null", "x=(y)", "", [1, "a,b"], {"a": [1, "2"]}],
)
def test_values_as_words_read_back(value: object) -> None:
    assert read_value(as_text(value)) == value


def test_two_hundred_jobs_read_each_choice_of_files_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlrun.config.hydra import layers

    calls = []
    real = layers.stack
    monkeypatch.setattr(layers, "stack", lambda *given: calls.append(given) or real(*given))
    import_plugins()
    found = expand(
        ["optimizer=sgd,momentum,adam,adamw", "optimizer.lr=0.5,0.1,0.01,0.001,0.2", "seed=range(10)", "run.name=once"]
    )
    assert len(found.jobs) == 200
    assert len({job.config.identity for job in found.jobs if job.config}) == 200
    assert len(calls) <= 5


def test_experiments_with_spaces_of_their_own_do_not_share_a_search(conf: Path) -> None:
    for name, top in (("ra", "1e-2"), ("rb", "1")):
        text = f"sweep:\n  search: random\n  params:\n    optimizer.lr: interval(1e-3, {top})\n"
        (conf / "experiment" / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"ra and .*rb sweep different values"):
        expand(["experiment=ra,rb"], config_dir=conf)
    assert expand(["experiment=ra,rb", "optimizer.lr=interval(0.01,0.02)"], config_dir=conf).swept["experiment"]


def test_settings_of_a_sweep_that_experiments_do_not_share_are_named(conf: Path) -> None:
    for name, workers in (("ra", 1), ("rb", 2)):
        (conf / "experiment" / f"{name}.yaml").write_text(f"sweep:\n  workers: {workers}\n")
    with pytest.raises(ConfigError, match=r"sweep\.workers.*1 and 2"):
        expand(["experiment=ra,rb"], config_dir=conf)
    assert len(expand(["experiment=ra,rb", "sweep.workers=1"], config_dir=conf).jobs) == 2


@pytest.mark.usefixtures("conf")
def test_a_range_has_the_type_of_the_chosen_option() -> None:
    @register.model("narrow")
    def narrow(spec: DataSpec, channels: int = 8) -> nn.Module: ...

    @register.model("aaa")
    def aaa(spec: DataSpec, channels: float = 8.0) -> nn.Module: ...

    search = ["model.channels=interval(8,64)", "sweep.search=random"]
    assert expand(["model=narrow", *search]).swept["model.channels"].integer
    assert not expand(["model=aaa", *search]).swept["model.channels"].integer
    assert not expand(["model=narrow,aaa", *search]).swept["model.channels"].integer


def test_both_ends_of_a_range_are_tried() -> None:
    with pytest.raises(ConfigError, match=r"model\.dropout"):
        expand(["model.dropout=interval(0.1,1.5)", "sweep.search=random"])


@pytest.mark.parametrize("word", ["interval(8,64,8)", "interval(0.1,0.5,0.2)"])
def test_a_range_in_steps(word: str) -> None:
    key = "trainer.batch_size" if "8" in word else "model.dropout"
    space = expand([f"{key}={word}", "sweep.search=random"]).swept[key]
    assert isinstance(space, Distribution)
    again = read_value(str(space))
    assert (again.low, again.high, again.step) == (space.low, space.high, space.step)
    draw = Random(0)
    found = {drawn(space, draw) for _ in range(200)}
    assert found == (set(range(8, 65, 8)) if space.integer else {0.1, 0.3, 0.5})
    limits = distribution(optuna, space)
    assert limits.step == space.step


@pytest.mark.parametrize("word", ["interval(8,64,0)", "interval(8,64,100)", "interval(8,64,x)"])
def test_a_step_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="no step"):
        expand([f"trainer.batch_size={word}", "sweep.search=random"])


def test_zip_pairs_values() -> None:
    found = expand(["zip(optimizer=sgd,adam; optimizer.lr=0.1,0.001)", "seed=0,1"])
    assert [(job.swept["optimizer"], job.swept["optimizer.lr"], job.swept["seed"]) for job in found.jobs] == [
        ("sgd", 0.1, 0),
        ("sgd", 0.1, 1),
        ("adam", 0.001, 0),
        ("adam", 0.001, 1),
    ]
    assert found.swept == {"optimizer": ["sgd", "adam"], "optimizer.lr": [0.1, 0.001], "seed": [0, 1]}
    assert words(found)[2] == ("optimizer=adam", "optimizer.lr=0.001", "seed=0")


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["zip(optimizer=sgd,adam; optimizer.lr=0.1,0.2,0.3)"], "optimizer has 2, optimizer.lr has 3"),
        (["zip(optimizer=sgd,adam)"], "pairs the values of two keys or more"),
        (["zip(optimizer=sgd; seed=1,2)"], "zip: optimizer: sgd is one value"),
        (["zip(optimizer=sgd,adm; seed=1,2)"], "Did you mean"),
        (["zip(seed=0,1; seed=1,2)"], "zip: seed: is given twice"),
        (["zip(seed=0,1; optimizer.lr=1,2)", "seed=4"], "seed: is given in zip(...) and again beside it"),
        (["zip(seed=0,1; optimizer.lr=1,2)", "seed=4,5"], "seed: is given in zip(...) and again beside it"),
        (["zip(seed=0,1; sweep.name=a,b)"], "sweep.name: cannot be swept"),
        (["zip()"], "pairs the values of two keys or more"),
    ],
)
def test_a_zip_that_does_not_fit_is_refused_by_name(texts: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(texts)
    assert said in str(caught.value)


def test_zip_without_m_is_told_how_to_run_it() -> None:
    with pytest.raises(ConfigError, match=r"dlrun -m 'zip\(seed=0,1; optimizer\.lr=1,2\)'"):
        compose(["zip(seed=0,1; optimizer.lr=1,2)"])


GRIDS = """\
# dlrun experiment=grids
# Each optimizer with values of its own.
sweep:
  params:
    - optimizer: sgd
      optimizer.lr: [0.1, 0.01]
    - optimizer: adam
      optimizer.betas: [[0.9, 0.99]]
      seed: range(2)
"""


def test_a_list_of_grids_gives_each_option_values_of_its_own(conf: Path) -> None:
    (conf / "experiment" / "grids.yaml").write_text(GRIDS)
    found = expand(["experiment=grids"], config_dir=conf)
    assert [job.swept for job in found.jobs] == [
        {"optimizer": "sgd", "optimizer.lr": 0.1},
        {"optimizer": "sgd", "optimizer.lr": 0.01},
        {"optimizer": "adam", "optimizer.betas": [0.9, 0.99], "seed": 0},
        {"optimizer": "adam", "optimizer.betas": [0.9, 0.99], "seed": 1},
    ]
    assert not any(job.problems for job in found.jobs)
    assert isinstance(plan(["experiment=grids"], config_dir=conf), Expansion), "it needs no -m"
    fixed = expand(["experiment=grids", "optimizer=sgd", "trainer.epochs=1,2"], config_dir=conf)
    assert [job.swept for job in fixed.jobs] == [
        {"trainer.epochs": epochs, "optimizer.lr": lr} for epochs in (1, 2) for lr in (0.1, 0.01)
    ], "the grids of other optimizers are left out"


def test_a_list_of_grids_on_the_command_line() -> None:
    found = expand(
        ["sweep.params=[{optimizer: sgd, optimizer.lr: [0.1,0.01]},{optimizer: adam, optimizer.betas: [[0.9,0.99]]}]"]
    )
    assert [job.swept for job in found.jobs] == [
        {"optimizer": "sgd", "optimizer.lr": 0.1},
        {"optimizer": "sgd", "optimizer.lr": 0.01},
        {"optimizer": "adam", "optimizer.betas": [0.9, 0.99]},
    ]


def test_grids_of_a_search_keep_their_own_ranges() -> None:
    grids = "[{optimizer: sgd, optimizer.lr: 'interval(0.1,1)'},{optimizer: adam, optimizer.lr: 'interval(1e-4,1e-2)'}]"
    found = expand([f"sweep.params={grids}", "sweep.search=random", "model.dropout=0.0,0.1"])
    assert found.spaces == (
        {"model.dropout": [0.0, 0.1], "optimizer": ["sgd"], "optimizer.lr": Distribution(0.1, 1)},
        {"model.dropout": [0.0, 0.1], "optimizer": ["adam"], "optimizer.lr": Distribution(1e-4, 1e-2)},
    )
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        expand(
            [
                "sweep.params=[{optimizer.lr: 'interval(0.1,1)'},{optimizer.lrr: 'interval(0.1,1)'}]",
                "sweep.search=random",
            ]
        )


BENCHMARK = """\
# dlrun experiment=bench
# Two optimizers on two workloads.
sweep:
  params:
    optimizer: [sgd, adam]
  workloads:
    small: {dataset: digits, model.hidden: [8], trainer.epochs: 3, target: 0.2}
    other: {dataset: moons, trainer.epochs: 4}
"""


def test_workloads_stand_by_their_names_for_what_they_set(conf: Path) -> None:
    (conf / "experiment" / "bench.yaml").write_text(BENCHMARK)
    found = expand(["experiment=bench"], config_dir=conf)
    assert [job.swept for job in found.jobs] == [
        {"sweep.workload": workload, "optimizer": optimizer}
        for workload in ("small", "other")
        for optimizer in ("sgd", "adam")
    ]
    first, _, last, _ = [job.config for job in found.jobs]
    assert first is not None
    assert last is not None
    assert (first.dataset.name, list(first.model.hidden), first.trainer.epochs) == ("digits", [8], 3)
    assert (first.sweep.target, first.sweep.workload, first.sweep.workloads) == (0.2, "small", {})
    assert (last.dataset.name, last.trainer.epochs, last.sweep.target) == ("moons", 4, None)
    assert found.jobs[0].label(found.overrides) == "sweep.workload=small optimizer=sgd"
    given = expand(["experiment=bench", "trainer.epochs=1"], config_dir=conf)
    assert [job.config.trainer.epochs for job in given.jobs if job.config] == [1] * 4, "the command line counts"
    (conf / "experiment" / "bench.yaml").write_text(BENCHMARK.replace("model.hidden", "model.hiden"))
    (problem,) = expand(["experiment=bench"], config_dir=conf).jobs[0].problems
    assert problem.key == "model.hiden"
    assert "model.hidden" in problem.hint
