"""One run, from words to a finished directory."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

import dlrun
from dlrun import cli
from dlrun.errors import ConfigError, RunError, TrainingFailed
from dlrun.store.reading import read_json

TIMING = ("epoch_seconds", "samples_per_second")
SMALL = ["trainer.epochs=3", "device=cpu"]
FILES = {
    "config.yaml", "overrides.txt", "environment.json", "status.json", "metrics.csv", "steps.csv", "summary.json",
    "curves.png", "confusion.csv", "confusion.png", "train.log", "checkpoints",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("quick")


def rows(path: Path, name: str = "metrics.csv") -> list[dict[str, str]]:
    """A table of a run without its timing columns."""
    with open(path / name, newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(file)]


@pytest.mark.figures
def test_the_main_job_leaves_a_complete_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, "optimizer.lr=0.01"]) == 0
    (path,) = Path("outputs").glob("*/*-mlp-digits")
    assert {p.name for p in path.iterdir()} >= FILES
    assert {p.name for p in (path / "checkpoints").iterdir()} >= {"last.pt", "best.pt"}
    status, summary = read_json(path / "status.json"), read_json(path / "summary.json")
    assert (status["state"], status["exit_code"], status["error"]) == ("finished", 0, None)
    assert summary["test"]["of"] == "best"
    assert summary["test"]["accuracy"] > 0.8 > 0.2 > summary["baseline"]["accuracy"]
    assert summary["counts"]["epochs"] == 3
    printed = capsys.readouterr().out
    for word in ("mlp", "digits", "engine", "val_loss", "accuracy", str(path)):
        assert word in printed
    assert (path / "train.log").read_text().strip().splitlines()[-1] in printed


def test_metrics_have_the_promised_columns() -> None:
    run = dlrun.train([*SMALL, "run.dir=a"])
    header = (run.path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert header == [
        "epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1",
        "lr", "epoch_seconds", "samples_per_second",
    ]  # fmt: skip


def test_regression_reports_mae_and_r2() -> None:
    run = dlrun.train([*SMALL, "dataset=diabetes", "run.dir=a"])
    assert {"train_mae", "train_r2", "val_mae", "val_r2"} <= set(rows(run.path)[0])
    assert set(run.summary["test"]) >= {"loss", "mae", "r2"}


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others() -> None:
    words = [*SMALL, "model.dropout=0.2"]
    a, b, c = (dlrun.train([*words, f"seed={s}", f"run.dir={d}"]) for s, d in ((1, "a"), (1, "b"), (2, "c")))
    assert rows(a.path) == rows(b.path)
    assert rows(a.path) != rows(c.path)


def test_runs_of_one_second_do_not_share_a_directory() -> None:
    assert dlrun.train([*SMALL, "trainer=smoke"]).path != dlrun.train([*SMALL, "trainer=smoke"]).path


def test_a_finished_run_is_not_overwritten_unasked() -> None:
    dlrun.train([*SMALL, "run.dir=a"])
    with pytest.raises(RunError, match="finished run"):
        dlrun.train([*SMALL, "run.dir=a"])
    dlrun.train([*SMALL, "run.dir=a", "run.overwrite=true", "seed=7"])
    assert dlrun.load_run("a").config.seed == 7


def test_a_bad_configuration_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["optimizer.lrr=0.1"]) == 2
    assert "Did you mean optimizer.lr?" in capsys.readouterr().err
    assert cli.main(["init_from=nowhere.pt", "run.dir=a", *SMALL]) == 2
    assert not Path("a").exists()
    assert not list(Path().iterdir())


def test_a_diverged_run_says_where_and_exits_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["optimizer=sgd", "optimizer.lr=1e30", "run.dir=a", *SMALL]) == 4
    printed = capsys.readouterr().out
    assert "diverged" in printed
    assert "optimizer.lr" in printed
    assert "Traceback" not in printed
    status = read_json(Path("a/status.json"))
    assert (status["state"], status["exit_code"]) == ("failed", 4)
    assert cli.main(["replay", "a"]) == 0
    assert "step" in capsys.readouterr().out


def test_training_stops_early_without_improvement() -> None:
    run = dlrun.train(
        ["optimizer=sgd", "optimizer.lr=1e-20", "trainer.early_stop.patience=2", "run.dir=a", "device=cpu"]
    )
    assert len(rows(run.path)) == 3
    assert "did not improve" in run.summary["stopped"]


def test_training_stops_at_a_loss() -> None:
    run = dlrun.train(["trainer.stop_at_loss=1.0", "run.dir=a", "device=cpu"])
    losses = [float(row["train_loss"]) for row in rows(run.path)]
    assert losses[-1] <= 1.0 < losses[-2]


def test_max_steps_ends_in_the_middle_of_an_epoch_and_a_longer_run_goes_on_exactly() -> None:
    words = ["device=cpu", "trainer.epochs=4", "optimizer=momentum"]
    short = dlrun.train([*words, "trainer.max_steps=30", "run.dir=short"])
    assert short.summary["counts"]["steps"] == 30
    assert cli.main(["resume", "short", "trainer.max_steps=60"]) == 0
    long = dlrun.train([*words, "trainer.max_steps=60", "run.dir=long"])
    assert rows(short.path) == rows(long.path)


def test_one_batch_is_learnt_by_heart() -> None:
    run = dlrun.train(["trainer=overfit_one_batch", "optimizer.lr=0.01", "device=cpu", "run.dir=a"])
    assert float(rows(run.path)[-1]["train_loss"]) < 0.01


@pytest.mark.parametrize(
    ("loss", "lr"),
    [
        ([], 0.1),
        (["loss.reduction=sum"], 0.001),
        (["loss.weight=[9,1,1,1,1,1,1,1,1,0]"], 0.1),
        (["loss.ignore_index=3"], 0.1),
        (["loss.weight=[9,1,1,1,1,1,1,1,1,0]", "loss.reduction=sum"], 0.001),
    ],
)
def test_accumulated_batches_are_one_large_batch(loss: list[str], lr: float) -> None:
    """In what they do to the weights and in steps.csv; the last batch of an epoch is shorter."""
    words = ["device=cpu", "trainer.epochs=2", "optimizer=sgd", f"optimizer.lr={lr}", "loss=cross_entropy", *loss]
    large = dlrun.train([*words, "trainer.batch_size=64", "run.dir=large"])
    small = dlrun.train([*words, "trainer.batch_size=16", "trainer.accumulate=4", "run.dir=small"])
    a, b = ([float(row["val_loss"]) for row in rows(run.path)] for run in (large, small))
    assert b == pytest.approx(a, rel=1e-4)
    a, b = ([float(row["loss"]) for row in rows(run.path, "steps.csv")] for run in (large, small))
    assert len(b) == 2 * 18
    assert b == pytest.approx(a, rel=1e-4)


def test_evaluation_of_a_run_without_validation_is_said_to_select_on_test(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, "dataset.val_fraction=0", "run.dir=a"]) == 0
    assert "selected on test" in capsys.readouterr().out
    assert "test_accuracy" in rows(Path("a"))[0]


def test_loggers_get_every_row() -> None:
    run = dlrun.train([*SMALL, "logger=jsonl", "run.dir=a"])
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_steps_are_thinned_and_logged_with_their_rate() -> None:
    run = dlrun.train([*SMALL, "trainer.log_every=5", "run.dir=a"])
    lines = (run.path / "steps.csv").read_text().splitlines()
    steps = [int(line.split(",")[0]) for line in lines[1:]]
    assert lines[0] == "step,loss,lr"
    assert steps[0] == 1
    assert all(step % 5 == 0 for step in steps[1:])


def test_a_loaded_run_gives_its_model() -> None:
    run = dlrun.train([*SMALL, "run.dir=a"])
    before = torch.get_rng_state()
    model = dlrun.load_run("a").model()
    assert torch.equal(torch.get_rng_state(), before)
    assert sum(p.numel() for p in model.parameters()) == run.summary["counts"]["parameters"]
    assert not model.training


PLUGIN = """
import dlrun, torch

