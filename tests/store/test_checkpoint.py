"""Checkpoints: whole or not there, never any code, and a crash at any point costs at most the newest."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun.errors import RunError
from dlrun.store import checkpoint
from dlrun.store.rundir import RunDir

RNG = {"python": [3, [1], None], "numpy": ["MT19937", torch.zeros(1), 0, 0, 0.0], "torch": torch.zeros(1)}
VALUES = {
    "format": 1, "model": {"w": torch.arange(6.0)}, "epoch": 3, "step": 12, "cursor": 0, "best": None, "spec": {},
    "optimizer": {"state": {}, "param_groups": []}, "scheduler": None, "scaler": None, "rng": [RNG], "grads": None,
    "sums": {"loss": 0.0, "counts": None}, "stopper": {"value": None, "without_improvement": 0, "reason": None},
    "history": {"columns": [], "values": torch.zeros(0), "kept": torch.zeros(0)}, "names": ["a", "b"],
}  # fmt: skip


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and a["epoch"] == b["epoch"] and torch.equal(a["model"]["w"], b["model"]["w"])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_a_checkpoint_comes_back_and_plain_torch_reads_it(tmp_path: Path) -> None:
    checkpoint.write_checkpoint(tmp_path / "a.pt", VALUES)
    assert same(checkpoint.read_checkpoint(tmp_path / "a.pt"), VALUES)
    assert same(torch.load(tmp_path / "a.pt", weights_only=True), VALUES)


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    checkpoint.write_checkpoint(tmp_path / "a.pt", VALUES)
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.pt").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_latest_k_are_kept(run: RunDir, keep: int) -> None:
    for epoch in range(5):
        checkpoint.write_last(run, VALUES | {"epoch": epoch}, keep)
    epochs = [checkpoint.read_checkpoint(path)["epoch"] for path in checkpoint.resume_candidates(run)]
    assert epochs == [4, 3, 2, 1, 0][:keep]


def damage_cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def damage_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def damage_empty(data: bytes) -> bytes:
    return b""


def damage_zeros(data: bytes) -> bytes:
    return bytes(len(data))


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_empty, damage_zeros])
def test_a_damaged_checkpoint_is_skipped_and_named(run: RunDir, damage: Any) -> None:
    for epoch in (1, 2):
        checkpoint.write_last(run, VALUES | {"epoch": epoch}, keep=2)
    run.last.write_bytes(damage(run.last.read_bytes()))
    values, path, skipped = checkpoint.newest_checkpoint(run)
    assert values["epoch"] == 1
    assert path.name == "last-1.pt"
    assert len(skipped) == 1
    assert "last.pt" in skipped[0]


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.write_checkpoint(path, VALUES)
    data = path.read_bytes()
    for position in range(0, len(data), 37):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(RunError):
            checkpoint.read_checkpoint(path)


def test_no_checkpoint_that_can_be_read_is_an_error(run: RunDir) -> None:
    checkpoint.write_last(run, VALUES, keep=1)
    run.last.write_bytes(b"")
    with pytest.raises(RunError, match="no checkpoint that can be read"):
        checkpoint.newest_checkpoint(run)


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("wrap", [True, False], ids=["in a torch archive", "a bare pickle"])
def test_no_code_runs_from_a_checkpoint(tmp_path: Path, wrap: bool) -> None:
    path, made = tmp_path / "evil.pt", tmp_path / "made"
    if wrap:
        torch.save({"model": Malicious(str(made))}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(str(made))))
    with pytest.raises(RunError):
        checkpoint.read_tensors(path)
    assert not made.exists()


def test_a_whole_pickled_model_is_refused_with_an_explanation(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(RunError, match="whole pickled model"):
        checkpoint.read_tensors(tmp_path / "model.pt")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    checkpoint.write_checkpoint(tmp_path / "a.pt", VALUES | {"format": 99})
    with pytest.raises(RunError, match="newer dlrun"):
        checkpoint.read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_full_disk_never_costs_the_previous_checkpoint(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    for epoch in (1, 2):
        checkpoint.write_last(run, VALUES | {"epoch": epoch}, keep=2)
    real = getattr(os, call)
    seen = 0

    def full(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    if call == "write":
        monkeypatch.setattr(os, "fdopen", full_file(os.fdopen, nth))
    else:
        monkeypatch.setattr(os, call, full)
    failed = False
    try:
        checkpoint.write_last(run, VALUES | {"epoch": 3}, keep=2)
    except OSError:
        failed = True
    monkeypatch.undo()
    values, _, skipped = checkpoint.newest_checkpoint(run)
    assert values["epoch"] >= (2 if failed else 3)
    assert not skipped
    assert not list(run.checkpoints.glob(".*")), "a temporary file was left behind"


def full_file(real: Any, nth: int) -> Any:
    """os.fdopen whose file takes `nth` times 100 bytes, and then the disk is full."""

    def open_small(*arguments: Any, **options: Any) -> Any:
        file = real(*arguments, **options)

        class Small:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                file.close()

            def write(self, data: bytes) -> None:
                file.write(data[: 100 * nth])
                raise OSError(errno.ENOSPC, "No space left on device")

        return Small()

    return open_small


def test_a_crash_between_two_renames_loses_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in (1, 2):
        checkpoint.write_last(run, VALUES | {"epoch": epoch}, keep=2)
    real, seen = os.replace, 0

    def crash(*arguments: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:  # last.new.pt is there, last.pt has become last-1.pt, and now the power goes
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_last(run, VALUES | {"epoch": 3}, keep=2)
    monkeypatch.undo()
    assert checkpoint.newest_checkpoint(run)[0]["epoch"] == 3
