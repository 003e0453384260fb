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
    "inspect": """\
Reads a table (CSV, TSV, JSON lines, parquet; packed, several, or by a pattern), a CSV of texts and labels, or a folder
of images, and prints what is in it and the command that trains on it. Nothing is changed or left out.

A table: its columns with their types and why, missing cells, distinct values, range, examples; the balance of the
target; rows that repeat an earlier one; columns that give the target away (a small decision tree on such a column alone
predicts it nearly always) and columns of groups (values repeat, and the target is constant within each).
Images: sizes, modes, broken files, the balance of classes, images that are there twice, also in train, val and test.

flags:
  --target NAME    the column to predict (the likely one: by its header, else the last)
  --json           print one JSON object

Keys of dataset=table say how a table is read: dataset.delimiter, dataset.header, dataset.encoding, dataset.types.

examples:
  dlrun inspect houses.csv --target price
  dlrun inspect 'logs/*.csv' 'dataset.types={when: dmy}'
  dlrun inspect pictures/""",
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
    "evaluate": f"""\
Measures the model of a run on a part of its data, or on other data of the same kind, and writes tables, figures and a
prediction for every row into RUN/evaluations/NAME. A sweep stands for its best job. {RUN}

flags:
  --split PART         test, val or train (test, where the data have it)
  --checkpoint WHICH   best, last or a path (best)
  --threshold P        probability from which the second of two classes, or a tag, is the answer; best: the one with the
                       best F1 on validation that an earlier evaluation found
  --name NAME          of the folder (the part, or where other data are from)
  --json               print what evaluation.json holds

dataset.test_path=PATH evaluates on a file or folder with labels, through the run's own labels and preprocessing; other
dataset.* keys change the run's own data set. How often test was evaluated is counted.

examples:
  dlrun evaluate last
  dlrun evaluate last --split val --checkpoint last
  dlrun evaluate last dataset.test_path=~/more-names.csv""",
    "predict": f"""\
Says what the model of a run answers to new inputs, in their order: labels and probabilities, values in the units of the
data, tags, masks. A sweep stands for its best job. {RUN}

INPUT is, as the data set of the run has it:
  a text (a name), or numbers with commas between (5.1,3.5,1.4,0.2)
  an image, or a folder of images, of any size, color or format
  a file: .csv, .tsv, .txt (a line an input), .npy or .npz (arrays as stored), each of the first three also as .gz
  - or nothing: lines of standard input

flags:
  --checkpoint WHICH   best, last or a path (best)
  --output FILE        write FILE.csv, or FILE.jsonl with a JSON object a line, instead of printing
  --json               print JSON lines
  --top N              classes that are told (3)
  --threshold P        probability from which the second of two classes, or a tag, is the answer (0.5); best: the one
                       that `dlrun evaluate` found on validation
  --batch-size N       rows at a time (256)
  --invert             images are dark on white, and those of the training are not
  --images DIR         where masks and reconstructions are written (RUN/predictions)

Inputs that cannot be used are named, do not stop the rest, and make the exit code 3.

examples:
  dlrun predict last Satoshi "O'Neill"
  dlrun predict last digits/ --output predictions.csv
  cat names.txt | dlrun predict outputs/sweeps/optimizer --json device=cuda""",
    "eject": f"""\
Writes a run as one file of plain PyTorch, as it would be written by hand: the modules of its model, its data with split
and transforms, the loop, the evaluation. The file needs torch, numpy and what reads the data, and trains from the first
step. Before it is written, its rows and first weights are compared with the run's.
{RUN}

What cannot be written out yet (augmentation, groups, reduced precision, plug-ins, ...) is refused by name.

flags:
  -o, --output FILE    the file (train.py)
  --check              train both for the first 50 steps on one thread of the CPU: their losses must be equal
                       to the bit, else the exit code is 3 and nothing is written
  --overwrite          replace a file that is there

examples:
  dlrun eject last
  dlrun eject last -o plain.py --check""",
    "export": f"""\
Writes the model of a run as a file that is used without dlrun: raw pixels, codes or numbers in, probabilities (or
values in the units of the target) out. Preprocessing and softmax are in the file; labels, vocabulary, sizes and the
run's identity stand in its metadata. The number of rows is free, and the length of texts. A sweep stands for its best
job.
{RUN}

The file is run again in a fresh process on up to 256 test rows and compared with the model; if it answers otherwise,
there is no file, and the exit code is 3.

flags:
  --format FORMAT      onnx (needs `pip install 'dlrun[onnx]'`), pt2 (torch.export), or the weights alone: safetensors,
                       state-dict (what the ending of FILE says, else onnx)
  -o, --output FILE    the file (RUN/model.onnx, ...)
  --overwrite          replace the file if it exists
  --logits             the outputs before softmax or sigmoid
  --checkpoint WHICH   best, last or a path (best)

Recurrent networks can be onnx or weights, rnn_cell weights only. dataset.* says where the data are, if they have moved.

examples:
  dlrun export last
  dlrun export last --format pt2 --output digits.pt2
  dlrun export outputs/sweeps/optimizer --output best.onnx --logits""",
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
Prints a table of runs or sweeps: the settings that differ, the results with intervals over seeds, and which settings
differ by tests of the seeds that they share. Writes results.csv (a row for each run, with the columns option.* of its
setting), pairs.csv and a figure. A DIR is a sweep or any folder of runs. {RUN}

flags:
  --output DIR    the folder for the tables and the figure
  --json          print all of it as JSON
  --latex         print the table for a paper (LaTeX with the package booktabs)

examples:
  dlrun compare outputs/sweeps/optimizer
  dlrun compare last outputs/2026-11-21/14-22-56-mlp-digits""",
    "report": """\
Writes report.html into a run directory or a sweep's folder: one self-contained page with results, curves, mistakes,
evaluations, and how to repeat and use it.

flags:
  --card    write the facts of a run as a model card in Markdown, model-card.md, instead

examples:
  dlrun report last
  dlrun report last --card""",
    "cache": """\
Says how many encoded tables are kept, how large they are and where; `clear` removes them. A table is kept where
dataset.cache=true, under a hash of its files, its options and the version of dlrun.

examples:
  dlrun cache
  dlrun cache clear""",
    "sweep": """\
  status DIR    print the state of every job, and the command that runs each failed one alone
  retry DIR     run failed and unfinished jobs as they were frozen
  stop DIR      end a running sweep, whose jobs write checkpoints

examples:
  dlrun sweep status outputs/sweeps/optimizer""",
}
