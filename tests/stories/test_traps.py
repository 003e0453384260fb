"""Traps of the notes in training itself: schedules, means, modes, optimizers, randomness (docs/traps.md).

One test a trap, through dlrun's public ways; those about data are in test_traps_data.py, those about weights and
checkpoints in test_traps_weights.py. The last tests hold docs/traps.md to what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import dlrun
from dlrun.components.registry import LOSSES, MODELS
from dlrun.errors import ConfigError
from dlrun.spec import DataSpec
from tests.helpers.traps import built, checkpoint, column, facts, train

TESTS = Path(__file__).parents[1]
LINE = ("model=linear", "dataset=line", "loss=mse", "optimizer=sgd", "trainer.batch_size=full")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Witness(nn.Module):
    """A small net with batch norm that notes in which mode, and with or without gradients, it is called."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled()))
        return self.body(x)


@pytest.fixture
def witness() -> Iterator[list[Witness]]:
    """The nets that runs with model=witness made."""
    made: list[Witness] = []

    def make(spec: DataSpec) -> Witness:
        made.append(Witness(spec))
        return made[-1]

    MODELS.plugins["witness"] = make
    yield made
    del MODELS.plugins["witness"]


# --- schedules --------------------------------------------------------------------------------------------------------


def test_t01_a_schedule_decays_at_epoch_0_only_when_asked() -> None:
    words = (*LINE, "scheduler=step", "scheduler.step_size=2", "trainer.epochs=5", "optimizer.lr=1e-2")
    assert column(train(*words), "lr") == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])
    asked = train(*words, "scheduler.first_epoch=0")
    assert column(asked, "lr") == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_t02_a_schedule_acts_on_every_group() -> None:
    groups = "optimizer.groups=[{match: head.bias, lr: 1.0}]"
    run = train(*LINE, groups, "scheduler=step", "scheduler.step_size=1", "trainer.epochs=2", "optimizer.lr=0.1")
    rates = sorted(group["lr"] for group in checkpoint(run)["optimizer"]["param_groups"])
    assert rates == pytest.approx([0.1 / 100, 1.0 / 100])


def test_t11_a_schedule_keeps_the_momentum() -> None:
    words = (*LINE, "optimizer.momentum=0.9", "scheduler=step", "scheduler.step_size=2", "trainer.epochs=6")
    start = built(*words).state.model
    weight, bias = (p.detach().clone().requires_grad_() for p in (start.head.weight, start.head.bias))
    optimizer = torch.optim.SGD([weight, bias], lr=0.01, momentum=0.9)
    x = torch.tensor([[1.0], [2.0], [3.0]])
    for epoch in range(6):
        optimizer.param_groups[0]["lr"] = 0.01 * 0.1 ** (epoch // 2)
        optimizer.zero_grad()
        (x @ weight.T + bias - 2 * x).square().mean().backward()
        optimizer.step()
    trained = train(*words).model("last")
    torch.testing.assert_close(trained.head.weight, weight)
    torch.testing.assert_close(trained.head.bias, bias)


# --- means, modes, gradients ------------------------------------------------------------------------------------------


def test_t03_the_test_result_weighs_rows_not_batches() -> None:
    words = ("model=linear", "dataset=moons", "dataset.samples=2200", "dataset.test_fraction=0.5", "trainer.epochs=1")
    ready = built(*words)
    assert ready.data.test is not None
    assert [ready.test.sizes(i) for i in range(len(ready.test))] == [1024, 76]
    run = train(*words)
    (points,), target = ready.data.test.inputs, ready.data.test.target
    with torch.inference_mode():
        output = run.model()(points)
    assert run.summary["test"]["loss"] == pytest.approx(nn.functional.cross_entropy(output, target).item(), abs=1e-6)
    assert run.summary["test"]["accuracy"] == (output.argmax(1) == target).double().mean().item()


def test_t04_evaluation_takes_no_gradients(witness: list[Witness]) -> None:
    train("model=witness", "dataset=iris", "trainer.epochs=2")
    evaluations = [gradients for training, gradients in witness[-1].calls if not training]
    assert evaluations
    assert not any(evaluations)


def test_t14_evaluation_is_in_eval_mode_and_training_in_train_mode(witness: list[Witness]) -> None:
    run = train("model=witness", "dataset=iris", "trainer.epochs=3", "trainer.batch_size=16")
    net = witness[-1]
    steps = run.summary["counts"]["steps"]
    assert sum(training for training, _ in net.calls) == steps
    assert checkpoint(run)["model"]["body.1.num_batches_tracked"] == steps  # evaluation moves no statistics
    assert net.training


def test_t15_the_training_loss_is_the_mean_over_rows_whatever_the_batches() -> None:
    words = ("model=linear", "dataset=iris", "optimizer=sgd", "optimizer.lr=1e-12", "trainer.epochs=1")
    losses = [column(train(*words, f"trainer.batch_size={size}"), "train_loss") for size in (7, 64, "full")]
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0] == pytest.approx(losses[2])


