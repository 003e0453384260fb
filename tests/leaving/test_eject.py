"""`dlrun eject`: a run as one plain PyTorch file, whose losses are the run's to the bit."""

from __future__ import annotations

import ast
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlrun
from dlrun import cli
from dlrun.config.config import Config
from dlrun.errors import CheckFailed, ConfigError
from dlrun.leaving import proof
from dlrun.leaving.eject import Ejected, eject
from dlrun.leaving.proof import compare_steps, expect_same_start, import_file, steps_of_run

ROOT = Path(__file__).parents[2]
SMALL = ["dataset=iris", "model.hidden=[8]", "trainer.batch_size=16", "trainer.epochs=7"]
DROPPED = "model.layers=[flatten,{linear:{out:16}},relu,{dropout:0.2},{linear:{out:auto}}]"
BRANCHED = (
    "model.layers=[{name:conv1,conv2d:{out:8,kernel_size:3,padding:1}},relu,{add:[[{conv2d:{out:8,kernel_size:3,"
    "padding:1}},relu],[]]},{concat:[[{conv2d:{out:4,kernel_size:1}}],[{max_pool2d:{kernel_size:3,stride:1,padding:1}}]]}"
    ",flatten,{linear:{out:auto}}]"
)
MODELS = [
    "model=linear dataset=iris",
    "model=mlp model.hidden=[32,16] model.batch_norm=true model.dropout=0.3 model.activation=[gelu,tanh]",
    "model=cnn model.batch_norm=true model.dropout=0.2",
    "model=cnn model.channels=[4,8,8] model.kernels=[3,1,3] model.strides=[1,1,2] model.pool=[2,1,1] "
    "model.pool_type=avg model.global_pool=true model.head=[]",
    "model=vgg model.channels=[8,M,8]",
    "model=vgg model.channels=[8,M,8] model.batch_norm=true model.taps=[1,3] model.dropout=0.1",
    "model=resnet model.channels=[4,8]",
    "model=resnet model.channels=[4,8] model.transition=pool model.batch_norm=false model.blocks=2",
    f"model=sequential {BRANCHED}",
    f"model=sequential {DROPPED}",
    "model=rnn dataset=names model.nonlinearity=relu",
    "model=lstm dataset=names model.bidirectional=true model.num_layers=2 model.dropout=0.2",
    "model=gru dataset=names model.embedding=null",
    "model=gru dataset=names model.output=hidden",
]
DATA = [
    "dataset=digits dataset.val_fraction=0",
    "dataset=digits dataset.test_fraction=0",
    "dataset=breast_cancer",
    "dataset=breast_cancer dataset.split=file_order dataset.standardize=false",
    "dataset=breast_cancer loss=bce_with_logits",
    "dataset=breast_cancer loss=bce model.output_activation=sigmoid",
    "dataset=wine",
    "dataset=diabetes",
    "dataset=diabetes loss=huber loss.delta=0.5 dataset.standardize_target=false dataset.standardize=false",
    "dataset=diabetes loss=mae checkpoint.monitor=val_mae",
    "dataset=iris loss=nll model.output_activation=log_softmax",
    "dataset=iris loss=cross_entropy loss.label_smoothing=0.1",
]
NAMES = [
    "dataset.train_path={0}/train.csv",
    "dataset.train_path={0}/train.csv dataset.test_path={0}/test.csv.gz dataset.vocabulary=ascii",
    "dataset.train_path={0}/train.csv dataset.ascii=false dataset.val_fraction=0",
]
FOLDERS = [
    "dataset.path={0}/whole",
    "dataset.path={0}/parts dataset.color=grey",
    "dataset.path={0}/whole dataset.val_fraction=0 dataset.mean=[0.1,0.2,0.3] dataset.std=[0.5,0.6,0.7]",
    "dataset.train_path={0}/whole dataset.test_path={0}/parts/test dataset.in_memory=false",
]
MNIST = ["dataset=mnist", "dataset=mnist dataset.limit=20", "dataset=fashion_mnist dataset.val_fraction=0"]
OPTIMIZERS = [
    *(f"optimizer={name}" for name in ("sgd", "momentum", "nesterov", "rmsprop", "adamw", "adamax", "nadam", "radam")),
    *(f"optimizer={name}" for name in ("adagrad", "adadelta", "asgd", "rprop", "lbfgs")),
    "optimizer=adam optimizer.amsgrad=true optimizer.weight_decay=0.01 optimizer.betas=[0.8,0.9] optimizer.eps=1e-7",
    "optimizer=lbfgs optimizer.line_search=strong_wolfe trainer.clip_norm=1",
]
SCHEDULES = [
    "step scheduler.step_size=1",
    "step scheduler.first_epoch=0 scheduler.step_size=2",
    "multistep scheduler.milestones=[1,3]",
    "exponential",
    "cosine",
    "cosine scheduler.interval=step",
    "cosine scheduler.total_epochs=3",
    "warmup_cosine",
    "warmup_cosine scheduler.warmup_epochs=0.5 scheduler.total_epochs=4",
    "linear",
    "polynomial scheduler.interval=step",
    "onecycle",
    "onecycle optimizer=momentum",
    "cyclic",
    "cyclic optimizer=momentum scheduler.epochs_down=0.5 scheduler.mode=exp_range scheduler.gamma=0.99",
    "plateau scheduler.patience=0",
    "plateau checkpoint.monitor=val_accuracy scheduler.patience=0 scheduler.threshold=0.01",
]
TRAINERS = [
    "trainer.clip_norm=0.5",
    "trainer.accumulate=3",
    "trainer.accumulate=2 trainer.clip_norm=0.1 scheduler=cosine scheduler.interval=step",
    "trainer.early_stop.patience=1 optimizer.lr=1",
    "trainer.early_stop.patience=2 trainer.early_stop.min_delta=0.05",
    "trainer.eval_every=3",
    "trainer.eval_every=3 trainer.early_stop.patience=1 scheduler=plateau scheduler.patience=0",
    "trainer.batch_size=full",
    "trainer.shuffle=false",
    "trainer.max_steps=9",
    "trainer.stop_at_loss=1",
    "checkpoint.monitor=val_accuracy",
    "seed=7",
]


