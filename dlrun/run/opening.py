"""The beginning of a run: the files that say what it is, and the header that a person reads."""

from __future__ import annotations

import socket
from os import getpid
from pathlib import Path
from typing import Any

from dlrun.engine.device import device_words
from dlrun.objectives.metrics import directions
from dlrun.run import environment
from dlrun.run.screen import shorter
from dlrun.store.files import read_json, write_atomic, write_json


def write_facts(session: Any) -> None:
    """status.json (first: what is here is a run from now on), config.yaml, overrides.txt and environment.json."""
    from dlrun.components.plugins import loaded
    from dlrun.run.runner import now

    run, config, built = session.run, session.config, session.built
    started = run.read_status().get("started") if session.resumed else None
    run.write_status(
        state="running", name=name_of(session), pid=getpid(), host=socket.gethostname(), started=started or now(),
        ended=None, error=None, traceback=None, exit_code=None,
    )  # fmt: skip
    write_atomic(run.config, config.to_yaml().encode())
    if not session.resumed:
        write_atomic(run.file("overrides.txt"), "".join(f"{word}\n" for word in session.overrides).encode())
    plugins = loaded()
    for plugin in plugins:
        copy_plugin(run, plugin)
    facts = environment.describe(session.argv) | {
        "seed": config.seed,
        "identity": config.identity,
        "device": device_words(session.state.device),
        "engine": built.engine,
        "auto": built.auto,
        "better": directions(session.state.metric),  # for a run that ends without a summary
        "plugins": [{"name": p.name, "sha256": p.sha256} for p in plugins],
        "notes": built.notes,
    }
    before = read_json(run.environment) if session.resumed else {}
    if before:
        earlier = {key: before.get(key) for key in ("argv", "versions", "device", "engine")}
        facts["earlier"] = [*before.get("earlier", []), earlier]
    write_json(run.environment, facts)


def name_of(session: Any) -> str:
    """What the run is called: `run.name`, or its directory's name."""
    return str(session.config.run.name or session.run.path.resolve().name)


def copy_plugin(run: Any, plugin: Any) -> None:
    """A copy of a plug-in's file for reading; nothing imports it from here."""
    source = Path(plugin.path) if plugin.path else None
    if source is None or not source.is_file():
        return
    folder = run.file("plugins")
    folder.mkdir(exist_ok=True)
    write_atomic(folder / f"{source.name}.txt", source.read_bytes())


def print_header(session: Any) -> None:
    """Run name, device, engine, parameters, data sizes, directory."""
    screen, built, state, config = session.screen, session.built, session.state, session.config
    rows = [
        ("model", f"{config.model.name}, {parameter_words(state.model)}"),
        ("data", f"{config.dataset.name}: {data_words(built)}"),
        ("training", training_words(session)),
        ("device", device_words(state.device)),
        ("engine", ", ".join(built.engine)),
        ("directory", shorter(session.run.path)),
    ]
    screen.line(f"dlrun  {name_of(session)}", style="bold")
    screen.pairs(rows)
    for note in built.notes:
        screen.line(f"  note: {note}")
    if "test" in built.batches:
        screen.line(f"  note: no validation part: the best epoch is selected on test ({session.plan.monitor})")
    screen.line()


def parameter_words(model: Any) -> str:
    """12,345 parameters (of which 678 learn)."""
    total = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{total:,} parameters" + ("" if total == learning else f" ({learning:,} learn)")


def data_words(built: Any) -> str:
    """1,149 train, 288 validation, 360 test."""
    names = {"train": "train", "val": "validation", "test": "test"}
    parts = built.data.parts()
    return ", ".join(f"{part.samples:,} {names[name]}" for name, part in parts.items())


def training_words(session: Any) -> str:
    """adam, lr 0.001, 10 epochs of 18 batches of 64, loss cross_entropy, selects val_loss (min)."""
    config, plan, batches = session.config, session.plan, session.built.batches["train"]
    words = [config.optimizer.name, f"lr {config.optimizer.lr:g}"]
    if config.scheduler.name != "none":
        words.append(f"{config.scheduler.name} schedule")
    size = f"{len(batches)} batch{'es' if len(batches) > 1 else ''} of {batches.batch_size}"
    epochs = f"{plan.epochs:,} epoch{'s' if plan.epochs > 1 else ''} of {size}"
    if plan.max_steps is not None:
        epochs += f", at most {plan.max_steps:,} steps"
    return ", ".join([*words, epochs, f"loss {session.built.auto['loss']}", f"selects {plan.monitor} ({plan.mode})"])
