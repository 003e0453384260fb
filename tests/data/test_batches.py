"""Batches in memory and by DataLoader: the same rows in the same order, from any cursor, with any workers."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dlrun.data import batches as room
from dlrun.data import loader, memory
from dlrun.data.base import Data, Loading, Split, from_parts
from dlrun.data.batches import ResidentBatches, batches_for
from dlrun.data.loader import LoaderBatches, SeededRows, TensorRows, worker_count
from dlrun.data.mnist import mnist
from dlrun.data.seeds import permutation
from dlrun.data.sklearn_sets import digits
from dlrun.data.toys import hello
from dlrun.data.transforms import preprocess
from dlrun.errors import DataError, TrainingFailed
from dlrun.spec import Batch
from tests.helpers import foreign, warm
from tests.helpers.deadline import wait_for
from tests.helpers.processes import is_running
from tests.helpers.python import run_python


def noisy(image: Tensor) -> Tensor:
    """An augmentation that uses the global generator, as torchvision's do."""
    return (image + torch.randint(0, 50, image.shape, dtype=torch.uint8)).roll(int(torch.randint(0, 8, (1,))), -1)


class Broken(Dataset[Any]):
    """Row 5 cannot be read."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 5:
            raise DataError("row-5.png: cannot be decoded")
        return torch.zeros(2), 0


class Deadly(Dataset[Any]):
    """Row 5 kills the process that reads it."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 5 and multiprocessing.parent_process() is not None:
            os._exit(9)
        return torch.zeros(2), 0


@pytest.fixture
def data() -> Data:
    return digits(seed=0, root=Path("nowhere"))


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    if multiprocessing.active_children():
        gc.collect()
    assert multiprocessing.active_children() == []


def same(a: Iterator[Batch], b: Iterator[Batch]) -> int:
    """The number of batches, all equal bit for bit."""
    count = 0
    for one, other in zip(a, b, strict=True):
        assert all(
            torch.equal(x, y) for x, y in zip((*one.inputs, one.target), (*other.inputs, other.target), strict=True)
        )
        count += 1
    return count


FEW = 276  # rows: twelve batches, of which the last one is short


def augmented(data: Data, workers: int, **options: Any) -> LoaderBatches:
    part = Split((data.train.inputs[0][:FEW],), data.train.target[:FEW], None, noisy)
    return LoaderBatches(part, data.spec, batch_size=24, shuffle=True, workers=workers, **options)


