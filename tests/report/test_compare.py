"""Comparing runs and sweeps: what differs, what is written, what is drawn, and that both ways agree."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dlrun.config.schema.contract import parse_literal
from dlrun.errors import RunError
from dlrun.report import panels, style
from dlrun.report.compare import compare, compare_command, write_results
from dlrun.report.grouped import grouped_table
from dlrun.report.html import report_command
from dlrun.report.jobs import SweepEntry, collect, read_results, short_names, varied_keys
from dlrun.report.sensitivity import heat_map_keys
from dlrun.report.tables import format_value
from dlrun.store.failure import Failure
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """sgd and adam, three rates, two seeds; sgd diverges at 0.1."""
    return make_sweep(tmp_path / "lrs", ("sgd", "adam"), (0.1, 0.01, 0.001), 2)


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[Any]:
    """The figures that were drawn, in order; rendering them takes the time, so only one test does."""
    seen: list[Any] = []
    if "rendered" not in request.fixturenames:
        monkeypatch.setattr(style, "save", lambda figure, path: (seen.append(figure), path.touch()))
    return seen


@pytest.fixture
def rendered() -> None:
    """Asks for real files."""


def table(folder: Path) -> list[dict[str, str]]:
    """results.csv."""
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def run_with(path: Path, overrides: list[str] | None = None, **changes: Any) -> Path:
    """A run whose configuration has these changes and whose command has these words."""
    return make_run(path, make_config(**changes), overrides=overrides or [])


def keys_of(*paths: Path) -> list[str]:
    return varied_keys(collect(paths))


def test_only_what_differs_is_named_and_the_seed_comes_last(tmp_path: Path) -> None:
    first = run_with(tmp_path / "a", seed=0)
    second = run_with(tmp_path / "b", seed=1, optimizer__lr=0.1, run__name="other", trainer__epochs=20)
    assert keys_of(first, second) == ["optimizer.lr", "trainer.epochs", "seed"]
    assert keys_of(first, run_with(tmp_path / "c", run__dir="/somewhere", device__name="cuda")) == []


def test_what_follows_from_the_component_is_left_out_unless_it_was_set(tmp_path: Path) -> None:
    adam = run_with(tmp_path / "adam", optimizer="adam")
    sgd = run_with(tmp_path / "sgd", optimizer="sgd")
    assert keys_of(adam, sgd) == ["optimizer.name"]
    told = run_with(tmp_path / "told", ["optimizer.lr=0.01"], optimizer="sgd")
    assert keys_of(adam, told) == ["optimizer.name", "optimizer.lr"]
    other = run_with(tmp_path / "other", optimizer="sgd", optimizer__lr=0.5)
    assert keys_of(adam, sgd, other) == ["optimizer.name", "optimizer.lr"]


def test_two_options_of_one_component_are_told_apart(tmp_path: Path) -> None:
    names = ("sgd", "momentum")
    paths = [run_with(tmp_path / name, [f"optimizer={name}"], optimizer=name) for name in names]
    comparison = compare(paths)
    assert comparison.keys == ["optimizer"]
    assert sorted(comparison.label(group) for group in comparison.groups) == ["momentum", "sgd"]


def test_confounded_settings_are_both_named(tmp_path: Path) -> None:
    first = run_with(tmp_path / "a", seed=0, trainer__batch_size=8)
    second = run_with(tmp_path / "b", seed=1, trainer__batch_size=16)
    assert keys_of(first, second) == ["trainer.batch_size", "seed"]


def test_short_names_stay_clear() -> None:
    keys = ["optimizer.lr", "model.name", "model.width", "dataset.width", "seed"]
    assert list(short_names(keys).values()) == ["lr", "model", "model.width", "dataset.width", "seed"]


def test_a_dict_that_is_swept_is_one_column(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    values = [{"a": 1, "b": [1, 2]}, {"a": 2, "b": None}]
    rows = [
        SweepEntry(run_with(folder / f"jobs/{n}", model__opts=value), {"model.opts": value})
        for n, value in enumerate(values)
    ]
    for comparison in (write_results(folder, rows), compare([folder])):
        assert comparison.keys == ["model.opts"]
        assert comparison.differences() == ["model.opts: {a:1,b:[1,2]}, {a:2,b:null}"]
    alone = run_with(tmp_path / "alone", model__opts={"a": 3, "b": 0})
    assert "{a:3,b:0}" in str(grouped_table(compare([folder, alone])))


def test_groups_are_ranked_with_test_beside(sweep: Path) -> None:
    comparison = compare([sweep])
    assert comparison.keys == ["optimizer", "optimizer.lr", "seed"]
    assert comparison.label(comparison.groups[0]) == "adam lr=0.01"
    assert comparison.label(comparison.groups[-1]) == "sgd lr=0.1"
    text = str(grouped_table(comparison))
    assert text.splitlines()[0].split("  ")[0] == "optimizer"
    assert all(word in text for word in ("n", "val_loss", "std", "95 % interval", "test_accuracy", "2 diverged"))
    assert any("2 of 12 diverged" in remark for remark in comparison.remarks)


def test_results_hold_one_row_a_job(sweep: Path) -> None:
    compare([sweep], sweep)
    rows = table(sweep)
    assert len(rows) == 12
    row = next(row for row in rows if (row["optimizer"], row["optimizer.lr"], row["seed"]) == ("adam", "0.01", "1"))
    summary = json.loads((sweep / row["path"] / "summary.json").read_text())
    assert float(row["best.val_loss"]) == summary["best"]["val_loss"]
    assert float(row["last.train_accuracy"]) == summary["last"]["train_accuracy"]
    assert float(row["test.accuracy"]) == summary["test"]["accuracy"]
    assert (row["test.of"], row["status"], row["seconds"]) == ("best", "finished", "6.0")
    assert row["command"] == "dlrun optimizer=adam optimizer.lr=0.01 seed=1"
    lost = [row for row in rows if row["status"] == "failed"]
    assert len(lost) == 2
    assert "diverged" in lost[0]["error"]
    assert lost[0]["test.accuracy"] == ""


def test_a_sweep_and_compare_write_the_same(sweep: Path, tmp_path: Path) -> None:
    jobs = [
        SweepEntry(path, {"optimizer": name, "optimizer.lr": float(rate), "seed": int(seed)})
        for path in sorted((sweep / "jobs").iterdir())
        for name, rate, seed in [path.name.split("-")]
    ]
    first = write_results(sweep, jobs)
    written = (sweep / "results.csv").read_text()
    assert compare([sweep], sweep).remarks == first.remarks
    assert (sweep / "results.csv").read_text() == written
    moved = sweep.rename(tmp_path / "moved")
    compare([moved], moved)
    assert (moved / "results.csv").read_text() == written


def test_jobs_without_a_directory_stay_in_the_table(sweep: Path) -> None:
    shutil.rmtree(sweep / "jobs" / "adam-0.01-0")
    failure = Failure("crash", "killed by signal 11")
    died = SweepEntry(sweep / "jobs" / "adam-0.01-0", {"optimizer": "adam"}, "failed", failure, "dlrun x=1")
    coming = SweepEntry(sweep / "jobs" / "new", {"optimizer": "rmsprop"}, "waiting")
    write_results(sweep, [died, coming, SweepEntry(sweep / "jobs" / "sgd-0.01-0", {"optimizer": "sgd"})])
    read = {row.path.name: row for row in read_results(sweep / "results.csv")}
    assert (read["adam-0.01-0"].status, read["adam-0.01-0"].failure) == ("failed", failure)
    assert read["adam-0.01-0"].command == "dlrun x=1"
    assert read["new"].status == "waiting"
    again = compare([sweep])  # and the runs that the table did not know are found beside it
    assert len(again.jobs) == 13
    assert "1 of 13 failed, 1 of 13 not finished" in "\n".join(again.remarks)


def test_the_directory_knows_better_than_an_old_table(sweep: Path) -> None:
    path = sweep / "jobs" / "adam-0.01-0"
    write_results(sweep, [SweepEntry(path, {"seed": 0}, "waiting")])
    assert table(sweep)[0]["status"] == "finished"
    (path / "status.json").write_text(json.dumps({"state": "running"}))  # its process died
    write_results(sweep, [SweepEntry(path, {"seed": 0}, "failed", Failure("signal", "killed: SIGKILL"))])
    row = table(sweep)[0]
    assert (row["status"], row["kind"], row["error"]) == ("failed", "signal", "killed: SIGKILL")


@pytest.mark.parametrize("value", [0, 3, -1.5, 1e-7, 0.1234567891, True, False, None, "adam", "a,b", "[8,8]", ""])
def test_settings_survive_the_table(value: Any) -> None:
    assert parse_literal(format_value(value)) == value


def test_time_to_the_target(sweep: Path) -> None:
    jobs = [SweepEntry(path) for path in (sweep / "jobs").glob("adam-0.01-*")]
    comparison = write_results(sweep, jobs, target=0.5)
    reached = comparison.groups[0].reached
    assert reached is not None
    assert reached.median is not None
    assert (reached.count, reached.n) == (2, 2)
    assert reached.median.seconds == pytest.approx(reached.median.steps / 30 * 0.5)
    assert reached.median.samples == pytest.approx(reached.median.steps / 30 * 1000)
    row = table(sweep)[0]
    assert float(row["option.reached.steps"]) == reached.median.steps
    assert float(row["reached.steps"]) in (reached.median.steps, reached.median.steps + 30)
    assert "to val_loss 0.5000" in str(grouped_table(comparison)).splitlines()[0]
    assert "reached by 2 of 2" in "\n".join(comparison.remarks)


def test_a_narrow_table_keeps_what_was_not_counted_and_the_interval_longest(sweep: Path) -> None:
    paths = sorted((sweep / "jobs").iterdir())
    table = grouped_table(write_results(sweep, [SweepEntry(path) for path in paths], target=0.35))
    given_up = [header for header in table.spare if header in table.headers]
    assert given_up[-4:] == ["to val_loss 0.3500", "test_loss", "95 % interval", "lost"]
    assert {"lost", "95 % interval"} <= set(table.fitted(80).headers)
    assert "to val_loss 0.3500" not in table.fitted(80).headers


def test_the_target_of_the_jobs_configuration_is_used(tmp_path: Path) -> None:
    run = run_with(tmp_path / "a", sweep__target=0.5)
    assert compare([run]).target == 0.5


def test_losses_that_differ_are_not_ranked_by_loss(tmp_path: Path) -> None:
    first = run_with(tmp_path / "a")
    second = run_with(tmp_path / "b", loss__name="nll")
    comparison = compare([first, second])
    assert (comparison.metric, comparison.mode) == ("val_accuracy", "max")
    assert "the loss functions differ" in comparison.remarks[1]
    other = run_with(tmp_path / "c", dataset__name="wine")
    assert "different data sets" in compare([first, other]).remarks[0]


def test_data_sets_that_differ_have_no_leader(tmp_path: Path, figures: list[Any]) -> None:
    """Only that they do not compare is said, nothing of the lead, of edges or of the luck of the best."""
    for name, floor in {"diabetes": 0.3, "iris": 0.1}.items():
        for rate in (0.1, 0.01):
            path = tmp_path / "runs" / f"{name}-{rate}"
            make_run(path, make_config(dataset__name=name, optimizer__lr=rate), floor=floor + rate)
    comparison = compare([tmp_path / "runs"], tmp_path / "out")
    (remark,) = comparison.remarks
    assert "does not compare" in remark
    assert not figures, "no figure is drawn"


def test_where_losses_differ_the_value_is_of_the_epoch_that_was_tested(tmp_path: Path) -> None:
    """best.pt is chosen by val_loss: the best accuracy of any other epoch has nothing to do with its test."""
    paths = [run_with(tmp_path / name, loss__name=name) for name in ("mse", "mae")]
    lines = (paths[0] / "metrics.csv").read_text().splitlines()
    at = lines[0].split(",").index("val_accuracy")
    lines[3] = ",".join("0.999" if i == at else cell for i, cell in enumerate(lines[3].split(",")))
    (paths[0] / "metrics.csv").write_text("\n".join(lines) + "\n")
    comparison = compare(paths)
    assert comparison.metric == "val_accuracy"
    rows = {row.source.run.name: row for group in comparison.groups for row in group.rows}
    assert rows["mse"].value == json.loads((paths[0] / "summary.json").read_text())["best"]["val_accuracy"]


def test_a_search_is_repeated_by_its_best_settings(tmp_path: Path) -> None:
    """`seed=0,1,2` beside the search would be searched, too."""
    for rate in (0.1, 0.2):
        config = make_config(optimizer__lr=rate)
        config["sweep"]["search"] = "tpe"
        words = ["model=mlp", f"optimizer.lr={rate}", "seed=0"]
        make_run(tmp_path / "runs" / str(rate), config, floor=rate, overrides=words)
    text = "\n".join(compare([tmp_path / "runs"]).remarks)
    assert "repeat the best with `dlrun -m model=mlp optimizer.lr=0.1 seed=0,1,2`" in text


def test_an_impossible_value_was_not_tried(tmp_path: Path) -> None:
    """It failed before it had a directory, so that a single rate is left: no grid, no edge."""
    run = make_run(tmp_path / "jobs" / "good", make_config(optimizer__lr=0.1))
    jobs = [SweepEntry(run, {"optimizer.lr": 0.1})]
    jobs.append(SweepEntry(tmp_path / "jobs" / "bad", {"optimizer.lr": -1}, "failed", Failure("input", "must be >= 0")))
    assert "edge" not in "\n".join(write_results(tmp_path, jobs).remarks)


def test_results_of_other_code_or_data_are_marked(tmp_path: Path) -> None:
    """A sweep that was extended after a change: old rows beside new ones."""
    (tmp_path / ".state").mkdir()
    frozen = {}
    for seed in range(4):
        make_run(tmp_path / "jobs" / f"s{seed}", make_config(seed=seed), started=f"2026-11-2{seed}T12:00:00")
        record = {"code": "old" if seed < 2 else "new"}
        (tmp_path / ".state" / f"s{seed}.json").write_text(json.dumps(record))
        frozen[f"s{seed}"] = {"data": "old" if seed == 0 else "new"}
    assert "made with other" not in "\n".join(compare([tmp_path]).remarks), "no sweep.yaml, no sweep"
    (tmp_path / "sweep.yaml").write_text(json.dumps({"jobs": frozen}))
    text = "\n".join(compare([tmp_path]).remarks)
    assert "2 of 4 finished runs were made with other code and data than the newest" in text
    assert "sweep.refresh=true" in text
    newest = [tmp_path / "jobs" / name for name in ("s2", "s3")]
    assert "made with other" not in "\n".join(compare(newest).remarks)


def test_runs_of_other_plugins_and_versions_are_marked(tmp_path: Path) -> None:
    for seed, (sha, torch) in enumerate([("a", "2.15"), ("b", "2.14"), ("b", "2.15")]):
        run = make_run(tmp_path / str(seed), make_config(seed=seed), started=f"2026-11-2{seed}T12:00:00")
        facts = {"versions": {"torch": torch}, "plugins": [{"name": "/x/net.py", "sha256": sha}]}
        (run / "environment.json").write_text(json.dumps(facts))
    text = "\n".join(compare([tmp_path]).remarks)
    assert "2 of 3 finished runs were made with other plug-ins and version of torch than the newest" in text


def test_a_repeated_run_is_no_second_seed(tmp_path: Path) -> None:
    paths = [run_with(tmp_path / name) for name in "ab"]
    comparison = compare(paths)
    assert comparison.groups[0].value is not None
    assert comparison.groups[0].value.n == 1
    assert "1 run(s) repeat" in comparison.remarks[0]
    assert len(compare([paths[0], paths[0], tmp_path]).jobs) == 2


def test_pruned_runs_are_named_and_left_out(tmp_path: Path) -> None:
    paths = [run_with(tmp_path / str(seed), seed=seed) for seed in range(3)]
    summary = json.loads((paths[0] / "summary.json").read_text())
    (paths[0] / "summary.json").write_text(json.dumps(summary | {"stopped": "pruned"}))
    comparison = compare(paths)
    assert "1 of 3 pruned" in "\n".join(comparison.remarks)
    assert comparison.groups[0].value is not None
    assert comparison.groups[0].value.n == 2


@pytest.mark.usefixtures("rendered")
def test_damaged_runs_do_not_stop_a_comparison(sweep: Path) -> None:
    (sweep / "jobs" / "adam-0.01-0" / "config.yaml").write_text("model: [")
    (sweep / "jobs" / "adam-0.01-1" / "summary.json").write_text("{")
    (sweep / "jobs" / "adam-0.1-0" / "metrics.csv").unlink()
    (sweep / "jobs" / "adam-0.1-1" / "overrides.txt").unlink()
    (sweep / "jobs" / "sgd-0.01-0" / "status.json").write_text("")
    assert len(compare([sweep], sweep).jobs) == 12
    assert (sweep / "comparison.png").stat().st_size > 10_000


def test_nothing_finished_yet(tmp_path: Path, figures: list[Any]) -> None:
    run = make_run(tmp_path / "run", state="interrupted", epochs=0)
    comparison = compare([run], tmp_path / "out")
    assert "no finished run yet" in "".join(text.get_text() for text in figures[0].axes[0].texts)
    assert "1 of 1 not finished" in "\n".join(comparison.remarks)


def test_paths_that_hold_nothing_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        compare([tmp_path / "nowhere"])
    with pytest.raises(RunError, match="there is no run in"):
        compare([tmp_path])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        compare([tmp_path / "file"])


def test_the_command_prints_and_writes(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert compare_command([sweep]) == 0
    out = capsys.readouterr().out
    assert "They differ in\n  optimizer: adam, sgd\n  optimizer.lr: 0.001, 0.01, 0.1\n  seed: 0, 1\n" in out
    assert "note: 2 of 12 diverged" in out
    assert (sweep / "comparison.png").exists()
    monkeypatch.chdir(tmp_path)
    assert compare_command(sorted((sweep / "jobs").iterdir())[:2]) == 0
    (folder,) = (tmp_path / "outputs" / "comparisons").iterdir()
    assert (folder / "results.csv").exists()
    assert compare_command([sweep / "jobs" / "adam-0.01-0"], tmp_path / "here") == 0
    assert "No setting differs." in capsys.readouterr().out
    assert (tmp_path / "here" / "results.csv").exists()


def test_the_command_knows_runs_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("one", "two")):
        config = make_config(optimizer__lr=0.1 * (number + 1))
        run = make_run(tmp_path / "outputs" / f"day{number}", config, started=f"2026-11-2{number}T12:00:00")
        status = json.loads((run / "status.json").read_text()) | {"name": name}
        (run / "status.json").write_text(json.dumps(status))
    assert compare_command(["one", "last"]) == 0
    assert "optimizer.lr: 0.1, 0.2" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"there is no run 'tow'.*two"):
        compare_command(["one", "tow"])
    with pytest.raises(RunError, match="does not exist"):
        compare_command(["one", "outputs/nowhere"])


def named_run(path: Path, name: str) -> Path:
    """A run that calls itself so."""
    run = make_run(path, make_config())
    status = json.loads((run / "status.json").read_text()) | {"name": name}
    (run / "status.json").write_text(json.dumps(status))
    return run


def test_the_command_knows_sweeps_by_name_and_refuses_a_name_that_two_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = make_sweep(tmp_path / "outputs" / "sweeps" / "rates", ("adam",), (0.1, 0.01), 1)
    (sweep / "sweep.yaml").touch()
    assert compare_command(["rates"]) == 0
    assert "outputs/sweeps/rates/: results.csv" in capsys.readouterr().out
    for day in ("one", "two"):
        named_run(tmp_path / "outputs" / day / "0", "twin")
    with pytest.raises(RunError, match=r"'twin' is the name of 2.*\n  outputs/one/0\n  outputs/two/0"):
        compare_command(["twin"])
    named_run(tmp_path / "outputs" / "three", "rates")
    with pytest.raises(RunError, match=r"(?s)'rates' is the name of 2.*outputs/sweeps/rates.*outputs/three"):
        compare_command(["rates"])


@pytest.mark.parametrize("word", ["x" * 300, "outputs/" + "x" * 300])
def test_a_word_too_long_for_a_file_is_not_there(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"there is no run|does not exist"):
        compare_command([word])
    with pytest.raises(RunError, match=r"there is no run|does not exist"):
        report_command(word)


def test_a_folder_that_cannot_be_written_to(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison goes elsewhere, or nowhere if there is no such place either; a report is refused."""
    monkeypatch.chdir(tmp_path)
    read_only = [sweep]

    def write(path: Path, data: bytes) -> None:
        if any(path.is_relative_to(folder) for folder in read_only):
            raise PermissionError(13, "Permission denied")
        path.write_bytes(data)

    for module in ("compare", "html"):
        monkeypatch.setattr(f"dlrun.report.{module}.write_atomic", write)
    assert compare_command([sweep]) == 0
    said = capsys.readouterr()
    assert f"note: cannot write to {sweep}: Permission denied." in said.err
    assert "outputs/comparisons/" in said.out
    with pytest.raises(RunError, match=f"cannot write to {sweep}: Permission denied"):
        report_command(sweep)
    with pytest.raises(RunError, match=f"cannot write to {sweep}: Permission denied"):
        compare_command([sweep], sweep)
    read_only.append(Path("outputs"))
    assert compare_command([sweep]) == 0
    assert "results.csv" not in capsys.readouterr().out


