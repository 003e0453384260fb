"""Contradictions between the sections of a configuration, as far as the YAML files show them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dlrun.components.registry import LOSSES
from dlrun.config.schema.comments import Option
from dlrun.config.schema.contract import format_yaml
from dlrun.errors import Problem, did_you_mean
from dlrun.spec import AUTO_LOSS

READ = ("model", "dataset", "loss", "device", "checkpoint", "run")  # the sections that contradict each other


def combinations(values: Mapping[str, Any], sections: Mapping[str, Option], wrong: set[str]) -> list[Problem]:
    """All contradictions, each with the key to change. Keys whose value is `wrong` by itself are left out."""
    facts = {f"{name}.{key}": value for name in READ for key, value in _items(values.get(name))}
    facts = {key: value for key, value in (facts | {"resume": values.get("resume")}).items() if key not in wrong}
    headers = {group: option.headers for group, option in sections.items()}
    kind, task = _gives(facts, headers)
    problems = [*_kinds(facts, headers, kind), *_tasks(facts, headers, task), *_outputs(facts, task)]
    return [*problems, *_device(facts), *_selection(facts), *_overwriting(facts)]


def _items(section: object) -> Iterable[tuple[str, Any]]:
    """The keys and values of a section; nothing for anything else."""
    return section.items() if isinstance(section, Mapping) else ()


def _kinds(facts: dict[str, Any], headers: dict[str, dict[str, str]], kind: str) -> Iterator[Problem]:
    """A model that does not take the data set's kind of input."""
    takes = _words(headers.get("model", {}).get("takes", ""))
    if kind and takes and kind not in takes:
        given = f"dataset={facts.get('dataset.name')} gives {kind} data."
        hint = "Choose another model or dataset (`dlrun list models` says what each takes)."
        yield Problem("model", f"{facts.get('model.name')} takes {' or '.join(takes)}; {given}", hint)


def _tasks(facts: dict[str, Any], headers: dict[str, dict[str, str]], task: str) -> Iterator[Problem]:
    """A model or a loss that is not made for the data set's task."""
    hints = {"loss": "loss=auto takes the one that fits.", "model": "Choose another model or dataset."}
    for group, hint in hints.items():
        tasks = _words(headers.get(group, {}).get("for", ""))
        if task and tasks and task not in tasks:
            given = f"dataset={facts.get('dataset.name')} is {task}."
            yield Problem(group, f"{facts.get(f'{group}.name')} is for {' or '.join(tasks)}; {given}", hint)


def _outputs(facts: dict[str, Any], task: str) -> Iterator[Problem]:
    """A last activation of the model that does not suit the loss, which expects logits, probabilities or their logs."""
    key, loss = "model.output_activation", facts.get("loss.name")
    if key not in facts or loss is None:
        return
    loss = AUTO_LOSS.get(task, loss) if loss == "auto" else loss
    last, known = facts[key], LOSSES.known(loss)
    if known.wants and last != known.wants:
        hint = f"Write {key}={known.wants}, or choose loss={known.of_logits}."
        yield Problem(key, f"is {format_yaml(last)}, but loss={loss} wants {known.wants} outputs.", hint)
    if last in known.applies:
        message = f"is {last}, which loss={loss} applies itself: it would act twice."
        yield Problem(key, message, f"Write {key}=null.")


def _device(facts: dict[str, Any]) -> Iterator[Problem]:
    device = str(facts.get("device.name", "auto"))
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        near = did_you_mean(device, ["auto", "cpu", "cuda", "mps"])
        hint = near or "Allowed: auto, cpu, cuda, cuda:N, mps."
        yield Problem("device.name", f"there is no device {device!r}.", hint)


def _selection(facts: dict[str, Any]) -> Iterator[Problem]:
    """A metric of the validation part that selects the best epoch, where there is no such part."""
    monitor = str(facts.get("checkpoint.monitor"))
    if monitor.startswith("val_") and facts.get("dataset.val_fraction") == 0:
        message = f"is {monitor}, but dataset.val_fraction=0 leaves no validation part."
        yield Problem("checkpoint.monitor", message, "Give dataset.val_fraction a value above 0.")


def _overwriting(facts: dict[str, Any]) -> Iterator[Problem]:
    if facts.get("run.overwrite") and facts.get("resume") == "auto":
        message = "contradicts resume=auto: go on with the run that is there, or replace it?"
        yield Problem("run.overwrite", message)


def _gives(facts: dict[str, Any], headers: dict[str, dict[str, str]]) -> tuple[str, str]:
    """The kind of input and the task of the data set; empty where only the data can tell."""
    found = []
    for word in [*headers.get("dataset", {}).get("gives", "").split(), "", ""][:2]:
        if word.startswith("{"):
            word = str(facts.get(f"dataset.{word.strip('{}')}", ""))
            word = "" if word in ("auto", "None") else word
        found.append(word)
    return found[0], found[1]


def _words(text: str) -> list[str]:
    """The items of a comma-separated header; none for `any`."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    return [] if words == ["any"] else words
