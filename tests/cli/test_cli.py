"""The command line: which word means what, which function is called, and how errors look."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dlrun
from dlrun.cli import main, parse
from dlrun.commands import COMMANDS
from dlrun.config.config import Config
from dlrun.config.expand import Expansion
from dlrun.errors import Diverged, RunError
from dlrun.manual import MANUAL
from tests.helpers.python import run_python

FUNCTIONS = [
    "dlrun.run.runner.run_command",
    "dlrun.run.runner.resume_command",
    "dlrun.sweep.command.sweep_command",
    "dlrun.sweep.manage.status_command",
    "dlrun.sweep.manage.retry_command",
    "dlrun.sweep.manage.stop_command",
    "dlrun.checks.verify.verify_command",
    "dlrun.checks.replay.replay_command",
    "dlrun.checks.show.show_command",
    "dlrun.checks.summary.summary_command",
    "dlrun.report.compare.compare_command",
    "dlrun.report.runs.runs_command",
    "dlrun.report.html.report_command",
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process: exit code, stdout, stderr."""

    def call(*argv: str) -> tuple[int, str, str]:
        code = main(list(argv))
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Every command's function replaced by one that notes its call."""
    noted: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for name in FUNCTIONS:
        short = name.rsplit(".", 1)[1]

        def note(*given: Any, _short: str = short, **options: Any) -> int:
            noted.append((_short, given, options))
            return 0

        monkeypatch.setattr(name, note)
    return noted


def test_words_find_their_places() -> None:
    words = parse(["resume", "last", "device=cpu", "--force", "trainer.epochs=5", "seed=1", "--quiet"])
    assert (words.command, words.plain, words.overrides) == ("resume", ["last"], ["device=cpu"])
    assert words.flags == {"--force": ["trainer.epochs=5", "seed=1"], "--quiet": []}
    words = parse(["seed=1", "-m", "--plugin=a.py", "--plugin", "b.py", "~scheduler"])
    assert words.overrides == ["seed=1", "~scheduler"]
    assert words.flags == {"--multirun": [], "--plugin": ["a.py", "b.py"]}
    words = parse(["report", "list"])
    assert (words.command, words.plain) == ("report", ["list"])


def test_a_run(command: Run, calls: list[Any]) -> None:
    assert command("model=linear", "seed=3", "--quiet") == (0, "", "")
    ((name, (config,), options),) = calls
    assert name == "run_command"
    assert isinstance(config, Config)
    assert (config.model.name, config.seed) == ("linear", 3)
    assert options == {
        "overrides": ["model=linear", "seed=3"],
        "argv": ["model=linear", "seed=3", "--quiet"],
        "quiet": True,
    }


def test_a_sweep(command: Run, calls: list[Any]) -> None:
    assert command("-m", "seed=0,1")[0] == 0
    ((name, (expansion,), options),) = calls
    assert name == "sweep_command"
    assert isinstance(expansion, Expansion)
    assert len(expansion.jobs) == 2
    assert options == {"overrides": ["seed=0,1"], "argv": ["-m", "seed=0,1"], "quiet": False, "flags": []}
    command("-m", "seed=0,1", "--config-dir", "conf", "--quiet")
    assert calls[1][2]["flags"] == ["--config-dir", "conf"]  # a job alone needs it, too