def titles(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.axison]


def test_panels_of_a_sweep_over_optimizers_and_rates(sweep: Path, figures: list[Any]) -> None:
    compare([sweep], sweep)
    ranking, learning, steps, rates = figures[0].axes
    assert ranking.get_yticklabels()[0].get_text() == "adam lr=0.01 (n=2)"
    assert len(learning.collections) == 5, "a band for each group that finished"
    assert (steps.get_xlabel(), steps.get_ylabel(), steps.get_ylim()) == ("Steps", "Loss", (0, 0.2))
    assert [text.get_text().split(":")[0] for text in steps.get_legend().get_texts()] == ["adam", "sgd"]
    assert rates.get_xscale() == "log"
    assert [text.get_text() for text in rates.get_legend().get_texts()] == ["adam", "sgd", "sgd diverged"]


@pytest.mark.parametrize("low", [1.0, 0.05])
def test_losses_that_stay_high_are_not_cut_off(tmp_path: Path, figures: list[Any], low: float) -> None:
    for name, floor in {"sgd": 1.0, "momentum": 1.0, "adam": low}.items():
        config = make_config(optimizer=name)
        make_run(tmp_path / "runs" / name, config, floor=floor, steps=200, overrides=[f"optimizer={name}"])
    compare([tmp_path / "runs"], tmp_path / "out")
    steps = figures[0].axes[2]
    assert steps.get_ylabel() == "Loss"
    assert steps.get_ylim()[1] > 1.0


