"""`dlrun export`: files that answer as the run does, on data that the export never saw; and what is refused."""

from __future__ import annotations

import contextlib
import io
import json
import os
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlrun import cli
from dlrun.api import Run
from dlrun.data.vocabulary import Vocabulary
from dlrun.inference.export import files
from dlrun.inference.export.graph import PaddedRecurrent
from tests.inference.test_predict import stored_test_rows

Trained = Callable[[str], Run]
NEW = ["Satoshi", "O'Neill", "Ünal", "Łukasz", "Xi", "Wolfeschlegelsteinhausen"]


def export(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `dlrun export`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["export", *map(str, words)])
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return code, out.getvalue(), err.getvalue()


def code_of(out: str) -> str:
    """The five lines of Python that are printed."""
    lines = out.partition("without dlrun:\n")[2].splitlines()
    assert len(lines) == 5
    return "\n".join(line.strip() for line in lines)


def codes_by_hand(about: dict[str, Any], text: str) -> list[int]:
    """The codes of a text, from the metadata of a file alone."""
    rule, text = about["folding"], unicodedata.normalize("NFC", text.strip())
    if rule["ascii"]:
        for old, new in rule["replace"].items():
            text = text.replace(old, new)
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    known = {letter: code for code, letter in enumerate(about["vocabulary"])}
    return [known.get(letter, rule["unknown"]) for letter in text]