@pytest.mark.parametrize("once", [True, False])
def test_an_epoch_is_every_row_once_in_the_order_of_seed_and_epoch(
    once: bool, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PREPARE_ONCE_BYTES", 2**30 if once else 0)
    source = ResidentBatches(data.train, data.spec, batch_size=16, shuffle=True, seed=3)
    assert source.once is once
    inputs, target = preprocess(data.spec, data.train.inputs, data.train.target)
    for epoch in (0, 4):
        order = permutation(3, epoch, data.train.samples)
        found = list(source.epoch(epoch))
        assert torch.equal(torch.cat([batch.inputs[0] for batch in found]), inputs[0][order])
        assert torch.equal(torch.cat([batch.target for batch in found]), target[order])
        assert [len(batch.target) for batch in found] == [source.sizes(i) for i in range(len(source))]
    assert (len(source), source.samples, source.sizes(71)) == (72, 1150, 14)


def test_the_same_seed_and_epoch_give_the_same_batches(data: Data) -> None:
    sources = [ResidentBatches(data.train, data.spec, batch_size=64, shuffle=True, seed=s) for s in (0, 0, 1)]
    assert same(sources[0].epoch(2), sources[1].epoch(2)) == 18
    batches = [next(source.epoch(2)) for source in (sources[0], sources[2])]
    assert not torch.equal(batches[0].target, batches[1].target)
    assert not torch.equal(batches[0].target, next(sources[0].epoch(3)).target)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("start", [0, 1, 31, 32, 33, 71, 72])
def test_the_cursor_equals_skipping(start: int, shuffle: bool, data: Data) -> None:
    source = ResidentBatches(data.train, data.spec, batch_size=16, shuffle=shuffle)
    skipped = list(source.epoch(1))[start:]
    assert same(source.epoch(1, start=start), iter(skipped)) == 72 - start


def test_the_stored_rows_are_never_changed(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PREPARE_ONCE_BYTES", 0)
    rows = torch.rand(50, 3)
    part = Split((rows,), torch.zeros(50, 1))
    steps = {"inputs": [{"mean": [1.0] * 3, "std": [2.0] * 3}]}
    plain = from_parts("x", "regression", "tabular", part, preprocessing=steps)
    before = rows.clone()
    for shuffle in (False, True):
        for batch in ResidentBatches(part, plain.spec, batch_size=8, shuffle=shuffle).epoch(0):
            assert batch.inputs[0].max() <= 0
    assert torch.equal(rows, before)


def test_max_batches_and_overfit(data: Data) -> None:
    source, note = batches_for(data.train, data.spec, batch_size=10, shuffle=True, max_batches=3)
    assert (len(source), source.samples, len(list(source.epoch(0))), note) == (3, 30, 3, "")
    one, _ = batches_for(data.train, data.spec, batch_size=10, shuffle=True, overfit=True)
    first = preprocess(data.spec, data.train.inputs, data.train.target)[0][0][:10]
    for epoch in range(3):
        (batch,) = one.epoch(epoch)
        assert torch.equal(batch.inputs[0], first)


def test_text_is_cut_to_the_longest_of_its_batch() -> None:
    codes = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 0]], dtype=torch.uint8)
    lengths = torch.tensor([2, 1, 4, 3])
    part = Split((codes, lengths), torch.tensor([0, 1, 0, 1]))
    spec = from_parts("x", "classification", "text", part, labels=["a", "b"], vocabulary="_xyz").spec
    shapes = [batch.inputs[0].shape[1] for batch in ResidentBatches(part, spec, batch_size=2).epoch(0)]
    assert shapes == [2, 4]
    by_loader = LoaderBatches(part, spec, batch_size=2)
    assert same(by_loader.epoch(0), ResidentBatches(part, spec, batch_size=2).epoch(0)) == 2
    assert next(iter(by_loader.epoch(0))).inputs[0].dtype == torch.int64
    word = hello(seed=0, root=Path("nowhere"))
    (batch,) = ResidentBatches(word.train, word.spec, batch_size=8).epoch(0)
    assert batch.target.tolist() == [[3, 1, 2, 3, 2]]
    labelled = Split((codes, lengths), torch.where(codes > 0, codes.long() - 1, -100))
    spec = from_parts("x", "labelling", "text", labelled, labels="abc", vocabulary="_xyz").spec
    first = next(ResidentBatches(labelled, spec, batch_size=2).epoch(0))
    assert first.target.tolist() == [[0, 1], [2, -100]]


def test_reconstruction_batches_share_input_and_target(mnist_root: Path) -> None:
    data = mnist(seed=0, root=mnist_root, task="reconstruction")
    for limit in (0, 2**30):
        room_limit, room.PREPARE_ONCE_BYTES = room.PREPARE_ONCE_BYTES, limit
        try:
            batch = next(ResidentBatches(data.train, data.spec, batch_size=8, shuffle=True).epoch(0))
        finally:
            room.PREPARE_ONCE_BYTES = room_limit
        assert torch.equal(batch.inputs[0], batch.target)
        assert batch.target.shape == (8, 1, 28, 28)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_what_memory_gives(workers: int, mnist_root: Path) -> None:
    data = mnist(seed=0, root=mnist_root, val_fraction=0.0)
    options: dict[str, Any] = {"batch_size": 64, "shuffle": True, "seed": 5}
    resident, _ = batches_for(data.train, data.spec, **options)
    by_loader, note = batches_for(data.train, data.spec, loading=Loading(False, workers), **options)
    assert (resident.resident, by_loader.resident) == (True, False)
    assert "by DataLoader" in note
    assert len(by_loader) == len(resident) == 16
    before = torch.get_rng_state()
    for epoch in (0, 1):  # the same workers serve the second
        assert same(by_loader.epoch(epoch), resident.epoch(epoch)) == 16
    assert same(by_loader.epoch(1, start=14), resident.epoch(1, start=14)) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_t36_two_workers_augment_as_none_do(data: Data) -> None:
    two, none = augmented(data, 2, seed=1), augmented(data, 0, seed=1)
    torch.manual_seed(7)
    first = list(none.epoch(0))
    torch.manual_seed(8)
    assert same(two.epoch(0), iter(first)) == 12
    assert same(two.epoch(0, start=9), iter(first[9:])) == 3
    other = torch.cat([batch.inputs[0] for batch in none.epoch(1)])
    order = [permutation(1, epoch, FEW).argsort() for epoch in (0, 1)]
    rows = torch.cat([batch.inputs[0] for batch in first])[order[0]]
    assert not torch.equal(rows, other[order[1]])  # each epoch augments anew