def test_no_curve_that_the_legend_names_is_cut_off(tmp_path: Path, figures: list[Any]) -> None:
    for name, floor in {"sgd": 0.25, "momentum": 0.05, "adam": 0.05, "rmsprop": 0.05}.items():
        config = make_config(optimizer=name)
        make_run(tmp_path / "runs" / name, config, floor=floor, steps=300, overrides=[f"optimizer={name}"])
    compare([tmp_path / "runs"], tmp_path / "out")
    steps = figures[0].axes[2]
    assert steps.get_ylim()[1] > max(steps.get_legend_handles_labels()[0][-1].get_ydata())


def test_points_of_the_rate_panel_stand_on_their_bars(sweep: Path, figures: list[Any]) -> None:
    compare([sweep], sweep)
    rates = figures[0].axes[3]
    assert len(rates.containers) == 2
    lines = [line for line in rates.get_lines() if line.get_label() in ("adam", "sgd")]
    for line, bars in zip(lines, rates.containers, strict=True):
        middles = [segment[:, 0].mean() for segment in bars[2][0].get_segments()]
        assert middles == pytest.approx(list(line.get_xdata()))
    assert lines[0].get_xdata()[0] < 0.001 < lines[1].get_xdata()[0]
    assert [text.get_text() for text in rates.get_xticklabels()] == ["0.001", "0.01", "0.1"]
    cross = next(line for line in rates.get_lines() if line.get_marker() == "x" and len(line.get_xdata()))
    values = [value for line in lines for value in line.get_ydata()]
    assert rates.transLimits.transform(rates.transScale.transform((0.01, max(values))))[1] < 0.94
    assert cross.get_ydata()[0] > 0.95


