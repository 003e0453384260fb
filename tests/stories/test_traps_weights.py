"""Traps of the notes about weights and checkpoints: saving, loading, freezing, what is best (docs/traps.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dlrun.api import Run
from dlrun.components.registry import MODELS
from dlrun.errors import RunError
from dlrun.spec import DataSpec
from tests.helpers.traps import built, checkpoint, column, train

NORMED = ("model=mlp", "model.hidden=[8]", "model.batch_norm=true", "dataset=iris", "trainer.epochs=3")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_t28_weights_have_names_and_a_bias_is_no_w() -> None:
    run = train("model=linear", "dataset=line", "optimizer=lbfgs", "trainer.epochs=20", "trainer.batch_size=full")
    found = {name: value.item() for name, value in checkpoint(run)["model"].items()}
    assert found == pytest.approx({"head.weight": 2.0, "head.bias": 0.0}, abs=1e-3)


def test_t32_the_best_metric_is_kept_in_the_run_and_in_the_checkpoint() -> None:
    words = ("dataset=iris", "model=linear", "optimizer=sgd", "optimizer.lr=5", "trainer.epochs=8")
    run = train(*words, "trainer.eval_every=1", "checkpoint.monitor=val_accuracy")
    values = column(run, "val_accuracy")
    best = checkpoint(run, "best")
    assert best["best"]["value"] == max(values) == checkpoint(run)["best"]["value"]
    assert best["best"]["epoch"] == values.index(max(values)) + 1 == run.summary["best"]["epoch"]
    assert run.summary["test"]["of"] == "best"


def test_t46_the_gru_is_torchs_own() -> None:
    spec = DataSpec("n", "classification", "text", (6,), 3, vocabulary=tuple("_?abcd"))
    net = MODELS.get("gru")(spec, hidden_size=5)
    assert type(net.rnn) is nn.GRU
    plain = nn.GRU(32, 5, batch_first=True)
    plain.load_state_dict(net.rnn.state_dict())
    codes = torch.tensor([[2, 3, 4, 5, 2, 3]])
    torch.testing.assert_close(net(codes, torch.tensor([6])), net.head(plain(net.embedding(codes))[1][-1]))


def test_t47_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(4, 3), tmp_path / "whole.pth")
    with pytest.raises(RunError, match="state_dict"):
        train("dataset=iris", "model=linear", "init_from=whole.pth", "trainer.epochs=1")
    assert not (tmp_path / "outputs").exists()
    net = built("dataset=iris", "model=linear").state.model
    torch.save(net.state_dict(), tmp_path / "state.pth")
    run = train("dataset=iris", "model=linear", "init_from=state.pth", "trainer.epochs=1", "seed=5")
    assert "state.pth: 2 tensors loaded" in (run.path / "train.log").read_text(encoding="utf-8")


def test_t51_weights_of_a_wrapped_model_load_into_the_plain_one(tmp_path: Path) -> None:
    wrapped = nn.DataParallel(built(*NORMED).state.model)
    assert all(name.startswith("module.") for name in wrapped.state_dict())
    torch.save(wrapped.state_dict(), tmp_path / "wrapped.pth")
    run = train(*NORMED, "init_from=wrapped.pth", "freeze=['body.*']", "seed=5", "trainer.epochs=1")
    for name, value in wrapped.module.state_dict().items():
        if name.startswith("body."):
            assert torch.equal(checkpoint(run)["model"][name], value)


def test_t52_frozen_weights_and_their_statistics_do_not_move() -> None:
    base = train(*NORMED, "run.dir=base")
    words = (*NORMED, "init_from=base", "freeze=[body]", "optimizer=adamw", "optimizer.weight_decay=0.5", "seed=7")
    tuned = checkpoint(train(*words))["model"]
    before = checkpoint(base, "best")["model"]
    moved = {name for name, value in before.items() if not torch.equal(value, tuned[name])}
    assert "body.norm1.running_mean" in before
    assert moved == {"head.weight", "head.bias"}
    ready = built(*NORMED, "freeze=[body]")
    handed = {id(p) for group in ready.state.optimizer.param_groups for p in group["params"]}
    assert handed == {id(p) for p in ready.state.model.head.parameters()}


def test_t52_without_freezing_the_statistics_do_move() -> None:
    base = train(*NORMED, "run.dir=base")
    free = checkpoint(train(*NORMED, "init_from=base"))["model"]
    assert not torch.equal(
        free["body.norm1.running_mean"], checkpoint(base, "best")["model"]["body.norm1.running_mean"]
    )


def test_t55_buffers_are_saved_with_the_weights() -> None:
    run = train(*NORMED)
    state = checkpoint(run)["model"]
    assert {"body.norm1.running_mean", "body.norm1.running_var", "body.norm1.num_batches_tracked"} <= set(state)
    assert state["body.norm1.num_batches_tracked"] == run.summary["counts"]["steps"]
    assert not torch.equal(state["body.norm1.running_mean"], torch.zeros(8))


def test_finetuning_goes_from_the_first_digits_to_the_others(mnist_root: Path) -> None:
    """`finetune_digits` end to end: digits_low is trained first, in the run's own folder, then only the head."""
    words = ("experiment=finetune_digits", f"dataset.root={mnist_root}", "trainer.epochs=2")
    run = train(*words)
    low = checkpoint(Run(run.path / "init"), "best")["model"]
    tuned = checkpoint(run)["model"]
    assert set(low) == set(tuned)
    moved = {name.split(".")[0] for name in low if not torch.equal(low[name], tuned[name])}
    assert moved == {"head"}
    assert any(name.endswith("running_mean") and name.startswith("features") for name in low)
    assert "digits_low is trained in" in (run.path / "train.log").read_text(encoding="utf-8")
    again = train(*words)  # finds the run of digits_low that is there
    assert not (again.path / "init").exists()
    assert column(again, "train_loss") == column(run, "train_loss")
