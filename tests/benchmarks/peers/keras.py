"""Keras 3 on torch: `compile` and `fit` over arrays in memory, which is how Keras wants its data."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers
from tasks import Clock, Task, batches
from torch.utils.data import DataLoader


class Epochs(keras.callbacks.Callback):
    """Tells the clock."""

    def __init__(self, clock: Clock, samples: int) -> None:
        super().__init__()
        self.clock, self.samples = clock, samples

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.clock.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.clock.first()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.clock.stop(self.samples)


def arrays(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The whole training part; names padded to one length."""
    loader = task.loader()
    inputs, target = next(batches(DataLoader(loader.dataset, 10**6, collate_fn=loader.collate_fn)))
    x = inputs[0].numpy()
    return (x.transpose(0, 2, 3, 1) if x.ndim == 4 else x), target.numpy()


def model_of(task: Task) -> keras.Model:
    """The task's model, layer for layer."""
    dense, relu = layers.Dense, layers.ReLU
    if task.name == "digits_mlp":
        return keras.Sequential([dense(64), relu(), dense(10)])
    if task.name == "mnist_mlp":
        first = [layers.Flatten(), dense(300), layers.BatchNormalization(), relu()]
        return keras.Sequential([*first, dense(100), layers.BatchNormalization(), relu(), dense(10)])
    if task.name == "mnist_cnn":
        blocks: list[Any] = []
        for channels in (10, 20, 30):
            blocks += [layers.Conv2D(channels, 3), layers.MaxPooling2D(2), relu()]
        return keras.Sequential([*blocks, layers.Flatten(), dense(10)])
    rows = [layers.Embedding(128, 100, mask_zero=True), layers.GRU(100, return_sequences=True), layers.GRU(100)]
    return keras.Sequential([*rows, dense(18)])


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Train with `fit`."""
    x, y = arrays(task)
    rates = {"digits_mlp": keras.optimizers.Adam(1e-3), "names_gru": keras.optimizers.SGD(0.1)}
    model = model_of(task)
    model.compile(
        optimizer=rates.get(task.name) or keras.optimizers.SGD(0.01, momentum=0.5),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=task.batch_size, epochs=epochs, verbose=0, callbacks=[Epochs(clock, len(y))])
