"""Components of a user's, one of each kind, in one file: chosen, checked, trained, resumed like built-in ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlrun
from dlrun import cli
from dlrun.checks import verify
from dlrun.errors import ConfigError
from tests.helpers import foreign, warm

PLUGIN = """
import torch
import dlrun
from dlrun.data.arrays import from_arrays
from dlrun.objectives.losses import Loss
from dlrun.objectives.schedule import Schedule


@dlrun.register.dataset("ramp")
def ramp(*, seed: int, rows: int = 60, val_fraction: float = 0.2):
    x = torch.linspace(0, 1, rows)[:, None].numpy()
    return from_arrays("ramp", "regression", "tabular", x, 3 * x + 1, seed=seed, val_fraction=val_fraction)


@dlrun.register.model("slope")
def slope(spec, bias: bool = True):
    return torch.nn.Sequential(torch.nn.LazyLinear(spec.num_outputs, bias=bias))


@dlrun.register.optimizer("sign_descent")
class SignDescent(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * p.grad.sign()


@dlrun.register.scheduler("halving")
def halving(optimizer, *, epochs: int, steps_per_epoch: int, every: int = 10):
    return Schedule(torch.optim.lr_scheduler.StepLR(optimizer, every, 0.5), "epoch")


@dlrun.register.loss("log_cosh")
class LogCosh(Loss):
    def __init__(self, scale: float = 1.0):
        super().__init__("log_cosh", "mean")
        self.scale = scale

    def forward(self, output, target):
        return torch.log(torch.cosh((output - target) * self.scale)).mean()

    def check(self, output, target):
        self.check_same_shape(output, target)


@dlrun.register.metric("worst")
class Worst:
    names = ("worst",)

    def __init__(self, spec, loss):
        pass

    def counts(self, output, target):
        return torch.stack([(output - target).abs().sum()])

    def result(self, counts):
        return {"worst": counts[0].item()}
"""

WORDS = [
    "plugins=[mine.py]", "dataset=ramp", "model=slope", "optimizer=sign_descent", "scheduler=halving",
    "loss=log_cosh", "optimizer.lr=0.05", "device=cpu", "trainer.batch_size=12", "trainer.epochs=60",
]  # fmt: skip


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)


def test_one_of_each_kind_trains_and_resumes_exactly() -> None:
    whole = dlrun.train([*WORDS, "run.dir=whole"])
    rows = whole.metrics
    assert rows["train_loss"].iloc[-1] < 0.05 * rows["train_loss"].iloc[0]
    assert "val_worst" in rows
    assert rows["lr"].iloc[25] == pytest.approx(0.0125)
    short = dlrun.train([*WORDS, "trainer.epochs=30", "run.dir=short"])
    assert cli.main(["resume", "short", "trainer.epochs=60", "--schedule", "stretch"]) == 0
    assert short.metrics["val_loss"].tolist() == rows["val_loss"].tolist()


def test_they_are_checked_like_built_in_ones() -> None:
    with pytest.raises(ConfigError, match=r"model\.bais: unknown key\. Did you mean model\.bias\?"):
        dlrun.compose([*WORDS, "model.bais=false"])
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        dlrun.compose([*WORDS, "optimizer.lr=fast"])


def test_a_run_names_its_plug_in_and_keeps_a_copy_for_reading() -> None:
    run = dlrun.train([*WORDS, "trainer.epochs=1", "run.dir=a"])
    assert (run.path / "plugins" / "mine.py.txt").read_text() == PLUGIN
    assert '"sha256"' in (run.path / "environment.json").read_text()


def test_a_module_finds_its_package_in_a_sweep_and_in_verify_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module of a package may import its neighbours, here and in processes that dlrun starts.

    Nothing else is imported from the working folder, whatever its files are called.
    """
    monkeypatch.setattr(verify, "KILLS", 1)
    warm.share(monkeypatch)
    foreign.fill(Path.cwd())
    package = Path("relative")
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("WIDTH = 3\n")
    (package / "nets.py").write_text(
        "import math, torch, dlrun\nfrom .parts import WIDTH\n"
        '@dlrun.register.model("relative_net")\ndef relative_net(spec):\n'
        "    n = math.prod(spec.input_shape)\n"
        "    layers = torch.nn.Flatten(), torch.nn.Linear(n, WIDTH), torch.nn.Linear(WIDTH, spec.num_outputs)\n"
        "    return torch.nn.Sequential(*layers)\n"
    )
    words = ["plugins=[relative.nets]", "model=relative_net", "device=cpu"]
    assert cli.main(["-m", *words, "trainer=smoke", "seed=0,1", "--quiet"]) == 0
    assert cli.main(["verify-resume", *words, "trainer.epochs=30", "checkpoint.every_steps=10"]) == 0
    assert "exact: after" in capsys.readouterr().out
    assert foreign.imported(Path.cwd()) == ""