def test_commands_call_their_functions(command: Run, calls: list[Any], tmp_path: Path) -> None:
    lines = [
        (
            ["resume", "last", "device=cpu", "--force", "seed=4"],
            ("last", ["device=cpu"], ["seed=4"], None),
            {"quiet": False},
        ),
        (["replay", "last"], ("last",), {}),
        (["compare", "a", "b", "--output", "c"], (["a", "b"], Path("c"), ""), {}),
        (["compare", "a", "--json"], (["a"], None, "json"), {}),
        (
            ["runs", "mlp", "seed=3", "--sort", "best", "--limit", "5"],
            (["mlp", "seed=3"], "best", 5, Path("outputs")),
            {},
        ),
        (["runs", "--root", "else"], ([], None, None, Path("else")), {}),
        (["report", "x"], ("x",), {"card": False}),
        (["report", "x", "--card"], ("x",), {"card": True}),
        (["sweep", "status", "x"], ("x",), {}),
        (["sweep", "stop", "x"], ("x",), {}),
        (["sweep", "retry", "x"], ("x",), {"quiet": False}),
    ]
    for argv, given, options in lines:
        calls.clear()
        code, _, err = command(*argv)
        assert (code, err) == (0, ""), argv
        assert calls[0][1] == given
        assert {key: calls[0][2][key] for key in options} == options


def test_commands_that_take_a_configuration(command: Run, calls: list[Any]) -> None:
    for argv in (["verify-resume", "seed=3"], ["show", "seed=3", "--count", "6"], ["summary", "seed=3"]):
        assert command(*argv)[0] == 0
        assert calls[-1][1][0].seed == 3
    assert calls[1][2] == {"count": 6, "output": None}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["resme", "last"], "resme: is neither a command nor KEY=VALUE. Did you mean resume?"),
        (["mlp"], "Did you mean model=mlp?"),
        (["names_"], "neither a command"),
        (["model.hidden=[64,", "64]"], "'model.hidden=[64, 64]'"),
        (["--quite"], "--quite: there is no such flag. Did you mean --quiet?"),
        (["list", "--force", "a=1"], "--force: there is no such flag"),
        (["resume"], "resume: has too few words. Usage: dlrun resume RUN"),
        (["replay", "a", "b"], "replay: has too many words."),
        (["list", "modles"], "Did you mean models?"),
        (["list", "seed=3"], "list takes no configuration"),
        (["sweep", "stauts", "x"], "Did you mean status?"),
        (["summary", "-m"], "--multirun: summary looks at one configuration"),
        (["--plugin"], "--plugin: needs a value"),
        (["--quiet=3"], "--quiet: takes no value"),
        (["show", "--count", "many"], "--count: takes a whole number from 1, not 'many'"),
        (["--cfg", "hydra"], "Write --cfg job."),
        (["--config-dir", "nowhere_at_all"], "nowhere_at_all is not a folder"),
        (["--completion", "bsh"], "Did you mean bash?"),
        (["--plugin", "nope.py"], "there is no file nope.py"),
        (["explain"], "needs a key"),
        (["explain", "optimizer.lrr"], "Did you mean optimizer.lr?"),
        (["optimizer.lrr=1"], "optimizer.lrr: unknown key. Did you mean optimizer.lr?"),
    ],
)
def test_mistakes_end_with_2_and_a_hint(command: Run, calls: list[Any], argv: list[str], said: str) -> None:
    code, out, err = command(*argv)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert calls == []


def test_all_problems_are_printed_and_counted(command: Run) -> None:
    code, _, err = command("optimizer.lrr=1", "model=mpl", "seed=x")
    assert code == 2
    assert err.startswith("3 errors:\n")
    assert "\n  optimizer.lrr: unknown key. Did you mean optimizer.lr?\n" in err


