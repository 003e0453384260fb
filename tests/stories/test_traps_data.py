"""Traps of the notes about data: splits, scaling, labels, letters, leaks (docs/traps.md)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dlrun
from dlrun.components.registry import MODELS
from dlrun.data.vocabulary import Vocabulary
from dlrun.errors import DataError
from dlrun.spec import DataSpec
from tests.helpers.traps import built, checkpoint, column, names_csv, train

TRAIN = [("Abe", "Japan"), ("Sato", "Japan"), ("Ito", "Japan"), ("Novak", "Czech"), ("Dvorak", "Czech"),
         ("Rossi", "Italy"), ("Bianchi", "Italy"), ("Greco", "Italy")]  # fmt: skip
NAMES = ("model=gru", "model.hidden_size=4", "dataset=names", "dataset.val_fraction=0", "trainer.epochs=1")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(train_rows: list[tuple[str, str]], test_rows: list[tuple[str, str]]) -> list[str]:
    """The words for a GRU on these names."""
    paths = (names_csv(Path("train.csv"), train_rows), names_csv(Path("test.csv"), test_rows))
    return [*NAMES, f"dataset.train_path={paths[0]}", f"dataset.test_path={paths[1]}"]


def test_t12_test_rows_that_were_trained_on_are_said_at_the_end() -> None:
    same = train(*names(TRAIN, TRAIN)).summary["remarks"]
    assert any("100.0% of the test names (8) occur in train" in remark for remark in same)
    other = train(*names(TRAIN, [("Verdi", "Italy")])).summary["remarks"]
    assert not any("occur in train" in remark for remark in other)


def test_t37_test_names_seen_in_training_and_names_of_two_countries_are_said() -> None:
    run = train(*names([*TRAIN, ("Greco", "Czech")], [("Rossi", "Italy"), ("Verdi", "Italy")]))
    assert any("50.0% of the test names (1) occur in train" in remark for remark in run.summary["remarks"])
    assert any("1 names belong to two or more countries" in remark for remark in run.summary["remarks"])
    assert run.summary["remarks"][-1] in (run.path / "train.log").read_text(encoding="utf-8")


def test_t20_features_are_standardised_by_the_training_part_inside_the_run() -> None:
    words = ("dataset=breast_cancer", "model=linear")
    data = built(*words).data
    steps = data.spec.preprocessing["inputs"][0][0]
    features = data.train.inputs[0].double()
    assert steps["mean"] == pytest.approx(features.mean(0).tolist())
    assert steps["std"] == pytest.approx(features.std(0, correction=0).tolist())
    assert checkpoint(train(*words, "trainer.epochs=1"))["spec"]["preprocessing"]["inputs"][0] == [steps]
    assert dlrun.compose(["experiment=breast_cancer"]).dataset.standardize
    assert not dlrun.compose(["experiment=breast_cancer_raw"]).dataset.standardize


def test_t21_a_constant_output_and_the_majority_class_are_said_at_the_end() -> None:
    words = ["experiment=breast_cancer_raw", "trainer.epochs=30", "optimizer.weight_decay=5"]
    run = train(*words)
    remarks = " ".join(run.summary["remarks"])
    assert "the outputs are constant" in remarks
    assert "no better than the baseline: accuracy" in remarks
    assert run.summary["test"]["accuracy"] == run.summary["baseline"]["accuracy"]
    right = train("experiment=breast_cancer", "trainer.epochs=10")
    assert right.summary["remarks"] == []


def test_t22_the_split_in_file_order_is_as_printed_and_the_usual_one_is_stratified() -> None:
    def shares(name: str) -> tuple[list[int], list[float]]:
        parts = built(f"experiment={name}").data.parts().values()
        return [part.samples for part in parts], [part.target.double().mean().item() for part in parts]

    sizes, positives = shares("breast_cancer_raw")
    assert sizes == [342, 113, 114]
    assert positives[0] == pytest.approx(0.54, abs=0.01)
    assert positives[2] == pytest.approx(0.77, abs=0.01)
    sizes, positives = shares("breast_cancer")
    assert sum(sizes) == 569
    assert max(positives) - min(positives) < 0.01


def test_t23_a_validation_part_that_is_made_is_used() -> None:
    run = train("dataset=iris", "trainer.epochs=5", "trainer.eval_every=1", "dataset.val_fraction=0.3")
    losses = column(run, "val_loss")
    assert run.summary["monitor"] == "val_loss"
    assert run.summary["best"]["val_loss"] == min(losses)
    assert not {"turtle", "cv2"} & set(sys.modules)


def test_t58_validation_selects_and_test_is_looked_at_once() -> None:
    run = train("dataset=iris", "trainer.epochs=3", "trainer.eval_every=1")
    header = (run.path / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "test_" not in header
    assert run.summary["test"]["of"] == "best"
    assert {"best", "last"} <= set(run.summary)
    run = train("dataset=iris", "trainer.epochs=3", "dataset.val_fraction=0")
    assert "the best epoch is selected on test" in (run.path / "train.log").read_text(encoding="utf-8")


def test_a_run_on_training_rows_alone_says_so() -> None:
    for words in (["dataset=iris", "dataset.val_fraction=0", "dataset.test_fraction=0"], ["trainer=overfit_one_batch"]):
        run = train(*words, "trainer.epochs=2")
        said = (run.path / "train.log").read_text(encoding="utf-8")
        assert "note: neither a validation nor a test part: nothing here concerns new data" in said
        assert run.summary["remarks"][0].endswith("that were trained on: nothing here concerns new data")
        assert run.summary["remarks"][0] in said
    assert "new data" not in (train("dataset=iris", "trainer.epochs=1").path / "train.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_by_default_validation_selects(name: str, mnist_root: Path) -> None:
    run = train(f"dataset={name}", f"dataset.root={mnist_root}", "model=linear", "trainer.epochs=2")
    assert run.summary["monitor"] == "val_loss"
    assert run.summary["counts"]["val"] == 100
    assert "selected on test" not in (run.path / "train.log").read_text(encoding="utf-8")


def test_only_presets_that_repeat_the_notes_select_on_test() -> None:
    """And each says why, at its line."""
    from dlrun.config.schema.schema import builtin_conf

    found = {path: path.read_text(encoding="utf-8") for path in builtin_conf().glob("*/**/*.yaml")}
    without = {path.stem for path, text in found.items() if re.search(r"^ *val_fraction: 0(\.0)? ", text, re.M)}
    notes = {f"mnist_{n}" for n in ("mlp", "mlp_decay_from_start", "cnn", "cnn_small")}
    notes |= {f"mnist_autoencoder_{n}" for n in ("interpolate", "transposed", "unpool")}
    notes |= {"names_gru", "names_lstm", "names_bigru"}
    assert without == notes | {"parabola"}  # all of its points are for training
    for path, text in found.items():
        assert path.stem not in notes or re.search(r"val_fraction: 0\.0 +# .*so that the test part selects", text), path


def test_t29_labels_come_from_train_and_travel_with_the_checkpoint() -> None:
    run = train(*names(TRAIN, [("Sato", "Japan"), ("Greco", "Italy")]), "optimizer.lr=0.1", "trainer.epochs=60")
    assert checkpoint(run)["spec"]["labels"] == ["Czech", "Italy", "Japan"]
    assert run.summary["test"]["accuracy"] == 1  # a map made from test alone would call Italy 0 and Japan 1
    with pytest.raises(DataError, match="'Spain'"):
        train(*names(TRAIN, [("Garcia", "Spain")]))


def test_t30_the_labels_that_are_printed_are_those_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    from dlrun.command_line import CommandLine
    from dlrun.commands import COMMANDS

    words = names(TRAIN, [("Sato", "Japan"), ("Greco", "Italy")])
    COMMANDS["show"].call(CommandLine(["show", *words], "show", overrides=list(words)))
    lines = {tuple(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert {("Sato", "Japan"), ("Greco", "Italy"), ("Czech", "2", "0")} <= lines


def test_t31_the_last_states_are_joined_forward_then_backward() -> None:
    spec = DataSpec("n", "classification", "text", (6,), 3, vocabulary=tuple("_?abcd"))
    torch.manual_seed(0)
    net = MODELS.get("gru")(spec, hidden_size=5, num_layers=2, bidirectional=True).eval()
    codes, lengths = torch.tensor([[2, 3, 4, 5, 2, 3]]), torch.tensor([6])
    plain = nn.GRU(32, 5, num_layers=2, bidirectional=True, batch_first=True)
    plain.load_state_dict(net.rnn.state_dict())
    _, final = plain(net.embedding(codes))
    torch.testing.assert_close(net(codes, lengths), net.head(torch.cat([final[-2], final[-1]], dim=1)))


def test_t33_predictions_come_in_the_order_of_the_input_and_padding_never_shows() -> None:
    run = train(*names(TRAIN, TRAIN[:3]), "trainer.epochs=3")
    spec, net = DataSpec.from_dict(checkpoint(run)["spec"]), run.model()
    people = ["Ito", "Bianchi", "Abe", "Dvorak"]
    words = Vocabulary.of(spec)
    codes, lengths = words.apply(people)
    together = net(codes, lengths)
    for person, output in zip(people, together, strict=True):
        torch.testing.assert_close(net(*words.apply([person]))[0], output)
    assert words.inverse(codes) == people


def test_t34_a_letter_beyond_ascii_is_folded_or_an_explicit_unknown() -> None:
    run = train(*names(TRAIN, [("Dvořák", "Czech"), ("Müller", "Czech")]))
    spec = DataSpec.from_dict(checkpoint(run)["spec"])
    words = Vocabulary.of(spec)
    assert words.inverse(words.apply(["Dvořák"])[0]) == ["Dvorak"]
    codes, lengths = words.apply(["Ж"])
    assert codes.tolist() == [[1]]
    assert torch.isfinite(run.model()(codes, lengths)).all()
    assert "characters of test are unknown" in (run.path / "train.log").read_text(encoding="utf-8")


def test_t38_a_surname_null_stays_a_name() -> None:
    rows = [("Null", "Czech"), ("Nan", "Italy"), ("NA", "Japan")]
    data = built(*names([*TRAIN, *rows], rows)).data
    assert data.test is not None
    assert Vocabulary.of(data.spec).inverse(data.test.inputs[0]) == ["Null", "Nan", "NA"]


def test_t36_small_data_need_no_worker_processes() -> None:
    ready = built("dataset=digits")
    assert ready.batches["train"].resident
    assert ready.engine[0] == "resident"


def test_t42_colour_becomes_grey_as_pillow_has_it_and_sizes_are_equal(tmp_path: Path) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(5):
            pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{number}.png")
    words = ("dataset=image_folder", f"dataset.path={tmp_path / 'pictures'}", "dataset.color=grey", "dataset.size=12")
    batch = next(iter(built(*words, "model=cnn", "trainer.shuffle=false").batches["train"].epoch(0)))
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    grey = [np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255 for file in files]
    shown = batch.inputs[0][:, 0] * 0.5 + 0.5
    for image in shown:
        assert min(np.abs(image.numpy() - known).max() for known in grey) < 1e-6


def test_t44_what_prepares_the_data_is_part_of_the_checkpoint(mnist_root: Path) -> None:
    words = ("dataset=mnist", f"dataset.root={mnist_root}", "dataset.limit=50", "model=linear", "trainer.epochs=1")
    run = train(*words, "dataset.mean=0.5", "dataset.std=0.25")
    for name in ("best", "last"):
        scale, standardize = checkpoint(run, name)["spec"]["preprocessing"]["inputs"][0]
        assert scale == {"name": "scale", "by": 255.0}
        assert standardize == {"name": "standardize", "mean": [0.5], "std": [0.25]}