@dlrun.register.model("broken")
def broken(spec, fail_at: int = 3):
    return Broken(spec, fail_at)

class Broken(torch.nn.Module):
    def __init__(self, spec, fail_at):
        super().__init__()
        self.fc, self.calls, self.fail_at = torch.nn.Linear(64, spec.num_outputs), 0, fail_at

    def forward(self, x):
        if self.training:
            self.calls += 1
            if self.calls >= self.fail_at:
                raise ValueError("my own mistake")
        return self.fc(x.flatten(1))
"""


def test_an_exception_in_a_users_model_shows_its_traceback_and_exits_with_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    assert cli.main(["plugins=[mine.py]", "model=broken", "run.dir=a", *SMALL]) == 4
    printed = capsys.readouterr().out
    assert "my own mistake" in printed
    assert "Traceback" in printed
    with pytest.raises(TrainingFailed):
        dlrun.train(["plugins=[mine.py]", "model=broken", "run.dir=b", *SMALL])


def test_a_checkpoint_or_device_that_is_not_there_is_no_other(tmp_path: Path) -> None:
    run = dlrun.train(["trainer=smoke", "device=cpu", "run.dir=a"])
    with pytest.raises(RunError, match="no checkpoint 'beset'"):
        run.model("beset")
    with pytest.raises(ConfigError, match="unknown device"):
        run.model(device="nonsense")
    (run.path / "checkpoints/best.pt").unlink()
    with pytest.raises(RunError, match=r"no checkpoint .*best\.pt"):
        run.model()
    assert run.model("last").training is False


def test_overrides_are_a_list() -> None:
    for wrong in ("model=mlp", {"model": "mlp"}):
        with pytest.raises(ConfigError, match="no list of overrides"):
            dlrun.train(wrong)


TWO_INPUTS = """
import torch, dlrun
from dlrun.data.base import Split, from_parts