def test_the_ranking_spans_decades_whatever_the_intervals(tmp_path: Path, figures: list[Any]) -> None:
    for rate, floors in {0.1: (1.0, 1.8), 1.0: (30.0, 34.0), 10.0: (2400.0, 2500.0)}.items():
        for seed, floor in enumerate(floors):
            make_run(tmp_path / "runs" / f"{rate}-{seed}", make_config(optimizer__lr=rate, seed=seed), floor=floor)
    comparison = compare([tmp_path / "runs"], tmp_path / "out")
    best = comparison.groups[0].value
    assert best is not None
    assert best.low is not None
    assert best.low == 0, "a loss is not below it"
    ranking = figures[0].axes[0]
    assert ranking.get_xscale() == "log"
    assert 0.2 < ranking.get_xlim()[0] < 1.0
    assert [line.get_marker() for line in ranking.get_lines()].count("<") == 1


def test_a_heat_map_of_two_numbers(tmp_path: Path, figures: list[Any]) -> None:
    for width in (8, 16):
        for rate in (0.1, 0.2, 0.3):
            lost = (width, rate) == (8, 0.3)
            run = tmp_path / "runs" / f"{width}-{rate}"
            config = make_config(model__dropout=rate, trainer__batch_size=width)
            failure = {"state": "failed", "error": "no more", "kind": "diverged"} if lost else {}
            make_run(run, config, floor=rate + width, **failure)
    comparison = compare([tmp_path / "runs"], tmp_path / "out")
    assert heat_map_keys(comparison) == ("model.dropout", "trainer.batch_size")
    heat = figures[0].axes[-1 if figures[0].axes[-1].axison else -2]
    assert heat.images[0].get_array().shape == (2, 3)
    cells = [text.get_text() for text in heat.texts]
    assert cells[2] == "×"
    assert len(cells) == 6
    assert float(cells[0]) < float(cells[1])


