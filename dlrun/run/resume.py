"""Resume a run from its own configuration and its newest valid checkpoint."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dlrun.config.config import Config, current_schema
from dlrun.config.schema.effects import Effect
from dlrun.errors import RunError, count_of
from dlrun.objectives.length import choose, depends_on_length
from dlrun.plain import Values
from dlrun.report.tables import format_value
from dlrun.run.outcome import Outcome, Train, before_it_began
from dlrun.run.screen import Screen, shorter
from dlrun.run.signals import Interrupted, Signals
from dlrun.store import checkpoint as files
from dlrun.store.reader import RESUMED
from dlrun.store.reading import read_json, read_lines
from dlrun.store.rundir import RunDir

if TYPE_CHECKING:
    from dlrun.run.context import Components

ALLOWED = ("device.precision", "plugins")  # may change the result, but are needed to resume on another machine
DONE_STATES = ("finished", "pruned")


@dataclass(frozen=True)
class Asked:
    """What the command `dlrun resume` asks for besides a new configuration."""

    forced: frozenset[str] = frozenset()  # keys that may change in any case
    schedule: str | None = None  # how a schedule that depends on the length continues: stretch, hold or restart
    words: tuple[str, ...] = ()  # the arguments of the command, for overrides.txt


NOTHING_ASKED = Asked()


def stored_config(run: RunDir) -> Config:
    """Read the config.yaml of a run. Raises `RunError` if there is none."""
    if not run.config.is_file():
        raise RunError(f"{run.path} holds no run (there is no config.yaml in it).")
    return Config.from_yaml(run.config)


def resume(
    run: RunDir,
    config: Config,
    *,
    train: Train,
    screen: Screen,
    argv: Sequence[str] = (),
    asked: Asked = NOTHING_ASKED,
    on_epoch: Callable[[dict[str, float]], bool] | None = None,
) -> Outcome:
    """Resume `run` with `config`, which may differ from the run's own configuration as `refuse_changes` allows."""
    run.settle()
    own = stored_config(run)
    refuse_changes(own, config, asked)
    if done := already_finished(run, own, config):
        screen.line(done, always=True)
        return Outcome(run, summary=read_json(run.summary))
    with Signals() as signals:
        try:
            from dlrun.engine.threads import threads_of
            from dlrun.run import build, context, initial, session

            run.lock()
            refuse_to_lose(run)
            with threads_of(None):
                components = build.build(config, run.threads)
                values = starting_point(run, own, config, components, screen, asked)
                words = asked.words or [f"{each.key}={format_value(each.new)}" for each in changes(own, config)]
                overrides = read_lines(run.file("overrides.txt")) or []
                if values is None:
                    initial.check_initial(config, components.state)
                    overrides += [word for word in words if "=" in word or word.startswith("~")]
                elif words and (line := resumed_line(values, words)) not in overrides:
                    overrides.append(line)
                shared = context.RunContext(run, components, screen, signals, overrides, argv)
                return session.Session(shared, partial(initial.load_initial, train=train), on_epoch).go(values)
        except Interrupted as interrupted:
            return before_it_began(interrupted, screen, run)
        finally:
            run.unlock()


def starting_point(
    run: RunDir, own: Config, config: Config, components: Components, screen: Screen, asked: Asked
) -> Values | None:
    """The newest valid checkpoint, adapted to the new configuration; None to start again from the beginning."""
    from dlrun.run import adapt

    if not files.resume_candidates(run):
        screen.line("there is no checkpoint yet: the run starts again from the beginning")
        return None
    values, path, skipped = files.newest_checkpoint(run, str(components.state.device))
    for reason in skipped:
        screen.line(f"skipped: {reason}", style="yellow")
    screen.line(f"resuming from {shorter(path)} (epoch {values['epoch'] + 1}, step {values['step']})")
    if not any(key.split(".")[0] == "dataset" for key in asked.forced):
        adapt.check_data(values, components)
    changed = adapt.adapt(run, values, own, config, components, asked.schedule)
    for line in [*adapt.differences(run, values, components), *changed]:
        screen.line(line, style="yellow")
    go_on_after_a_stop(values, own, config, asked)
    return values


