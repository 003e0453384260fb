"""The model that a run has trained, out of its checkpoints."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dlrun.assembly.assemble import new_model
from dlrun.config.config import Config
from dlrun.engine.device import choose_device
from dlrun.errors import RunError
from dlrun.generators import forked
from dlrun.spec import DataSpec
from dlrun.store import checkpoint as files
from dlrun.store.contents import WEIGHTS
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir


def trained_model(path: Path, checkpoint: str, device: str) -> nn.Module:
    """A plain module in eval mode.

    `checkpoint`: best (of a finished run that selects none: the last) or last. `device`: as for `device=`.
    Raises `RunError` when that checkpoint is missing or damaged, `ConfigError` for a device that is not there.
    """
    if checkpoint not in ("best", "last"):
        raise RunError(f"there is no checkpoint {checkpoint!r}: ask for 'best' or 'last'.")
    run, home = RunDir(path), choose_device(device)
    summary = read_json(run.summary)
    selects_none = bool(summary) and summary.get("best") is None
    values = files.read(run.last if checkpoint == "last" or selects_none else run.best, str(home), WEIGHTS)
    config = Config.from_yaml(run.config)
    with files.loading(run.path), forked(0):  # its first weights are drawn, and thrown away
        model = new_model(config, DataSpec.from_dict(values["spec"]))
        model.load_state_dict(values["model"])
    return model.to(home).eval()
