"""model-card.md: the facts of a run's page in Markdown, to go with the model."""

from __future__ import annotations

from dlrun.plain import Values
from dlrun.report import facts
from dlrun.report.evaluation import evaluation_tables
from dlrun.report.page import render
from dlrun.report.run_page import result_table
from dlrun.report.tables import Table, format_value
from dlrun.store.evaluations import evaluations
from dlrun.store.reader import StoredRun
from dlrun.store.rundir import RunDir

CARD = "model-card.md"
SECTIONS = ("model", "dataset", "loss", "optimizer", "scheduler", "trainer", "device", "seed")
PYTHON = """\
import dlrun

run = dlrun.load_run({})
print(run.predict({}))"""
LIMITS = ("The numbers above are measured on rows of this data set; they say nothing of data of other kinds.",)


def model_card(run: StoredRun) -> str:
    """The model card of a run."""
    newest: list[tuple[str, Values]] = [(folder.name, values) for folder, values in evaluations(RunDir(run.path))[:1]]
    tables: list[Table] = [table for _, values in newest for table in evaluation_tables(values)]
    remarks = [*(run.summary.get("remarks") or []), *(r for _, values in newest for r in values.get("remarks") or [])]
    return render(
        "card.md.j2",
        title=run.title,
        sentence=facts.sentence(run),
        state=run.state,
        result=result_table(run),
        evaluation=newest[0][0] if newest else "",
        tables=tables,
        settings=[(key, format_value(value)) for key, value in run.flat.items() if key.split(".")[0] in SECTIONS],
        surroundings=facts.surroundings(run),
        limits=[*dict.fromkeys(map(str, remarks)), *LIMITS],
        commands="\n\n".join(f"# {what}\n{command}" for what, command in facts.commands(run)),
        python=PYTHON.format(repr(str(run.path)), facts.example_inputs(run)[1]),
        usable=RunDir(run.path).last.is_file(),
    )