@dlrun.register.dataset("pairs")
def pairs(*, seed: int):
    def part(n):
        return Split((torch.rand(n, 1), torch.rand(n, 5)), torch.rand(n, 1))
    return from_parts("pairs", "regression", "multi", part(20), part(10), part(10))

class Both(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(6, 1)
    def forward(self, a, b):
        return self.head(torch.cat([a, b], 1))

@dlrun.register.model("both")
def both(spec):
    return Both()
"""


@pytest.mark.figures
def test_two_inputs_of_which_one_is_a_number_draw_no_line() -> None:
    Path("pairs.py").write_text(TWO_INPUTS)
    words = ["plugins=[pairs.py]", "model=both", "dataset=pairs", "device=cpu", "trainer.epochs=1"]
    run = dlrun.train([*words, "run.dir=a"])
    assert not (run.path / "fit.png").exists()


METRIC = """
import torch, dlrun

@dlrun.register.metric("mse")
class Mse:
    names = train_names = ("mse",)
    better = {"mse": "min"}
    countable = False
    def __init__(self, spec, loss): ...
    def train_counts(self, output, target):
        return self.counts(output, target)
    def train_result(self, counts):
        return self.result(counts)
    def counts(self, output, target):
        return torch.stack([(output - target).square().sum(), torch.tensor(float(len(target)))]).double()
    def result(self, counts):
        total, n = counts.tolist()
        return {"mse": total / n}
"""


def test_a_smaller_error_than_the_baseline_is_better() -> None:
    Path("metric.py").write_text(METRIC)
    run = dlrun.train(["plugins=[metric.py]", "dataset=diabetes", "model=linear", "device=cpu", "trainer.epochs=20"])
    assert run.summary["test"]["mse"] < run.summary["baseline"]["mse"]
    assert not any("mse" in remark for remark in run.summary["remarks"])


FAR = """
import dlrun, torch

@dlrun.register.dataset("far")
def far(*, seed, root):
    x = torch.arange(90.0)[:, None]
    return dlrun.from_arrays(x.numpy(), (1e7 + x[:, 0] % 7).numpy())
"""


def test_a_remark_has_four_significant_digits() -> None:
    Path("far.py").write_text(FAR)
    run = dlrun.train(["plugins=[far.py]", "dataset=far", "model=linear", "device=cpu", "trainer.epochs=1"])
    remark = next(remark for remark in run.summary["remarks"] if "baseline: mae" in remark)
    assert remark.startswith("no better than the baseline: mae 10,000,000 against 1.")


VIEW = """
import torch, dlrun

class Constant(torch.nn.Module):
    def __init__(self, numbers):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1, numbers))
    def forward(self, x):
        return self.bias.expand(len(x), -1)