def made(words: list[str], folder: Path) -> tuple[Ejected, Path]:
    """The file of a configuration, whose rows and first weights are the run's."""
    ejected = eject(dlrun.compose(words), title="A run in plain PyTorch.", file="train.py")
    path = folder / "train.py"
    path.write_text(ejected.text, encoding="utf-8")
    for name, source in ejected.files.items():
        (folder / name).write_bytes(source.read_bytes())
    expect_same_start(path, ejected.components)
    return ejected, path


def expect_same_steps(words: list[str], folder: Path) -> Path:
    """The losses of the first 50 steps and of the evaluations are equal; the file is formatted, and stands alone."""
    ejected, path = made(words, folder)
    steps = min(proof.STEPS, ejected.components.plan.max_steps or proof.STEPS)
    losses, measured = steps_of_run(ejected.components, steps)
    _, own_losses, own_measured = import_file(path).train(import_file(path).load_data(), max_steps=steps)
    assert (own_losses, own_measured) == (losses, measured)
    assert losses
    assert measured
    expect_plain(path)
    return path


def expect_plain(path: Path) -> None:
    """Formatted and sorted as the project is, no unused import, and no dlrun, Hydra or OmegaConf in it."""
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    for words in (["format", "--diff"], ["check", "--select", "E,F,I,UP"]):
        done = subprocess.run([*ruff, *words, "--config", str(ROOT / "pyproject.toml"), str(path)], capture_output=True)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {str(name).split(".")[0] for name in imported} & {"dlrun", "hydra", "omegaconf"}


def short(words: str) -> str:
    return re.sub(r"(model|dataset|trainer|optimizer|scheduler)[.=]", "", words)[:50]


