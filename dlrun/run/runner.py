"""Start or resume a run: from the command line, from a configuration, or as the job of a sweep.

Torch is imported inside of functions, after signal handlers are installed, and not at all for a finished run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from dlrun.config.compose import overlay
from dlrun.config.config import Config, current_schema
from dlrun.config.schema.words import key_of
from dlrun.errors import ConfigError, Problem, RunError, allowed_words, cannot_write
from dlrun.objectives.length import CHOICES
from dlrun.processes import keep_imported
from dlrun.run.outcome import Outcome, before_it_began
from dlrun.run.resume import Asked, resume, stored_config
from dlrun.run.screen import Screen
from dlrun.run.signals import Interrupted, Signals
from dlrun.store.claim import claim, fresh_dir
from dlrun.store.find import OUTPUTS, find_run, user_path
from dlrun.store.marks import is_run
from dlrun.store.rundir import RunDir


def run_command(config: Config, *, overrides: Sequence[str], argv: Sequence[str], quiet: bool) -> int:
    """`dlrun [OVERRIDES]`. Returns the exit code."""
    return train(config, overrides=overrides, argv=argv, screen=Screen(quiet=quiet)).exit_code


def resume_command(
    run: str, overrides: list[str], force: list[str], schedule: str | None, *, argv: Sequence[str], quiet: bool
) -> int:
    """`dlrun resume RUN [OVERRIDES] [--force KEY=VALUE ...] [--schedule HOW]`. Returns the exit code."""
    if schedule not in (None, *CHOICES):
        raise ConfigError(Problem("--schedule", f"there is no {schedule!r}.", allowed_words(schedule, CHOICES)))
    directory = find_run(run)
    own = stored_config(directory)
    config = overlay(own, [*overrides, *force])
    flags = [*(["--schedule", schedule] if schedule else []), *(["--force", *force] if force else [])]
    forced = frozenset(current_schema().today(key_of(word), own) for word in force)
    asked = Asked(forced, schedule, (*overrides, *flags))
    screen = Screen(quiet=quiet)
    return resume(directory, config, train=train, screen=screen, argv=argv, asked=asked).exit_code


def train(
    config: Config,
    *,
    overrides: Sequence[str] = (),
    argv: Sequence[str] = (),
    screen: Screen | None = None,
    on_epoch: Callable[[dict[str, float]], bool] | None = None,
    threads: int | None = None,
) -> Outcome:
    """Train one configuration.

    Args:
        config: the configuration.
        overrides: its overrides, for overrides.txt.
        argv: the whole command, for environment.json.
        screen: where to print; None prints nothing.
        on_epoch: called with every row of metrics.csv; if it returns True, the run ends there (pruning).
        threads: what `device.threads=auto` is to be, if this run repeats another one.

    Raises `DlrunError` for errors of the user's input before training. Later failures are part of the `Outcome`.
    """
    screen = screen or Screen(silent=True, terminal=False)
    if config.resume == "auto" and config.run.dir and is_run(user_path(config.run.dir)):
        return resume(
            RunDir(user_path(config.run.dir)), config, train=train, screen=screen, argv=argv, on_epoch=on_epoch
        )
    with Signals() as signals:
        try:
            from dlrun.engine.threads import threads_of
            from dlrun.run import build, context, initial, session

            keep_imported()
            with threads_of(None):
                components = build.build(config, threads)
                initial.check_initial(config, components.state)
                shared = context.RunContext(open_run(config), components, screen, signals, overrides, argv)
                return session.Session(shared, partial(initial.load_initial, train=train), on_epoch).go()
        except Interrupted as interrupted:
            return before_it_began(interrupted, screen)


def run_frozen(
    config: Config,
    run: RunDir,
    *,
    screen: Screen,
    overrides: Sequence[str] = (),
    argv: Sequence[str] = (),
    on_epoch: Callable[[dict[str, float]], bool] | None = None,
) -> Outcome:
    """Start or resume a job in the given directory. Nothing is done if it is finished."""
    if is_run(run.path):
        return resume(run, config, train=train, screen=screen, argv=argv, on_epoch=on_epoch)
    values = config.to_dict()
    values["run"] |= {"dir": str(run.path), "overwrite": False}
    return train(Config.checked(values), screen=screen, overrides=overrides, argv=argv, on_epoch=on_epoch)


def open_run(config: Config) -> RunDir:
    """Lock the directory of a new run: `run.dir`, or a new one under outputs. Raises `RunError`."""
    path = user_path(config.run.dir) if config.run.dir else OUTPUTS
    try:
        if config.run.dir:
            return claim(path, overwrite=config.run.overwrite)
        words = config.run.name or f"{config.model.name}-{config.dataset.name}"
        return fresh_dir(path, "".join(c if c.isalnum() or c in "._-" else "-" for c in words))
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
