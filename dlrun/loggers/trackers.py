"""Loggers for experiment trackers, whose packages are extras of dlrun. They use no network unless they are asked to."""

from __future__ import annotations

import io
import os
import shutil
from contextlib import redirect_stdout
from typing import Literal

from dlrun.loggers.record import EpochDone, Row, RunBegun, RunEnded, Tracker
from dlrun.plain import Values, flatten


class Wandb(Tracker):
    """Weights & Biases (https://docs.wandb.ai): RUN/wandb, which `wandb sync` uploads later."""

    def __init__(
        self, project: str = "dlrun", entity: str | None = None, mode: Literal["offline", "online"] = "offline"
    ) -> None:
        self.options: Values = {"project": project, "entity": entity, "mode": mode}

    def begun(self, record: RunBegun) -> None:
        os.environ |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
        import wandb

        old = list(record.path.glob(f"wandb/offline-run-*-{record.id}"))
        if self.options["mode"] == "online" or list(record.path.glob(f"wandb/*-{record.id}/*.synced")):
            old = []  # a server has it, and adds to it
        for folder in old:  # a process that was killed has not written all of it
            shutil.rmtree(folder)
        self.wandb, quiet = wandb, {"silent": True, "console": "off", "disable_git": True}
        self.run = wandb.init(
            **self.options, name=record.name, id=record.id, resume="allow", reinit="create_new", dir=record.path,
            config=record.config, settings=wandb.Settings(**quiet, symlink=False, x_disable_stats=True),
        )  # fmt: skip
        self.rewrites = bool(old)
        for row in record.rows if self.rewrites else record.missed:
            self.run.log(row, step=int(row["step"]))

    def epoch(self, record: EpochDone) -> None:
        if self.rewrites or not record.again:
            self.run.log(record.row, step=int(record.row["step"]))

    def ended(self, record: RunEnded) -> None:
        self.run.summary.update(flatten(record.summary))
        self.run.log({path.stem: self.wandb.Image(str(path)) for path in record.figures})
        if record.best is not None:
            artifact = self.wandb.Artifact(f"best-{record.id}", type="model")
            artifact.add_file(str(record.best), policy="immutable", skip_cache=True)  # it is not copied
            self.run.log_artifact(artifact)
        self.run.finish(exit_code=0 if record.state in ("finished", "pruned") else 1)


class Trackio(Tracker):
    """Trackio (https://huggingface.co/docs/trackio): a database in $TRACKIO_DIR, which `trackio show` shows."""

    def __init__(self, project: str = "dlrun", space: str | None = None) -> None:
        self.project, self.space = project, space

    def begun(self, record: RunBegun) -> None:
        os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self.trackio, name = trackio, f"{record.name}-{record.id}"  # it finds runs by their names
        with redirect_stdout(io.StringIO()):
            self.run = trackio.init(
                self.project, name, space_id=self.space, config=record.config, resume="allow", embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
        stored = SQLiteStorage.get_max_step_for_run(self.project, name, run_id=self.run.id)
        self.step = record.given if self.space else stored or 0  # a process that was killed has not stored all of it
        for row in record.rows:
            self.add(row)

    def epoch(self, record: EpochDone) -> None:
        self.add(record.row)

    def add(self, row: Row) -> None:
        if row["step"] > self.step:
            self.step = int(row["step"])
            self.run.log({name: value for name, value in row.items() if name != "step"}, step=self.step)

    def ended(self, record: RunEnded) -> None:
        figures = {path.stem: self.trackio.Image(str(path)) for path in record.figures}
        self.run.log({**record.results, **figures}, step=self.step)
        if record.best is not None:
            self.run.log_artifact(record.best, name=f"best-{record.id}", type="model")
        with redirect_stdout(io.StringIO()):
            self.trackio.finish()
