"""Real MNIST: digits as JPEG files are read as the raw ones are; a thousand small images are quick."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

import dlrun
from dlrun.data.idx import read_idx

RAW = Path(os.environ.get("DLRUN_DATA", "nowhere")) / "MNIST" / "raw"


@pytest.mark.full
def test_fifty_digits_as_jpeg_are_read_as_the_raw_ones(tmp_path: Path) -> None:
    found = [file for file in (RAW / "t10k-images-idx3-ubyte", RAW / "t10k-images-idx3-ubyte.gz") if file.is_file()]
    if not found:
        pytest.skip("DLRUN_DATA holds no MNIST")
    run = dlrun.train(["experiment=mnist_cnn_small", "trainer.epochs=1", "device=cpu", f"run.dir={tmp_path / 'run'}"])
    images = read_idx(found[0], 3)[:50]
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.jpg")
    files = sorted(str(file) for file in tmp_path.glob("*.jpg"))
    raw = run.predict(images[:, None])
    jpeg = run.predict(files)
    assert jpeg["input"].tolist() == files
    same = (raw["prediction"].to_numpy() == jpeg["prediction"].to_numpy()).sum()
    assert same >= 49
