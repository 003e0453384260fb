"""`dlrun predict` and `run.predict`: every kind of input and answer, the numbers of training, bad inputs named."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import dlrun
from dlrun import cli
from dlrun.api import Run
from dlrun.assembly.assemble import build_data, build_loss
from dlrun.data.images import decode
from dlrun.data.transforms import preprocess
from dlrun.errors import DataError, RunError

Trained = Callable[[str], Run]


def stored_test_rows(run: Run) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """The stored rows of the run's test part."""
    part = build_data(run.config).test
    assert part is not None
    return part.inputs, part.target


def digit_files(run: Run, folder: Path, count: int = 12) -> list[Path]:
    """The first test digits as lossless PNGs, white on black, each in its full range."""
    (images,), _ = stored_test_rows(run)
    files = []
    for i, pixels in enumerate(images[:count, 0].numpy()):
        files.append(folder / f"{i:02d}.png")
        Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(files[-1])
    return files


def test_probabilities_are_those_of_the_model_on_the_rows_of_the_test_part(trained: Trained) -> None:
    for name in ("digits", "nll", "binary"):
        run = trained(name)
        inputs, target = stored_test_rows(run)
        spec = run.spec
        ready, _ = preprocess(spec, inputs, target)
        output = run.model()(*ready).detach()
        expected = {"digits": lambda x: x.softmax(1), "nll": torch.exp, "binary": torch.sigmoid}[name](output)
        given = run.predictor()(*inputs).detach()
        if name == "binary":
            assert run.predictor().labels == ("malignant", "benign")
            assert torch.allclose(given[:, 1:], expected, atol=1e-6)
        else:
            assert torch.allclose(given, expected, atol=1e-6)
        assert torch.allclose(given.sum(1), torch.ones(len(given)), atol=1e-5)
        frame = run.predict(tuple(x.numpy() for x in inputs) if len(inputs) > 1 else inputs[0].numpy())
        labels = [run.predictor().labels[i] for i in given.argmax(1).tolist()]
        assert frame["prediction"].tolist() == labels
        assert frame["probability"].tolist() == pytest.approx(given.max(1).values.tolist(), abs=1e-5)
        right = np.mean([a == spec.labels[int(t)] for a, t in zip(labels, target, strict=True)])
        assert right == pytest.approx(run.summary["test"]["accuracy"], abs=1e-6)


def test_lossless_images_predict_as_the_arrays_do_in_the_order_of_the_input(trained: Trained, tmp_path: Path) -> None:
    run = trained("digits")
    files = digit_files(run, tmp_path)
    (images,), _ = stored_test_rows(run)
    by_array = run.predict(images[:12].numpy())
    by_folder = run.predict(tmp_path)
    assert by_folder["prediction"].tolist() == by_array["prediction"].tolist()
    assert np.allclose(by_folder["probability"], by_array["probability"], atol=1e-6)
    turned = run.predict(files[::-1])
    assert turned["input"].tolist() == [str(file) for file in files[::-1]]
    assert turned["prediction"].tolist() == by_array["prediction"].tolist()[::-1]
    assert decode(files[0], (8, 8), "L").max() == 255
    small = run.predict(files, batch_size=5)
    assert np.allclose(small["probability"], by_array["probability"], atol=1e-6)


