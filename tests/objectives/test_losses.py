"""Losses: equal to torch's, exact means however batches are cut, and shapes that do not fit are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlrun.components.registry import LOSSES
from dlrun.errors import ConfigError
from dlrun.objectives.losses import bce, bce_with_logits, cross_entropy, huber, loss_for, mae, mse, nll
from dlrun.spec import IGNORE_INDEX, DataSpec

N, C, T, K = 11, 4, 5, 3


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(C, shape, generator=torch.Generator().manual_seed(seed))


def padded() -> Tensor:
    """(N, T) int64 classes; row 0 is all padding, row 1 half."""
    target = classes(N, T)
    target[0], target[1, 2:] = IGNORE_INDEX, IGNORE_INDEX
    return target


def labels(unknown: float | None = None) -> Tensor:
    """(N, K) of 0 and 1; with `unknown`, row 0 and one more label are that."""
    target = (rand(N, K, seed=2) > 0).float()
    if unknown is not None:
        target[0], target[3, 1] = unknown, unknown
    return target


WEIGHT = [0.5, 1.0, 2.0, 0.0]
SPAN = {"output": rand(N, C, T), "target": padded()}
FLAT = {"output": rand(N, C), "target": classes(N)}
CASES: dict[str, tuple[Any, dict[str, Tensor], Tensor]] = {
    "mse": (mse(), {"output": rand(N, K), "target": rand(N, K, seed=3)}, torch.tensor(0.0)),
    "mae": (mae(), {"output": rand(N, K), "target": rand(N, K, seed=3)}, torch.tensor(0.0)),
    "huber": (huber(delta=0.3), {"output": rand(N, K), "target": rand(N, K, seed=3)}, torch.tensor(0.0)),
    "ce": (cross_entropy(), FLAT, F.cross_entropy(FLAT["output"], FLAT["target"])),
    "ce_smooth_weighted": (
        cross_entropy(weight=WEIGHT, label_smoothing=0.2),
        FLAT,
        F.cross_entropy(FLAT["output"], FLAT["target"], torch.tensor(WEIGHT), label_smoothing=0.2),
    ),
    "ce_ignore": (
        cross_entropy(ignore_index=2, label_smoothing=0.1),
        FLAT,
        F.cross_entropy(FLAT["output"], FLAT["target"], ignore_index=2, label_smoothing=0.1),
    ),
    "ce_padded": (cross_entropy(), SPAN, F.cross_entropy(SPAN["output"], SPAN["target"])),
    "ce_padded_weighted": (
        cross_entropy(weight=WEIGHT),
        SPAN,
        F.cross_entropy(SPAN["output"], SPAN["target"], torch.tensor(WEIGHT)),
    ),
    "nll": (
        nll(weight=WEIGHT),
        {"output": SPAN["output"].log_softmax(1), "target": SPAN["target"]},
        F.cross_entropy(SPAN["output"], SPAN["target"], torch.tensor(WEIGHT)),
    ),
    "bce_logits": (
        bce_with_logits(weight=[1.0, 2.0, 0.5], pos_weight=[3.0, 1.0, 1.0]),
        {"output": rand(N, K), "target": labels()},
        F.binary_cross_entropy_with_logits(
            rand(N, K), labels(), torch.tensor([1.0, 2.0, 0.5]), pos_weight=torch.tensor([3.0, 1.0, 1.0])
        ),
    ),
    "bce": (
        bce(weight=[1.0, 2.0, 0.5]),
        {"output": rand(N, K).sigmoid(), "target": labels()},
        F.binary_cross_entropy(rand(N, K).sigmoid(), labels(), torch.tensor([1.0, 2.0, 0.5])),
    ),
    "bce_masked": (
        bce_with_logits(masked=True),
        {"output": rand(N, K), "target": labels(-1.0)},
        F.binary_cross_entropy_with_logits(rand(N, K)[labels(-1.0) >= 0], labels(-1.0)[labels(-1.0) >= 0]),
    ),
}
CASES["mse"] = (*CASES["mse"][:2], F.mse_loss(*CASES["mse"][1].values()))
CASES["mae"] = (*CASES["mae"][:2], F.l1_loss(*CASES["mae"][1].values()))
CASES["huber"] = (*CASES["huber"][:2], F.huber_loss(*CASES["huber"][1].values(), delta=0.3))


@pytest.mark.parametrize("case", CASES)
def test_equals_torch_and_a_mean_over_any_batches(case: str) -> None:
    loss, data, expected = CASES[case]
    output, target = data["output"], data["target"]
    loss.check(output, target)
    torch.testing.assert_close(loss(output, target), expected)
    total = weight = 0.0
    for start in range(0, N, 4):  # 4, 4 and 3 samples
        batch, part = output[start : start + 4], target[start : start + 4]
        denominator = float(loss.denominator(part))
        total, weight = total + float(loss(batch, part)) * denominator, weight + denominator
    assert total / weight == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_sum_is_a_sum_and_counts_samples(name: str) -> None:
    """T18: one step of a sum over time is as long as the sequence."""
    make = LOSSES.get(name)
    output, target = rand(N, K), rand(N, K, seed=3)
    if name in ("cross_entropy", "nll"):
        output, target = rand(N, C, T).log_softmax(1), classes(N, T)
    elif name.startswith("bce"):
        output, target = rand(N, K).sigmoid(), labels()
    total, mean = make(reduction="sum"), make()
    torch.testing.assert_close(total(output, target), mean(output, target) * target.numel())
    assert total.denominator(target) == N


def test_plain_losses_count_without_a_tensor() -> None:
    """The step must not wait for a device to know its batch size."""
    assert cross_entropy().denominator(classes(N)) is N
    assert type(mse().denominator(rand(N, K))) is int
    assert type(bce_with_logits().denominator(labels())) is int


def test_class_weights_divide_by_their_sum_T50() -> None:
    target = torch.tensor([0, 0, 2])
    assert float(cross_entropy(weight=WEIGHT).denominator(target)) == 3.0
    assert bce(weight=WEIGHT[:3]).denominator(labels()) == N  # binary losses: by the number of elements
    saturated = bce()(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    assert float(saturated) == 100.0


@pytest.mark.parametrize(
    ("loss", "output", "target"),
    [
        (cross_entropy(label_smoothing=0.1), rand(2, C, T), torch.full((2, T), IGNORE_INDEX)),
        (cross_entropy(weight=WEIGHT), rand(2, C), torch.tensor([3, 3])),  # class 3 weighs nothing
        (nll(), rand(2, C, T).log_softmax(1), torch.full((2, T), IGNORE_INDEX)),
        (bce_with_logits(masked=True), rand(2, K), torch.full((2, K), float("nan"))),
        (bce(masked=True), rand(2, K).sigmoid(), torch.full((2, K), -1.0)),
    ],
)
def test_everything_ignored_is_zero_with_no_gradient_T50(loss: Any, output: Tensor, target: Tensor) -> None:
    output = output.clone().requires_grad_()
    value = loss(output, target)
    value.backward()
    assert value.item() == 0.0
    assert float(loss.denominator(target)) == 0.0
    assert output.grad is not None
    assert not output.grad.any()


@pytest.mark.parametrize("unknown", [-1.0, float("nan")])
def test_unknown_labels_pull_at_nothing(unknown: float) -> None:
    output = rand(N, K).requires_grad_()
    target = labels(unknown)
    bce_with_logits(masked=True)(output, target).backward()
    assert output.grad is not None
    assert not output.grad[0].any()
    assert output.grad.isfinite().all()
    assert output.grad[1].all()


@pytest.mark.parametrize(
    ("loss", "output", "target", "words"),
    [
        (mse(), rand(N, 1), rand(N), "same shape"),  # would broadcast to (N, N)
        (bce_with_logits(), rand(N, 1), labels()[:, 0], "same shape"),
        (mae(), rand(N, C), classes(N), "cross_entropy"),
        (cross_entropy(), rand(N, C), rand(N, C), "integers"),
        (cross_entropy(), rand(N, 1), classes(N), "bce_with_logits"),
        (cross_entropy(), rand(N, T, C), classes(N, T), "dimension 1"),
        (cross_entropy(), rand(N, C), classes(N) + 1, "1 to 4"),
        (cross_entropy(weight=[1.0, 2.0]), rand(N, C), classes(N), "2 weights for 4"),
        (nll(), rand(N, C), classes(N), "log_softmax"),
        (bce(), rand(N, K), labels(), "sigmoid"),
        (bce_with_logits(), rand(N, K), labels(-1.0), "loss.masked=true"),
        (bce_with_logits(), rand(N, K), labels() * 2, "one is 2"),
        (bce_with_logits(pos_weight=[1.0, 2.0]), rand(N, K), labels(), "loss.pos_weight"),
    ],
)
def test_what_does_not_fit_is_refused(loss: Any, output: Tensor, target: Tensor, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loss.check(output, target)


def test_balanced_makes_classes_equal() -> None:
    counts = [8, 2, 0]
    loss = cross_entropy(weight="balanced", class_counts=counts)
    assert loss.weight is not None
    assert loss.weight.tolist() == [0.625, 2.5, 1.0]
    assert 8 * loss.weight[0] == 2 * loss.weight[1]
    positives = bce_with_logits(pos_weight="balanced", class_counts=[30, 10])
    assert positives.pos_weight is not None
    assert positives.pos_weight.tolist() == [3.0]


def test_balanced_equals_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    target = classes(50).numpy()
    expected = compute_class_weight("balanced", classes=np.arange(C), y=target)
    counts = [int((target == c).sum()) for c in range(C)]
    weight = nll(weight="balanced", class_counts=counts).weight
    assert weight is not None
    assert weight.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("make", "kwargs", "words"),
    [
        (cross_entropy, {"weight": "balanced"}, "needs classes"),
        (cross_entropy, {"weight": "balancd", "class_counts": [1, 2]}, "balanced"),
        (bce_with_logits, {"pos_weight": "balanced", "class_counts": [1, 2, 3]}, "two classes"),
        (bce_with_logits, {"pos_weight": "balanced", "class_counts": [4, 0]}, "two classes"),
        (mse, {"reduction": "none"}, "loss.reduction"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make: Any, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(**kwargs)


@pytest.mark.parametrize(
    ("task", "outputs", "name"),
    [
        ("classification", 3, "cross_entropy"),
        ("classification", 1, "bce_with_logits"),
        ("multilabel", 3, "bce_with_logits"),
        ("labelling", 4, "cross_entropy"),
        ("regression", 1, "mse"),
        ("reconstruction", 64, "mse"),
    ],
)
def test_auto_follows_the_task(task: str, outputs: int, name: str) -> None:
    assert loss_for(DataSpec("d", task, "tabular", (2,), outputs)) == name


def test_weights_move_with_the_loss_and_stay_out_of_checkpoints() -> None:
    loss = cross_entropy(weight=WEIGHT)
    assert loss.to("meta").weight.device.type == "meta"  # type: ignore[union-attr]
    assert not loss.state_dict()


def test_probabilities_train_in_mixed_precision() -> None:
    """torch refuses its own function there; ours leaves autocast for that line."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = (torch.nn.Linear(3, K)(rand(N, 3))).sigmoid()
        loss = bce()(output, labels())
    assert output.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
