"""Adapt a checkpoint when a run is resumed with other settings, on another machine or with other data."""

from __future__ import annotations

from dlrun.config.config import Config
from dlrun.data.transforms import Preparation
from dlrun.data.vocabulary import Vocabulary
from dlrun.engine.device import device_words
from dlrun.errors import RunError
from dlrun.objectives.schedule import Schedule
from dlrun.objectives.without_dynamo import optimizer_state_dict
from dlrun.plain import Values
from dlrun.run import lengthen
from dlrun.run.context import Components
from dlrun.run.environment import package_version
from dlrun.spec import DataSpec
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir

DATA_KEYS = ("task", "input_kind", "input_shape", "other_shapes", "num_outputs", "labels", "vocabulary")


def check_data(values: Values, components: Components) -> None:
    """Raise `RunError` if the data have another specification than when the run began."""
    before, now = values.get("spec") or {}, components.state.spec.to_dict()
    for key in DATA_KEYS:
        if key in before and before[key] != now[key]:
            words = f": {before[key]} then, {now[key]} now" if len(str(before[key])) < 60 else ""
            raise RunError(
                f"the data are not those that the run began with ({key} differs{words}). "
                "Put them back, or start a new run."
            )


def differences(run: RunDir, values: Values, components: Components) -> list[str]:
    """Reasons why the result may differ from that of an uninterrupted run, as lines for the screen."""
    before = read_json(run.environment)
    versions = before.get("versions") or {}
    facts = [
        ("the engine", ", ".join(values.get("engine") or []), ", ".join(components.engine)),
        ("the device", before.get("device"), device_words(components.state.device)),
        ("torch", versions.get("torch"), package_version("torch")),
    ]
    lines = [
        f"{what} was {old} and is {new} now: equal, but not bit for bit"
        for what, old, new in facts
        if old and old != new
    ]
    now = fitted_preprocessing(components.state.spec)
    if values["spec"] and fitted_preprocessing(DataSpec.from_dict(values["spec"])) != now:
        lines.append("the training data, or what was fitted on them, are not what they were when the run began")
    return lines


def fitted_preprocessing(spec: DataSpec) -> Values:
    """What was fitted on the training part, in one form for checkpoints of every age."""
    text = {"characters": list(spec.vocabulary), **Vocabulary.of(spec).state()} if spec.input_kind == "text" else {}
    table = {"table": spec.preprocessing["table"]} if "table" in spec.preprocessing else {}
    return Preparation(spec).state() | text | table


def adapt(
    run: RunDir, values: Values, own: Config, config: Config, components: Components, choice: str | None = None
) -> list[str]:
    """Change the checkpoint where the configuration has changed. Returns lines for the screen that say what changed.

    The optimizer's settings are taken from the new configuration, and its moments from the checkpoint, unless another
    optimizer is chosen. If the optimizer or the schedule has changed, the schedule starts anew, for the remaining
    epochs. See lengthen.py for a schedule that depends on a changed length.
    """
    lines = []
    groups = [group for group in ("optimizer", "scheduler") if own.section(group) != config.section(group)]
    if groups:
        schedule = components.state.schedule
        if isinstance(schedule, Schedule) and schedule.span is not None:
            lengthen.restart(values, components, schedule.span.epochs)
        else:
            lengthen.store(values, components.state)
        fresh = optimizer_state_dict(components.state.optimizer)
        if own.optimizer.name != config.optimizer.name:
            values["optimizer"] = fresh
        anew = [] if schedule is None else ["the schedule"]
        anew += ["the optimizer"] if own.optimizer.name != config.optimizer.name else []
        starts = f": {' and '.join(anew)} start{'' if len(anew) > 1 else 's'} anew" if anew else ""
        lines.append(f"from here on with another {' and '.join(groups)}{starts}")
    else:
        lines += lengthen.follow(values, config, components, choice)
    if own.section("loss") != config.section("loss"):
        values["loss"] = {}  # an average over steps of another loss
    before = read_json(run.environment).get("auto") or {}
    selects = ("checkpoint.monitor", "checkpoint.mode")  # an older version may have chosen others for `auto`
    if any(before.get(key, components.auto[key]) != components.auto[key] for key in selects):
        values["best"] = None
        values["stopper"] |= {"value": None, "without_improvement": 0}
        lines.append(f"the best epoch is chosen anew from here on, by {components.plan.monitor}")
    return lines
