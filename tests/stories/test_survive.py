"""A run survives: killed anywhere and resumed, it ends bit for bit as one that was never interrupted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import dlrun
from dlrun import cli
from dlrun.checks import verify
from dlrun.errors import RunError
from dlrun.store.files import write_json
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from dlrun.workers.client import Server
from tests.helpers.cases import slow_where
from tests.helpers.deadline import deadline, wait_for
from tests.helpers.killing import assert_equal_runs, assert_readable, begin, finish, train_killed
from tests.helpers.processes import is_running
from tests.helpers.warm import DRAWING, server

MIX = {
    "mlp, dropout, batch norm, momentum, step schedule": [
        "model=mlp", "model.batch_norm=true", "model.dropout=0.3", "optimizer=momentum", "scheduler=step",
    ],
    "cnn, adam, clipping, cosine": [
        "model=cnn", "optimizer=adam", "trainer.clip_norm=0.5", "scheduler=cosine", "model.batch_norm=true",
    ],
    "gru on names, accumulation, onecycle": [
        "model=gru", "dataset=names", "dataset.source=builtin", "trainer.accumulate=3", "scheduler=onecycle",
    ],
    "images on disk, augmented by two workers": [
        "model=cnn", "dataset=image_folder", "dataset.path=IMAGES", "dataset.size=16", "dataset.workers=2",
        "dataset.in_memory=false", "optimizer=rmsprop",
        "dataset.augment=[{random_horizontal_flip: {p: 0.5}}, {random_rotation: {degrees: 20}}]",
        "model.dropout=0.2", "trainer.batch_size=8",
    ],
}  # fmt: skip
LIFE = [
    "device=cpu",
    "device.threads=1",
    "trainer.epochs=30",
    "checkpoint.every_steps=7",
    "checkpoint.every_minutes=null",
]


pytestmark = pytest.mark.usefixtures("quick")  # which draws no figures in this process; children do


def config_file(words: list[str], images: Path, epochs: int) -> Path:
    words = [word.replace("IMAGES", str(images)) for word in words]
    path = Path("frozen.yaml")
    path.write_text(dlrun.compose([*LIFE, *words, f"trainer.epochs={epochs}"]).to_yaml())
    return path


def assert_kills_change_nothing(name: str, images: Path, kills: int, dice: random.Random, epochs: int) -> None:
    """Runs, each killed up to three times, until there were so many kills, equal the one that was left alone."""
    config = config_file(MIX[name], images, epochs)
    if "disk" in name:
        server().load_images()
    whole, broken = RunDir("whole"), RunDir("broken")
    seconds = finish(config, whole)
    hits = 0
    for _ in range(4 * kills):
        hits += train_killed(config, broken, min(3, kills - hits), dice, seconds)
        assert_equal_runs(whole, broken)
        assert_readable(broken)
        if hits >= kills:
            return
        shutil.rmtree(broken.path)
        seconds /= 2  # the first life was longer than those that followed: look for a moment in theirs
    raise AssertionError(f"only {hits} of {kills} kills came in time")


@pytest.mark.parametrize(
    "name", slow_where(lambda name: "disk" in name, [name for name in MIX if "mlp" in name or "disk" in name])
)
def test_killed_and_resumed_equals_uninterrupted(name: str, images: Path) -> None:
    """What a model and an optimizer are like is told apart in tests/run/test_resume.py, in one process."""
    epochs, kills = (2, 1) if "disk" in name else (15, 2)
    assert_kills_change_nothing(name, images, kills, random.Random(name), epochs)


@pytest.mark.faults
@pytest.mark.parametrize("name", MIX)
@pytest.mark.parametrize("round", range(5))
def test_a_hundred_kills(name: str, round: int, images: Path) -> None:
    """In every other round with figures, so that kills find a run that draws, too."""
    epochs = 200 if "mlp" in name else 20
    if round % 2:
        Path(DRAWING).touch()
    assert_kills_change_nothing(name, images, 5, random.Random(f"{name} {round}"), epochs)
    figures = {path.name for path in Path("whole").glob("*.png")}
    assert ("curves.png" in figures) == bool(round % 2)
    assert {path.name for path in Path("broken").glob("*.png")} == figures
    for path in Path("broken").glob("*.png"):
        Image.open(path).load()


def wait_for_step(run: RunDir, step: int) -> None:
    wait_for(lambda: read_json(run.status).get("step", 0) >= step)


@pytest.fixture(scope="module")
def signalled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunDir]:
    """A configuration, and the run of it that no signal disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    config = folder / "frozen.yaml"
    words = [*LIFE, "model.dropout=0.2", "checkpoint.every_steps=20", "trainer.epochs=30"]
    config.write_text(dlrun.compose(words).to_yaml())
    finish(config, RunDir(folder / "run"))
    return config, RunDir(folder / "run")


