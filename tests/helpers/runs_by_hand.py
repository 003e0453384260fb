"""Run directories made by hand, as dlrun writes them: the material of the report tests."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

OPTIMIZERS = {
    "sgd": {"name": "sgd", "lr": 0.01, "momentum": 0.0},
    "momentum": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
    "rmsprop": {"name": "rmsprop", "lr": 0.01, "alpha": 0.9},
    "adam": {"name": "adam", "lr": 0.001, "betas": [0.9, 0.999]},
}


def make_config(**changes: Any) -> dict[str, Any]:
    """A resolved configuration; `changes` are dotted keys with `__` for the dot (`optimizer__lr=0.1`)."""
    optimizer = changes.pop("optimizer", "adam")
    config: dict[str, Any] = {
        "model": {"name": "mlp", "hidden": [64, 64], "dropout": 0.0, "activation": "relu"},
        "dataset": {"name": "digits", "val_fraction": 0.2},
        "loss": {"name": "auto"},
        "optimizer": dict(OPTIMIZERS[optimizer]),
        "scheduler": {"name": "none"},
        "trainer": {"epochs": 10, "batch_size": 64, "early_stop": {"patience": None}},
        "device": {"name": "auto", "precision": "float32"},
        "checkpoint": {"monitor": "auto", "mode": "auto"},
        "seed": 0,
        "run": {"dir": None, "name": None},
        "sweep": {"target": None},
    }
    for key, value in changes.items():
        *sections, name = key.split("__")
        inner = config
        for section in sections:
            inner = inner[section]
        inner[name] = value
    return config


def make_metrics(epochs: int, floor: float, seed: int = 0, every: int = 1) -> list[dict[str, Any]]:
    """Rows of metrics.csv: losses that fall towards `floor`; validation only each `every` epochs."""
    draw = random.Random(seed)
    rows = []
    for epoch in range(1, epochs + 1):
        train = floor + 2 * math.exp(-epoch / 2) + 0.01 * draw.random()
        row: dict[str, Any] = {"epoch": epoch, "step": epoch * 30, "train_loss": train}
        row["train_accuracy"] = 1 - train / 3
        if epoch % every == 0:
            row["val_loss"] = train + 0.05 + 0.02 * draw.random()
            row["val_accuracy"] = 1 - row["val_loss"] / 3
        rows.append(row | {"lr": 0.001, "epoch_seconds": 0.5, "samples_per_second": 2000.0})
    return rows


def make_run(
    path: Path,
    config: dict[str, Any] | None = None,
    *,
    state: str = "finished",
    epochs: int = 10,
    floor: float = 0.1,
    every: int = 1,
    error: str | None = None,
    kind: str | None = None,
    overrides: list[str] | None = None,
    steps: int = 0,
    started: str = "2026-11-20T12:00:00+00:00",
) -> Path:
    """Write a whole run directory at `path`; an unfinished one has no test result."""
    config = config or make_config()
    path.mkdir(parents=True)
    rows = make_metrics(epochs, floor, config["seed"], every)
    write_csv(path / "metrics.csv", rows)
    if steps:
        write_csv(path / "steps.csv", make_steps(steps, floor, config["seed"]))
    (path / "config.yaml").write_text(to_yaml(config))
    lines = overrides if overrides is not None else [f"seed={config['seed']}"]
    (path / "overrides.txt").write_text("".join(f"{line}\n" for line in lines))
    status = {"state": state, "started": started, "error": error, "name": path.name, "pid": 1, "host": "h"}
    status |= {"kind": kind} if kind else {}
    (path / "status.json").write_text(json.dumps(status))
    (path / "summary.json").write_text(json.dumps(make_summary(rows, finished=state == "finished")))
    (path / "environment.json").write_text(json.dumps({"versions": {"torch": "2.15"}, "device": "cpu"}))
    return path


def make_summary(rows: list[dict[str, Any]], *, finished: bool = True) -> dict[str, Any]:
    """summary.json of these epochs."""
    valued = [row for row in rows if "val_loss" in row]
    best = min(valued, key=lambda row: row["val_loss"]) if valued else {}
    summary: dict[str, Any] = {"best": best, "last": rows[-1] if rows else {}, "monitor": "val_loss"}
    summary |= {"mode": "min", "counts": {"train": 1000, "parameters": 9000, "epochs": len(rows)}}
    summary["times"] = {"total_seconds": 0.6 * len(rows), "train_seconds": 0.5 * len(rows)}
    summary["baseline"] = {"accuracy": 0.1}
    if finished and best:
        loss = best["val_loss"] + 0.01
        summary["test"] = {"of": "best", "loss": loss, "accuracy": 1 - loss / 3, "macro_f1": 0.9}
    return summary


def make_steps(count: int, floor: float, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of steps.csv: a noisy loss."""
    draw = random.Random(seed)
    noise = [floor * draw.gauss(0, 0.3) for _ in range(count)]
    return [
        {"step": i + 1, "loss": max(1e-6, floor + 0.5 * math.exp(-i / 20) + noise[i]), "lr": 0.01} for i in range(count)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows under the union of their keys; what a row lacks stays empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join(columns)] + [",".join(str(row.get(key, "")) for key in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def to_yaml(config: dict[str, Any]) -> str:
    """YAML as dlrun writes it."""
    return _to_yaml(json.dumps(config))


@cache
def _to_yaml(values: str) -> str:
    """The YAML of JSON: tests write the same few configurations over and over."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(json.loads(values)))


def make_sweep(folder: Path, optimizers: tuple[str, ...], rates: tuple[float, ...], seeds: int) -> Path:
    """A sweep's folder of finished jobs over optimizer, learning rate and seed; the largest sgd rate diverged."""
    floors = {"sgd": 0.06, "momentum": 0.013, "rmsprop": 0.012, "adam": 0.011}
    for optimizer in optimizers:
        for rate in rates:
            for seed in range(seeds):
                config = make_config(optimizer=optimizer, optimizer__lr=rate, seed=seed)
                lines = [f"optimizer={optimizer}", f"optimizer.lr={rate}", f"seed={seed}"]
                lost = optimizer == "sgd" and rate == max(rates)
                off = abs(math.log10(rate / 0.01))
                make_run(
                    folder / "jobs" / f"{optimizer}-{rate}-{seed}",
                    config,
                    state="failed" if lost else "finished",
                    error="the loss of step 7 is nan: training diverged. Try a smaller lr." if lost else None,
                    kind="diverged" if lost else None,
                    floor=floors[optimizer] * (1 + off),
                    overrides=lines,
                    steps=300,
                    epochs=3 if lost else 10,
                )
    return folder
