"""One peer on one task, in this process: `python worker.py PEER TASK --epochs N`. Prints one line of JSON."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from tasks import Clock, Task

BATCH = {"digits_mlp": 64, "mnist_mlp": 64, "mnist_cnn": 64, "names_gru": 256}
HERE = Path(__file__).parent


def peer(name: str) -> Any:
    """The module peers/NAME.py, loaded by its path: a peer's own package has the same name."""
    spec = importlib.util.spec_from_file_location(f"peer_{name}", HERE / "peers" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("task", choices=BATCH)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--root", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock()
    task = Task(options.task, BATCH[options.task], options.limit, options.root)
    peer(options.peer).run(task, options.epochs, clock)
    print(json.dumps({"speeds": clock.speeds, "first_step": clock.first_step}))


if __name__ == "__main__":
    main()