def test_t26_the_loss_of_an_epoch_is_not_that_of_its_last_row() -> None:
    words = (*LINE[:4], "trainer.batch_size=1", "trainer.epochs=1", "optimizer.lr=1e-12", "trainer.log_every=1")
    run = train(*words)
    by_row = column(run, "loss", "steps.csv")
    assert len(set(by_row)) == 3
    assert column(run, "train_loss") == pytest.approx([sum(by_row) / 3])


@pytest.mark.parametrize("fast", ["true", "false"])
def test_t16_gradients_are_cleared_at_every_step(fast: str) -> None:
    run = train(*LINE, "trainer.epochs=2", "optimizer.lr=0.1", f"device.fast={fast}")
    start = built(*LINE).state.model
    w, b = start.head.weight.item(), start.head.bias.item()
    for _ in range(2):
        errors = [(w * x + b - 2 * x, x) for x in (1.0, 2.0, 3.0)]
        slope, level = (sum(2 * e * f / 3 for e, f in pairs) for pairs in (errors, [(e, 1.0) for e, _ in errors]))
        w, b = w - 0.1 * slope, b - 0.1 * level
    model = run.model("last")
    assert (model.head.weight.item(), model.head.bias.item()) == pytest.approx((w, b), abs=1e-6)


def test_t17_a_state_as_logits_cannot_go_below_its_floor_and_a_head_can() -> None:
    """tanh gives at best 1 for the right letter and -1 for three others: ln(1 + 3 e^-2) = 0.3408."""
    floor = torch.log1p(3 * torch.exp(torch.tensor(-2.0))).item()
    bare = train("experiment=hello_rnn", "trainer.epochs=300", "optimizer.lr=0.5")
    assert floor < min(column(bare, "train_loss")) < 2 * floor
    assert bare.summary["last"]["train_accuracy"] == 1
    headed = train("experiment=hello_embedding_rnn", "trainer.epochs=30")
    assert min(column(headed, "train_loss")) < floor


def test_t18_a_sum_over_time_is_named_and_five_times_the_mean() -> None:
    words = ("experiment=hello_rnn", "trainer.epochs=1")
    mean, total = (column(train(*words, f"loss.reduction={r}"), "train_loss")[0] for r in ("mean", "sum"))
    assert total == pytest.approx(5 * mean, rel=1e-5)


def test_t19_recurrent_models_take_any_batch_size() -> None:
    words = ("dataset=names", "dataset.source=builtin", "trainer.max_batches=2", "trainer.epochs=1")
    for model in ("gru", "rnn_cell"):
        net = train(f"model={model}", "model.hidden_size=4", *words, "trainer.batch_size=7").model()
        codes, lengths = torch.ones(3, 5, dtype=torch.int64), torch.tensor([5, 1, 3])
        whole = net(codes, lengths)
        torch.testing.assert_close(whole[1:2], net(codes[1:2], lengths[1:2]))


def test_t53_a_last_batch_of_one_row_keeps_its_axis() -> None:
    words = ("model=mlp", "dataset=moons", "dataset.samples=33", "dataset.test_fraction=0", "dataset.val_fraction=0")
    run = train(*words, "trainer.batch_size=16", "trainer.epochs=2", "loss=bce_with_logits")
    assert run.summary["counts"]["steps"] == 2 * 3
    assert run.model()(torch.zeros(1, 2)).shape == (1, 1)


