"""The four tasks in plain torch, as a textbook writes them: data read by sample, a model, an optimizer.

Nothing of dlrun is imported here: the peers run in an environment without it.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset


@dataclass(frozen=True)
class Task:
    """A task and how it is made. `limit`: rows of the training part, as many in dlrun's run."""

    name: str
    batch_size: int
    limit: int | None
    root: Path

    def dataset(self) -> Dataset[Any]:
        """The training part, sample by sample."""
        make = {"digits_mlp": digits, "mnist_mlp": mnist_by_half, "mnist_cnn": mnist, "names_gru": Names}
        data = make[self.name](self.root)
        rows = len(data)  # type: ignore[arg-type]
        return data if self.limit is None or self.limit >= rows else Subset(data, range(self.limit))

    def loader(self) -> DataLoader[Any]:
        """Shuffled batches: (x, target), or (codes, lengths, target) for names. No workers: one core."""
        collate = collate_names if self.name == "names_gru" else None
        return DataLoader(self.dataset(), self.batch_size, shuffle=True, collate_fn=collate)

    def model(self) -> nn.Module:
        """The model, with weights from seed 0."""
        torch.manual_seed(0)
        return {"digits_mlp": digits_mlp, "mnist_mlp": mnist_mlp, "mnist_cnn": mnist_cnn, "names_gru": NamesGru}[
            self.name
        ]()

    def optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """Its optimizer."""
        if self.name == "digits_mlp":
            return torch.optim.Adam(parameters, lr=1e-3)
        if self.name == "names_gru":
            return torch.optim.SGD(parameters, lr=0.1)
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.5)


class Clock:
    """What a peer reports: when its first step was done, and the speed of each epoch.

    An epoch goes from the end of the one before to its own end, as in noted.py: what a program does between
    epochs is within.
    """

    def __init__(self) -> None:
        self.first_step: float | None = None  # seconds since 1970
        self.speeds: list[float] = []  # samples a second, one an epoch
        self.began = 0.0

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the first step of this optimizer, then leave it alone."""

        def after(*_: Any) -> None:
            self.first()
            handle.remove()

        handle = optimizer.register_step_post_hook(after)

    def first(self) -> None:
        """The first step is done."""
        if self.first_step is None:
            self.first_step = time()

    def start(self) -> None:
        """A training epoch begins: the first here, each later one where the one before ended."""
        if not self.speeds:
            self.began = perf_counter()

    def stop(self, samples: int) -> None:
        """It ends, after so many samples."""
        ended = perf_counter()
        self.speeds.append(samples / (ended - self.began))
        self.began = ended


def digits(root: Path) -> TensorDataset:
    """1,438 of scikit-learn's digits, pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.data[:1438], dtype=torch.float32) / 16
    return TensorDataset(images, torch.tensor(bunch.target[:1438]))


def mnist_by_half(root: Path) -> Dataset[Any]:
    """MNIST with pixels from -1 to 1, as experiment=mnist_mlp has them."""
    return mnist(root, mean=0.5, std=0.5)


def mnist(root: Path, mean: float = 0.1307, std: float = 0.3081) -> Dataset[Any]:
    """MNIST with torchvision's transforms, image by image."""
    from torchvision import datasets, transforms

    steps = [transforms.ToTensor(), transforms.Normalize((mean,), (std,))]
    return datasets.MNIST(str(root), train=True, transform=transforms.Compose(steps))


class Names(Dataset[Any]):
    """Family names and the numbers of their countries, from names_train.csv.gz."""

    def __init__(self, root: Path) -> None:
        with gzip.open(root / "names" / "names_train.csv.gz", "rt", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        countries = {name: i for i, name in enumerate(sorted({row[1] for row in rows}))}
        self.rows = [(row[0], countries[row[1]]) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.rows[index]


def collate_names(rows: list[tuple[str, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (N, T) padded with 0, lengths (N,) falling, countries (N,)."""
    rows = sorted(rows, key=lambda row: -len(row[0]))
    lengths = torch.tensor([len(name) for name, _ in rows])
    codes = torch.zeros(len(rows), int(lengths[0]), dtype=torch.long)
    for i, (name, _) in enumerate(rows):
        codes[i, : len(name)] = torch.tensor([min(ord(letter), 127) for letter in name])
    return codes, lengths, torch.tensor([country for _, country in rows])


def digits_mlp() -> nn.Module:
    """64-64-10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def mnist_mlp() -> nn.Module:
    """784-300-100-10 with batch norm after the first two."""
    first = [nn.Linear(784, 300), nn.BatchNorm1d(300), nn.ReLU()]
    second = [nn.Linear(300, 100), nn.BatchNorm1d(100), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *first, *second, nn.Linear(100, 10))


def mnist_cnn() -> nn.Module:
    """Three 3x3 convolutions (10, 20, 30), each pooled, then ReLU; one linear layer."""
    layers: list[nn.Module] = []
    for before, after in ((1, 10), (10, 20), (20, 30)):
        layers += [nn.Conv2d(before, after, 3), nn.MaxPool2d(2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(30, 10))


class NamesGru(nn.Module):
    """Embedding, two layers of a packed GRU, a linear layer: (N, T), (N,) to (N, 18)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 100)
        self.rnn = nn.GRU(100, 100, num_layers=2, batch_first=True)
        self.head = nn.Linear(100, 18)

    def forward(self, codes: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(codes), lengths, batch_first=True)
        _, final = self.rnn(packed)
        return self.head(final[-1])


def batches(loader: DataLoader[Any]) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Inputs and target."""
    for *inputs, target in loader:
        yield inputs, target
