"""MNIST from idx files, damaged files, and downloads from a server on the loopback address."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlrun.data import download
from dlrun.data import mnist as room
from dlrun.data.baseline import baseline
from dlrun.data.idx import read_idx, write_idx
from dlrun.data.mnist import fashion_mnist, mnist
from dlrun.data.transforms import preprocess
from dlrun.errors import ConfigError, DataError
from tests.helpers import warm

IMAGES = "train-images-idx3-ubyte"


@pytest.fixture
def copied(mnist_root: Path, tmp_path: Path) -> Path:
    """A copy of the small MNIST that a test may damage."""
    shutil.copytree(mnist_root, tmp_path / "data")
    return tmp_path / "data"


class Server(ThreadingHTTPServer):
    """Serves a folder; the first `failures` requests are answered with 503, or broken off in the middle."""

    failures = 0
    broken_off = False
    requests = 0


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.requests > self.server.failures:
            super().do_GET()
        elif self.server.broken_off:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        else:
            self.send_error(503)


@pytest.fixture
def mirror(mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The small sets packed as their hosts pack them, on a server that DLRUN_MIRROR names; checksums are theirs."""
    shelf = tmp_path / "shelf"
    for source in (room.MNIST, room.FASHION):
        for name in source.packed:
            packed = shelf / source.folder / "raw" / f"{name}.gz"
            packed.parent.mkdir(parents=True, exist_ok=True)
            packed.write_bytes(gzip.compress((mnist_root / source.folder / "raw" / name).read_bytes(), 1))
            md5 = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
            monkeypatch.setitem(source.packed, name, md5)
    server = Server(("127.0.0.1", 0), partial(Handler, directory=str(shelf)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("DLRUN_MIRROR", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("load", [mnist, fashion_mnist])
def test_small_files_are_read_in_order(load: Any, mnist_root: Path) -> None:
    data = load(seed=0, root=mnist_root, val_fraction=0.0)
    assert data.val is None
    assert data.test is not None
    assert (data.train.samples, data.test.samples) == (1000, 200)
    assert data.train.inputs[0].shape == (1000, 1, 28, 28)
    assert data.train.inputs[0].dtype == torch.uint8
    assert data.train.target[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert len(data.spec.labels) == data.spec.num_outputs == 10
    raw = (mnist_root / room.MNIST.folder / "raw" / IMAGES).read_bytes()
    assert bytes(data.train.inputs[0][0].numpy().tobytes()) == raw[16 : 16 + 784]


def test_torchvision_reads_the_same(mnist_root: Path) -> None:
    from torchvision.datasets import MNIST

    theirs = MNIST(str(mnist_root), train=False)
    ours = mnist(seed=0, root=mnist_root).test
    assert ours is not None
    assert torch.equal(ours.inputs[0][:, 0], theirs.data)
    assert torch.equal(ours.target, theirs.targets)


def test_reading_mnist_and_digits_waits_for_no_large_package(mnist_root: Path, tmp_path: Path) -> None:
    """In a process that is as if it had imported none."""
    code = f"""
import sys
from pathlib import Path
for name in list(sys.modules):
    if name.partition(".")[0] in ("torchvision", "sklearn", "pandas") or name.startswith("dlrun.data."):
        del sys.modules[name]
from dlrun.data.mnist import mnist
from dlrun.data.sklearn_sets import read_digits
read_digits()
mnist(seed=0, root=Path({str(mnist_root)!r}))
assert not {{"torchvision", "sklearn", "pandas"}} & set(sys.modules)
"""
    assert warm.run_code(code, tmp_path / "said") == 0, (tmp_path / "said").read_text()


def test_classes_are_chosen_and_renumbered(mnist_root: Path) -> None:
    data = mnist(seed=0, root=mnist_root, classes=[7, 5], limit=30, val_fraction=0.0)
    whole = mnist(seed=0, root=mnist_root, val_fraction=0.0)
    kept = whole.train.target[(whole.train.target == 7) | (whole.train.target == 5)][:30]
    assert data.spec.labels == ("7", "5")
    assert data.train.target.tolist() == [0 if label == 7 else 1 for label in kept.tolist()]
    for wrong in ([3], [3, 3], [3, 10]):
        with pytest.raises(ConfigError, match=r"dataset\.classes"):
            mnist(seed=0, root=mnist_root, classes=wrong)


def test_limit_and_validation_come_from_train(mnist_root: Path) -> None:
    data = mnist(seed=0, root=mnist_root, limit=300)
    assert data.val is not None
    assert data.test is not None
    assert (data.train.samples, data.val.samples, data.test.samples) == (270, 30, 200)
    assert data.val.target.bincount().tolist() == [3] * 10
    first = mnist(seed=0, root=mnist_root, val_fraction=0.0).train.inputs[0][:300].flatten(1)
    both = torch.cat([data.train.inputs[0], data.val.inputs[0]]).flatten(1)
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, first.numpy()))
    some = mnist(seed=0, root=mnist_root, limit=64)  # too few for a row of each class
    assert {name: part.samples for name, part in some.parts().items()} == {"train": 58, "val": 6, "test": 200}
    few = mnist(seed=0, root=mnist_root, limit=5)
    assert few.val is None
    assert few.notes[-1] == "the test part holds classes that train lacks: 5, 6, 7, 8, 9"


def test_reconstruction_gives_the_prepared_image_back(mnist_root: Path) -> None:
    data = mnist(seed=0, root=mnist_root, task="reconstruction", mean=0.0, std=1.0)
    inputs, target = preprocess(data.spec, data.train.inputs, data.train.target)
    assert target is inputs[0]
    assert (float(target.min()), float(target.max())) == (0, 1)
    assert data.test is not None
    test = preprocess(data.spec, data.test.inputs, data.test.target)[1]
    assert baseline(data)["mse"] == pytest.approx((test - target.mean(0)).square().mean().item(), rel=1e-4)


def test_a_packed_file_is_read_as_it_is(copied: Path) -> None:
    path = copied / "MNIST" / "raw" / IMAGES
    whole = mnist(seed=0, root=copied).train.inputs[0]
    path.with_name(f"{IMAGES}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()
    assert torch.equal(mnist(seed=0, root=copied).train.inputs[0], whole)
    assert not path.exists()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], r"header announces \(1000, 28, 28\), so 784016 bytes, but the file has 784015"),
        (lambda b: b + b"x", "but the file has more: truncated or wrong"),
        (lambda b: b[:9], "header breaks off after 9 bytes"),
        (lambda b: b"", "begins with nothing"),
        (lambda b: b"<html>not found</html>", "no IDX file of bytes: begins with 3c 68 74 6d"),
        (lambda b: b[:3] + b"\x02" + b[4:], "no IDX file"),
        (lambda b: b[:4] + b"\xff\xff\xff\xff" + b[8:], "truncated or wrong"),
    ],
)
def test_a_damaged_file_is_named(damage: Any, message: str, packed: bool, copied: Path) -> None:
    path = copied / "MNIST" / "raw" / IMAGES
    content = damage(path.read_bytes())
    path.write_bytes(content)
    if packed:
        path.unlink()
        path.with_name(f"{IMAGES}.gz").write_bytes(gzip.compress(content, 1))
    with pytest.raises(DataError, match=message) as caught:
        mnist(seed=0, root=copied)
    assert IMAGES in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_truncated_gzip_is_named(copied: Path) -> None:
    path = copied / "MNIST" / "raw" / IMAGES
    path.with_name(f"{IMAGES}.gz").write_bytes(gzip.compress(path.read_bytes(), 1)[:-100])
    path.unlink()
    with pytest.raises(DataError, match=r"ubyte\.gz: cannot be read"):
        mnist(seed=0, root=copied)