def go_on_after_a_stop(values: Values, own: Config, config: Config, asked: Asked) -> None:
    """Reset the reason of an early stop if it does not apply any more.

    Raises `RunError` if it still does and the run shall be longer.
    """
    stopper, patience = values["stopper"], config.trainer.early_stop.patience
    more = own.trainer.early_stop.patience != patience and (patience or math.inf) > stopper["without_improvement"]
    if asked.forced or more:
        stopper["reason"] = None
    elif stopper["reason"] and any(each.effect.on_resume == "longer" for each in changes(own, config)):
        hint = "Give it more patience (trainer.early_stop.patience=N or null)" if patience else "Start a new run"
        raise RunError(f"the run stopped early: {stopper['reason']}. A longer run would stop there, too. {hint}.")


def refuse_to_lose(run: RunDir) -> None:
    """Raise `RunError` for a run that has lost its checkpoints: starting again would replace its other results."""
    status = run.read_status()
    trained = status.get("step") is not None or status.get("state") in DONE_STATES or run.summary.exists()
    unknown = not status and (run.best.exists() or run.metrics.exists())
    if files.resume_candidates(run) or not (trained or unknown):
        return
    reached = f" (it reached step {status['step']})" if status.get("step") is not None else ""
    raise RunError(
        f"{run.path} has no checkpoint to go on from: checkpoints/last.pt is gone{reached}. Beginning again would "
        "replace its best.pt and metrics.csv. Put last.pt back, or start a new run; run.overwrite=true with "
        f"run.dir={run.path} replaces this one."
    )


def resumed_line(values: Values, words: Sequence[str]) -> str:
    """The comment in overrides.txt on where the run was resumed, and with which overrides."""
    return f"{RESUMED}after epoch {values['epoch']}, step {values['step']}: {shlex.join(words)}"


def already_finished(run: RunDir, own: Config, config: Config) -> str | None:
    """A line for the screen if there is nothing left to train, else None."""
    status = run.read_status()
    if status.get("state") not in DONE_STATES:
        return None
    if any(each.effect.on_resume == "longer" for each in changes(own, config)):
        return None
    return f"{shorter(run.path)} is finished ({count_of(int(status.get('epoch') or 0), 'epoch')}); nothing to do."


@dataclass(frozen=True)
class Change:
    """A key whose value differs from that in the run, and its effect."""

    key: str
    old: object
    new: object
    effect: Effect


def changes(own: Config, config: Config) -> list[Change]:
    """All differences of two configurations."""
    old, new, schema = own.flat(), config.flat(), current_schema()
    differ = sorted(key for key in {**old, **new} if old.get(key) != new.get(key))
    return [Change(key, old.get(key), new.get(key), schema.effect(key, config)) for key in differ]


def refuse_changes(own: Config, config: Config, asked: Asked = NOTHING_ASKED) -> None:
    """Raise `RunError` that lists the keys which may not change when a run is resumed."""
    changed = changes(own, config)
    refused = [each for each in changed if not allowed(each) and not within(each.key, asked.forced)]
    if refused:
        lines = [f"  {each.key}: {format_value(each.old)} in the run, {format_value(each.new)} now" for each in refused]
        text = "these settings may not change in the middle of a run:\n" + "\n".join(lines)
        raise RunError(f"{text}\nStart a new run, or insist with `dlrun resume RUN --force KEY=VALUE`.")
    lengths = [each for each in changed if asks_for_a_schedule(each, own, config, asked)]
    if lengths:
        lines = [f"{each.key}: {format_value(each.old)} in the run, {format_value(each.new)} now" for each in lengths]
        words = " ".join(f"{each.key}={format_value(each.new)}" for each in lengths)
        raise RunError(f"{', '.join(lines)}. The {own.scheduler.name} schedule depends on the length.\n{choose(words)}")


def within(key: str, forced: Collection[str]) -> bool:
    """Whether a key, or a section that it is in, is among the forced ones."""
    return any(key == name or key.startswith(f"{name}.") for name in forced)


def allowed(change: Change) -> bool:
    """Whether the contract of the key allows this change."""
    if change.effect.on_resume == "longer":
        return longer(change.old, change.new)
    return change.effect.on_resume == "always" or change.key in ALLOWED


def asks_for_a_schedule(change: Change, own: Config, config: Config, asked: Asked) -> bool:
    """Whether the length changes, the schedule depends on it, and `--schedule` is missing."""
    if change.effect.name != "length" or asked.schedule is not None or own.scheduler != config.scheduler:
        return False
    return depends_on_length(own.scheduler.name, own.section("scheduler"))


def longer(old: object, new: object) -> bool:
    """Whether the new limit is not smaller; None is no limit."""
    return new is None or (isinstance(old, int | float) and isinstance(new, int | float) and new >= old)
