"""The estimate of a dry run: the job is built, some batches are trained, one is evaluated, the rest is computed."""

from __future__ import annotations

import math
import time
from typing import Any

from dlrun.config.config import Config

CLOSING_SECONDS = 0.5  # to write a run's files and draw its figures, for the estimate
STEPS = 3  # timed after a first one that warms up


def try_one_batch(config: Config) -> dict[str, Any]:
    """Build the run and time some batches.

    Returns `seconds` (a rough estimate of the whole run), `parameters`, `steps` and `gpu_mib`. Raises what building or
    a batch raises. Writes nothing.
    """
    import torch

    from dlrun.run.build import build

    started = time.perf_counter()
    built = build(config)
    building = time.perf_counter() - started
    state, batches, plan = built.state, built.batches["train"], built.plan
    state.train_mode()
    seconds: list[float] = []
    while len(seconds) < STEPS + 1:
        for batch in batches.epoch(0):
            started = time.perf_counter()
            loss, _ = plan.step(state, batch)
            float(loss)  # waits for the device
            seconds.append(time.perf_counter() - started)
            if len(seconds) == STEPS + 1:
                break
    step = sorted(seconds[1:])[STEPS // 2]
    evaluation = 0.0
    for name, part in built.batches.items():
        if name == "train":
            continue
        with torch.inference_mode():
            started = time.perf_counter()
            batch = next(iter(part.epoch(0)))
            state.loss(state.model(*batch.inputs), batch.target).item()
            evaluation += (time.perf_counter() - started) * len(part)
    steps = min(plan.epochs * len(batches), (plan.max_steps or math.inf) * plan.accumulate)
    epochs = math.ceil(steps / len(batches))
    total = building + steps * step + epochs / plan.eval_every * evaluation + CLOSING_SECONDS
    parameters = sum(parameter.numel() for parameter in state.model.parameters())
    gpu = torch.cuda.max_memory_allocated() / 2**20 if state.device.type == "cuda" else 0.0
    return {"seconds": total, "parameters": parameters, "steps": int(steps), "gpu_mib": gpu}
