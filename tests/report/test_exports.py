"""A comparison as JSON, in results.csv, in LaTeX and on its page; the remark on defaults; ranks by the last loss."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dlrun import cli
from dlrun.report import panels
from dlrun.report.compare import compare, write_results
from dlrun.report.exports import escape, latex_table
from dlrun.report.grouped import grouped_table
from dlrun.report.html import write_report
from dlrun.report.jobs import SweepEntry
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep, write_csv

OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam")


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "draw_comparison", lambda comparison, path: path)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two optimizers and rates with three seeds; sgd diverges at 0.1."""
    return make_sweep(tmp_path / "lrs", ("sgd", "adam"), (0.1, 0.01), 3)


def optimizers(folder: Path, *names: str, **changes: Any) -> Path:
    """A run of each optimizer and seed, with a learning rate of its own."""
    for place, name in enumerate(names):
        for seed in range(2):
            config = make_config(optimizer=name, seed=seed, **changes)
            words = ["model=mlp", f"optimizer={name}", f"seed={seed}"]
            make_run(folder / f"{name}-{seed}", config, floor=0.1 + 0.1 * place, overrides=words)
    return folder


def test_json_holds_what_the_table_and_the_pairs_say(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(sweep), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    comparison = compare([sweep])
    assert [option["name"] for option in found["options"]] == list(map(comparison.label, comparison.groups))
    best, value = found["options"][0], comparison.groups[0].value
    assert value is not None
    assert best["values"]["val_loss"] == {"center": value.center, "is": "mean", "n": 3, "std": value.std,
                                          "low": value.low, "high": value.high}  # fmt: skip
    assert (found["options"][-1]["lost"], found["options"][-1]["values"]) == (3, {})
    assert len(found["pairs"]) == found["pairs_in_all"] == 6
    assert found["pairs"][0]["option"] == best["name"]
    assert found["remarks"] == comparison.remarks
    assert found["folder"] == str(sweep)
    with (sweep / "pairs.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["p"] for line in lines] == ["" if pair["p"] is None else str(pair["p"]) for pair in found["pairs"]]
    with (sweep / "results.csv").open(newline="") as file:
        line = next(line for line in csv.DictReader(file) if line["option.rank"] == "1")
    assert (line["option.val_loss"], line["option.val_loss.low"]) == (str(value.center), str(value.low))


def test_json_and_latex_do_not_go_together(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(sweep), "--json", "--latex"]) == 2
    assert "--latex" in capsys.readouterr().err


def test_latex_is_a_table_of_booktabs(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(sweep), "--latex"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"\begin{tabular}{llrrrrl}"
    assert lines[2] == r"optimizer & lr & n & val\_loss & test\_loss & test\_accuracy & lost \\"
    assert re.match(r"adam & 0\.01 & 3 & \$0\.0\d+\$ \$\[0\.0\d+, 0\.\d+\]\$ & ", lines[4])
    assert lines[7] == r"sgd & 0.1 & 0 & -- & -- & -- & 3 diverged \\"
    assert all(line.startswith("%") for line in lines[lines.index(r"\end{tabular}") + 1 :])


def test_the_best_and_those_that_it_cannot_be_told_apart_from_are_bold(tmp_path: Path) -> None:
    for name, floors in {"sgd": (0.1, 0.2, 0.15), "adam": (0.12, 0.18, 0.16), "rmsprop": (5.0, 5.3, 5.1)}.items():
        for seed, floor in enumerate(floors):
            config = make_config(optimizer=name, seed=seed)
            make_run(tmp_path / f"{name}-{seed}", config, floor=floor, overrides=[f"optimizer={name}"])
    lines = latex_table(compare([tmp_path])).splitlines()
    assert [("boldmath" in line) for line in lines[4:7]] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b&c%$#{}", r"a\_b\&c\%\$\#\{\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("two\nlines <a>", r"two lines \textless{}a\textgreater{}"),
        ("\x1b[31m", r"\textbackslash{}x1b[31m"),
    ],
)
def test_latex_prints_every_text_unchanged(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_names_of_runs_cannot_break_out_of_a_table(tmp_path: Path) -> None:
    config = make_config()
    config["model"]["name"] = r"\input{/etc/passwd}&"
    make_run(tmp_path / "a", config)
    make_run(tmp_path / "b", make_config())
    text = latex_table(compare([tmp_path / "a", tmp_path / "b"]))
    assert r"\textbackslash{}input\{/etc/passwd\}\&" in text
    assert r"\input" not in text.split("%")[0]


def test_the_page_has_the_pairs_and_reads_them_as_blocks_on_a_narrow_screen(sweep: Path) -> None:
    page = write_report(sweep, compare([sweep], sweep)).read_text()
    part = page[page.index("Which of them differ") : page.index("Every run")]
    assert '<table class="stacked">' in part
    assert '<td data-heading="difference">' in part
    assert "not that in tuning" in part
    alone = write_report(sweep, compare(sorted((sweep / "jobs").glob("adam-0.01-0")))).read_text()
    assert "Which of them differ" not in alone


# --- what is ranked ---------------------------------------------------------------------------------------------------


def test_a_ranking_of_defaults_is_said_first_with_the_command_of_equal_chances(tmp_path: Path) -> None:
    first, second = compare([optimizers(tmp_path, *OPTIMIZERS)]).remarks[:2]
    assert first == (
        "this ranks the defaults (adam lr=0.001; momentum lr=0.01; rmsprop lr=0.01; sgd lr=0.01), not what they can do:"
        " `dlrun -m model=mlp optimizer=adam,momentum,rmsprop,sgd sweep.budget=12 sweep.repeat=10` gives each the same "
        "chances."
    )
    assert second.startswith("the best by val_loss is sgd")


def test_one_given_value_is_no_default_and_stays_out_of_the_command(tmp_path: Path) -> None:
    for name in ("sgd", "adam"):
        words = ["model=mlp", f"optimizer={name}", "optimizer.lr=0.1"]
        make_run(tmp_path / name, make_config(optimizer=name, optimizer__lr=0.1), overrides=words)
    first = compare([tmp_path]).remarks[0]
    assert first.startswith("this ranks one value of each (adam lr=0.1; sgd lr=0.1)")
    assert "`dlrun -m model=mlp optimizer=adam,sgd sweep" in first


def test_options_that_were_tried_at_several_values_are_no_defaults(sweep: Path, tmp_path: Path) -> None:
    assert "defaults" not in "\n".join(compare([sweep]).remarks)
    config = make_config(optimizer="rmsprop")
    make_run(tmp_path / "one", config, overrides=["optimizer=rmsprop"])
    first = compare([sweep, tmp_path / "one"]).remarks[0]
    assert "unequal chances" in first
    assert "adam at 2, sgd at 2, rmsprop at 1" in first


def test_options_without_numbers_and_protocols_are_not_remarked_on(tmp_path: Path) -> None:
    for number, model in enumerate(("mlp", "linear")):
        config = make_config()
        config["model"]["name"] = model
        make_run(tmp_path / "models" / model, config, floor=0.1 * (number + 1))
    assert "ranks" not in "\n".join(compare([tmp_path / "models"]).remarks)
    tuned = optimizers(tmp_path / "tuned", "sgd", "adam", sweep__budget=12)
    assert "ranks" not in "\n".join(compare([tuned]).remarks)


def test_a_training_loss_alone_is_ranked_by_its_last_value(tmp_path: Path) -> None:
    """One option dips once and ends high; the other ends low."""
    losses = {"rmsprop": [9.0, 0.001, 5.0], "adam": [9.0, 1.0, 0.5]}
    for name, values in losses.items():
        for seed in range(2):
            run = make_run(tmp_path / f"{name}-{seed}", make_config(optimizer=name, seed=seed),
                           overrides=[f"optimizer={name}"])  # fmt: skip
            rows = [{"epoch": n, "step": n, "train_loss": value + 0.01 * seed} for n, value in enumerate(values, 1)]
            write_csv(run / "metrics.csv", rows)
            facts = {"monitor": "train_loss", "mode": "min", "best": min(rows, key=lambda row: row["train_loss"])}
            (run / "summary.json").write_text(json.dumps({**facts, "last": rows[-1]}))
    comparison = compare([tmp_path], tmp_path / "out")
    assert comparison.by_last
    assert comparison.label(comparison.groups[0]) == "adam"
    table = grouped_table(comparison)
    lines = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    assert [line["last train_loss"] for line in lines] == ["0.5050", "5.0050"]
    assert lines[1]["best train_loss"] == "0.0060 ± 0.0071"
    assert "ranked by train_loss at the end, since its best epoch may be a lucky one" in "\n".join(comparison.remarks)
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert {line["option.best_train_loss"] for line in csv.DictReader(file)} == {"0.505", "0.006"}


def test_where_a_validation_part_exists_the_best_epoch_counts(sweep: Path) -> None:
    assert not compare([sweep]).by_last


def test_runs_that_share_no_split_are_not_paired(tmp_path: Path) -> None:
    for share in (0.1, 0.2):
        for seed in range(3):
            config = make_config(dataset__val_fraction=share, seed=seed)
            make_run(tmp_path / f"{share}-{seed}", config, floor=share)
    (pair,) = compare([tmp_path]).pairs.found
    assert pair.kind == "unpaired"


@pytest.mark.parametrize("key", ["trainer__epochs", "model__dropout", "optimizer__lr", "device__precision"])
def test_runs_of_one_split_are_pairs(key: str, tmp_path: Path) -> None:
    for value in (1, 2):
        for seed in range(3):
            make_run(tmp_path / f"{value}-{seed}", make_config(seed=seed, **{key: value}), floor=value)
    (pair,) = compare([tmp_path]).pairs.found
    assert (pair.kind, pair.sizes) == ("seeds", (3, 3))
    assert pair.shares_weights == (key != "model__dropout")


def test_data_sets_that_differ_have_no_pairs(tmp_path: Path) -> None:
    for name in ("digits", "wine"):
        for seed in range(2):
            make_run(tmp_path / f"{name}-{seed}", make_config(dataset__name=name, seed=seed))
    comparison = compare([tmp_path], tmp_path / "out")
    assert comparison.pairs.found == ()
    assert not (tmp_path / "out" / "pairs.csv").exists()


def test_the_file_of_pairs_of_an_earlier_comparison_goes(sweep: Path) -> None:
    compare([sweep], sweep)
    assert (sweep / "pairs.csv").is_file()
    write_results(sweep, [SweepEntry(sweep / "jobs" / "adam-0.01-0", {"optimizer": "adam"})])
    assert not (sweep / "pairs.csv").exists()
