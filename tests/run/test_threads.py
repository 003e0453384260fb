"""The number of threads of a run: chosen, told, recorded, and the same whenever the run goes on or is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dlrun
from dlrun import cli
from dlrun.assembly import assemble
from dlrun.engine import threads
from dlrun.inference import evaluate, predict_command
from dlrun.run.build import build
from dlrun.store.files import write_json
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from tests.helpers.quick_runs import QUICK, begin, interrupt

BIG = ["model=mlp", "model.hidden=[1300]", "trainer.batch_size=64"]  # 64 rows times 64 pixels times 1300
pytestmark = pytest.mark.usefixtures("quick", "three_processors")


@pytest.fixture
def three_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "processors", lambda: 3)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def chosen(run: str) -> object:
    return read_json(Path(run, "environment.json"))["auto"].get("device.threads")


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ([], 1),
        (BIG, 3),
        ([*BIG, "trainer.batch_size=16"], 1),
        ([*BIG, "device.threads=2"], 2),
        (["device.threads=null"], 3),
    ],
)
def test_the_number_is_shown_and_recorded_and_afterwards_torchs_own_again(
    words: list[str], number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*QUICK, "run.dir=a", *words]) == 0
    assert f"device     cpu ({number} thread{'s' if number > 1 else ''})\n" in capsys.readouterr().out
    assert chosen("a") == number
    assert torch.get_num_threads() == 3


def test_what_is_chosen_is_no_part_of_what_the_run_is() -> None:
    one, two = dlrun.compose(["device.threads=auto"]), dlrun.compose(["device.threads=2"])
    assert dlrun.compose([]).device.threads == "auto"
    assert one.identity == two.identity


@pytest.mark.parametrize(("words", "number"), [([], 1), (["device.threads=2"], 1), (["device.threads=null"], 3)])
def test_data_and_first_weights_are_computed_in_one_thread(
    words: list[str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they do not depend on the number, and a run that is told a number equals one that has chosen it."""
    seen: list[int] = []
    for name in ("build_data", "build_model"):
        own = getattr(assemble, name)
        monkeypatch.setattr(
            assemble, name, lambda *given, own=own: [seen.append(torch.get_num_threads()), own(*given)][1]
        )
    build(dlrun.compose([*QUICK, *words]))
    assert seen == [number, number]


def test_a_resumed_run_keeps_its_number_until_it_is_told_another(monkeypatch: pytest.MonkeyPatch) -> None:
    begin(*BIG, "trainer.batch_size=64", "trainer.epochs=3", on_epoch=interrupt())
    assert chosen("a") == 3
    monkeypatch.setattr(threads, "processors", lambda: 1)
    torch.set_num_threads(1)
    begin(*BIG, "trainer.batch_size=64", "trainer.epochs=3", on_epoch=interrupt())
    assert chosen("a") == 3
    assert cli.main(["resume", "a", "device.threads=2", "--quiet"]) == 0
    assert chosen("a") == 2


def test_a_run_that_is_repeated_has_its_number_and_another_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main([*QUICK, "run.dir=a", *BIG, "--quiet"]) == 0
    monkeypatch.setattr(threads, "processors", lambda: 2)
    assert cli.main(["rerun", "a", "run.dir=b", "--quiet"]) == 0
    assert cli.main(["rerun", "a", "run.dir=c", "seed=7", "--quiet"]) == 0
    assert cli.main(["rerun", "a/config.yaml", "run.dir=d", "--quiet"]) == 0
    assert cli.main(["rerun", "a", "run.dir=e", "device.threads=1", "--quiet"]) == 0
    assert [chosen(run) for run in "abcde"] == [3, 3, 2, 3, 1]
    a, b = (torch.load(Path(run, "checkpoints/last.pt"), weights_only=True)["model"] for run in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("number", [None, 0, -1, True, "2", 10**9])
def test_a_number_that_no_run_can_have_is_not_used(number: object) -> None:
    assert cli.main([*QUICK, "run.dir=a", "--quiet"]) == 0
    facts = read_json(Path("a/environment.json"))
    facts["auto"]["device.threads"] = number
    write_json(Path("a/environment.json"), facts)
    assert RunDir("a").threads is None
    assert cli.main(["rerun", "a", "run.dir=b", "--quiet"]) == 0
    assert chosen("b") == 1


def test_a_model_is_used_with_the_threads_it_was_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main([*QUICK, "run.dir=a", "dataset=iris", "model.hidden=[8]", "device.threads=2", "--quiet"]) == 0
    used: list[int] = []
    own, other = evaluate.evaluate, predict_command.predict

    def evaluated(*words: object) -> object:
        used.append(torch.get_num_threads())
        return own(*words)  # type: ignore[arg-type]

    def predicted(*words: object) -> object:
        used.append(torch.get_num_threads())
        return other(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "evaluate", evaluated)
    monkeypatch.setattr(predict_command, "predict", predicted)
    assert cli.main(["evaluate", "a", "--name", "e"]) == 0
    assert cli.main(["predict", "a", "5.1,3.5,1.4,0.2"]) == 0
    assert used == [2, 2]
    assert torch.get_num_threads() == 3
