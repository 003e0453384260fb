"""What is loaded where a run starts from trained weights: never a head of other classes unasked, never frozen noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dlrun
from dlrun import cli
from dlrun.components.registry import DATASETS
from dlrun.store import checkpoint

WORDS = ["device=cpu", "device.threads=1", "trainer.epochs=1", "model=mlp"]


def weights(run: str) -> dict[str, torch.Tensor]:
    values: dict[str, torch.Tensor] = checkpoint.read_checkpoint(Path(run) / "checkpoints" / "best.pt")["model"]
    return values


def register(name: str, labels: tuple[str, ...]) -> None:
    """Two classes of two features, called so."""

    def make(*, seed: int) -> dlrun.Data:
        spec = dlrun.DataSpec(name, "classification", "tabular", (2,), len(labels), labels=labels)
        rows = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
        part = dlrun.Split((rows,), torch.arange(20) % len(labels))
        return dlrun.Data(spec, part, part, part)

    dlrun.register.dataset(name)(make)


@pytest.fixture(autouse=True)
def base(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose classes are cats and dogs, in `base`."""
    monkeypatch.setattr(DATASETS, "plugins", {})
    register("pets", ("cat", "dog"))
    register("birds", ("hen", "owl"))
    register("three", ("hen", "owl", "tit"))
    assert cli.main([*WORDS, "dataset=pets", "run.dir=base"]) == 0


def start(dataset: str, *words: str) -> int:
    """A run that begins with the weights of `base`, and whose own stay as they began."""
    return cli.main(
        [*WORDS, f"dataset={dataset}", "run.dir=a", "seed=5", "optimizer=sgd", "optimizer.lr=1e-12", *words]
    )


def test_a_head_of_other_classes_is_loaded_only_if_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert start("birds", "init_from=base") == 0
    told = capsys.readouterr().out
    assert "head.weight of other classes: cat, dog" in told
    assert not torch.allclose(weights("a")["head.weight"], weights("base")["head.weight"])
    assert start("birds", "init_from=all:base", "run.overwrite=true") == 0
    assert torch.allclose(weights("a")["head.weight"], weights("base")["head.weight"])


def test_a_head_of_the_same_classes_is_loaded() -> None:
    assert start("pets", "init_from=base") == 0
    assert torch.allclose(weights("a")["head.weight"], weights("base")["head.weight"])


@pytest.mark.parametrize(
    ("dataset", "why"), [("birds", "of other classes: cat, dog"), ("three", "(2, 512) for (3, 512)")]
)
def test_what_is_not_loaded_is_not_frozen(dataset: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(dataset, "init_from=base", "freeze=[head]") == 2
    told = capsys.readouterr().err
    assert "freeze: head.weight, head.bias would be frozen with random weights" in told.replace("\n      ", " ")
    assert why in told
    assert not Path("a").exists()
