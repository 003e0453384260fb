"""Names of options, keys and commands in other tools, and what dlrun calls them: for hints in error messages.

Names are compared without case, `_` and `-`, so that `AdamW`, `adam_w` and `reduce_on_plateau` are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dlrun.errors import did_you_mean

OPTIONS = {  # by group: names of options in other tools, and the overrides that choose them in dlrun
    "device": {"gpu": "device=cuda", "nvidia": "device=cuda", "metal": "device=mps"},
    "model": {
        "torchvision": "model=torchvision model.arch=resnet18",
        **dict.fromkeys(("nn", "ann", "dense", "fc", "fnn", "dnn", "perceptron"), "model=mlp"),
        **dict.fromkeys(("convnet", "lenet", "conv"), "model=cnn"),
        **dict.fromkeys(("logistic", "logisticregression", "regression"), "model=linear"),
        **dict.fromkeys(("bigru", "bidirectionalgru"), "model=gru model.bidirectional=true"),
        **dict.fromkeys(("bilstm", "bidirectionallstm"), "model=lstm model.bidirectional=true"),
    },
    "dataset": {
        **dict.fromkeys(("imagefolder", "folder", "images", "directory"), "dataset=image_folder dataset.path=FOLDER"),
        "cancer": "dataset=breast_cancer",
        **dict.fromkeys(("housing", "california"), "dataset=diabetes"),
    },
    "optimizer": {
        **dict.fromkeys(("nag", "nesterovsgd"), "optimizer=nesterov"),
        **dict.fromkeys(("sgdmomentum", "sgdm"), "optimizer=momentum"),
    },
    "scheduler": {
        **dict.fromkeys(("reduceonplateau", "reducelronplateau"), "scheduler=plateau"),
        **dict.fromkeys(("cosineannealing", "cosineannealinglr"), "scheduler=cosine"),
        **dict.fromkeys(("warmup", "linearwarmup", "cosinewarmup", "warmupcosine"), "scheduler=warmup_cosine"),
        **dict.fromkeys(("constant", "fixed", "constantlr"), "scheduler=none"),
        **{f"{name}lr": f"scheduler={name}" for name in ("step", "exponential", "onecycle", "cyclic", "linear")},
        **{
            "multisteplr": "scheduler=multistep",
            "polynomiallr": "scheduler=polynomial",
            "poly": "scheduler=polynomial",
        },
    },
    "loss": {
        **dict.fromkeys(("ce", "xent", "crossentropyloss", "softmax"), "loss=cross_entropy"),
        **dict.fromkeys(("l2", "mseloss", "meansquarederror"), "loss=mse"),
        **dict.fromkeys(("l1", "l1loss", "maeloss", "meanabsoluteerror"), "loss=mae"),
        **dict.fromkeys(("smoothl1", "smoothl1loss", "huberloss"), "loss=huber"),
        **dict.fromkeys(("bceloss", "binarycrossentropy"), "loss=bce"),
        **{"bcewithlogitsloss": "loss=bce_with_logits", "nllloss": "loss=nll"},
    },
    "trainer": {"fastdevrun": "trainer=smoke", "debug": "trainer=smoke", "test": "trainer=smoke"},
    "logger": {
        **{"tb": "logger=tensorboard", "json": "logger=jsonl", "weightsandbiases": "logger=wandb"},
        **dict.fromkeys(("csv", "none", "off"), "logger=default"),
    },
}
REMARKS = {  # options that dlrun does not have, and what to use instead
    **{
        ("logger", name): "A logger of your own is a function in Python: see docs/loggers.md, which has MLflow's."
        for name in ("mlflow", "comet", "cometml", "neptune", "clearml", "aim", "dvclive")
    },
    **{
        ("dataset", name): "Write dataset=table dataset.path=FILE dataset.target=COLUMN (`dlrun inspect FILE` helps)."
        for name in ("csv", "tabular", "dataframe", "parquet", "excel", "tsv")
    },
}
TORCHVISION = re.compile(
    r"(resnet|resnext|wide_resnet|vgg|densenet|mobilenet|efficientnet|convnext|regnet|shufflenet|squeezenet|alexnet|"
    r"vit|swin|maxvit|mnasnet|inception_v)\w*$"
)
KEYS = {  # names of keys in other tools
    **dict.fromkeys(("learning_rate", "learningrate", "base_lr"), "optimizer.lr"),
    **dict.fromkeys(("max_epochs", "num_epochs", "n_epochs", "num_train_epochs"), "trainer.epochs"),
    **dict.fromkeys(("bs", "batchsize", "per_device_train_batch_size"), "trainer.batch_size"),
    **dict.fromkeys(("wd", "l2"), "optimizer.weight_decay"),
    **dict.fromkeys(("random_seed", "random_state", "seed_everything"), "seed"),
    **dict.fromkeys(
        ("output_dir", "out_dir", "outdir", "save_dir", "log_dir", "logdir", "default_root_dir"), "run.dir"
    ),
    **dict.fromkeys(("exp_name", "run_name", "experiment_name"), "run.name"),
    **dict.fromkeys(("data_dir", "data_root", "data_path"), "dataset.root"),
    **dict.fromkeys(("gpu", "gpus", "accelerator", "cuda"), "device"),
    **dict.fromkeys(("num_workers", "workers"), "dataset.workers"),
    **dict.fromkeys(("gradient_clip_val", "grad_clip", "max_grad_norm"), "trainer.clip_norm"),
    **dict.fromkeys(("accumulate_grad_batches", "gradient_accumulation_steps", "grad_accum"), "trainer.accumulate"),
    **dict.fromkeys(("amp", "fp16", "bf16", "mixed_precision"), "device.precision"),
    **dict.fromkeys(("n_trials", "num_trials", "num_samples"), "sweep.trials"),
    **dict.fromkeys(("early_stopping", "patience"), "trainer.early_stop.patience"),
    **{"sweep.timeout": "sweep.job_timeout", "sweep.n_trials": "sweep.trials", "sweep.n_jobs": "sweep.workers"},
}
FUNCTION = re.compile(
    r"\s*(?:\w+\.)*(q?log_?uniform|lograndint|reciprocal|q?uniform|randint|suggest_float|linspace|logspace)\s*\(([^()]*)\)\s*$"
)
NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?)"
SLICE = re.compile(rf"{NUMBER}:{NUMBER}(?::{NUMBER})?$", re.IGNORECASE)
SPAN = re.compile(r"(\d+)\s*(?:\.\.+|-)\s*(\d+)$")  # 0..4, 1-4
LISTED = re.compile(rf"\{{?\s*{NUMBER}(?:\s*[|;,]\s*{NUMBER})+\s*\}}?$", re.IGNORECASE)  # {0.1, 0.2}, 0.1|0.2
VALUES = {  # by key: names of its literal values in other tools
    "sweep.search": {
        **dict.fromkeys(("bayes", "bayesian", "bo", "optuna", "hyperopt"), "tpe"),
        **{"gridsearch": "grid", "randomsearch": "random", "cma": "cmaes"},
    },
    "device.precision": {"16": "fp16", "16mixed": "fp16", "half": "fp16", "bfloat16": "bf16", "32": "fp32"},
    "checkpoint.mode": {"minimize": "min", "maximize": "max", "less": "min", "more": "max"},
}
OTHER_COMMANDS = {
    **dict.fromkeys(("train", "fit", "run", "start"), "Training needs no command: dlrun model=mlp dataset=digits"),
    **dict.fromkeys(("ls", "ps", "history"), "Did you mean runs?"),
    **dict.fromkeys(("tune", "search", "hpo"), "A sweep or search is dlrun -m optimizer.lr=0.1,0.01"),
    **dict.fromkeys(("continue", "restart"), "Did you mean resume?"),
    "help": "Did you mean dlrun --help?",
    "version": "Did you mean dlrun --version?",
}


def option_hint(group: str, name: str, known: Iterable[str]) -> str:
    """A hint for an unknown option, such as `Did you mean adamw?`; empty if nothing is near."""
    options = list(known)
    word = _plain(name)
    if word == "all" and not set(options) & {"all"}:
        return f"To run all: dlrun -m '{group}=glob(*)'"
    if set(name) & set("*?["):
        return f"To run each that fits: dlrun -m '{group}=glob({name})'"
    same = [option for option in options if _plain(option) == word]
    if same:
        return f"Did you mean {same[0]}?"
    if words := OPTIONS.get(group, {}).get(word):
        return f"Did you mean {words.removeprefix(f'{group}=') if ' ' not in words else words}?"
    if (group, word) in REMARKS:
        return REMARKS[group, word]
    if group == "model" and TORCHVISION.match(name.lower()) and "torchvision" in options:
        return f"Did you mean model=torchvision model.arch={name.lower()}?"
    return did_you_mean(name.lower(), options)


def keys_meant(word: str, known: Iterable[str]) -> list[str]:
    """The keys that a name may stand for: a key of another tool (`learning_rate`), or one without its group (`lr`)."""
    theirs = KEYS.get(word.lower().replace("-", "_"))
    return [theirs] if theirs else [key for key in known if key.split(".")[-1] == word]


def value_hint(key: str, value: str, words: Iterable[str]) -> str:
    """A hint for a value that a key does not accept, such as `Did you mean tpe?`; empty if nothing is near."""
    if swept := sweep_hint(value):
        return f"To sweep: dlrun -m '{key}={swept}'"
    ours = VALUES.get(key, {}).get(_plain(value))
    return f"Did you mean {ours}?" if ours else did_you_mean(value, words) or did_you_mean(value.lower(), words)


def sweep_hint(text: str) -> str:
    """Translate a sweep of another tool (`loguniform(1e-4, 1e-1)`, `0:10:2`) to Hydra's grammar; else empty."""
    if match := SLICE.match(text):
        return f"range({', '.join(filter(None, match.groups()))})"
    if match := SPAN.match(text):
        return f"range({match[1]},{int(match[2]) + 1})"
    if LISTED.match(text):
        return ",".join(re.split(r"[|;,\s]+", text.strip("{} ")))
    match = FUNCTION.match(text.lower())
    try:
        numbers = [float(item) for item in match[2].split(",")] if match else []
    except ValueError:
        return ""
    if match is None or len(numbers) < 2:
        return ""
    name, (low, high, *rest) = _plain(match[1]), numbers
    if name in ("linspace", "logspace"):
        count = max(2, int(rest[0])) if rest else 5
        values = [low + (high - low) * i / (count - 1) for i in range(min(count, 100))]
        return ",".join(f"{10**value if name == 'logspace' else value:g}" for value in values)
    interval = f"interval({low:g}, {high:g})"
    return f"tag(log, {interval})" if "log" in name else interval


def _plain(name: str) -> str:
    """A name in lower case without `_`, `-` and spaces."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
