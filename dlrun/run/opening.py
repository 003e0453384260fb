"""Open a run: write the files that describe it, and print the header."""

from __future__ import annotations

import socket
from os import getpid
from pathlib import Path

from torch import nn

from dlrun.components.plugins import PluginRecord, loaded
from dlrun.engine.device import device_words
from dlrun.errors import count_of
from dlrun.objectives.declared import bounds, directions
from dlrun.report.tables import some_of
from dlrun.run import environment
from dlrun.run.context import Components, RunContext
from dlrun.run.screen import shorter
from dlrun.store.files import now, write_atomic, write_json
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir


def begin(context: RunContext) -> None:
    """Write the files that describe the run, open train.log, and print the header."""
    write_facts(context)
    context.screen.open_log(context.run.log)
    print_header(context)


def write_facts(context: RunContext) -> None:
    """Write status.json, overrides.txt, environment.json, copies of plug-ins and config.yaml.

    status.json comes first, since it marks the folder as dlrun's, and config.yaml last, since it makes it a run.
    """
    run, config, components = context.run, context.config, context.components
    status = run.read_status()
    context.seconds_before = float(status.get("seconds") or 0.0)
    started = status.get("started") if context.resumed else None
    run.write_status(
        state="running", name=context.name, pid=getpid(), host=socket.gethostname(), started=started or now(),
        ended=None, kind=None, error=None, traceback=None, exit_code=None,
    )  # fmt: skip
    if context.overrides or not context.resumed:
        write_atomic(run.file("overrides.txt"), "".join(f"{word}\n" for word in context.overrides).encode())
    for name, text in components.data.files.items():
        write_atomic(run.file(name), text.encode())
    plugins = loaded()
    for plugin in plugins:
        copy_plugin(run, plugin)
    facts = environment.environment_facts(context.argv) | {
        "seed": config.seed,
        "identity": config.identity,
        "device": device_words(context.state.device),
        "engine": components.engine,
        "auto": components.auto,
        "better": directions(context.state.metric),  # for runs that end without a summary
        "bounds": bounds(context.state.metric, context.state.loss),
        "plugins": [{"name": p.name, "sha256": p.sha256} for p in plugins],
        "notes": components.notes,
    }
    before = read_json(run.environment) if context.resumed else {}
    if before:
        earlier = {key: before.get(key) for key in ("argv", "versions", "device", "engine")}
        facts["earlier"] = [*before.get("earlier", []), earlier]
    write_json(run.environment, facts)
    write_atomic(run.config, config.to_yaml().encode())


def copy_plugin(run: RunDir, plugin: PluginRecord) -> None:
    """Copy a plug-in's file into the run directory, for reading: it is never imported from there."""
    source = Path(plugin.path) if plugin.path else None
    if source is None or not source.is_file():
        return
    folder = run.file("plugins")
    folder.mkdir(exist_ok=True)
    write_atomic(folder / f"{source.name}.txt", source.read_bytes())


def print_header(context: RunContext) -> None:
    """Print the name of the run, its model, data, training, device, engine and directory, and the notes."""
    screen, components, state, config = context.screen, context.components, context.state, context.config
    rows = [
        ("model", f"{config.model.name}, {parameter_words(state.model)}"),
        ("data", f"{config.dataset.name}: {data_words(components)}"),
        ("training", training_words(context)),
        ("device", device_words(state.device)),
        ("engine", ", ".join(components.engine)),
        ("directory", shorter(context.run.path)),
    ]
    screen.line(f"dlrun  {context.name}", style="bold")
    screen.pairs(rows)
    for note in components.notes:
        screen.line(f"  note: {note}")
    if "test" in context.batches:
        screen.line(f"  note: no validation part: the best epoch is selected on test ({context.plan.monitor})")
    elif "val" not in context.batches:
        screen.line("  note: neither a validation nor a test part: nothing here concerns new data")
    screen.line()


def parameter_words(model: nn.Module) -> str:
    """A text such as `12,345 parameters (678 learn)`."""
    total = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{total:,} parameters" + ("" if total == learning else f" ({learning:,} learn)")


def data_words(components: Components) -> str:
    """A text such as `1,149 train, 288 validation, 320 of 10,000 test`."""
    names = {"train": "train", "val": "validation", "test": "test"}
    used, parts = components.rows_used(), components.data.parts()
    return ", ".join(f"{some_of(used[name], part.samples)} {names[name]}" for name, part in parts.items())


def training_words(context: RunContext) -> str:
    """A text such as `adam, lr 0.001, 10 epochs of 18 batches of 64, loss cross_entropy, selects val_loss (min)`."""
    config, plan, batches = context.config, context.plan, context.batches["train"]
    words = [config.optimizer.name, f"lr {config.optimizer.lr:g}"]
    if config.scheduler.name != "none":
        words.append(f"{config.scheduler.name} schedule")
    epochs = f"{count_of(plan.epochs, 'epoch')} of {count_of(len(batches), 'batch')} of {batches.batch_size}"
    if plan.max_steps is not None:
        epochs += f", at most {count_of(plan.max_steps, 'step')}"
    selects = f"selects {plan.monitor} ({plan.mode}), marked *"
    return ", ".join([*words, epochs, f"loss {context.components.auto['loss']}", selects])
