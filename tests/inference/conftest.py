"""Trained runs of every task, made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import dlrun
from dlrun.api import Run
from dlrun.run.closing import draw

WORDS: dict[str, Sequence[str]] = {
    "digits": ["model=mlp", "model.hidden=[32]", "dataset=digits", "trainer.epochs=4"],
    "binary": ["model=linear", "dataset=breast_cancer", "loss=bce_with_logits", "trainer.epochs=3"],
    "nll": [
        "model=mlp",
        "model.hidden=[8]",
        "model.output_activation=log_softmax",
        "loss=nll",
        "dataset=iris",
        "trainer.epochs=3",
    ],
    "regression": ["model=mlp", "model.hidden=[8]", "dataset=diabetes", "trainer.epochs=3"],
    "tags": ["model=mlp", "model.hidden=[8]", "dataset=tags", "trainer.epochs=2"],
    "masks": ["model=fusion", "dataset=scenes", "dataset.samples=60", "trainer.epochs=1"],
    "hello": ["experiment=hello_embedding_gru"],
    "line": ["experiment=linear_regression", "optimizer=lbfgs", "optimizer.lr=1", "trainer.epochs=5"],
    "names": ["model=gru", "model.hidden_size=8", "dataset=names", "dataset.source=builtin", "trainer.epochs=1"],
    "reconstruction": ["model=autoencoder", "dataset=mnist", "dataset.task=reconstruction", "trainer.epochs=1"],
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> Callable[[str], Run]:
    """`trained(name)`: a finished run, trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("trained")
    made: dict[str, Run] = {}

    def get(name: str) -> Run:
        if name not in made:
            root = [f"dataset.root={mnist_root}", "dataset.limit=64"] if name == "reconstruction" else []
            words = [*WORDS[name], *root, "device=cpu", "device.threads=1", f"run.dir={folder / name}"]
            with pytest.MonkeyPatch.context() as patch:
                if name == "reconstruction":
                    patch.setattr("dlrun.run.closing.draw", draw)
                made[name] = dlrun.train(words)
        return made[name]

    return get


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time of an evaluation."""
    monkeypatch.setattr("dlrun.inference.evaluate_command.draw_evaluation", lambda *_: None)