def test_cfg_job(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = command("--cfg", "job", "run.name=${seed}", "seed=3")
    assert code == 0
    assert "name: '${seed}'" in out
    code, out, _ = command("--cfg", "job", "--resolve", "run.name=${seed}", "seed=3")
    assert "name: '3'" in out
    assert "seed: 3\n" in out


def test_explain_takes_the_key_with_a_value(command: Run) -> None:
    assert "value     0.5" in command("explain", "optimizer.lr=0.5")[1]
    assert "value     0.5" in command("explain", "optimizer.lr", "optimizer.lr=0.5")[1]
    assert "momentum" in command("explain", "optimizer=momentum")[1]


def test_version_and_help(command: Run) -> None:
    assert command("--version") == (0, f"dlrun {dlrun.__version__}\n", "")
    code, out, _ = command("--help")
    assert code == 0
    for name in COMMANDS:
        assert f"  {name}" in out
        if name:
            code, page, _ = command(name, "--help")
            assert name in MANUAL
            assert "examples:" in page
            assert code == 0
            assert page.startswith(f"usage: dlrun {name}")
    assert command("-h")[1] == out


def test_config_dir_and_plugin(command: Run, calls: list[Any], tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer/own.yaml").write_text("defaults: [default, _self_]\nepochs: 4\n")
    assert command("--config-dir", str(tmp_path), "trainer=own")[0] == 0
    assert calls[0][1][0].trainer.epochs == 4
    assert command("trainer=own")[0] == 2  # the folder is forgotten again


def test_completion_scripts_are_printed(command: Run) -> None:
    assert "complete -o nospace" in command("--completion", "bash")[1]
    assert command("--complete", "zsh", "dlrun trainer=sm")[1] == "trainer=smoke\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RunError("there is no run.\nLook elsewhere."), 2, "error:\n  there is no run.\n  Look elsewhere.\n"),
        (Diverged("the loss of step 3 is nan"), 4, "the loss of step 3 is nan"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (BrokenPipeError(), 0, ""),
        (RuntimeError("ours"), 1, "This is a bug of dlrun's"),
    ],
)
def test_exit_codes(command: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
    def fail(*given: object, **options: object) -> int:
        raise error

    monkeypatch.setattr("dlrun.run.runner.run_command", fail)
    monkeypatch.setattr("os.dup2", lambda *given: None)
    found, _, err = command()
    assert found == code
    assert said in err
    assert ("Traceback" in err) == (code == 1)


LIGHT = """
import io, sys
from contextlib import redirect_stderr, redirect_stdout
from dlrun.cli import main
lines = [
    (0, ["--help"]), (0, ["resume", "--help"]), (0, ["--version"]), (0, ["list"]), (0, ["list", "models"]),
    (0, ["explain", "optimizer.lr", "optimizer=sgd"]), (0, ["explain", "model=gru"]), (0, ["--completion", "bash"]),
    (0, ["--complete", "bash", "dlrun optimizer=a"]), (0, ["--cfg", "job", "model=cnn", "dataset=mnist"]),
    (2, ["optimizer.lrr=1"]), (2, ["optimizer.lr=x"]), (2, ["model=gruu"]), (2, ["model=gru"]), (2, ["lst"]),
    (2, ["-m", "seed=x,y"]), (2, ["hydra.run.dir=x"]),
]
for code, argv in lines:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        found = main(argv)
    assert found == code, (argv, found, out.getvalue())
    heavy = {"torch", "torchvision", "sklearn", "pandas", "matplotlib", "scipy", "rich"} & set(sys.modules)
    assert not heavy, (argv, heavy)
    if argv == ["--help"]:
        assert not {"hydra", "omegaconf", "yaml"} & set(sys.modules), sorted(sys.modules)
"""


def test_what_yaml_can_tell_needs_no_torch(tmp_path: Path) -> None:
    done = run_python(LIGHT, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_closed_output_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dlrun list >&- 2>&-`: Python has neither then."""
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    assert main(["list"]) == 0
    assert main(["lst"]) == 2
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["seed=1", "seed=2"], "seed: is given twice: seed=1 and seed=2."),
        (["model=cnn", "+model=mlp"], "model: is given twice: model=cnn and +model=mlp."),
        (["optimizer.lr=1", "optimizer.lr=1"], ""),
        (["freeze+=[a]", "freeze+=[b]"], ""),
    ],
)
def test_a_key_typed_with_two_values_is_refused(
    words: list[str], problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["dlrun", "--cfg", "job", *words])
    assert main() == (2 if problem else 0)
    assert problem in capsys.readouterr().err
    assert main(["--cfg", "job", *words]) == 0, "in a program's list the last counts"