@pytest.mark.parametrize(
    ("number", "code"), slow_where(bool, [(signal.SIGINT, 130), (signal.SIGUSR1, 143), (signal.SIGTERM, 143)])
)
def test_a_signal_saves_the_step_and_the_run_goes_on_exactly(
    number: int, code: int, signalled: tuple[Path, RunDir]
) -> None:
    config, whole = signalled
    run = RunDir("broken")
    process = begin(config, run)
    wait_for_step(run, 20)
    process.send(number)
    assert server().join(process, deadline(30))
    assert process.code == code
    status = read_json(run.status)
    assert (status["state"], status["exit_code"]) == ("interrupted", code)
    assert "dlrun resume" in (run.path / "train.log").read_text()
    finish(config, run)
    assert_equal_runs(whole, run)


def test_resume_auto_starts_goes_on_and_says_finished(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["device=cpu", "trainer.epochs=2", "run.dir=a", "resume=auto"]
    for expected in ("Finished", "is finished"):
        assert cli.main(words) == 0
        assert expected in capsys.readouterr().out


def test_a_finished_run_goes_on_to_more_epochs_as_if_it_had_been_longer() -> None:
    words = ["device=cpu", "optimizer=momentum", "scheduler=step"]
    dlrun.train([*words, "trainer.epochs=2", "run.dir=short"])
    assert cli.main(["resume", "short", "trainer.epochs=4"]) == 0
    dlrun.train([*words, "trainer.epochs=4", "run.dir=long"])
    assert_equal_runs(RunDir("short"), RunDir("long"))


def test_what_would_change_the_past_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    dlrun.train(["device=cpu", "trainer.epochs=2", "scheduler=cosine", "run.dir=a"])
    assert cli.main(["resume", "a", "optimizer.lr=0.5", "trainer.epochs=4"]) == 2
    assert "optimizer.lr" in capsys.readouterr().err
    assert cli.main(["resume", "a", "trainer.epochs=4"]) == 2
    assert "cosine schedule depends on the length" in capsys.readouterr().err
    assert cli.main(["resume", "a", "trainer.epochs=4", "--schedule", "stretch"]) == 0


@pytest.fixture
def twice() -> list[str]:
    """Two runs of these words, in `whole` and in `a`; the second says that it is running still."""
    words = ["device=cpu", "trainer.epochs=3", "checkpoint.every_steps=7", "model.dropout=0.1"]
    for place in ("whole", "a"):
        dlrun.train([*words, f"run.dir={place}"])
    write_json(RunDir("a").status, read_json(RunDir("a").status) | {"state": "running"})
    return words


def test_resume_skips_a_damaged_checkpoint_and_says_so(twice: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir("a")
    run.last.write_bytes(run.last.read_bytes()[:1000])
    assert cli.main(["resume", "a"]) == 0
    assert "skipped" in capsys.readouterr().out
    assert_equal_runs(RunDir("whole"), run)


def test_a_metrics_file_cut_in_the_middle_of_a_line_is_mended(twice: list[str]) -> None:
    run = RunDir("a")
    shutil.copy(run.checkpoints / "last-1.pt", run.last)
    for path in (run.metrics, run.steps):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    run.metrics.write_bytes(run.metrics.read_bytes()[:100])
    assert cli.main(["resume", "a"]) == 0
    assert_equal_runs(RunDir("whole"), run)


def test_a_run_is_resumed_where_it_was_moved_to_and_with_other_threads(images: Path) -> None:
    config = config_file(["checkpoint.every_steps=20"], images, 200)
    process = begin(config, RunDir("here"))
    wait_for_step(RunDir("here"), 20)
    process.send(signal.SIGKILL)
    server().join(process)
    shutil.move("here", "there")
    assert cli.main(["resume", "there", "device.threads=2", "--force", "trainer.epochs=3"]) == 0
    assert read_json(Path("there/status.json"))["state"] == "finished"
    assert not Path("here").exists()


def test_a_clock_that_jumps_hurts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dlrun.train(["device=cpu", "trainer.epochs=2", "run.dir=a"])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 10_000_000)
    dlrun.train(["device=cpu", "trainer.epochs=2", "run.dir=b"])
    assert_equal_runs(RunDir("a"), RunDir("b"))


def test_two_processes_cannot_train_in_one_directory() -> None:
    run = RunDir("a")
    dlrun.train(["device=cpu", "trainer.epochs=1", "run.dir=a"])
    write_json(run.status, read_json(run.status) | {"state": "running"})
    run.lock()
    with pytest.raises(RunError, match="in use by another dlrun process"):
        dlrun.train(["device=cpu", "trainer.epochs=1", "run.dir=a", "resume=auto"])
    run.unlock()


VERIFIED = ["device=cpu", "device.threads=1", "model.dropout=0.1", "checkpoint.every_steps=10"]


@pytest.mark.usefixtures("warm_server")
def test_verify_resume_prints_the_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(verify, "KILLS", 2)
    assert cli.main(["verify-resume", *VERIFIED, "trainer.epochs=15"]) == 0
    assert "exact: after" in capsys.readouterr().out


@pytest.mark.usefixtures("warm_server")
def test_verify_resume_finds_a_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def otherwise(server: Server, frozen: Path, run: RunDir, *_: object) -> int:
        frozen.write_text(frozen.read_text().replace("seed: 0", "seed: 1"))
        verify.train_to_the_end(server, frozen, run)
        return 1

    monkeypatch.setattr(verify, "train_with_kills", otherwise)
    assert cli.main(["verify-resume", *VERIFIED, "trainer=smoke"]) == 3
    assert "last.pt: model." in capsys.readouterr().err


@pytest.mark.usefixtures("warm_server")
def test_verify_resume_does_not_say_exact_of_what_it_has_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify-resume", "model=linear", "dataset=iris", "device=cpu", "trainer.max_steps=1"]) == 2
    assert "before it can be interrupted in the middle" in capsys.readouterr().err


def test_equal_means_the_same_bits() -> None:
    nan = torch.tensor([float("nan"), 0.0])
    assert verify.differing({"a": nan, "b": float("nan")}, {"a": nan.clone(), "b": float("nan")}) == []
    assert verify.differing(nan, torch.tensor([float("nan"), -0.0])) != []
    assert verify.differing(torch.zeros(2), torch.zeros(2, dtype=torch.float64)) != []
    assert verify.differing(1, True) != []
    assert verify.differing(0.0, -0.0) != []


@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, -1), (signal.SIGKILL, -9)]
)
def test_verify_resume_ends_at_a_signal_and_its_processes_with_it(number: int, code: int, tmp_path: Path) -> None:
    words = ["-m", "dlrun", "verify-resume", "device=cpu", "trainer.epochs=100000"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, *words], env=environment)
    wait_for(lambda: list(tmp_path.glob("dlrun-verify-*/whole/metrics.csv")))
    (folder,) = tmp_path.glob("dlrun-verify-*")
    pid = read_json(folder / "whole/status.json")["pid"]
    process.send_signal(number)
    assert process.wait(deadline(5)) == code
    wait_for(lambda: not is_running(pid), 2)
    assert folder.exists() == (code < 0)


def test_weights_of_data_parallel_load_into_the_plain_model() -> None:
    run = dlrun.train(["device=cpu", "trainer.epochs=1", "run.dir=a"])
    weights = {f"module.{name}": value for name, value in run.model("last").state_dict().items()}
    torch.save(weights, "parallel.pt")
    tuned = dlrun.train(["device=cpu", "trainer.epochs=1", "init_from=parallel.pt", "run.dir=b", "trainer.max_steps=1"])
    assert "tensors loaded" in (tuned.path / "train.log").read_text()
