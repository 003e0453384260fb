"""The sweep of sweep_cost.py as people write it: one plain PyTorch function, and four programs that call it 84 times.

    python plain_sweep.py hydra|joblib|optuna|ray FOLDER EPOCHS [WORKERS]
    python plain_sweep.py hydra_main ...                     what the first two start: a hydra.main script

Nothing of dlrun is imported. The function keeps its data in memory, evaluates after each epoch, and writes a table of
the epochs, the best weights and the result on the test part, which is the least that one wants of a run.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from itertools import product
from pathlib import Path

OPTIMIZERS = ["sgd", "momentum", "rmsprop", "adam"]
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
SEEDS = [0, 1, 2]
ROWS = {"train": 1150, "val": 288, "test": 359}
BATCH = 64


def train(optimizer: str, lr: float, seed: int, epochs: int, folder: Path) -> float:
    """Train 64-512-10 on digits, in batches of 64. Returns the accuracy on the test part."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    inputs, targets = digits(seed)
    net = model()
    step, loss = make_optimizer(optimizer, net, lr), nn.CrossEntropyLoss()
    best, rows = float("inf"), []
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for batch in torch.randperm(ROWS["train"]).split(BATCH):
            step.zero_grad()
            value = loss(net(inputs["train"][batch]), targets["train"][batch])
            value.backward()
            step.step()
            total += value.item() * len(batch)
        net.eval()
        with torch.inference_mode():
            output = net(inputs["val"])
            val_loss = loss(output, targets["val"]).item()
        right = (output.argmax(1) == targets["val"]).float().mean().item()
        rows.append([epoch + 1, total / ROWS["train"], val_loss, right])
        if val_loss < best or not (folder / "best.pt").exists():
            best = val_loss
            torch.save(net.state_dict(), folder / "best.pt")
    with open(folder / "metrics.csv", "w", newline="") as file:
        csv.writer(file).writerows([["epoch", "train_loss", "val_loss", "val_accuracy"], *rows])
    net.load_state_dict(torch.load(folder / "best.pt"))
    with torch.inference_mode():
        accuracy = (net(inputs["test"]).argmax(1) == targets["test"]).float().mean().item()
    (folder / "accuracy.json").write_text(json.dumps({"accuracy": accuracy}))
    return accuracy


def digits(seed: int):  # type: ignore[no-untyped-def]
    """Inputs and targets of the three parts, split by the seed."""
    import torch
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = torch.randperm(len(bunch.data), generator=torch.Generator().manual_seed(seed))
    parts = dict(zip(ROWS, order.split(list(ROWS.values())), strict=True))
    images, classes = torch.tensor(bunch.data, dtype=torch.float32) / 16, torch.tensor(bunch.target)
    return {name: images[rows] for name, rows in parts.items()}, {name: classes[rows] for name, rows in parts.items()}


def model():  # type: ignore[no-untyped-def]
    """64-512-10, as dlrun's default model on digits."""
    from torch import nn

    return nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))


def make_optimizer(name: str, net, lr: float):  # type: ignore[no-untyped-def]
    """An optimizer of torch, as dlrun names it."""
    from torch import optim

    if name in ("sgd", "momentum"):
        return optim.SGD(net.parameters(), lr, momentum=0.9 if name == "momentum" else 0.0)
    return {"rmsprop": optim.RMSprop, "adam": optim.Adam}[name](net.parameters(), lr)


# --- the programs -----------------------------------------------------------------------------------------------------


def hydra_main(words: list[str]) -> None:
    """A hydra.main script that trains one run in Hydra's folder of the job."""
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.hydra_config import HydraConfig

    node = {"optimizer": "adam", "lr": 0.001, "seed": 0, "epochs": 20}
    ConfigStore.instance().store(name="experiment", node=node)

    @hydra.main(version_base=None, config_name="experiment")
    def main(cfg):  # type: ignore[no-untyped-def]
        train(cfg.optimizer, cfg.lr, cfg.seed, cfg.epochs, Path(HydraConfig.get().runtime.output_dir))

    sys.argv[1:] = words
    main()


def hydra(folder: Path, epochs: int, launcher: tuple[str, ...] = ()) -> None:
    """`python script.py -m optimizer=... lr=... seed=...` under Hydra's basic launcher, one run after another."""
    lists = {"optimizer": OPTIMIZERS, "lr": RATES, "seed": SEEDS}
    words = [f"{key}={','.join(map(str, values))}" for key, values in lists.items()]
    words += [f"epochs={epochs}", f"hydra.sweep.dir={folder}", *launcher]
    subprocess.run([sys.executable, __file__, "hydra_main", "-m", *words], cwd=folder, check=True)


def joblib(folder: Path, epochs: int, workers: int) -> None:
    """The same under hydra-joblib-launcher."""
    hydra(folder, epochs, ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}"))


def optuna(folder: Path, epochs: int, workers: int) -> None:
    """Optuna's own loop over the grid, its study in an SQLite file, in one process (its `n_jobs` are threads)."""
    import optuna

    grid = {"optimizer": OPTIMIZERS, "lr": RATES, "seed": SEEDS}
    storage = f"sqlite:///{folder}/study.db"
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.GridSampler(grid), direction="maximize")

    def objective(trial: optuna.Trial) -> float:
        values = {name: trial.suggest_categorical(name, some) for name, some in grid.items()}
        return train(**values, epochs=epochs, folder=folder / str(trial.number))

    study.optimize(objective)


def ray(folder: Path, epochs: int, workers: int) -> None:
    """Ray Tune's grid search on a local cluster of as many processors as there are workers."""
    import ray
    from ray import tune

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)

    def run(config):  # type: ignore[no-untyped-def]
        path = folder / f"{config['optimizer']}-{config['lr']}-{config['seed']}"
        tune.report({"accuracy": train(**config, epochs=epochs, folder=path)})

    space = {"optimizer": OPTIMIZERS, "lr": RATES, "seed": SEEDS}
    grid = {name: tune.grid_search(values) for name, values in space.items()}
    settings = tune.RunConfig(storage_path=str(folder / "ray"), verbose=0)
    tune.Tuner(run, param_space=grid, run_config=settings).fit()
    ray.shutdown()


def main() -> None:
    """Run one of the programs."""
    name, *words = sys.argv[1:]
    if name == "hydra_main":
        return hydra_main(words)
    folder, epochs, workers = Path(words[0]), int(words[1]), int(words[2])
    if name == "hydra":
        return hydra(folder, epochs)
    return {"joblib": joblib, "optuna": optuna, "ray": ray}[name](folder, epochs, workers)


RUNS = len(list(product(OPTIMIZERS, RATES, SEEDS)))

if __name__ == "__main__":
    main()
