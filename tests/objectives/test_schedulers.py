"""Schedules: the rates that torch gives by hand, on every group, from the epoch that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as torch_schedules

from dlrun.components.registry import SCHEDULERS
from dlrun.errors import ConfigError
from dlrun.objectives.groups import Trainable
from dlrun.objectives.length import FREE, SPANNING, depends_on_length
from dlrun.objectives.optimizers import adam, lbfgs, sgd
from dlrun.objectives.schedule import Schedule, current_lr

EPOCHS, STEPS = 6, 4


def optimizer(momentum: float = 0.9) -> torch.optim.Optimizer:
    """Two groups, of lr 0.1 and 0.02."""
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    return sgd(Trainable(model), lr=0.1, momentum=momentum, groups=[{"match": "bias", "lr": 0.02}])


def make(name: str, opt: torch.optim.Optimizer, epochs: int = EPOCHS, **settings: Any) -> Schedule:
    return SCHEDULERS.get(name)(opt, epochs=epochs, steps_per_epoch=STEPS, **settings)


def rates(schedule: Any, opt: torch.optim.Optimizer, times: int) -> list[list[float]]:
    """The rates of both groups, before each of `times` steps of the schedule, and after them."""
    found = [[group["lr"] for group in opt.param_groups]]
    for _ in range(times):
        schedule.step()
        found.append([group["lr"] for group in opt.param_groups])
    return found


L = torch_schedules
TOTAL = EPOCHS * STEPS
BY_HAND: dict[str, tuple[dict[str, Any], str, Any]] = {
    "step": ({"step_size": 2, "gamma": 0.5}, "epoch", lambda o: L.StepLR(o, 2, 0.5)),
    "multistep": ({"milestones": [1, 3]}, "epoch", lambda o: L.MultiStepLR(o, [1, 3])),
    "exponential": ({"gamma": 0.9}, "epoch", lambda o: L.ExponentialLR(o, 0.9)),
    "cosine": ({"eta_min": 0.01}, "epoch", lambda o: L.CosineAnnealingLR(o, EPOCHS, 0.01)),
    "linear": (
        {"start_factor": 0.5, "end_factor": 0.1, "interval": "step"},
        "step",
        lambda o: L.LinearLR(o, 0.5, 0.1, TOTAL),
    ),
    "polynomial": ({"power": 0.9}, "epoch", lambda o: L.PolynomialLR(o, EPOCHS, 0.9)),
    "warmup_cosine": (
        {"warmup_epochs": 1.5, "start_factor": 0.1},
        "step",
        lambda o: L.SequentialLR(o, [L.LinearLR(o, 0.1, 1.0, 6), L.CosineAnnealingLR(o, TOTAL - 6)], milestones=[6]),
    ),
    "onecycle": (
        {"pct_start": 0.4, "three_phase": True, "anneal": "linear"},
        "step",
        lambda o: L.OneCycleLR(
            o, [0.1, 0.02], total_steps=TOTAL, pct_start=0.4, three_phase=True, anneal_strategy="linear"
        ),
    ),
    "cyclic": (
        {"mode": "triangular2", "epochs_up": 1.0, "epochs_down": 0.5},
        "step",
        lambda o: L.CyclicLR(o, [0.01, 0.002], [0.1, 0.02], 4, 2, mode="triangular2"),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_equals_torch_on_every_group_T02(name: str) -> None:
    settings, interval, by_hand = BY_HAND[name]
    ours, theirs = optimizer(), optimizer()
    schedule = make(name, ours, **settings)
    assert schedule.interval == interval
    times = EPOCHS - 1 if interval == "epoch" else TOTAL - 1
    found = rates(schedule, ours, times)
    expected_schedule = by_hand(theirs)
    theirs._opt_called = True  # type: ignore[attr-defined]
    expected = rates(expected_schedule, theirs, times)
    for mine, torchs in zip(found, expected, strict=True):
        assert mine == pytest.approx(torchs, rel=1e-9)
        assert mine[0] > mine[1] or name == "cosine"  # the groups keep their distance
    assert len({rate for rate, _ in found}) > 2
    assert [g["momentum"] for g in ours.param_groups] == pytest.approx([g["momentum"] for g in theirs.param_groups])


def test_every_schedule_is_tested_here() -> None:
    assert {*BY_HAND, "none", "plateau"} == set(SCHEDULERS.names())


def test_none_is_none() -> None:
    assert make("none", optimizer()) is None


def test_the_first_decay_is_where_it_is_asked_for_T01() -> None:
    """mnist_mlp decays at epochs 5, 10, 15; the printed code at 0 too."""
    opt = optimizer()
    usual = [rate for rate, _ in rates(make("step", opt, epochs=20), opt, 19)]
    assert usual == pytest.approx([0.1] * 5 + [0.01] * 5 + [1e-3] * 5 + [1e-4] * 5)
    opt = optimizer()
    printed = [rate for rate, _ in rates(make("step", opt, epochs=20, first_epoch=0), opt, 19)]
    assert printed == pytest.approx([0.01] * 5 + [1e-3] * 5 + [1e-4] * 5 + [1e-5] * 5)
    opt = optimizer()
    odd = [rate for rate, _ in rates(make("step", opt, first_epoch=1, step_size=3), opt, 5)]
    assert odd == pytest.approx([0.1, 0.01, 0.01, 0.01, 1e-3, 1e-3])
    opt = optimizer()
    milestones = [rate for rate, _ in rates(make("multistep", opt, milestones=[0, 2]), opt, 3)]
    assert milestones == pytest.approx([0.01, 0.01, 1e-3, 1e-3])


@pytest.mark.parametrize("name", SPANNING)
def test_a_schedule_that_is_over_rests(name: str) -> None:
    """A cosine would rise again, a one-cycle would raise an error."""
    opt = optimizer()
    schedule = make(name, opt, total_epochs=2)
    times = 2 if schedule.interval == "epoch" else 2 * STEPS
    found = rates(schedule, opt, times + 5)
    assert found[times:] == [found[times]] * 6
    assert found[times][0] < 1e-3


def test_the_rate_reaches_its_peak_and_its_end() -> None:
    opt = optimizer()
    one = [rate for rate, _ in rates(make("onecycle", opt), opt, TOTAL - 1)]
    assert one[0] == pytest.approx(0.1 / 25)
    assert max(one) <= 0.1
    assert max(one) > 0.09
    assert one[-1] == pytest.approx(0.1 / 25 / 1e4)
    opt = optimizer()
    warm = [rate for rate, _ in rates(make("warmup_cosine", opt, end_factor=0.1), opt, TOTAL)]
    assert (warm[0], warm[STEPS], warm[-1]) == pytest.approx((0.001, 0.1, 0.01))


def test_a_run_within_its_warm_up_ends_on_the_way_up() -> None:
    opt = optimizer()
    found = [rate for rate, _ in rates(make("warmup_cosine", opt, epochs=1, start_factor=0.1), opt, STEPS - 1)]
    assert found == pytest.approx([0.01, 0.0325, 0.055, 0.0775])


@pytest.mark.parametrize("total", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("pct_start", [0.1, 0.2, 0.3, 0.5])
def test_a_one_cycle_of_any_length(total: int, pct_start: float) -> None:
    """torch divides by pct_start x steps - 1, which is 0 for 10 steps and 0.1."""
    opt = optimizer()
    schedule = SCHEDULERS.get("onecycle")(opt, epochs=total, steps_per_epoch=1, pct_start=pct_start)
    found = rates(schedule, opt, total)
    assert all(0 < rate <= 0.1 for rate, _ in found)


def test_momentum_is_cycled_only_where_there_is_one() -> None:
    opt = optimizer(momentum=0.0)
    make("onecycle", opt).step()
    assert [g["momentum"] for g in opt.param_groups] == [0.0, 0.0]
    opt = optimizer(momentum=0.0)
    make("cyclic", opt, cycle_momentum=True)
    assert opt.param_groups[0]["momentum"] == 0.9
    opt = adam(Trainable(nn.Linear(2, 1)))
    make("onecycle", opt)
    assert opt.param_groups[0]["betas"] == (0.95, 0.999)
    opt = lbfgs(Trainable(nn.Linear(2, 1)))
    make("onecycle", opt).step()
    with pytest.raises(ConfigError, match="cycle_momentum"):
        make("cyclic", opt, cycle_momentum=True)


def test_what_leaves_no_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="third phase"):
        make("onecycle", optimizer(), three_phase=True, pct_start=0.5)


def test_a_plateau_follows_the_metric() -> None:
    opt = optimizer()
    schedule = make("plateau", opt, patience=1, factor=0.5)
    assert schedule.interval == "metric"
    seen = []
    for loss in [1.0, 0.5, 0.6, 0.6, 0.6, 0.1]:
        schedule.step(loss)
        seen.append(current_lr(opt))
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05])
    assert opt.param_groups[1]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("mode", "told", "falls"), [("auto", "max", False), ("auto", "min", True), ("min", "max", True)]
)
def test_a_plateau_is_told_which_way_is_better(mode: str, told: str, falls: bool) -> None:
    opt = optimizer()
    schedule = make("plateau", opt, patience=0, mode=mode)
    schedule.set_mode(told)
    for accuracy in [0.5, 0.6, 0.7]:
        schedule.step(accuracy)
    assert (current_lr(opt) < 0.1) is falls
    make("step", opt).set_mode("max")  # means nothing to others


@pytest.mark.parametrize("name", [name for name in SCHEDULERS.names() if name != "none"])
def test_saved_and_loaded_it_goes_on(name: str, tmp_path: Path) -> None:
    """Plain Python only in the file; the same rates as if nothing had happened (T11)."""

    def step(schedule: Schedule) -> None:
        schedule.step(1.0) if schedule.interval == "metric" else schedule.step()

    settings = {"patience": 1} if name == "plateau" else {"milestones": [2, 5]} if name == "multistep" else {}
    straight, first, second = optimizer(), optimizer(), optimizer()
    whole, begun = make(name, straight, **settings), make(name, first, **settings)
    for _ in range(3):
        step(whole)
        step(begun)
    torch.save({"o": first.state_dict(), "s": begun.state_dict()}, tmp_path / "s.pt")
    state = torch.load(tmp_path / "s.pt", weights_only=True)
    resumed = make(name, second, **settings)
    second.load_state_dict(state["o"])
    resumed.load_state_dict(state["s"])
    for _ in range(3):
        step(whole)
        step(resumed)
        assert [g["lr"] for g in second.param_groups] == [g["lr"] for g in straight.param_groups]
    assert plain(state["s"])


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(plain(v) for v in value.values())
    if isinstance(value, list | tuple):
        return all(plain(v) for v in value)
    return value is None or type(value) in (bool, int, float, str)


@pytest.mark.parametrize("name", SPANNING)
def test_length_matters_where_it_does(name: str) -> None:
    """Held equal to the rates themselves."""

    def of(name: str, epochs: int, **settings: Any) -> list[list[float]]:
        opt = optimizer()
        return rates(make(name, opt, epochs=epochs, **settings), opt, 6)

    assert depends_on_length(name, {"total_epochs": None})
    assert of(name, 4) != of(name, 8)
    assert not depends_on_length(name, {"total_epochs": 9})
    assert of(name, 4, total_epochs=9) == of(name, 8, total_epochs=9)


def test_length_does_not_matter_elsewhere() -> None:
    assert {*FREE, *SPANNING} == set(SCHEDULERS.names())
    for name in set(FREE) - {"none", "plateau"}:
        a, b = optimizer(), optimizer()
        assert rates(make(name, a, epochs=4), a, 9) == rates(make(name, b, epochs=8), b, 9)
        assert not depends_on_length(name, {})
    assert depends_on_length("a_users_own", {})