# --- optimizers, randomness, devices ----------------------------------------------------------------------------------


def test_t05_the_seed_repeats_a_run_and_is_recorded() -> None:
    words = ("model.dropout=0.3", "trainer.epochs=1", "seed=3")
    runs = [train(*words) for _ in range(2)]
    assert column(runs[0], "train_loss") == column(runs[1], "train_loss")
    assert facts(runs[0])["seed"] == 3
    assert column(train(*words[:2], "seed=4"), "train_loss") != column(runs[0], "train_loss")


def test_t06_optimizers_start_from_the_same_weights_on_the_same_batches() -> None:
    one, other = (built("experiment=optimizer_comparison", f"optimizer={name}") for name in ("sgd", "adam"))
    for a, b in zip(one.state.model.parameters(), other.state.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for epoch in (0, 3):
        pairs = zip(one.batches["train"].epoch(epoch), other.batches["train"].epoch(epoch), strict=True)
        assert all(torch.equal(a.inputs[0], b.inputs[0]) for a, b in pairs)
    words = ("experiment=optimizer_comparison", "trainer.epochs=1")
    first = [column(train(*words, f"optimizer={o}"), "loss", "steps.csv")[0] for o in ("sgd", "rmsprop")]
    assert first[0] == first[1]


def test_t24_lbfgs_gets_its_closure() -> None:
    run = train(*LINE, "optimizer=lbfgs", "trainer.epochs=30")
    assert run.summary["last"]["train_loss"] < 1e-6


def test_t35_without_a_gpu_auto_is_the_cpu_and_cuda_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    run = dlrun.train(["device=auto", "device.threads=1", *LINE, "trainer.epochs=1"])
    assert facts(run)["auto"]["device"] == "cpu"
    with pytest.raises(ConfigError, match="not available"):
        dlrun.train(["device=cuda", *LINE])


def test_t40_training_and_evaluation_are_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that the model itself moves: 1 s for a batch of training, 10 s for one of evaluation."""
    clock = Clock()
    for module in ("engine.loop", "engine.chunk", "run.closing"):
        monkeypatch.setattr(f"dlrun.{module}.perf_counter", lambda: clock.seconds)
    monkeypatch.setitem(MODELS.plugins, "slow", lambda spec: Slow(clock))
    run = train("model=slow", "dataset=iris", "trainer.batch_size=16", "trainer.epochs=2", "trainer.eval_every=1")
    counts = run.summary["counts"]
    batches = counts["steps"] // 2
    assert batches == -(-counts["train"] // 16)
    assert column(run, "epoch_seconds") == pytest.approx([batches + 10] * 2)
    assert column(run, "samples_per_second") == pytest.approx([counts["train"] / batches] * 2)
    times = run.summary["times"]
    assert times["train_seconds"] == pytest.approx(2 * batches)
    assert times["eval_seconds"] == pytest.approx(3 * 10)  # test is evaluated once more, at the end
    assert times["samples_per_second"] == pytest.approx(counts["train"] / batches)


def test_t54_anomaly_mode_is_off_unless_asked_for_and_off_again(witness: list[Witness]) -> None:
    seen: list[bool] = []
    MODELS.plugins["watch"] = lambda spec: Watch(seen)
    try:
        train("model=watch", "dataset=iris", "trainer.epochs=1")
        assert not any(seen)
        train("model=watch", "dataset=iris", "trainer.epochs=1", "trainer.detect_anomaly=true")
        assert any(seen)
        assert not torch.is_anomaly_enabled()
    finally:
        del MODELS.plugins["watch"]


class Clock:
    """Seconds that pass only where something says so."""

    seconds = 0.0


class Slow(nn.Module):
    """A linear net whose batches take time on a clock of their own."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.fc, self.clock = nn.Linear(4, 3), clock

    def forward(self, x: Tensor) -> Tensor:
        self.clock.seconds += 1 if self.training else 10
        return self.fc(x)


class Watch(nn.Module):
    """A linear net that notes whether anomaly mode is on."""

    def __init__(self, seen: list[bool]) -> None:
        super().__init__()
        self.fc, self.seen = nn.Linear(4, 3), seen

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(torch.is_anomaly_enabled())
        return self.fc(x)


# --- configuration ----------------------------------------------------------------------------------------------------


def test_t07_sizes_are_inferred_and_layers_that_do_not_fit_are_named_before_the_first_step(tmp_path: Path) -> None:
    conv, dense = "{name: conv1, conv2d: {out: 4, kernel_size: 3}}", "{linear: {out: auto}}"
    model = built("model=sequential", f"model.layers=[{conv}, flatten, {dense}]", "dataset=digits").state.model
    assert sum(p.numel() for p in model.parameters()) == (9 + 1) * 4 + (4 * 6 * 6 + 1) * 10
    with pytest.raises(ConfigError, match=r"conv1.*64"):
        train("model=sequential", f"model.layers=[flatten, {conv}, {dense}]", "dataset=digits")
    assert not (tmp_path / "outputs").exists()


def test_t08_the_deviation_is_called_std_and_used_as_one(mnist_root: Path) -> None:
    words = ("dataset=mnist", f"dataset.root={mnist_root}", "model=linear", "dataset.mean=0.25", "dataset.std=0.5")
    ready = built(*words)
    pixels = ready.data.train.inputs[0][:1].float() / 255
    batches = built(*words, "trainer.shuffle=false").batches["train"]
    batch = next(iter(batches.epoch(0)))
    torch.testing.assert_close(batch.inputs[0][:1], (pixels - 0.25) / 0.5)
    with pytest.raises(ConfigError, match="variance"):
        dlrun.compose(["dataset=mnist", "dataset.variance=0.5"])


def test_t09_a_key_that_nothing_reads_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate"):
        dlrun.compose(["optimizer.learning_rate=0.1"])
    with pytest.raises(ConfigError, match="momentum"):
        dlrun.compose(["optimizer=adam", "optimizer.momentum=0.5"])


def test_t45_nll_refuses_one_hot_targets() -> None:
    loss = LOSSES.get("nll")()
    loss.check(torch.randn(2, 3).log_softmax(1), torch.tensor([0, 2]))
    with pytest.raises(ConfigError):
        loss.check(torch.randn(2, 3).log_softmax(1), torch.eye(3)[:2])


def test_t57_the_directory_holds_the_one_configuration_of_a_run() -> None:
    words = [*LINE, "trainer.epochs=3", "device=cpu", "device.threads=1"]
    run = dlrun.train(words)
    assert run.config.identity == dlrun.compose(words).identity
    again = dlrun.train(run.config)
    assert column(again, "train_loss") == column(run, "train_loss")


# --- the page ---------------------------------------------------------------------------------------------------------


def documented() -> dict[str, str]:
    """The rows of docs/traps.md, by id."""
    text = (TESTS.parent / "docs" / "traps.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (T\d\d) \|(.*)$", text, flags=re.MULTILINE))


def names_of_tests(pattern: str) -> set[str]:
    """The names of the test functions in files of that pattern."""
    found = re.compile(r"^    def (test_\w+)\(|^def (test_\w+)\(", re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob(pattern)]
    return {name for text in texts for match in found.findall(text) for name in match if name}


def test_the_page_has_a_row_for_every_trap() -> None:
    assert sorted(documented()) == [f"T{number:02}" for number in range(1, 59)]


def test_every_test_that_the_page_names_exists() -> None:
    there = names_of_tests("test_*.py")
    for trap, row in documented().items():
        named = set(re.findall(r"`(test_\w+)`", row))
        assert named <= there, f"{trap}: {named - there}"
        assert named or "cannot occur" in row, f"{trap} has neither a test nor a reason"


def test_every_test_of_a_trap_stands_on_the_page() -> None:
    page = documented()
    for name in names_of_tests("test_traps*.py"):
        if found := re.match(r"test_(t\d\d)_", name):
            assert f"`{name}`" in page[found[1].upper()], name
