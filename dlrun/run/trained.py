"""Load the trained model of a run."""

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
    """Load the model of a run as a plain module in eval mode.

    Args:
        path: the run directory.
        checkpoint: `best` or `last`. A finished run that selects no best epoch has `last` only, which is used instead.
        device: a device name as for `device.name`.

    Raises `RunError` for a missing or damaged checkpoint, and `ConfigError` for a device that does not exist.
    """
    if checkpoint not in ("best", "last"):
        raise RunError(f"there is no checkpoint {checkpoint!r}: ask for 'best' or 'last'.")
    run, home = RunDir(path), choose_device(device)
    summary = read_json(run.summary)
    selects_none = bool(summary) and summary.get("best") is None
    values = files.read_checkpoint(run.last if checkpoint == "last" or selects_none else run.best, str(home), WEIGHTS)
    config = Config.from_yaml(run.config)
    with files.loading(run.path), forked(0):  # the initial weights are drawn and replaced
        model = new_model(config, DataSpec.from_dict(values["spec"]))
        model.load_state_dict(values["model"])
    return model.to(home).eval()
