"""What `dlrun COMMAND --help` says beside the usage line: what the command does, its flags, examples."""

from __future__ import annotations

RUN = "RUN is a run directory, a run's name (run.name), or `last`, the newest run that is no sweep's job."

MANUAL = {
    "list": """\
Prints every option with a line on what it is. Without a word all groups are listed.

examples:
  dlrun list models
  dlrun list experiments          with the figures to expect of each""",
    "explain": """\
Says what a key means, what it accepts, its present value and the file or word that set it; for a group its
options, for GROUP=OPTION the keys of that option. Overrides are applied first.

examples:
  dlrun explain optimizer.lr
  dlrun explain scheduler=cosine
  dlrun explain trainer.epochs experiment=mnist_mlp""",
    "show": """\
Prints shapes, labels and samples of the data set, and draws images, from the configuration alone.

flags:
  --count N        samples to show (20)
  --output FILE    where the picture is written

examples:
  dlrun show dataset=mnist --count 30 --output digits.png""",
    "summary": """\
Builds the model for the data and prints a table of its layers: name, type, output shape, parameters.

examples:
  dlrun summary model=resnet dataset=mnist""",
    "resume": f"""\
Goes on from the newest whole checkpoint, exactly as if nothing had happened. Overrides may change what does not
change the result (device, threads, printing, checkpoints) and may make the run longer.
{RUN}

flags:
  --schedule HOW           how the learning-rate schedule of a longer run goes on, where it depends on the length:
                           stretch (computed for the new length, from where it stands), hold (it ends as planned, and
                           its last rate stays) or restart (it begins again, over the epochs that are left)
  --force KEY=VALUE ...    change something else all the same

examples:
  dlrun resume last
  dlrun resume last trainer.epochs=40 --schedule stretch
  dlrun resume outputs/2026-11-21/14-22-56-mlp-digits trainer.epochs=40""",
    "rerun": f"""\
Trains the configuration of a run, or of a config.yaml, from the beginning in a new directory. Overrides change it.
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
Runs the step that failed again (it is kept in RUN/crash.pt) and names the first layer whose values are not finite.
{RUN}

examples:
  dlrun replay last""",
    "runs": """\
Lists the runs below outputs, the newest first. A FILTER is a part of a name, status, model or dataset, or compares
a column, a configuration key or a key of summary.json: KEY=GLOB, KEY>NUMBER, KEY<=NUMBER. All filters must hold; a
key that is filtered or sorted by is shown as a column.

flags:
  --sort KEY     by a column or key; -KEY turns the order round; `metric` puts the best first
  --limit N      show so many
  --root DIR     look there instead of outputs

examples:
  dlrun runs status=finished 'test.accuracy>0.9' --sort test.accuracy
  dlrun runs optimizer.lr=0.1 --limit 10""",
    "compare": f"""\
Prints a table of runs or sweeps: what differs between them, what was reached, with intervals over seeds, and
writes figures beside it. A DIR is a sweep or any folder of runs. {RUN}

flags:
  --output DIR    where table and figures are written

examples:
  dlrun compare outputs/sweeps/optimizer
  dlrun compare last outputs/2026-11-21/14-22-56-mlp-digits""",
    "report": """\
Writes report.html into a run directory or a sweep's folder: one page that needs no network.

examples:
  dlrun report last""",
    "sweep": """\
  status DIR    the state of every job, and how each failed one is run alone
  retry DIR     run what failed or was not finished, as it was frozen
  stop DIR      end a running sweep: its jobs write checkpoints

examples:
  dlrun sweep status outputs/sweeps/optimizer""",
}
