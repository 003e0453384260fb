"""What the run says of its own speed after the first epoch, and only when something is wasted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dlrun.engine.loop import EpochRecord
from dlrun.run.logs import doctor


def session(*, engine: list[str], kind: str = "image", compile: bool = False, epochs: int = 10) -> Any:
    return SimpleNamespace(
        built=SimpleNamespace(engine=engine),
        state=SimpleNamespace(spec=SimpleNamespace(input_kind=kind)),
        config=SimpleNamespace(device=SimpleNamespace(compile=compile)),
        plan=SimpleNamespace(epochs=epochs),
    )


def record(train: float, wait: float, evaluation: float) -> EpochRecord:
    return EpochRecord({}, False, True, False, {"train": train, "wait": wait, "eval": evaluation})


def test_waiting_for_data_is_said_with_its_share_and_a_remedy() -> None:
    said = doctor(record(10.0, 6.1, 0.1), session(engine=["dataloader", "fused"])) or ""
    assert "61%" in said
    assert "dataset.in_memory=true" in said


def test_evaluation_longer_than_training_is_said() -> None:
    assert "trainer.eval_every" in (doctor(record(2.0, 0.0, 5.0), session(engine=["resident"])) or "")


def test_a_run_long_enough_to_repay_compiling_is_told_so() -> None:
    long = record(60.0, 0.0, 1.0)
    assert "device.compile=true" in (doctor(long, session(engine=["resident"])) or "")
    assert doctor(long, session(engine=["resident"], compile=True)) is None
    assert doctor(long, session(engine=["resident"], kind="text")) is None
    assert doctor(record(2.0, 0.0, 0.1), session(engine=["resident"])) is None


def test_a_healthy_short_run_is_told_nothing() -> None:
    assert doctor(record(0.2, 0.19, 0.1), session(engine=["resident"])) is None
