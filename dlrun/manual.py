"""The texts of `dlrun COMMAND --help` below the usage line: what the command does, its flags, examples."""

from __future__ import annotations

RUN = "RUN is a run directory, a run's name (run.name), or `last`, the newest run outside of sweeps."

MANUAL = {
    "list": """\
Prints every option with a line that describes it. Without an argument all groups are listed.

examples:
  dlrun list models
  dlrun list experiments          with the figures to expect of each""",
    "explain": """\
Prints what a key means, what it accepts, its present value and the file or override that set it; for a group its
options, for GROUP=OPTION the keys of that option. Overrides are applied first.

examples:
  dlrun explain optimizer.lr
  dlrun explain scheduler=cosine
  dlrun explain trainer.epochs experiment=mnist_mlp""",
    "show": """\
Prints shapes, labels and samples of the data set, and draws images, from the configuration alone.

flags:
  --count N        samples to show (20)
  --output FILE    the file that is written

examples:
  dlrun show dataset=mnist --count 30 --output digits.png""",
    "summary": """\
Builds the model for the data and prints a table of its layers: name, type, output shape, parameters.

examples:
  dlrun summary model=resnet dataset=mnist""",
    "resume": f"""\
Resumes a run from its newest whole checkpoint, with the same result as without the interruption. Overrides may change
what does not change the result (device, threads, printing, checkpoints) and may make the run longer.
{RUN}

flags:
  --schedule HOW           how the learning-rate schedule of a longer run continues, if it depends on the length:
                           stretch (computed for the new length, from the present step), hold (it ends as planned,
                           then its last rate stays) or restart (it begins again, over the remaining epochs)
  --force KEY=VALUE ...    change a key that changes the result

examples:
  dlrun resume last
  dlrun resume last trainer.epochs=40 --schedule stretch
  dlrun resume outputs/2026-11-21/14-22-56-mlp-digits trainer.epochs=40""",
    "rerun": f"""\
Trains the configuration of a run or of a config.yaml again in a new directory. Overrides change it.
{RUN}

examples:
  dlrun rerun last seed=1
  dlrun rerun outputs/2026-11-21/14-22-56-mlp-digits/config.yaml optimizer.lr=0.1""",
    "verify-resume": """\
Trains the configuration once without interruption and once killed and resumed several times, and compares both bit
for bit. Exit code 3 if they differ.

examples:
  dlrun verify-resume experiment=names_gru trainer=smoke""",
    "replay": f"""\
Repeats the step that failed, which is stored in RUN/crash.pt, and names the first layer whose values are not finite.
{RUN}

examples:
  dlrun replay last""",
    "runs": """\
Lists the runs below outputs, the newest first. A FILTER is a part of a name, status, model or dataset, or compares
a column, a configuration key or a key of summary.json: KEY=GLOB, KEY>NUMBER, KEY<=NUMBER. All filters must hold; a
key that is filtered or sorted by is shown as a column.

flags:
  --sort KEY     by a column or key; -KEY reverses the order; `metric` puts the best first
  --limit N      the number of runs to show
  --root DIR     the folder to search instead of outputs

examples:
  dlrun runs status=finished 'test.accuracy>0.9' --sort test.accuracy
  dlrun runs optimizer.lr=0.1 --limit 10""",
    "compare": f"""\
Prints a table of runs or sweeps: the settings that differ, and the results with intervals over seeds. Writes it with
a figure. A DIR is a sweep or any folder of runs. {RUN}

flags:
  --output DIR    the folder for the table and the figure

examples:
  dlrun compare outputs/sweeps/optimizer
  dlrun compare last outputs/2026-11-21/14-22-56-mlp-digits""",
    "report": """\
Writes report.html into a run directory or a sweep's folder: one self-contained page.

examples:
  dlrun report last""",
    "sweep": """\
  status DIR    print the state of every job, and the command that runs each failed one alone
  retry DIR     run failed and unfinished jobs as they were frozen
  stop DIR      end a running sweep, whose jobs write checkpoints

examples:
  dlrun sweep status outputs/sweeps/optimizer""",
}
