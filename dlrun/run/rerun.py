"""`dlrun rerun`: train the configuration of a run again, in a new directory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dlrun.config.compose import overlay
from dlrun.config.config import Config
from dlrun.config.schema.schema import text_schema
from dlrun.config.schema.words import repeating_overrides
from dlrun.run.resume import stored_config
from dlrun.run.runner import train
from dlrun.run.screen import Screen
from dlrun.store.find import find_run, user_path
from dlrun.store.reader import StoredRun
from dlrun.store.rundir import RunDir

NEW_PLACE = {"dir": None, "name": None, "overwrite": False}


def rerun_command(word: str, overrides: Sequence[str], *, argv: Sequence[str], quiet: bool) -> int:
    """`dlrun rerun RUN | CONFIG.yaml [OVERRIDES]`. Returns the exit code."""
    path = user_path(word)
    run = None if os.path.isfile(path) else find_run(word)
    own, folder = (Config.from_yaml(path), path.parent) if run is None else (stored_config(run), run.path)
    config = overlay(elsewhere(own), overrides)
    # Equal bits need an equal number of threads.
    threads = RunDir(folder).threads if config.identity == own.identity else None
    before = repeating_overrides(StoredRun(folder).words or (), text_schema())
    words, screen = [*before, *overrides], Screen(quiet=quiet)
    return train(config, overrides=words, argv=argv, screen=screen, threads=threads).exit_code


def elsewhere(config: Config) -> Config:
    """The same configuration for a run with a directory and a name of its own."""
    values = config.to_dict()
    values["run"] |= NEW_PLACE
    return Config(values | {"resume": "never"})
