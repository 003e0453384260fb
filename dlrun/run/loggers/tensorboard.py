"""Event files for TensorBoard, in RUN/tensorboard (https://pytorch.org/docs/stable/tensorboard.html)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlrun.store.rundir import RunDir


def tensorboard(run: RunDir, history: list[dict[str, float]]) -> Callable[[Mapping[str, float]], None]:
    """Continue after the steps of `history`. Returns a function that writes a row."""
    from torch.utils.tensorboard import SummaryWriter

    purge = int(history[-1]["step"]) + 1 if history else None
    writer = SummaryWriter(str(run.file("tensorboard")), purge_step=purge)

    def write(row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                writer.add_scalar(name, value, int(row["step"]))
        writer.flush()

    return write
