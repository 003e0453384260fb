"""Seeds, splits, preprocessing, the ready-made sets, baselines and leaks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.components.registry import DATASETS
from dlrun.data import sklearn_sets
from dlrun.data.arrays import from_arrays
from dlrun.data.base import Data, Split, from_parts
from dlrun.data.baseline import baseline
from dlrun.data.leaks import is_in, overlap, overlap_notes
from dlrun.data.paths import data_root
from dlrun.data.seeds import derive, permutation
from dlrun.data.splits import file_order, split
from dlrun.data.transforms import Preparation, Standardize, preprocess
from dlrun.errors import DataError
from dlrun.generators import forked
from dlrun.spec import KINDS, TASKS, DataSpec

NEED_FILES = ("mnist", "fashion_mnist", "image_folder", "names", "table")
OFFLINE = [n for n in DATASETS.builtin if n not in NEED_FILES]


def load(name: str, seed: int = 0, **options: Any) -> Data:
    return DATASETS.get(name)(seed=seed, root=Path("nowhere"), **options)


def test_streams_are_stable_and_differ() -> None:
    assert derive(0, "split") == 4668161649679774868  # for ever: a change here changes every run
    assert len({derive(s, name) for s in (0, 1) for name in ("split", "weights", "order", "noise")}) == 8
    assert 0 <= derive(10**30, "order") < 2**63


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    torch.manual_seed(1)
    first = permutation(3, 5, 100)
    torch.manual_seed(2)
    assert torch.equal(first, permutation(3, 5, 100))
    assert not torch.equal(first, permutation(3, 6, 100))
    assert not torch.equal(first, permutation(4, 5, 100))
    assert torch.equal(first.sort().values, torch.arange(100))


def test_forked_leaves_all_generators_alone() -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    before = torch.get_rng_state()
    with forked(7):
        inside = draw()
    assert torch.equal(torch.get_rng_state(), before)
    outside = draw()
    with forked(7):
        assert draw() == inside
    assert not set(inside) & set(outside)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.floats(0.05, 0.95), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_splits_are_disjoint_complete_and_stratified(counts: list[int], fraction: float, seed: int) -> None:
    labels = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])
    total, wanted = len(labels), round(len(labels) * fraction)
    if min(wanted, total - wanted) < len(counts):
        with pytest.raises(DataError):
            split(total, fraction, seed, "test", labels)
        return
    rest, taken = split(total, fraction, seed, "test", labels)
    assert sorted([*rest.tolist(), *taken.tolist()]) == list(range(total))
    assert len(taken) == wanted
    for label, n in enumerate(counts):
        share = int((labels[taken] == label).sum())
        assert 1 <= share <= n - 1
        if n * fraction >= 1 and n * (1 - fraction) >= 1:
            assert abs(share - n * fraction) < len(counts) + 1


def test_an_ordinary_split_is_within_one_row_of_each_class_share() -> None:
    labels = torch.tensor([0] * 212 + [1] * 357)
    _, taken = split(569, 0.2, 0, "test", labels)
    assert torch.bincount(labels[taken]).tolist() in ([42, 72], [43, 71])  # 42.4 and 71.4


@pytest.mark.parametrize("name", ["digits", "wine", "moons", "tags", "scenes", "names"])
def test_a_split_seed_holds_the_test_part_while_validation_follows_the_seed(name: str) -> None:
    held = [load(name, seed, split_seed=7) for seed in (0, 1)]
    own = load(name, 7)
    for data in held:
        assert data.test is not None
        assert data.val is not None
        assert own.test is not None
        assert data.test.target.equal(own.test.target), "the test part is that of the seed 7"
        assert all(a.equal(b) for a, b in zip(data.test.inputs, own.test.inputs, strict=True))
    assert held[0].val is not None
    assert held[1].val is not None
    assert not held[0].val.target.equal(held[1].val.target)
    assert held[0].train.samples + held[0].val.samples == held[1].train.samples + held[1].val.samples


def test_a_split_depends_on_seed_and_stream_only() -> None:
    torch.manual_seed(5)
    first = split(100, 0.3, 0, "test")
    torch.manual_seed(6)
    again = split(100, 0.3, 0, "test")
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], split(100, 0.3, 1, "test")[1])
    assert not torch.equal(first[1], split(100, 0.3, 0, "val")[1])
    rest, taken = split(5, 0, 0, "val")
    assert rest.tolist() == [0, 1, 2, 3, 4]
    assert len(taken) == 0


def test_a_class_with_one_row_is_named() -> None:
    with pytest.raises(DataError, match=r"dataset\.test_fraction: there is only one row in cat"):
        split(11, 0.3, 0, "test", torch.tensor([0] * 10 + [1]), ["dog", "cat"])
    with pytest.raises(DataError, match="empty"):
        split(3, 0.1, 0, "val")


def test_t22_the_file_order_split_has_the_printed_sizes_and_is_complete() -> None:
    parts = file_order(569, 0.25, 0.2)
    assert [len(part) for part in parts] == [342, 113, 114]
    assert torch.cat(parts).tolist() == list(range(569))
    data = load("breast_cancer", split="file_order")
    assert [part.samples for part in data.parts().values()] == [342, 113, 114]
    train, _, test = (part.target.float().mean().item() for part in data.parts().values())
    assert (round(train, 2), round(test, 2)) == (0.54, 0.77)


def test_the_stratified_split_keeps_the_share_of_classes() -> None:
    shares = [part.target.float().mean().item() for part in load("breast_cancer").parts().values()]
    assert max(shares) - min(shares) < 0.01
    assert max(shares) == pytest.approx(357 / 569, abs=0.01)


def test_t20_standardizing_sees_the_training_part_only() -> None:
    data = load("breast_cancer")
    inputs, _ = preprocess(data.spec, data.train.inputs, data.train.target)
    assert torch.allclose(inputs[0].mean(0), torch.zeros(30), atol=1e-5)
    assert torch.allclose(inputs[0].std(0, correction=0), torch.ones(30), atol=1e-4)
    assert data.test is not None
    moved = Split((data.test.inputs[0] + 1e6,), data.test.target)
    again = from_parts("x", "classification", "tabular", data.train, None, moved, labels=["a", "b"])
    assert again.spec.preprocessing == {}
    rows = np.concatenate([data.train.inputs[0].numpy(), moved.inputs[0].numpy()])
    target = np.concatenate([data.train.target.numpy(), moved.target.numpy()])
    cut = torch.arange(len(rows)).split([data.train.samples, moved.samples])
    spread = from_arrays(
        "x",
        "classification",
        "tabular",
        rows,
        target,
        seed=0,
        standardize=True,
        labels=["a", "b"],
        rows=(cut[0], torch.arange(0), cut[1]),
    )
    assert spread.spec.preprocessing == data.spec.preprocessing


def test_preprocessing_is_plain_and_the_same_for_new_rows() -> None:
    data = load("wine")
    spec = DataSpec.from_dict(data.spec.to_dict())
    rows = data.train.inputs[0][:3]
    mean, std = (torch.tensor(spec.preprocessing["inputs"][0][0][key]) for key in ("mean", "std"))
    before = rows.clone()
    ready = preprocess(spec, (rows,), torch.zeros(3))[0][0]
    assert torch.allclose(ready, (rows - mean) / std)
    assert torch.equal(rows, before)  # prepared in a copy


def test_images_are_prepared_bit_equal_to_torchvision() -> None:
    from torchvision import transforms

    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 28, 28, 3), np.uint8))
    mean, std = [0.1307, 0.5, 0.2], [0.3081, 0.25, 0.7]
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    steps = {"inputs": [{"scale": 255.0, "mean": mean, "std": std}]}
    spec = DataSpec("x", "classification", "image", (3, 28, 28), 10, preprocessing=steps)
    stored = images.permute(0, 3, 1, 2).contiguous()
    before = stored.clone()
    ours, target = preprocess(spec, (stored,), torch.arange(20, dtype=torch.uint8) % 10)
    assert torch.equal(ours[0], torch.stack([theirs(image.numpy()) for image in images]))
    assert torch.equal(stored, before)
    assert target.dtype == torch.int64


def test_keys_among_others_are_those_that_numpy_finds() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        keys, others = (random.integers(0, 40, random.integers(0, 25)) for _ in range(2))
        assert np.array_equal(is_in(keys, others), np.isin(keys, others))


def test_a_constant_column_is_not_divided_by_zero() -> None:
    assert Standardize.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]])).state() == {"mean": [2.0, 5.0], "std": [1.0, 1.0]}


def test_predictions_return_in_the_units_of_the_data() -> None:
    data = load("diabetes")
    _, target = preprocess(data.spec, data.train.inputs, data.train.target)
    assert target.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert torch.allclose(Preparation(data.spec).restore_target(target), data.train.target, atol=1e-3)
    plain = load("diabetes", standardize_target=False)
    assert torch.equal(Preparation(plain.spec).restore_target(target), target)


def test_two_classes_may_be_one_output_and_reconstruction_gives_the_input() -> None:
    spec = DataSpec("x", "classification", "tabular", (2,), 1)
    _, target = preprocess(spec, (torch.rand(4, 2),), torch.tensor([0, 1, 1, 0]))
    assert (target.shape, target.dtype) == ((4, 1), torch.float32)
    inputs, target = preprocess(spec.replace(task="reconstruction"), (torch.rand(4, 2),), torch.zeros(4))
    assert target is inputs[0]


@pytest.mark.parametrize("name", OFFLINE)
def test_every_set_is_sound_and_repeatable(name: str) -> None:
    data, again, other = load(name), load(name), load(name, seed=1)
    assert data.spec == again.spec
    assert data.spec.task in TASKS
    assert data.spec.input_kind in KINDS
    seen = []
    for part, same in zip(data.parts().values(), again.parts().values(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(part.inputs, same.inputs, strict=True))
        inputs, target = preprocess(data.spec, part.inputs, part.target)
        assert inputs[0].shape == (part.samples, *data.spec.input_shape)
        assert len(target) == part.samples
        assert torch.isfinite(inputs[0].float()).all()
        seen.append(part.samples)
    if len(seen) > 1:
        assert not torch.equal(data.train.inputs[0], other.train.inputs[0])
    assert DataSpec.from_dict(data.spec.to_dict()) == data.spec
    assert baseline(data)["part"] in data.parts()


@pytest.mark.parametrize("found", [True, False])
def test_digits_are_those_of_scikit_learn(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    if not found:
        monkeypatch.setattr(sklearn_sets, "find_spec", lambda name: None)
    images, targets = sklearn_sets.read_digits()
    theirs = load_digits()
    assert (images.dtype, targets.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(images, theirs.images)
    np.testing.assert_array_equal(targets, theirs.target)


def test_digits_are_images_from_zero_to_one_with_three_parts() -> None:
    data = load("digits")
    assert {name: part.samples for name, part in data.parts().items()} == {"train": 1150, "val": 288, "test": 359}
    images = preprocess(data.spec, data.train.inputs, data.train.target)[0][0]
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert data.train.inputs[0].dtype == torch.uint8


def test_the_sets_of_the_notes_are_as_printed() -> None:
    hello = load("hello")
    assert hello.spec.vocabulary == ("e", "h", "l", "o")
    assert hello.train.inputs[0].tolist() == [[1, 0, 2, 2, 3]]
    assert hello.train.target.tolist() == [[3, 1, 2, 3, 2]]
    line = load("line")
    assert line.train.inputs[0].tolist() == [[1], [2], [3]]
    assert line.train.target.tolist() == [[2], [4], [6]]
    assert load("pass_fail").train.target.tolist() == [0, 0, 1]
    parabola = load("parabola").train
    rest = parabola.target - parabola.inputs[0] ** 2
    assert parabola.samples == 1000
    assert rest.std().item() == pytest.approx(0.1, rel=0.1)
    clean = load("parabola", noise=0.0).train
    assert torch.allclose(clean.target, clean.inputs[0] ** 2, atol=1e-6)


def test_moons_and_circles_without_noise_lie_on_their_curves() -> None:
    circles = load("circles", noise=0.0, factor=0.3).train
    radius = circles.inputs[0].norm(dim=1)
    assert torch.allclose(radius, torch.where(circles.target == 1, 0.3, 1.0), atol=1e-5)
    moons = load("moons", noise=0.0, samples=101).train
    upper = moons.inputs[0][moons.target == 0]
    assert torch.allclose(upper.norm(dim=1), torch.ones(len(upper)), atol=1e-5)
    lower = moons.inputs[0][moons.target == 1] - torch.tensor([1.0, 0.5])
    assert torch.allclose(lower.norm(dim=1), torch.ones(len(lower)), atol=1e-5)


def test_scenes_need_the_depth_and_serve_both_tasks() -> None:
    data = load("scenes")
    (images, depths), masks = preprocess(data.spec, data.train.inputs, data.train.target)
    assert images.shape == depths.shape == (384, 1, 16, 16)
    assert set(masks.unique().tolist()) == {0, 1, 2}
    nearer = load("scenes", task="classification")
    assert nearer.spec.labels == ("box", "disc")
    assert nearer.train.target.shape == (384,)
    stored = nearer.train.inputs[1].flatten(1)
    assert float(stored.min()) > 0
    assert abs(depths.mean().item()) < 1e-4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[float("nan"), 1.0]] * 10, "column 'a' is NaN in every row"),
        ([[0.0, 1.0]] * 9 + [[0.0, float("nan")]], r"1 rows hold NaN.*column 'b'.*first rows: 10"),
        ([[0.0, float("inf")]] * 10, "infinite"),
    ],
)
def test_bad_numbers_are_found_before_the_means(rows: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(
            "x",
            "regression",
            "tabular",
            np.array(rows),
            np.zeros((10, 1)),
            seed=0,
            standardize=True,
            feature_names=["a", "b"],
        )


def test_parts_that_do_not_fit_are_refused() -> None:
    def build(train: list[int], test: list[int], fixed: bool = False) -> Data:
        parts = [Split((torch.rand(len(t), 2),), torch.tensor(t, dtype=torch.int64)) for t in (train, test)]
        return from_parts(
            "x", "classification", "tabular", parts[0], None, parts[1], labels=["cat", "dog", "emu"], fixed_labels=fixed
        )

    with pytest.raises(DataError, match="test part is empty"):
        build([0, 1], [])
    with pytest.raises(DataError, match="go from 0 to 3"):
        build([0, 3], [0])
    with pytest.raises(DataError, match="train lacks: emu"):
        build([0, 1], [0, 2])
    assert build([0, 1], [0, 2], fixed=True).notes == ("the test part holds classes that train lacks: emu",)
    with pytest.raises(DataError, match=r"\[2, 3\] rows"):
        from_parts("x", "regression", "tabular", Split((torch.rand(2, 1),), torch.rand(3, 1)))


def test_t12_t37_test_rows_that_are_in_train_are_counted_and_said() -> None:
    rows = torch.randint(0, 256, (50, 1, 5, 5), dtype=torch.uint8)
    train = Split((rows[:40],), torch.zeros(40))
    test = Split((rows[30:],), torch.zeros(20))
    assert overlap(train, test) == 10
    assert overlap_notes(train, test) == ["10 of 20 test rows (50.0%) occur in train: test is not pure generalization"]
    assert overlap(train, Split((rows[40:],), torch.zeros(10))) == 0
    assert overlap_notes(train, None) == []
    assert any("occur in train" in note for note in load("iris").notes)  # two of its flowers are equal


def test_the_baselines_are_what_scikit_learn_says() -> None:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    data = load("breast_cancer", split="file_order")
    assert data.test is not None
    dummy = DummyClassifier().fit(data.train.inputs[0], data.train.target)
    found = baseline(data)
    assert found["of"] == "majority class (benign)"
    assert found["accuracy"] == pytest.approx(dummy.score(data.test.inputs[0], data.test.target))
    data = load("diabetes")
    assert data.test is not None
    mean = DummyRegressor().fit(data.train.inputs[0], data.train.target)
    assert baseline(data)["r2"] == pytest.approx(mean.score(data.test.inputs[0], data.test.target), abs=1e-5)
    tags = baseline(load("tags"))
    assert 0.5 < tags["accuracy"] < 0.7
    assert baseline(load("hello"))["accuracy"] == pytest.approx(0.4)
    ignoring = baseline(load("iris"), ignore_index=0)
    assert ignoring["of"] == "majority class (versicolor)"
    assert ignoring["accuracy"] == pytest.approx(0.5)


def test_the_data_root_is_the_key_then_the_environment_then_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_DATA", "/from/environment")
    assert data_root("~/mine") == Path.home() / "mine"
    assert data_root(None) == Path("/from/environment")
    monkeypatch.delenv("DLRUN_DATA")
    assert "dlrun" in str(data_root())


def test_arrays_that_cannot_be_written_to_are_copied() -> None:
    """As pandas 3 gives them; torch warns of such, and warnings are errors here."""
    rows = np.random.default_rng(0).random((6, 2))
    rows.flags.writeable = False
    data = from_arrays("views", "regression", "tabular", rows, rows[:, :1], seed=0)
    data.train.inputs[0].zero_()
    assert rows.min() > 0