def test_an_mlp_on_digits_is_the_same_to_the_bit_in_200_lines(tmp_path: Path) -> None:
    path = expect_same_steps(["model.dropout=0.2"], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert "Rumelhart" in text
    assert "https://arxiv.org/abs/1412.6980" in text  # Adam


@pytest.mark.parametrize("words", ["trainer.accumulate=3 scheduler=onecycle", TRAINERS[6]], ids=short)
def test_the_loop_is_the_same(words: str, tmp_path: Path) -> None:
    path = expect_same_steps([*SMALL, "device.threads=2", *words.split()], tmp_path)
    assert "    torch.set_num_threads(2)\n" in path.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("words", [*TRAINERS, *OPTIMIZERS, *(f"scheduler={words}" for words in SCHEDULES)], ids=short)
def test_every_optimizer_schedule_and_key_of_the_loop(words: str, tmp_path: Path) -> None:
    expect_same_steps([*SMALL, *words.split()], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("words", MODELS, ids=short)
def test_every_model(words: str, tmp_path: Path) -> None:
    expect_same_steps(["trainer.batch_size=128", "trainer.epochs=5", *words.split()], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("words", DATA, ids=short)
def test_every_data_set_of_scikit_learn(words: str, tmp_path: Path) -> None:
    expect_same_steps(["model.hidden=[8]", *words.split()], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("words", MNIST, ids=short)
def test_mnist(words: str, tmp_path: Path, mnist_root: Path) -> None:
    expect_same_steps(["model.hidden=[8]", *words.split(), f"dataset.root={mnist_root}"], tmp_path)


@pytest.mark.parametrize("words", [NAMES[0], *(pytest.param(w, marks=pytest.mark.slow) for w in NAMES[1:])], ids=short)
def test_names_of_files_with_columns_and_marks(words: str, tmp_path: Path) -> None:
    rows = [f"Řeh{chr(97 + i)}{chr(98 + i)};Czech" for i in range(15)] + [
        f"Mac{chr(97 + i)};Scottish" for i in range(12)
    ]
    lines = ["nr;surname;country", *(f"{i};{row}" for i, row in enumerate(rows))]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    test = "".join(f"Ře{chr(97 + i)},Czech\nMac{chr(97 + i)}k,Scottish\n" for i in range(5))
    (tmp_path / "test.csv.gz").write_bytes(gzip.compress(test.encode()))
    given = words.format(tmp_path).split()
    expect_same_steps(["model=gru", "model.hidden_size=8", "dataset=names", "trainer.batch_size=8", *given], tmp_path)


@pytest.mark.parametrize(
    "words", [FOLDERS[0], *(pytest.param(w, marks=pytest.mark.slow) for w in FOLDERS[1:])], ids=short
)
def test_folders_of_images_of_every_kind(words: str, tmp_path: Path) -> None:
    for place in ("whole", "parts/train", "parts/val", "parts/test"):
        draw_pictures(tmp_path / place)
    given = [*words.format(tmp_path).split(), "dataset.size=[9,12]", "trainer.batch_size=8"]
    expect_same_steps(["model=cnn", "model.channels=[4]", "dataset=image_folder", *given], tmp_path)


def draw_pictures(folder: Path) -> None:
    """Two classes, with a folder in one, a hidden file, a turned and a transparent picture."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name / "more").mkdir(parents=True)
        (folder / name / ".hidden.png").write_bytes(b"no image")
        for i in range(8):
            pixels = random.integers(0, 255, (20, 17, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(
                folder / name / ("more" if i % 4 == 0 else ".") / f"{i}.{('png', 'jpg')[i % 2]}"
            )
    Image.fromarray(random.integers(0, 255, (9, 9, 4), dtype=np.uint8)).save(folder / "cat" / "clear.PNG")
    turned = Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "dog" / "turned.jpg", exif=exif)


def test_what_it_measures_is_what_evaluate_says(tmp_path: Path) -> None:
    words = [*SMALL, "trainer.early_stop.patience=2", "device=cpu", "device.threads=1", "device.fast=false"]
    run = dlrun.train([*words, f"run.dir={tmp_path / 'run'}"])
    _, path = made(words, tmp_path)
    module = import_file(path)
    data = module.load_data()
    model, _, _ = module.train(data)
    loss, accuracy = module.evaluate(model, data["test"])
    found = run.evaluate("test")["metrics"]
    assert (loss, accuracy) == (found["loss"], found["accuracy"])
    assert model.state_dict().keys() == run.model().state_dict().keys()  # a checkpoint of the run's can be loaded


@pytest.fixture
def a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    dlrun.train([*SMALL, "trainer.epochs=1", "device=cpu", "run.dir=a"])
    return tmp_path


def test_the_command_writes_a_file_and_never_over_another_one(a_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eject", "a", "-o", "plain.py"]) == 0
    out = capsys.readouterr().out
    text = Path("plain.py").read_text(encoding="utf-8")
    assert f"plain.py: {len(text.splitlines())} lines" in out
    assert "python plain.py" in out
    assert "the run a of dlrun" in text
    assert cli.main(["eject", "a", "-o", "plain.py"]) == 0  # the same again
    Path("plain.py").write_text("# mine\n")
    capsys.readouterr()
    assert cli.main(["eject", "a", "-o", "plain.py"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert Path("plain.py").read_text() == "# mine\n"
    assert cli.main(["eject", "a", "-o", "plain.py", "--overwrite"]) == 0
    assert Path("plain.py").read_text(encoding="utf-8") == text
    for output in ("plain.txt", "nowhere/plain.py"):
        assert cli.main(["eject", "a", "-o", output]) == 2
        assert output in capsys.readouterr().err or "nowhere" in output


@pytest.mark.slow
def test_the_check_in_a_process_of_its_own(a_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eject", "a", "--check"]) == 0
    assert "checked: the losses of 6 steps and 1 evaluation equal dlrun's to the bit" in capsys.readouterr().out
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-P", "train.py"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "test of the best epoch: loss" in done.stdout


def test_a_file_that_differs_is_told_by_its_first_step(
    a_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_this_process(file: Path, steps: int) -> tuple[list[float], list[float]]:
        text = file.read_text(encoding="utf-8").replace("lr=0.001", "lr=0.002")
        file.write_text(text, encoding="utf-8")
        _, losses, measured = import_file(file).train(import_file(file).load_data(), max_steps=steps)
        return losses, measured

    monkeypatch.setattr(proof, "steps_of_file", in_this_process)
    assert cli.main(["eject", "a", "--check"]) == 3
    assert "step 2 differs" in capsys.readouterr().err
    assert not Path("train.py").exists()


def test_other_rows_and_other_weights_are_seen_before_a_file_is_written(tmp_path: Path) -> None:
    ejected, path = made(SMALL, tmp_path)
    for old, new, key in (('0.2, "val"', '0.3, "val"', "dataset val"), ("nn.ReLU()", "nn.Tanh()", "model")):
        assert old in ejected.text
        path.write_text(ejected.text.replace(old, new), encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            expect_same_start(path, ejected.components)
        assert key in [problem.key for problem in caught.value.problems]


def test_evaluations_are_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ejected, path = made(SMALL, tmp_path)
    losses, measured = steps_of_run(ejected.components, 50)
    fresh, _ = made(SMALL, tmp_path)
    monkeypatch.setattr(proof, "steps_of_file", lambda file, steps: (losses, [*measured[:-1], measured[-1] + 1e-9]))
    with pytest.raises(CheckFailed, match=f"evaluation {len(measured)} differs"):
        compare_steps(path, fresh.components)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("model=fusion dataset=scenes", ["model", "dataset"]),
        ("dataset=mnist dataset.task=reconstruction", ["dataset.task"]),
        ("dataset=mnist dataset.classes=[1,2]", ["dataset.classes"]),
        ("dataset=names model=gru dataset.source=pytorch", ["dataset.source"]),
        ("dataset=image_folder model=cnn dataset.augment=[random_horizontal_flip]", ["dataset.augment"]),
        ("dataset=table dataset.path=x.csv dataset.folds=5", ["dataset"]),
        ("init_from=last freeze=[body.*]", ["init_from", "freeze"]),
        ("optimizer.groups=[{match:head.*,lr:0.1}]", ["optimizer.groups"]),
        ("optimizer.decay_norm_and_bias=false", ["optimizer.decay_norm_and_bias"]),
        ("device.precision=bf16 trainer.max_batches=3", ["device.precision", "trainer.max_batches"]),
        ("loss=cross_entropy loss.weight=balanced loss.reduction=sum", ["loss.weight", "loss.reduction"]),
        ("trainer=overfit_one_batch", ["trainer.overfit"]),
        ("checkpoint.monitor=val_macro_f1", ["checkpoint.monitor"]),
        ("dataset.val_fraction=0 dataset.test_fraction=0", ["dataset.val_fraction"]),
    ],
)
def test_what_is_not_covered_is_refused_by_name_all_at_once(words: str, named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        eject(dlrun.compose(words.split()), title="", file="train.py")
    assert set(named) <= {problem.key for problem in caught.value.problems}
    assert all(problem.message for problem in caught.value.problems)


def test_a_plug_in_is_refused_by_name(tmp_path: Path) -> None:
    values = dlrun.compose([]).to_dict() | {"plugins": ["my_net.py"]}
    with pytest.raises(ConfigError, match=r"plugins: .*my_net.py"):
        eject(Config.checked(values), title="", file="train.py")


def test_a_name_cannot_break_out_of_the_docstring(tmp_path: Path) -> None:
    ejected = eject(dlrun.compose(SMALL), title='a""" + exit() + """\\', file='x"""y.py')
    assert ast.get_docstring(ast.parse(ejected.text))
    assert "exit()" not in ejected.text.split('"""')[2]