def test_many_groups_stay_legible(tmp_path: Path, figures: list[Any]) -> None:
    for number in range(30):
        run_with(tmp_path / "runs" / f"{number}", trainer__batch_size=number + 1, dataset__val_fraction=0.01 * number)
    compare([tmp_path / "runs"], tmp_path / "out")
    ranking, learning = figures[0].axes[:2]
    assert len(ranking.get_yticks()) == panels.RANKED
    assert learning.get_legend() is None, "it would hide the curves"
    assert "colors as on the left" in learning.get_title(loc="left")
    dots = [line.get_color() for line in ranking.get_lines() if line.get_marker() == "o"]
    curves = [line.get_color() for line in learning.get_lines()][::-1]
    assert dots[: panels.COLORED + 1] == curves[: panels.COLORED + 1]
    assert len(set(dots)) == panels.COLORED + 1


def test_mean_curve_uses_the_points_that_all_runs_have() -> None:
    first = {"epoch": [1.0, 2.0, 3.0], "loss": [4.0, float("nan"), 2.0]}
    second = {"epoch": [1.0, 2.0, 3.0, 4.0], "loss": [2.0, 1.0, 4.0, 0.0]}
    x, mean, std = panels.mean_curve([first, second], "epoch", "loss")
    assert (x, mean) == ([1.0, 3.0], [3.0, 3.0])
    assert std == pytest.approx([2**0.5, 2**0.5])