def test_a_recurrent_network_answers_as_predict_does_to_names_it_never_saw(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run, file = trained("names"), tmp_path / "names.onnx"
    code, out, err = export(run.path, "--output", file)
    assert (code, err) == (0, ""), err
    assert "codes (rows, length), lengths (rows) to probabilities (rows, 18)" in out
    assert "256 test rows in batches of 64, 16 and 1" in out
    assert f"accuracy {run.summary['test']['accuracy']:.4g}" in out
    net = onnxruntime.InferenceSession(str(file))
    about = json.loads(net.get_modelmeta().custom_metadata_map["dlrun"])
    assert about["run"]["identity"] == run.config.identity
    assert about["labels"] == list(run.spec.labels)
    frame = run.predict(NEW)
    coded = [codes_by_hand(about, name) for name in NEW]
    for some in (coded, coded[2:3], coded[:2]):
        lengths = np.array([len(codes) for codes in some])
        codes = np.array([codes + [0] * (lengths.max() + 2 - len(codes)) for codes in some])
        answers = net.run(None, {"codes": codes, "lengths": lengths})[0]
        rows = [coded.index(codes) for codes in some]
        assert [about["labels"][i] for i in answers.argmax(1)] == frame["prediction"][rows].tolist()
        assert np.allclose(answers.max(1), frame["probability"][rows], atol=1e-5)
    monkeypatch.chdir(tmp_path)
    exec(code_of(out), {})
    code, out, err = export(run.path, "--output", file)
    assert (code, out) == (2, "")
    assert f"--output: {file} exists." in err
    code, out, _ = export(run.path, "--output", file, "--overwrite", "--logits")
    logits = onnxruntime.InferenceSession(str(file)).run(None, {"codes": codes, "lengths": lengths})[0]
    assert code == 0
    assert np.allclose(torch.tensor(logits).softmax(1), answers, atol=1e-6)


def test_a_file_that_answers_otherwise_is_not_kept(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last column instead of the last letter: right where all texts are of one length."""
    pytest.importorskip("onnxruntime")
    correct = PaddedRecurrent.forward
    monkeypatch.setattr(
        PaddedRecurrent, "forward", lambda self, x, lengths: correct(self, x, lengths.max().expand_as(lengths))
    )
    code, out, err = export(trained("names").path, "--output", tmp_path / "model.onnx")
    assert (code, out) == (3, "")
    assert "on 256 test rows its answers differ from the model's by up to 0." in err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["state-dict", "safetensors"])
def test_weights_are_those_of_the_run_to_the_bit(
    kind: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = trained("digits"), tmp_path / f"digits{files.EXPORT_FORMATS[kind].ending}"
    if kind == "safetensors":
        safe = pytest.importorskip("safetensors")
    code, out, _ = export(run.path, "--output", file)
    assert code == 0
    assert "4 tensors, equal to the bit" in out
    assert f"accuracy {run.summary['test']['accuracy']:.4g}" in out
    if kind == "safetensors":
        with safe.safe_open(file, "pt") as opened:
            about = json.loads(opened.metadata()["dlrun"])
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    else:
        weights = torch.load(file, weights_only=True)
        about = json.loads(zipfile.ZipFile(file).read("digits/about.json"))
    assert about["preprocessing"]["inputs"] == [[{"name": "scale", "by": 16.0}]]
    own = run.model().state_dict()
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)
    write = files.EXPORT_FORMATS[kind].write
    wrong = lambda path, weights, facts: write(path, {**weights, "head.bias": weights["head.bias"] + 1e-6}, facts)
    broken = {kind: files.ExportFormat(files.EXPORT_FORMATS[kind].ending, (), False, wrong)}
    monkeypatch.setattr(files, "EXPORT_FORMATS", {**files.EXPORT_FORMATS, **broken})
    file.unlink()
    code, _, err = export(run.path, "--output", file)
    assert (code, file.exists()) == (3, False)
    assert "1 tensor in it not equal to the run's, the first is head.bias" in err


def test_what_cannot_be_exported_is_said_in_one_line_and_leaves_nothing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, regression = trained("names").path, trained("regression").path
    cases: list[tuple[list[object], str]] = [
        ([names, "--format", "onxx"], "--format: there is no format 'onxx'. Did you mean onnx?"),
        ([names, "--format", "pt2"], "--format: torch.export fixes the length of a recurrent network (gru)."),
        ([names, "--output", tmp_path], f"--output: {tmp_path} is a folder. Name a file."),
        ([names, "--output", tmp_path / "no" / "a.onnx"], "no/a.onnx: No such file or directory."),
        (
            [names, "--format", "pt2", "--output", tmp_path / "a.onnx"],
            "a.onnx has the ending of onnx, and the format is",
        ),
        ([names, "--format", "state-dict", "--logits"], "--logits: state-dict holds weights, which have no output."),
        ([regression, "--format", "pt2", "--logits"], "--logits: goes with classes or tags; diabetes has neither."),
        ([names, "seed=3"], "seed: does not change what is exported."),
        ([names, "--checkpoint", "bets"], "there is no checkpoint 'bets'. Did you mean best?"),
    ]
    for words, said in cases:
        words = words if "--output" in words else [*words, "--output", tmp_path / "a"]
        code, out, err = export(*words)
        assert (code, out) == (2, ""), words
        assert said in err
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    _, _, err = export(names, "--output", tmp_path / "a.onnx")
    assert "onnx needs onnx, onnxscript and onnxruntime, which are not installed." in err
    assert "Run `pip install 'dlrun[onnx]'`." in err
    assert not list(tmp_path.iterdir())


def test_a_run_whose_data_are_gone_is_checked_on_made_up_rows(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlrun.errors import DataError

    def gone(*_: object) -> None:
        raise DataError("names: no such file.\nMore.")

    monkeypatch.setattr("dlrun.inference.labelled.build_data", gone)
    pytest.importorskip("onnxruntime")
    code, out, _ = export(trained("names").path, "--output", tmp_path / "names.onnx")
    assert code == 0
    assert "remark: the data of the run cannot be read, so rows were made up: names: no such file." in out
    assert "256 made-up rows in batches of 64, 16 and 1" in out
    assert "accuracy" not in out


def test_the_vocabulary_in_the_metadata_codes_as_dlrun_does(trained: Trained) -> None:
    from dlrun.inference.export.facts import folding_rule

    spec = trained("names").spec
    about = {"vocabulary": list(spec.vocabulary), "folding": folding_rule(spec)}
    codes, lengths = Vocabulary.of(spec).apply(NEW)
    assert [codes_by_hand(about, name) for name in NEW] == [
        row[:length] for row, length in zip(codes.tolist(), lengths.tolist(), strict=True)
    ]


def test_lines_of_cpp_are_caught_by_name_and_others_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with files.quiet_exporter():
        os.write(2, f"[W1] Warning: The {files.LINES[0]}, so.\nSomething else.\n".encode())
    assert capfd.readouterr().err == "Something else.\n"
    with contextlib.suppress(ValueError), files.quiet_exporter():
        os.write(2, b"a graph of a thousand lines\n")
        int("no number")
    os.write(2, b"as before\n")
    assert capfd.readouterr().err == "as before\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["digits", "binary", "nll", "regression", "tags", "masks", "hello", "reconstruction", "line"]
)
def test_graphs_of_every_task_answer_as_predict_does(
    name: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = trained(name)
    monkeypatch.chdir(tmp_path)
    inputs, _ = stored_test_rows(run) if name not in ("hello", "line") else new_rows(name)
    wanted = run.predictor()(*inputs).detach()
    if name == "reconstruction":  # in the units of the pixels, whatever the net was given
        for step in reversed(run.predictor().preparation.inputs[0]):
            wanted = step.inverse(wanted)
    for kind in ("onnx",) if name == "hello" else ("onnx", "pt2"):
        file = tmp_path / f"model{files.EXPORT_FORMATS[kind].ending}"
        code, out, err = export(run.path, "--output", file)
        assert (code, err) == (0, ""), err
        exec(code_of(out), {})
        if kind == "onnx":
            net = onnxruntime.InferenceSession(str(file))
            given = {put.name: x.numpy() for put, x in zip(net.get_inputs(), inputs, strict=True)}
            answers = torch.from_numpy(net.run(None, given)[0])
        else:
            answers = torch.export.load(file).module()(*inputs).detach()
        assert answers.shape == wanted.shape
        assert torch.allclose(answers, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max().clamp(min=1)))


def new_rows(name: str) -> tuple[tuple[torch.Tensor, ...], None]:
    """ExportRows of a data set whose test part is none."""
    if name == "hello":
        return (torch.tensor([[0, 1, 2, 2, 3, 1, 0]]), torch.tensor([7])), None
    return (torch.tensor([[3.5], [-100.0]]),), None
