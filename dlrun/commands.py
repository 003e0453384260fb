"""The commands: their arguments, and the function of each, which is imported when it is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dlrun.command_line import Command, CommandLine
from dlrun.errors import ConfigError, Problem, did_you_mean
from dlrun.plain import say

JOB_FLAGS = ("--config-dir", "--plugin")  # that the command of a single job of a sweep needs as well


def _train(line: CommandLine) -> int:
    from dlrun.config.expand import Expansion, plan

    planned = plan(line.overrides, multirun="--multirun" in line.flags, **line.options)
    if isinstance(planned, Expansion):
        from dlrun.sweep.command import sweep_command

        flags = [word for flag in JOB_FLAGS for value in line.flags.get(flag, []) for word in (flag, value)]
        return sweep_command(planned, overrides=line.overrides, argv=line.argv, quiet=line.quiet, flags=flags)
    from dlrun.run.runner import run_command

    return run_command(planned, overrides=line.overrides, argv=line.argv, quiet=line.quiet)


def _config(line: CommandLine) -> Any:
    """The composed configuration."""
    from dlrun.config.compose import compose

    return compose(line.overrides, **line.options)


def _data_config(line: CommandLine) -> Any:
    """The configuration of a command that uses the data alone: the model and the loss need not fit it."""
    from dlrun.config.compose import open_draft
    from dlrun.config.config import Config

    draft = open_draft(line.overrides, **line.options).single()
    clean, problems = draft.checked()
    misfits = {"model", "loss"} if {"model", "loss"} <= clean.keys() and not draft.problems else set()
    problems = [problem for problem in problems if problem.key not in misfits]
    if problems:
        raise ConfigError(problems)
    return Config(clean)


def _plugins(line: CommandLine) -> None:
    """Import the plug-ins for a command that reads the configuration of a run."""
    from dlrun.config.compose import import_plugins

    import_plugins(line.overrides, **line.options)


def _list(line: CommandLine) -> int:
    from dlrun.config.config import current_schema
    from dlrun.config.schema.pages import list_page

    _plugins(line)
    say(list_page(line.plain[0] if line.plain else None, current_schema()))
    return 0


def _explain(line: CommandLine) -> int:
    from dlrun.config.compose import open_draft
    from dlrun.config.explain import explain
    from dlrun.config.schema.schema import GROUPS

    asked = line.plain[0] if line.plain else next(iter(line.overrides), "")
    rest = list(line.overrides if line.plain else line.overrides[1:])
    if not asked:
        raise ConfigError(Problem("explain", "needs a key, a group or GROUP=OPTION.", COMMANDS["explain"].usage))
    if "=" in asked and asked.partition("=")[0] not in GROUPS:
        rest.append(asked)  # `explain optimizer.lr=0.1` is about the key, so set
    draft = open_draft(rest, **line.options).single()
    if draft.problems:
        raise ConfigError(draft.problems)
    say(explain(asked, draft))
    return 0


def _resume(line: CommandLine) -> int:
    from dlrun.run.runner import resume_command

    _plugins(line)
    force, schedule = line.flags.get("--force", []), next(iter(line.flags.get("--schedule", [])), None)
    return resume_command(line.plain[0], line.overrides, force, schedule, argv=line.argv, quiet=line.quiet)


def _rerun(line: CommandLine) -> int:
    from dlrun.run.rerun import rerun_command

    _plugins(line)
    return rerun_command(line.plain[0], line.overrides, argv=line.argv, quiet=line.quiet)


def _verify(line: CommandLine) -> int:
    from dlrun.checks.verify import verify_command

    return verify_command(_config(line), quiet=line.quiet)


def _replay(line: CommandLine) -> int:
    from dlrun.checks.replay import replay_command

    _plugins(line)
    return replay_command(line.plain[0])


def _show(line: CommandLine) -> int:
    from dlrun.checks.show import show_command

    config = _data_config(line)
    return show_command(config, count=line.number("--count", 20), output=line.value("--output"))


def _inspect(line: CommandLine) -> int:
    from dlrun.checks.inspect import inspect_command

    keys = _data_config(replace(line, overrides=["dataset=table", *line.overrides])).section("dataset")
    return inspect_command(line.plain, keys, line.value("--target"), line.overrides, "--json" in line.flags)


def _summary(line: CommandLine) -> int:
    from dlrun.checks.summary import summary_command

    return summary_command(_config(line))


def _compare(line: CommandLine) -> int:
    from dlrun.report.compare import compare_command

    output, forms = line.value("--output"), [flag for flag in ("--json", "--latex") if flag in line.flags]
    if len(forms) > 1:
        raise ConfigError(Problem("--json", "does not go together with --latex.", "Print one of them."))
    return compare_command(line.plain, Path(output) if output else None, "".join(forms).lstrip("-"))


def _runs(line: CommandLine) -> int:
    from dlrun.report.runs import runs_command

    filters = [word for word in line.argv if word in line.plain or word in line.overrides]
    limit = line.number("--limit", 0) if "--limit" in line.flags else None
    return runs_command(filters, line.value("--sort"), limit, Path(line.value("--root") or "outputs"))


def _evaluate(line: CommandLine) -> int:
    from dlrun.inference.evaluate_command import EvaluateRequest, evaluate_command

    _plugins(line)
    asked = EvaluateRequest(
        line.value("--split"), line.value("--checkpoint") or "best", line.value("--threshold"), line.value("--name"),
        "--json" in line.flags,
    )  # fmt: skip
    return evaluate_command(line.plain[0], line.overrides, asked)


def _predict(line: CommandLine) -> int:
    from dlrun.inference.predict_command import PredictRequest, predict_command

    _plugins(line)
    asked = PredictRequest(
        line.value("--checkpoint") or "best", line.value("--output"), "--json" in line.flags,
        "--invert" in line.flags, line.number("--top", 3), line.number("--batch-size", 256),
        line.value("--images"), line.value("--threshold"),
    )  # fmt: skip
    return predict_command(line.plain[0], line.plain[1:], line.overrides, asked)


def _eject(line: CommandLine) -> int:
    from dlrun.leaving.eject_command import EjectRequest, eject_command

    _plugins(line)
    output = line.value("--output") or EjectRequest.output
    return eject_command(line.plain[0], EjectRequest(output, "--check" in line.flags, "--overwrite" in line.flags))


def _export(line: CommandLine) -> int:
    from dlrun.inference.export.command import ExportRequest, export_command

    _plugins(line)
    asked = ExportRequest(
        line.value("--format"), line.value("--output"), "--logits" in line.flags, line.value("--checkpoint") or "best",
        "--overwrite" in line.flags,
    )  # fmt: skip
    return export_command(line.plain[0], line.overrides, asked)


def _report(line: CommandLine) -> int:
    from dlrun.report.html import report_command

    return report_command(line.plain[0], card="--card" in line.flags)


def _cache(line: CommandLine) -> int:
    from dlrun.data.cache import cache_command

    return cache_command(line.plain)


def _sweep(line: CommandLine) -> int:
    from dlrun.sweep import manage

    actions = {"status": manage.status_command, "retry": manage.retry_command, "stop": manage.stop_command}
    if line.plain[0] not in actions:
        hint = did_you_mean(line.plain[0], actions) or f"Usage: {COMMANDS['sweep'].usage}"
        raise ConfigError(Problem(f"sweep {line.plain[0]}", "there is no such command.", hint))
    if line.plain[0] == "retry":
        _plugins(line)
        return manage.retry_command(line.plain[1], argv=line.argv, quiet=line.quiet)
    return actions[line.plain[0]](line.plain[1])


COMMANDS: dict[str, Command] = {
    "": Command(_train, "dlrun [FLAGS] [GROUP=OPTION | KEY=VALUE] ...", "train"),
    "list": Command(_list, "dlrun list [models | datasets | optimizers | schedulers | losses | experiments | ...]",
                    "what there is to choose from, with a line on each", plain=(0, 1), overrides=False),
    "explain": Command(_explain, "dlrun explain KEY | GROUP | GROUP=OPTION [OVERRIDES]",
                       "what a key or option is, and who set its present value", plain=(0, 1)),
    "show": Command(_show, "dlrun show [OVERRIDES] [--count N] [--output FILE]",
                    "look at samples of a data set", {"--count": 1, "--output": 1}),
    "inspect": Command(_inspect, "dlrun inspect FILE|FOLDER [--target NAME] [--json] [dataset.KEY=VALUE ...]",
                       "what is in a table, a list of texts or a folder of images, and how to train on it",
                       {"--target": 1, "--json": 0}, plain=(1, 10**5)),
    "summary": Command(_summary, "dlrun summary [OVERRIDES]",
                       "the layers of a model with shapes and parameter counts"),
    "resume": Command(_resume, "dlrun resume RUN [OVERRIDES] [--schedule HOW] [--force KEY=VALUE ...]   "
                      "(RUN: a path, a name, or last)",
                      "go on with an interrupted run", {"--force": -1, "--schedule": 1}, plain=(1, 1)),
    "rerun": Command(_rerun, "dlrun rerun RUN | CONFIG.yaml [OVERRIDES]",
                     "train a run's configuration again, in a directory of its own", plain=(1, 1)),
    "verify-resume": Command(_verify, "dlrun verify-resume [OVERRIDES]",
                             "prove that an interrupted and resumed run equals an uninterrupted one"),
    "evaluate": Command(_evaluate, "dlrun evaluate RUN [--split test|val|train] [--checkpoint best|last|PATH] "
                        "[dataset.test_path=PATH] [device=NAME]",
                        "measure a trained model: by class, by threshold, against the baseline",
                        {"--split": 1, "--checkpoint": 1, "--threshold": 1, "--name": 1, "--json": 0}, plain=(1, 1)),
    "predict": Command(_predict, "dlrun predict RUN INPUT ... [--checkpoint best|last|PATH] [--output FILE] [--json] "
                       "[device=NAME]", "what a trained model says to names, images, tables or numbers",
                       {"--checkpoint": 1, "--output": 1, "--json": 0, "--top": 1, "--threshold": 1, "--batch-size": 1,
                        "--invert": 0, "--images": 1}, plain=(1, 10**6)),
    "eject": Command(_eject, "dlrun eject RUN [-o FILE.py] [--check] [--overwrite]",
                     "write a run as one plain PyTorch file, without dlrun",
                     {"--output": 1, "--check": 0, "--overwrite": 0}, plain=(1, 1), overrides=False),
    "export": Command(_export, "dlrun export RUN [--format onnx|pt2|safetensors|state-dict] [--output FILE] [--logits]",
                      "a trained model as a file that needs no dlrun, run again and compared",
                      {"--format": 1, "--output": 1, "--logits": 0, "--checkpoint": 1, "--overwrite": 0}, plain=(1, 1)),
    "replay": Command(_replay, "dlrun replay RUN",
                      "run the step that failed again and name the layer", plain=(1, 1), overrides=False),
    "runs": Command(_runs, "dlrun runs [FILTER ...] [--sort KEY] [--limit N] [--root DIR]",
                    "the runs below outputs", {"--sort": 1, "--limit": 1, "--root": 1}, plain=(0, 1000)),
    "compare": Command(_compare, "dlrun compare RUN|DIR [RUN|DIR ...] [--output DIR] [--json | --latex]",
                       "a table and figures of runs or sweeps", {"--output": 1, "--json": 0, "--latex": 0},
                       plain=(1, 10**5), overrides=False),
    "report": Command(_report, "dlrun report DIR [--card]",
                      "write report.html for a run or sweep", {"--card": 0}, plain=(1, 1), overrides=False),
    "cache": Command(_cache, "dlrun cache [clear]", "encoded tables that are kept (dataset.cache=true)", plain=(0, 1),
                     overrides=False),
    "sweep": Command(_sweep, "dlrun sweep status | retry | stop DIR",
                     "look after a sweep's folder", plain=(2, 2), overrides=False),
}  # fmt: skip
