"""Image folders: a folder a class, decoding, augmentation by name, and what can be wrong with files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.data.augment import build_augment, transforms
from dlrun.data.base import Data, Loading
from dlrun.data.batches import batches_for
from dlrun.data.image_files import check_headers
from dlrun.data.image_folder import image_folder
from dlrun.data.images import decode
from dlrun.errors import ConfigError, DataError

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write_images(folder: Path, count: int = 10, shift: int = 0) -> Path:
    """Plain squares of 12 x 10 with a mark of their own, a folder a colour."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((10, 12, 3), colour, np.uint8)
            pixels[0, 0] = 10 * i + shift
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "pictures")


def load(path: Path | None = None, **options: Any) -> Data:
    return image_folder(seed=0, root=Path("unused"), path=None if path is None else str(path), **options)


def test_a_folder_is_split_by_class_and_its_names_are_labels(folder: Path) -> None:
    data = load(folder, size=[5, 6], val_fraction=0.25)
    assert {name: part.samples for name, part in data.parts().items()} == {"train": 18, "val": 6, "test": 6}
    assert data.spec.labels == ("blue", "green", "red")
    assert data.spec.input_shape == (3, 5, 6)
    for part in data.parts().values():
        assert part.target.bincount().unique().numel() == 1
        batches, _ = batches_for(part, data.spec, batch_size=4, loading=data.loading)
        assert batches.resident
        for batch in batches.epoch(0):
            assert batch.inputs[0].shape[1:] == (3, 5, 6)
            brightest = batch.inputs[0][:, :, 3, 3].argmax(1)
            assert (2 - brightest).tolist() == batch.target.tolist()


def test_no_file_is_in_two_parts(folder: Path) -> None:
    data = load(folder)
    files = [file for part in data.parts().values() for file in part.dataset.files]  # type: ignore[union-attr]
    assert len(files) == len(set(files)) == 30
    assert sorted(files) == sorted(folder.rglob("*.png"))


def test_grey_images_are_normalised_by_channel(folder: Path) -> None:
    data = load(folder, color="grey", mean=0.25, std=0.5, size=4)
    batch = next(iter(batches_for(data.train, data.spec, batch_size=18)[0].epoch(0)))
    assert batch.inputs[0].shape == (18, 1, 4, 4)
    grey = decode(data.train.dataset.files[0], (4, 4), "L")  # type: ignore[union-attr]
    assert torch.allclose(batch.inputs[0][0], (grey / 255 - 0.25) / 0.5)
    assert data.spec.preprocessing == {
        "inputs": [[{"name": "scale", "by": 255.0}, {"name": "standardize", "mean": [0.25], "std": [0.5]}]]
    }
    with pytest.raises(ConfigError, match=r"dataset\.mean: \[0\.1, 0\.2\] is not one number, or one for each of 3"):
        load(folder, mean=[0.1, 0.2])
    with pytest.raises(ConfigError, match=r"dataset\.std"):
        load(folder, std=[0.1, 0.2, 0.0])


def test_train_and_test_may_be_folders_of_their_own(folder: Path, tmp_path: Path) -> None:
    test = write_images(tmp_path / "test", 3, shift=5)
    data = load(train_path=str(folder), test_path=str(test), val_fraction=0)
    assert {name: part.samples for name, part in data.parts().items()} == {"train": 30, "test": 9}
    assert not any("also in train" in note for note in data.notes)
    (test / "purple").mkdir()
    Image.new("RGB", (4, 4)).save(test / "purple" / "a.png")
    with pytest.raises(DataError, match="classes that train lacks: purple"):
        load(train_path=str(folder), test_path=str(test))


def test_a_class_keeps_its_number_where_test_lacks_another(folder: Path, tmp_path: Path) -> None:
    test = write_images(tmp_path / "test", 2, shift=5)
    for file in (test / "blue").iterdir():
        file.unlink()
    (test / "blue").rmdir()
    data = load(train_path=str(folder), test_path=str(test))
    assert data.test is not None
    assert data.test.target.tolist() == [1, 1, 2, 2]  # T29


def test_t12_files_in_both_folders_are_said(folder: Path, tmp_path: Path) -> None:
    test = write_images(tmp_path / "test", 2)
    data = load(train_path=str(folder), test_path=str(test), val_fraction=0)
    assert data.notes[-1] == "6 of 6 test images (100.0%) are also in train: test is not pure generalization"
    data = load(train_path=str(folder), test_path=str(test), val_fraction=0.5)
    assert "are also in train or val: test is" in data.notes[-1]


def test_keys_that_do_not_go_together_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="neither is given"):
        load()
    with pytest.raises(ConfigError, match="both are given"):
        load(folder, train_path=str(folder))
    with pytest.raises(ConfigError, match=r"dataset\.test_path: goes with dataset\.train_path"):
        load(folder, test_path=str(folder))
    with pytest.raises(ConfigError, match=r"dataset\.size"):
        load(folder, size=[1, 2, 3])


def test_what_is_wrong_with_a_folder_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        load(tmp_path / "nothing")
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataError, match="but has none"):
        load(tmp_path / "flat")
    (folder / "yellow").mkdir()
    (folder / "yellow" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="class yellow is empty"):
        load(folder)


