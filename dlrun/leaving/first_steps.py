"""Run by `dlrun eject --check` in a process of its own, without dlrun: `first_steps.py FILE STEPS`.

Prints the losses of the first steps and evaluations of a written file, on one thread of the CPU, as JSON: Python writes
a float so that it reads back as the same one.
"""

from __future__ import annotations

import importlib.util
import json
import sys

import torch


def print_first_steps(file: str, steps: str) -> None:
    """Train for some steps and print what was lost."""
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("ejected", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)["DEVICE"] = torch.device("cpu")
    _, losses, evaluations = module.train(module.load_data(), max_steps=int(steps))
    sys.stdout.write(f"\n{json.dumps([losses, evaluations])}\n")


if __name__ == "__main__":
    print_first_steps(*sys.argv[1:])