@dlrun.register.model("constant")
def constant(spec):
    return Constant(spec.num_outputs)
"""


@pytest.mark.figures
def test_outputs_may_be_a_view_of_a_parameter() -> None:
    """Such a view wants a gradient even under inference_mode: no warning, and figures can be drawn of it."""
    Path("view.py").write_text(VIEW)
    run = dlrun.train(["plugins=[view.py]", "model=constant", "device=cpu", "trainer.epochs=1"])
    assert (run.path / "mistakes.png").exists()
    assert "the outputs are constant" in run.summary["remarks"][0]


BY_ROW = """
import dlrun
from dlrun.objectives.losses import Loss
from torch.nn import functional as F

@dlrun.register.loss("by_row")
class ByRow(Loss):
    def __init__(self):
        super().__init__("by_row", "mean")

    def forward(self, output, target):
        return F.cross_entropy(output, target, reduction="none")

    def check(self, output, target):
        pass
"""


def test_a_loss_that_is_not_one_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loss.py").write_text(BY_ROW)
    assert cli.main(["plugins=[loss.py]", "loss=by_row", "run.dir=a", *SMALL]) == 2
    assert "by_row gives a tensor of shape (2,), not one number. Return loss.mean()" in capsys.readouterr().err
    assert not Path("a").exists()


WITH_WEIGHTS = """
import dlrun, torch
from torch.nn import functional as F

class Scaled(dlrun.Loss):
    def __init__(self):
        super().__init__("scaled", "mean")
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, output, target):
        assert self.scale.grad is None
        return F.cross_entropy(self.scale * output, target)

    def check(self, output, target):
        pass

dlrun.register.loss("scaled")(Scaled)
"""


def test_weights_of_a_loss_are_not_trained_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loss.py").write_text(WITH_WEIGHTS)
    assert cli.main(["plugins=[loss.py]", "loss=scaled", "run.dir=a", *SMALL]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "loss scaled has parameters of its own (scale), which nothing trains: they belong in the model" in said


@pytest.mark.parametrize(("steps", "watched"), [(1, 1), (8, 7), (54, 21)])
def test_a_run_of_any_length_is_profiled(steps: int, watched: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Two thirds of a short one, steps 10 to 30 of a longer."""
    assert cli.main([*SMALL, "trainer.profile=true", f"trainer.max_steps={steps}", "run.dir=a"]) == 0
    assert "profile: a/profile.txt, and trace.json beside it" in capsys.readouterr().out
    assert Path("a/profile.txt").read_text().startswith(f"{watched} steps of training\n")
    assert Path("a/trace.json").stat().st_size > 0


def test_a_run_that_ends_before_it_was_profiled_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trainer.profile=true", "trainer.stop_at_loss=100", "trainer.batch_size=full", "run.dir=a"]
    assert cli.main(["trainer.epochs=50", "device=cpu", *words]) == 0
    assert "profile: none, since training ended before step 10" in capsys.readouterr().out
    assert not Path("a/profile.txt").exists()


def test_frozen_parameters_do_not_move() -> None:
    import torch

    words = ["model=mlp", "model.batch_norm=true", "device=cpu", "trainer.epochs=2"]
    base = dlrun.train([*words, "run.dir=base"])
    names = [name for name, _ in base.model("last").named_parameters()]
    first = names[0].split(".")[0] + "." + names[0].split(".")[1] if "." in names[0] else names[0]
    tuned = dlrun.train([*words, f"freeze=['{first}.*']", "init_from=base", "run.dir=tuned", "seed=5"])
    a, b = base.model("best").state_dict(), tuned.model("last").state_dict()
    moved = {name for name in a if not torch.equal(a[name], b[name])}
    frozen = {name for name in a if name.startswith(f"{first}.")}
    assert frozen
    assert not moved & frozen
    assert moved


def test_a_freeze_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="matches no parameter"):
        dlrun.train(["freeze=[nothing_like_it]", *SMALL])
