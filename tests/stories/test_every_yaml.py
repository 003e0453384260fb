"""Every YAML of conf/ composes, builds and trains one step: the real configuration, shrunk to two tiny batches."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from dlrun.config.compose import compose
from dlrun.config.config import Config
from dlrun.config.expand import expand
from dlrun.config.schema.schema import builtin_conf
from dlrun.engine.loop import EpochRecord, fit
from dlrun.run.build import build

CONF = builtin_conf()
SHRUNK = ["device=cpu", "trainer.max_batches=2", "trainer.max_steps=1", "trainer.batch_size=16"]
DATA_FOR = {
    "image": ["dataset=mnist", "dataset.root=ROOT", "dataset.limit=64"],
    "text": ["dataset=names", "dataset.source=builtin"],
    "multi": ["dataset=scenes"],
    "tabular": ["dataset=iris"],
}
MODEL_FOR = {"text": "gru", "multi": "fusion"}
NEEDS = {
    "dataset=mnist": ["dataset.root=ROOT"],
    "dataset=fashion_mnist": ["dataset.root=ROOT"],
    "dataset=image_folder": ["dataset.path=IMAGES", "dataset.size=16", "dataset.workers=0"],
    "dataset=hello": ["model=rnn"],
    "model=sequential": ["model.layers=[flatten, {linear: {out: 8}}, relu, {linear: {out: auto}}]"],
    "model=torchvision": ["model.arch=resnet18", "model.image_size=32"],
    "loss=bce": ["dataset=breast_cancer", "model=linear", "model.output_activation=sigmoid"],
    "loss=bce_with_logits": ["dataset=breast_cancer"],
    "loss=nll": ["model=sequential", "model.layers=[flatten, {linear: {out: auto}}, {log_softmax: {dim: 1}}]"],
    "loss=mse": ["dataset=diabetes"],
    "loss=mae": ["dataset=diabetes"],
    "loss=huber": ["dataset=diabetes"],
    "device=cuda": ["device.name=cpu"],  # there may be no GPU here: the rest of the file still has to work
    "device=mps": ["device.name=cpu"],
    "model=autoencoder": ["dataset.task=reconstruction"],
}
OPTIONS = [
    f"{path.parent.name}={path.stem}" for path in sorted(CONF.glob("*/*.yaml")) if path.parent != CONF / "experiment"
]
FOLDER = CONF / "experiment"
EXPERIMENTS = [str(path.relative_to(FOLDER).with_suffix("")) for path in sorted(FOLDER.rglob("*.yaml"))]


def headers(option: str, word: str) -> list[str]:
    """The words of a header line such as `# takes: tabular, image`."""
    group, name = option.split("=")
    for line in (CONF / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"# {word}:"):
            return line.split(":", 1)[1].replace(",", " ").split()
    return []


def words_for(option: str) -> list[str]:
    """The option, and what else it needs to be a whole experiment."""
    group = option.split("=")[0]
    words = [option, *NEEDS.get(option, [])]
    if group == "model":
        words += DATA_FOR[headers(option, "takes")[0]] if option != "model=torchvision" else DATA_FOR["image"]
    elif group == "dataset" and option != "dataset=hello":
        kind = headers(option, "gives")[0]
        words += [f"model={MODEL_FOR[kind]}"] if kind in MODEL_FOR else []
    return words


def train_one_step(config: Config) -> None:
    """Exactly one optimizer step, with a loss that is a number, and an evaluation after it."""
    built = build(config)
    plan = replace(built.plan, max_steps=1)
    events = list(fit(built.state, built.batches, plan))
    assert built.state.step == 1
    assert isinstance(events[-1], EpochRecord)
    assert math.isfinite(events[-1].row["train_loss"])


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_trains_one_step(option: str, mnist_root: Path, images: Path) -> None:
    places = {"ROOT": str(mnist_root), "IMAGES": str(images)}
    words = [*words_for(option), *(SHRUNK if not option.startswith("trainer=") else SHRUNK[:1])]
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    train_one_step(compose(words, search_cwd=False))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_trains_one_step(name: str, mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(mnist_root))
    words = [f"experiment={name}", *SHRUNK[:-1]]
    jobs = expand(words, search_cwd=False).jobs
    assert jobs
    for job in jobs[:: max(1, len(jobs) // 4)]:
        assert job.config is not None, job.problems
        train_one_step(job.config)