def test_an_epoch_left_early_leaves_no_worker(data: Data) -> None:
    source = augmented(data, 2)
    epoch = source.epoch(0)
    next(epoch)
    assert len(multiprocessing.active_children()) == 2
    epoch.close()
    assert multiprocessing.active_children() == []
    assert same(source.epoch(0), augmented(data, 0).epoch(0)) == 12
    assert len(multiprocessing.active_children()) == 2  # kept for the next epoch
    source.close()
    assert multiprocessing.active_children() == []


def test_a_second_epoch_may_begin_while_the_first_is_unfinished(data: Data) -> None:
    source, plain = augmented(data, 2), augmented(data, 0)
    first = source.epoch(0)
    head = next(first)
    assert same(source.epoch(1), plain.epoch(1)) == 12
    whole = list(plain.epoch(0))
    assert same(iter([head, *first]), iter(whole)) == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_names_the_file_whoever_reads_it(workers: int, data: Data) -> None:
    part = Split((), torch.zeros(20), Broken())
    source = LoaderBatches(part, data.spec.replace(preprocessing={}), batch_size=4, workers=workers)
    epoch = source.epoch(0)
    next(epoch)
    with pytest.raises(DataError) as caught:
        next(epoch)
    assert str(caught.value) == "row-5.png: cannot be decoded"


def test_a_worker_that_dies_is_said(data: Data) -> None:
    part = Split((), torch.zeros(20), Deadly())
    source = LoaderBatches(part, data.spec.replace(preprocessing={}), batch_size=4, workers=1)
    with pytest.raises(TrainingFailed, match=r"dataset\.workers=0"):
        list(source.epoch(0))


def test_rows_of_different_shapes_are_an_error(data: Data) -> None:
    items = [(torch.zeros(2), torch.tensor(0)), (torch.zeros(3), torch.tensor(0))]
    assert isinstance(loader.collate(list(items)), DataError)


def test_workers_outlive_the_signals_that_the_main_process_answers(data: Data) -> None:
    """Ctrl-C and SLURM's signals go to the whole group: the step must be finished with the workers' help."""
    source = augmented(data, 2)
    epoch = source.epoch(0)
    batches = [next(epoch)]
    for child in multiprocessing.active_children():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(child.pid or 0, number)
    batches += list(epoch)
    assert same(iter(batches), augmented(data, 0).epoch(0)) == 12


@pytest.mark.parametrize("method", [pytest.param("spawn", marks=pytest.mark.slow), "forkserver"])
def test_a_fresh_process_that_reads_imports_nothing_from_the_working_folder(
    method: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multiprocessing.forkserver, "_forkserver", multiprocessing.forkserver.ForkServer())
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        source = LoaderBatches(data.train, data.spec, batch_size=500, workers=1)
        assert len(list(source.epoch(0))) == 3
        source.close()
    finally:
        multiprocessing.set_start_method(before, force=True)
        multiprocessing.forkserver._forkserver._stop()
    assert foreign.imported(tmp_path) == ""
    assert os.environ.get("PYTHONSAFEPATH") is None