def test_what_a_sweep_said_of_a_job_is_kept(sweep: Path) -> None:
    paths = [sweep / "jobs" / "adam-0.01-0", sweep / "jobs" / "adam-0.1-0"]
    write_results(sweep, [SweepEntry(path, {"arm": name}) for path, name in zip(paths, ("left", "right"), strict=True)])
    jobs = {job.row.path.name: job for job in compare([sweep]).jobs}
    assert len(jobs) == 12
    assert jobs["adam-0.1-0"].setting("arm") == "right"


# --- equal settings in other words ------------------------------------------------------------------------------------


def test_equal_settings_are_one_row_whatever_words_gave_them(tmp_path: Path) -> None:
    run_with(tmp_path / "a", ["optimizer=momentum", "seed=0"], optimizer="momentum")
    run_with(tmp_path / "b", ["optimizer=sgd", "optimizer.momentum=0.9", "seed=1"], optimizer="momentum", seed=1)
    two = compare([tmp_path])
    assert two.keys == ["seed"]
    assert [len(group.rows) for group in two.groups] == [2]
    run_with(tmp_path / "c", ["optimizer=sgd"], optimizer="sgd")
    run_with(tmp_path / "d", ["optimizer=adam"], optimizer="adam")
    labels = {compare([tmp_path]).label(group): len(group.rows) for group in compare([tmp_path]).groups}
    assert sorted(labels.values()) == [1, 1, 2]
    assert [label for label, rows in labels.items() if rows == 2] == ["momentum momentum=0.9"]


