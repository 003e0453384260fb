"""The modules that runs need, which the warm server imports before it forks processes."""

from __future__ import annotations

from collections.abc import Iterable

from dlrun.components.registry import TABLES
from dlrun.config.config import Config

TRAINING_MODULES = (
    "dlrun.run.runner", "dlrun.run.session", "dlrun.run.initial", "dlrun.run.adapt", "torch.optim.lr_scheduler",
    "dlrun.run.environment:keep_facts", "hydra.core.override_parser.overrides_parser",
)  # fmt: skip


def modules(configs: Iterable[Config]) -> list[str]:
    """The modules that runs of these configurations need, and functions to call, as `module:function`."""
    found = dict.fromkeys(TRAINING_MODULES)
    for config in configs:
        for kind, table in TABLES.items():
            known = table.known(config.get(f"{kind}.name"))
            found |= dict.fromkeys(filter(None, [known.module, *known.imports]))
        if config.get("run.figures") == "all":  # else those of a few runs are drawn elsewhere
            found["dlrun.report.style:warm_up"] = None
        if config.device.compile:
            found["dlrun.torch_private:load_compiler"] = None
    return list(found)