def test_a_file_as_long_as_the_original_must_be_it(tmp_path: Path) -> None:
    write_idx(tmp_path / "x", np.zeros(10, np.uint8))
    content = (tmp_path / "x").read_bytes()
    known = len(content), hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert read_idx(tmp_path / "x", 1, known).tolist() == [0] * 10
    (tmp_path / "x").write_bytes(content[:-1] + b"\x01")
    with pytest.raises(DataError, match="damaged, or not the original: its MD5 is"):
        read_idx(tmp_path / "x", 1, known)


def test_unequal_files_and_strange_labels_are_refused(copied: Path) -> None:
    labels = copied / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    write_idx(labels, np.full(1000, 10, np.uint8))
    with pytest.raises(DataError, match="train labels go up to 10"):
        mnist(seed=0, root=copied)
    write_idx(labels, np.zeros(999, np.uint8))
    with pytest.raises(DataError, match="1000 train images but 999 labels"):
        mnist(seed=0, root=copied)


def test_a_missing_file_says_where_it_belongs_and_what_works_offline(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLRUN_MIRROR", (copied / "empty").as_uri())
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    raw = copied / "MNIST" / "raw"
    (raw / IMAGES).unlink()
    with pytest.raises(DataError) as caught:
        mnist(seed=0, root=copied)
    text = str(caught.value)
    for word in (IMAGES, f"{IMAGES}.gz", str(raw), "empty/MNIST/raw", "dataset.root", "DLRUN_DATA", "`dataset=digits`"):
        assert word in text
    assert [path for path in raw.iterdir() if IMAGES in path.name] == []


def test_what_is_missing_is_downloaded_unpacked_and_kept(mirror: Server, mnist_root: Path, tmp_path: Path) -> None:
    data = mnist(seed=0, root=tmp_path / "new")
    assert torch.equal(data.train.inputs[0], mnist(seed=0, root=mnist_root).train.inputs[0])
    raw = tmp_path / "new" / "MNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(room.MNIST.packed)
    assert mirror.requests == 4
    assert (raw / IMAGES).stat().st_mode & 0o777 == 0o666 & ~_umask()
    mnist(seed=0, root=tmp_path / "new")
    assert mirror.requests == 4
    fashion_mnist(seed=0, root=tmp_path / "new")
    assert mirror.requests == 8


def _umask() -> int:
    import os

    value = os.umask(0)
    os.umask(value)
    return value


@pytest.mark.parametrize("broken_off", [False, True])
def test_a_download_is_tried_again(broken_off: bool, mirror: Server, tmp_path: Path) -> None:
    mirror.failures, mirror.broken_off = 2, broken_off
    assert mnist(seed=0, root=tmp_path / "new", val_fraction=0.0).train.samples == 1000
    assert mirror.requests == 6


def test_a_wrong_checksum_is_never_used(mirror: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(room.MNIST.packed, IMAGES, "0" * 32)
    with pytest.raises(DataError, match=r"wrong checksum: MD5 .* instead of 0000"):
        mnist(seed=0, root=tmp_path / "new")
    assert list((tmp_path / "new" / "MNIST" / "raw").iterdir()) == []
    assert mirror.requests == download.TRIES


def test_a_file_that_is_not_there_is_not_asked_for_twice(mirror: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="HTTP 404"):
        download.fetch("no/such/file", [], tmp_path / "x")
    assert mirror.requests == 1


def test_the_next_host_is_asked(mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLRUN_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    there = mnist_root / "MNIST" / "raw" / IMAGES
    urls = [(tmp_path / "not-here").as_uri(), there.as_uri()]
    assert download.fetch("unused", urls, tmp_path / "x") == urls[1]
    assert (tmp_path / "x").read_bytes() == there.read_bytes()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_users(mirror: Server, tmp_path: Path) -> None:
    (tmp_path / "MNIST").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="is missing"):
        mnist(seed=0, root=tmp_path)