class Variables(Dataset[Any]):
    """Rows that say whether `PYTHONSAFEPATH` is set, for programs that a component starts."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float("PYTHONSAFEPATH" in os.environ)]), 0


def test_a_process_that_reads_has_the_variables_of_the_main_one(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Split((), torch.zeros(4), Variables())
    for expected in (0.0, 1.0):
        source = LoaderBatches(part, data.spec.replace(preprocessing={}), batch_size=4, workers=1)
        (batch,) = source.epoch(0)
        assert batch.inputs[0].unique().item() == expected
        source.close()
        monkeypatch.setenv("PYTHONSAFEPATH", "yes")


def test_processes_that_read_end_with_a_main_process_that_is_killed(tmp_path: Path) -> None:
    """At once, whatever they are doing."""
    code = (
        "import multiprocessing, os, time, torch; from torch.utils.data import Dataset\n"
        "from dlrun.data.base import Split; from dlrun.data.loader import LoaderBatches\n"
        "from dlrun.data.sklearn_sets import digits; from pathlib import Path\n"
        "class Slow(Dataset):\n"
        "    def __getitem__(self, index):\n"
        "        time.sleep(60 * (index >= 8))\n"
        "        return torch.zeros(2), 0\n"
        "spec = digits(seed=0, root=Path()).spec.replace(preprocessing={})\n"
        "source = LoaderBatches(Split((), torch.zeros(99), Slow()), spec, batch_size=4, workers=2)\n"
        "epoch = source.epoch(0); next(epoch); next(epoch)\n"
        "print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    output = tmp_path / "pids"
    assert warm.run_code(code, output) == -signal.SIGKILL
    pids = [int(word) for word in output.read_text().split()]
    wait_for(lambda: not any(map(is_running, pids)), 10)
    assert len(pids) == 2


def test_python_ends_at_once_with_workers_still_open() -> None:
    code = (
        "import torch; from dlrun.data.base import Split; from dlrun.data.loader import LoaderBatches\n"
        "from dlrun.spec import DataSpec\n"
        "spec = DataSpec('x', 'regression', 'tabular', (2,), 1)\n"
        "part = Split((torch.ones(1200, 2),), torch.ones(1200, 1))\n"
        "source = LoaderBatches(part, spec, batch_size=100, workers=1)\n"
        "print(len(list(source.epoch(0))))"
    )
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "12\n", "")


def test_what_workers_get_can_be_sent_to_a_fresh_process(data: Data) -> None:
    """spawn and forkserver pickle it, where fork does not."""
    rows = SeededRows(Split(data.train.inputs, data.train.target, None, noisy), 0)
    again = pickle.loads(pickle.dumps(rows))
    assert torch.equal(again[2, 5][0], rows[2, 5][0])
    pickle.dumps((loader.collate, loader.begin_worker))


def test_rows_on_disk_come_into_memory_where_they_fit(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TensorRows(data.train.inputs, data.train.target)
    on_disk = Split((), data.train.target, rows)
    plain, note = batches_for(on_disk, data.spec, batch_size=64)
    assert (plain.resident, note) == (True, "")
    assert same(plain.epoch(0), ResidentBatches(data.train, data.spec, batch_size=64).epoch(0)) == 18
    monkeypatch.setattr(room, "fits", lambda *_: False)
    source, note = batches_for(on_disk, data.spec, batch_size=64)
    assert not source.resident
    assert "more than 25% of the free memory: 1150 rows are read from disk each epoch" in note
    forced, _ = batches_for(on_disk, data.spec, batch_size=64, loading=Loading(True, 0))
    assert forced.resident
    changing = Split((), data.train.target, Broken())  # does not say that its rows are always the same
    monkeypatch.undo()
    assert not batches_for(changing, data.spec, batch_size=64)[0].resident


def test_what_fits_is_a_quarter_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: {"cpu": 1000, "cuda": 400}[device])
    assert memory.fits(250)
    assert not memory.fits(251)
    assert not memory.fits(101, "cuda")


def test_page_cache_does_not_count_as_used_memory(tmp_path: Path) -> None:
    """Else data that was read from disk once would seem to fill the memory."""
    assert memory._from_cgroup(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    assert memory._from_cgroup(tmp_path) == 100
    (tmp_path / "memory.stat").write_text("anon 150\nfile 740\ninactive_file 700\nactive_file 40\n")
    assert memory._from_cgroup(tmp_path) == 800
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._from_cgroup(tmp_path) is None


def test_augmented_rows_in_memory_go_through_the_loader(data: Data) -> None:
    target = data.train.target[:FEW]
    part = Split((), target, TensorRows((data.train.inputs[0][:FEW],), target), noisy)
    source, note = batches_for(part, data.spec, batch_size=24, shuffle=True, loading=Loading("auto", 0))
    assert note == f"{FEW} rows augmented by DataLoader in no extra processes"
    assert same(source.epoch(3), augmented(data, 0).epoch(3)) == 12


def test_few_rows_need_no_workers() -> None:
    assert worker_count("auto", 10) == 0
    assert worker_count(3, 10) == 3
    assert 0 <= worker_count("auto", 100_000) <= loader.MOST_WORKERS


def test_data_too_large_for_a_gpu_stays_on_the_host_and_that_is_said(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "fits", lambda nbytes, device="cpu": device == "cpu")
    batches, note = batches_for(data.train, data.spec, batch_size=64, device="meta")  # as a GPU with no memory
    assert isinstance(batches, ResidentBatches)
    assert batches.inputs[0].device.type == "cpu"
    assert "more than 25% of meta's free memory: 1150 rows stay on the host" in note
    assert batches_for(data.train, data.spec, batch_size=64)[1] == ""


@pytest.mark.gpu
@pytest.mark.parametrize("once", [True, False])
def test_a_gpu_sees_the_same_batches_without_waiting(once: bool, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PREPARE_ONCE_BYTES", 2**30 if once else 0)
    options: dict[str, Any] = {"batch_size": 64, "shuffle": True, "seed": 2}
    there = ResidentBatches(data.train, data.spec, device="cuda", **options)
    list(there.epoch(0))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = list(there.epoch(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (
        same(
            (Batch((b.inputs[0].cpu(),), b.target.cpu()) for b in found),
            ResidentBatches(data.train, data.spec, **options).epoch(1),
        )
        == 18
    )