def test_a_regression_answers_in_the_units_of_the_target(trained: Trained) -> None:
    run = trained("regression")
    inputs, target = stored_test_rows(run)
    values = run.predict(inputs[0].numpy())["prediction"].to_numpy()
    assert 25 < values.mean() < 346
    ready, _ = preprocess(run.spec, inputs, target)
    step = run.spec.preprocessing["target"][0]
    by_hand = run.model()(*ready).detach() * torch.tensor(step["std"]) + torch.tensor(step["mean"])
    assert np.allclose(values, by_hand[:, 0].numpy(), rtol=1e-5)
    assert abs(values - target[:, 0].numpy()).mean() / step["std"][0] == pytest.approx(
        run.summary["test"]["mae"], rel=1e-4
    )
    names = list(run.spec.feature_names)
    frame = pandas.DataFrame(inputs[0].numpy(), columns=names)
    shuffled = frame.assign(extra=1)[[*reversed(names), "extra"]]
    assert np.allclose(run.predict(shuffled)["prediction"], values, rtol=1e-5)
    with pytest.raises(DataError, match=r"has no column 'bmi'"):
        run.predict(frame.drop(columns="bmi"))


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of `dlrun predict`."""
    code = cli.main(["predict", *map(str, words)])
    out = capsys.readouterr()
    assert "Traceback" not in out.out + out.err
    return code, out.out, out.err


def test_names_in_every_form_give_the_same_answers(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, people = trained("names"), ["Satoshi", "O'Neill", "Ünal"]
    code, out, _ = command(capsys, run.path, *people, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, [row["input"] for row in rows]) == (0, people)
    assert all(len(row["probabilities"]) == 3 for row in rows)
    assert all(row["prediction"] == next(iter(row["probabilities"])) for row in rows)

    (tmp_path / "plain.txt").write_text("\n".join(people) + "\n\n", encoding="utf-8")
    lines = "".join(f"{i};{name}\n" for i, name in enumerate(people))
    (tmp_path / "table.csv").write_text(f"id;name\n{lines}", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\r\n".join(people).encode())))
    for given in (tmp_path / "plain.txt", tmp_path / "table.csv", "-"):
        code, out, _ = command(capsys, run.path, given, "--json")
        again = [json.loads(line) for line in out.splitlines()]
        assert [row["prediction"] for row in again] == [row["prediction"] for row in rows]
        assert [row["probability"] for row in again] == pytest.approx([row["probability"] for row in rows], abs=1e-5)
    frame = run.predict(people, top=2)
    assert list(frame.columns) == ["input", "prediction", "probability", "prediction_2", "probability_2"]


def test_a_table_is_written_in_the_order_of_the_input_and_bad_rows_are_said(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("names")
    (tmp_path / "names.csv").write_bytes(b"name,country\nRossi,x\n   ,y\nNak\xffa,z\nIto,z\n")
    code, out, err = command(capsys, run.path, tmp_path / "names.csv", "--output", tmp_path / "out.csv")
    assert code == 3
    assert "4 predictions in" in out
    assert "names.csv line 3: is empty." in err
    assert "names.csv line 4: is not UTF-8." in err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert [row["input"].strip() for row in rows] == ["Rossi", "", "Nak\N{REPLACEMENT CHARACTER}a", "Ito"]
    assert [bool(row["prediction"]) for row in rows] == [True, False, False, True]
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    code, _, _ = command(capsys, run.path, "Ito", "--output", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))["input"] == "Ito"
    assert code == 0


def test_letters_that_training_never_showed_are_said(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command(capsys, trained("names").path, "Жуков", "x" * 60)
    assert code == 0
    assert "of the letters are unknown to the model: " in err
    assert "Ж" in err
    assert "1 text longer than any in training" in err


def test_tags_masks_letters_and_images(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, trained("hello").path, "hello", "hell")
    assert (code, out.split()) == (0, ["hello", "ohlol", "hell", "ohlo"])

    tags = trained("tags")
    inputs, _ = stored_test_rows(tags)
    chances = tags.predictor()(*inputs).detach()
    frame = tags.predict(inputs[0].numpy(), threshold=0.4)
    labels = tags.predictor().labels
    expected = ["".join(tag for tag, p in zip(labels, row, strict=True) if p >= 0.4) for row in chances.tolist()]
    assert [text.replace(" ", "") for text in frame["prediction"]] == expected

    masks = trained("masks")
    inputs, _ = stored_test_rows(masks)
    np.savez(tmp_path / "scenes.npz", *(x[:3].numpy() for x in inputs))
    code, out, _ = command(capsys, masks.path, tmp_path / "scenes.npz", "--images", tmp_path / "m", "--json")
    files = [Path(json.loads(line)["prediction"]) for line in out.splitlines()]
    found = masks.predictor()(*(x[:3] for x in inputs)).argmax(1).numpy()
    assert all(np.array_equal(np.asarray(Image.open(file)), mask) for file, mask in zip(files, found, strict=True))

    rebuilt = trained("reconstruction")
    inputs, _ = stored_test_rows(rebuilt)
    Image.fromarray(inputs[0][0, 0].numpy()).save(tmp_path / "one.png")
    answer = rebuilt.predict(tmp_path / "one.png", folder=tmp_path / "r").iloc[0]
    ready, _ = preprocess(rebuilt.spec, (inputs[0][:1],), torch.zeros(1))
    output = rebuilt.model()(*ready).detach()
    assert answer["error"] == pytest.approx(float((output - ready[0]).square().mean()), rel=1e-4)
    drawn = np.asarray(Image.open(answer["prediction"]), dtype=float) / 255
    mean, std = (rebuilt.spec.preprocessing["inputs"][0][1][key][0] for key in ("mean", "std"))
    assert np.allclose(drawn, (output[0, 0].numpy() * std + mean).clip(0, 1), atol=0.5 / 255 + 1e-6)


def test_images_that_cannot_be_written_are_one_error(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, _ = stored_test_rows(trained("masks"))
    np.savez(tmp_path / "scenes.npz", *(x[:1].numpy() for x in inputs))
    file = tmp_path / "file"
    file.write_text("")
    code, out, err = command(capsys, trained("masks").path, tmp_path / "scenes.npz", "--images", file)
    assert (code, out) == (2, "")
    assert f"cannot write to {file}" in err


def test_a_bad_row_does_not_widen_the_columns_and_json_stays_json(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = command(capsys, trained("names").path, "Ito", "", "--top", "1")
    assert len(out.splitlines()[0]) < len("Ito  Portuguese  100.0%") + 1
    odd = "a\x85b\u2028c\x7f"
    code, out, _ = command(capsys, trained("names").path, odd, "--json")
    assert (code, json.loads(out)["input"], out.count("\n")) == (0, odd, 1)


def test_numbers_are_words_with_commas_also_negative_ones(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, trained("line").path, "4", "-3.5")
    assert code == 0
    values = [float(line.split()[1]) for line in out.splitlines()]
    assert values == pytest.approx([8, -7], abs=0.05)


def test_dark_on_white_is_remarked_and_inverted(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("digits")
    for file in digit_files(run, tmp_path, 6):
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    _, _, err = command(capsys, run.path, tmp_path)
    assert "They look inverted: try --invert" in err
    code, out, err = command(capsys, run.path, tmp_path, "--invert", "--json")
    assert (code, err) == (0, "")
    (images,), _ = stored_test_rows(run)
    expected = run.predict(images[:6].numpy())["prediction"].tolist()
    assert [json.loads(line)["prediction"] for line in out.splitlines()] == expected


def test_the_threshold_decides_between_two_classes(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained("binary")
    inputs, _ = stored_test_rows(run)
    chances = run.predictor()(*inputs)[:, 1]
    for threshold in (0.0, 0.9):
        frame = run.predict(inputs[0].numpy(), threshold=threshold)
        assert (frame["prediction"] == "benign").tolist() == (chances >= threshold).tolist()
    assert command(capsys, run.path, "1", "--threshold", "1.5")[0] == 2


def test_a_sweep_stands_for_its_best_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (0.0001, 0.05):
        words = ["model=linear", "dataset=iris", "trainer.epochs=3", "device=cpu", f"optimizer.lr={rate}"]
        dlrun.train([*words, f"run.dir={tmp_path / 'jobs' / str(rate)}"])
    code, _, err = command(capsys, tmp_path, "5.1,3.5,1.4,0.2")
    assert code == 0
    assert "best of 2 runs by val_loss" in err
    assert "jobs/0.05" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch", "x"], "there is no run 'nosuch'"),
        (["RUN", "x", "--checkpoint", "bets"], "there is no checkpoint 'bets'. Did you mean best"),
        (["RUN", "nosuch.csv"], "nosuch.csv: there is no such file"),
        (["RUN", "empty.csv"], "empty.csv: holds no row"),
        (["RUN", "a.png"], "a.png: cannot be decoded"),
        (["RUN", "folder"], "folder: holds no image"),
        (["RUN", "text.npy"], "text.npy: cannot be read as arrays"),
        (["RUN", "shape.npy"], "shape.npy: rows of shape (3,), but the model takes (1, 8, 8)"),
        (["RUN", "x", "optimizer.lr=1"], "optimizer.lr: does not change how a trained model predicts"),
        (["RUN", "x", "device=tpu"], "unknown device 'tpu'"),
        (["RUN", "x", "--output", "a.xlsx"], "ends in none of .csv, .jsonl"),
        (["RUN", "x", "--top", "0"], "takes a whole number from 1"),
        (["RUN", "other.pt", "--checkpoint", "other.pt"], "other.pt"),
        (["RUN", "x", "--threshold", "0.5"], "--threshold: goes with two classes or tags; digits has neither"),
        (
            ["RUN", "x", "--checkpoint", "IRIS"],
            "is a checkpoint of dataset=iris, and this run was trained with dataset=digits",
        ),
    ],
)
def test_bad_input_is_one_error(
    words: list[str], said: str, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("empty.csv").write_text("")
    Path("a.png").write_text("no image")
    Path("text.npy").write_text("no array")
    np.save("shape.npy", np.zeros((2, 3)))
    torch.save({"a": 1}, "other.pt")
    stand_for = {"RUN": trained("digits").path, "IRIS": trained("nll").path / "checkpoints" / "best.pt"}
    code, out, err = command(capsys, *[str(stand_for.get(word, word)) for word in words])
    assert (code, out) == (2, "")
    assert said in err


def test_a_run_of_a_plug_in_that_is_not_given_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dlrun.components import plugins
    from dlrun.components.registry import MODELS

    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import dlrun\nfrom torch import nn\n\n@dlrun.register.model('mine')\ndef mine(spec):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(4, spec.num_outputs))\n"
    )
    words = ["--plugin", str(plugin), "model=mine", "dataset=iris", "trainer.epochs=1", f"run.dir={tmp_path / 'run'}"]
    assert cli.main(words) == 0
    capsys.readouterr()
    MODELS.plugins.clear()
    plugins._LOADED.clear()
    code, _, err = command(capsys, tmp_path / "run", "5,3,1,0.2")
    assert code == 2
    assert f"--plugin {plugin}" in err
    assert command(capsys, tmp_path / "run", "5,3,1,0.2", "--plugin", plugin)[0] == 0
    assert cli.main(["report", str(tmp_path / "run"), "--card"]) == 0
    card = (tmp_path / "run" / "model-card.md").read_text(encoding="utf-8")
    assert f"dlrun --plugin {plugin} model=mine" in card
    assert f"rows.csv --plugin {plugin}\n" in card


def test_weights_that_are_not_the_models_are_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is a checkpoint of dataset=iris"):
        trained("digits").model(str(trained("nll").path / "checkpoints" / "best.pt"))
    spec = trained("digits").spec
    assert build_loss(trained("digits").config, spec, None)[0] == "cross_entropy"
    with pytest.raises(TypeError, match="unexpected keyword argument 'topp'"):
        trained("digits").predict(np.zeros((1, 1, 8, 8), np.uint8), topp=1)