def test_an_option_and_its_keys_typed_out_are_one_row(tmp_path: Path) -> None:
    values = {"trainer__epochs": 1, "trainer__batch_size": 8}
    run_with(tmp_path / "a", ["trainer=smoke"], **values)
    run_with(tmp_path / "b", ["trainer.epochs=1", "trainer.batch_size=8", "seed=1"], seed=1, **values)
    comparison = compare([tmp_path])
    assert comparison.keys == ["seed"]
    assert [len(group.rows) for group in comparison.groups] == [2]


def test_rows_that_a_sweep_swept_are_one_where_they_are_equal(tmp_path: Path) -> None:
    """A sweep of an older version trained both."""
    rows = [
        SweepEntry(
            run_with(tmp_path / "jobs" / name, optimizer="momentum", seed=seed), {"optimizer": name, "seed": seed}
        )
        for seed, name in enumerate(("momentum", "sgd"))
    ]
    comparison = write_results(tmp_path, rows)
    assert [(comparison.label(group), len(group.rows)) for group in comparison.groups] == [("momentum", 2)]
    assert [row["optimizer"] for row in table(tmp_path)] == ["momentum", "momentum"]


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"device__threads": 2}, ["device.threads"]),
        ({"device__fast": False}, ["device.fast"]),
        ({"dataset__workers": 2}, ["dataset.workers"]),
        ({"checkpoint__monitor": "val_accuracy"}, ["checkpoint.monitor"]),
        ({"trainer__max_steps": 5}, ["trainer.max_steps"]),
        ({"freeze": ["a*"]}, ["freeze"]),
        ({"device__name": "cuda"}, []),
        ({"trainer__print_every": 3}, []),
        ({"trainer__profile": True}, []),
        ({"logger": {"name": "jsonl"}}, []),
        ({"checkpoint__keep": 7}, []),
        ({"sweep__of_a_later_version": 1}, []),
        ({"trainer__of_a_later_version": 1}, ["trainer.of_a_later_version"]),
    ],
)
def test_a_key_has_a_column_by_what_it_changes(change: dict[str, Any], keys: list[str], tmp_path: Path) -> None:
    assert keys_of(run_with(tmp_path / "a"), run_with(tmp_path / "b", **change)) == keys


def test_a_key_that_came_later_has_its_default(tmp_path: Path) -> None:
    old = run_with(tmp_path / "old")  # has no `accumulate`
    assert keys_of(old, run_with(tmp_path / "new", trainer__accumulate=1)) == []
    assert keys_of(old, run_with(tmp_path / "other", trainer__accumulate=2)) == ["trainer.accumulate"]


def test_swept_keys_are_told_apart_whatever_they_change(tmp_path: Path) -> None:
    rows = [
        SweepEntry(run_with(tmp_path / "jobs" / name, device__name=name), {"device": name}) for name in ("cpu", "cuda")
    ]
    assert sorted(map(len, (group.rows for group in write_results(tmp_path, rows).groups))) == [1, 1]