def test_a_file_that_is_no_image_is_named_before_the_first_step(folder: Path) -> None:
    (folder / "red" / "bad.png").write_text("not an image")
    with pytest.raises(DataError, match=r"cannot be decoded: .*bad\.png"):
        load(folder)
    with pytest.raises(DataError, match=r"10, and 2 more|, and 2 more"):
        check_headers([folder / "red" / "bad.png"] * 12)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_truncated_or_vanished_image_is_named(in_memory: bool, folder: Path) -> None:
    data = load(folder, size=64, val_fraction=0, test_fraction=0, in_memory=in_memory, workers=0)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    whole = folder / "red" / "3.png"
    Image.fromarray(pixels).save(whole)
    whole.write_bytes(whole.read_bytes()[:2000])

    def read() -> None:
        list(batches_for(data.train, data.spec, batch_size=30, loading=data.loading)[0].epoch(0))

    with pytest.raises(DataError, match=r"3\.png: cannot be decoded"):
        read()
    whole.unlink()
    with pytest.raises(DataError, match=r"3\.png: cannot be decoded"):
        read()


def test_all_kinds_of_images_are_decoded(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    values = decode(tmp_path / "deep.png", (8, 8), "L").flatten()
    assert values[[0, 32, 63]].tolist() == [0, int(deep.flat[32]) // 256, 255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 255]))
    assert decode(tmp_path / "palette.png", (2, 2), "RGB")[:, 0, 0].tolist() == [200, 100, 50]
    Image.new("RGBA", (4, 4), (1, 2, 3, 255)).save(tmp_path / "alpha.png")
    assert decode(tmp_path / "alpha.png", (3, 5), "RGB").shape == (3, 3, 5)
    Image.new("1", (4, 4), 1).save(tmp_path / "bits.png")
    assert decode(tmp_path / "bits.png", (4, 4), "L").unique().tolist() == [255]


def test_training_is_augmented_and_evaluation_is_not(folder: Path) -> None:
    augment = [{"random_crop": {"size": 8, "padding": 2}}, "random_horizontal_flip", {"color_jitter": {"hue": 0.2}}]
    plain, data = load(folder, size=8), load(folder, size=8, augment=augment)
    assert data.val is not None
    assert data.train.augment is not None
    assert data.val.augment is None
    source, note = batches_for(data.train, data.spec, batch_size=18, loading=Loading("auto", 0))
    assert "augmented" in note
    first, second = (next(iter(source.epoch(epoch))).inputs[0] for epoch in (0, 1))
    still = next(iter(batches_for(plain.train, plain.spec, batch_size=18)[0].epoch(0))).inputs[0]
    assert first.shape == still.shape
    assert not torch.equal(first, still)
    assert not torch.equal(first, second)


def test_two_workers_read_and_augment_as_none_do(folder: Path) -> None:
    data = load(folder, size=8, augment=["random_horizontal_flip", {"random_rotation": {"degrees": 20}}])
    options: dict[str, Any] = {"batch_size": 5, "shuffle": True, "seed": 4}
    epochs = []
    for in_memory, workers in ((False, 2), (False, 0), (True, 0)):
        source, _ = batches_for(data.train, data.spec, loading=Loading(in_memory, workers), **options)
        epochs.append([batch.inputs[0] for batch in source.epoch(2)])
    for one, other, third in zip(*epochs, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (["random_horizontal_flop"], r"dataset\.augment\[0\]: there is no .* Did you mean random_horizontal_flip\?"),
        ([{"random_crop": {"sise": 8}}], r"augment\[0\]\.random_crop\.sise: unknown argument. Did you mean size\?"),
        (["random_crop"], r"augment\[0\]\.random_crop\.size: is missing"),
        ([{"random_horizontal_flip": {"p": 7}}], r"augment\[0\]\.random_horizontal_flip: "),
        ([{"random_rotation": 7}], r"random_rotation: 7 is not \{argument: value\}"),
        ([7], r"augment\[0\]: 7 is not a name"),
        ([{"random_crop": {"size": 100}}], "cannot be applied to images"),
        ([{"random_crop": {"size": 4}}], "Shape and type must stay"),
        ([{"random_rotation": {"degrees": 5, "interpolation": "cubist"}}], "cubist"),
    ],
)
def test_augmentations_are_checked_word_by_word(augment: list[Any], message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(folder, size=8, augment=augment)


def test_all_problems_of_a_list_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_augment(["nothing", {"random_crop": {"sise": 8}}])
    assert len(caught.value.problems) == 3


def test_augmentations_can_be_sent_to_workers_and_are_torchvisions() -> None:
    step = build_augment([{"random_rotation": {"degrees": 5, "interpolation": "bilinear"}}, "auto_augment"])
    assert pickle.loads(pickle.dumps(step)) is not None
    names = transforms()
    assert {"random_crop", "random_horizontal_flip", "color_jitter", "rand_augment", "random_erasing"} <= set(names)
    assert not {"to_tensor", "normalize", "mix_up", "compose", "lambda", "random_apply"} & set(names)
