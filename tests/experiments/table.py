"""The table: every preset, the figure that is read from it, what its reference reaches, and an honest band.

References are shared/experiments.md's: plain PyTorch, seed 0 unless said. dlrun draws weights and batches from
streams of its own, so that a figure of one seed may differ; the bands are what ten seeds of either give.
"""

from __future__ import annotations

from dataclasses import dataclass

from .figures import Reader, accuracy_of_test, at, full_data_mse, learnt_at, loss_of_test, summary

TRAIN_LOSS = summary("last.train_loss")


@dataclass(frozen=True)
class Figure:
    """A number of a run: its name, how it is read, what its reference reaches, and the band it must lie in.

    `job` picks the job of a sweep whose optimizer it is; without, the mean over all runs (the seeds) counts.
    """

    what: str
    read: Reader
    reference: str
    low: float
    high: float
    form: str = ".2%"
    job: str = ""


@dataclass(frozen=True)
class Case:
    """A row: the preset, the words after it, what it needs (`MNIST`, `names`), its figures and plots."""

    preset: str
    figures: tuple[Figure, ...]
    words: tuple[str, ...] = ()
    name: str = ""
    plots: tuple[str, ...] = ("curves.png",)
    needs: str = ""
    remark: str = ""

    @property
    def key(self) -> str:
        """Its name: the preset's, unless the row is a variant."""
        return self.name or self.preset

    @property
    def variant(self) -> tuple[str, ...]:
        """The words that make it another experiment than the preset's: none for the preset itself and its seeds."""
        return self.words if self.name else ()

    @property
    def seeds(self) -> bool:
        """Does it run several seeds?"""
        return any(word.strip("'").startswith("seed=") for word in self.words)

    @property
    def is_sweep(self) -> bool:
        """Is it several runs?"""
        return self.seeds or any(figure.job for figure in self.figures)


def accuracy(reference: str, low: float, high: float) -> tuple[Figure, ...]:
    return (Figure("test accuracy", accuracy_of_test, reference, low, high),)


def mse(reference: str, low: float, high: float) -> tuple[Figure, ...]:
    return (Figure("test MSE", loss_of_test, reference, low, high, ".4f"),)


def line(job: str, reference: float, low: float, high: float) -> Figure:
    return Figure(f"f(4), {job}", at(4.0), f"{reference:.2f}", low, high, ".2f", job)


def parabola(job: str, reference: str, low: float, high: float) -> Figure:
    return Figure(f"MSE, {job}", full_data_mse, reference, low, high, ".4f", job)


def hello(reference: str, epoch: int, loss: str, low: float, high: float) -> tuple[Figure, ...]:
    return (
        Figure("reads `ohlol` from epoch", learnt_at, reference, 1, epoch, ".0f"),
        Figure("loss at the end", TRAIN_LOSS, loss, low, high, ".4f"),
    )


CASES = (
    Case(
        "manual_gd",
        (Figure("f(4)", at(4.0), "8.68 to 8.82", 8.6, 9.0, ".2f"),),
        words=("seed=0,1,2",),
        plots=("fit.png",),
    ),
    Case(
        "linear_regression",
        (
            line("sgd", 7.92, 7.7, 8.0),
            line("adagrad", 3.28, 2.0, 6.0),  # hardly moved: it is the first weights that one sees
            line("adam", 7.47, 7.2, 7.9),
            line("adamax", 7.10, 6.5, 7.7),
            line("asgd", 7.92, 7.7, 8.0),
            line("lbfgs", 8.0, 7.99, 8.01),
            line("rmsprop", 8.0, 7.95, 8.05),
            line("rprop", 8.0, 7.99, 8.01),
        ),
        plots=("comparison.png",),
    ),
    Case(
        "logistic_regression",
        (Figure("BCE", TRAIN_LOSS, "0.650, 0.525, 0.557 (seeds 0, 1, 2)", 0.45, 0.8, ".3f"),),
        words=("seed=0,1,2",),
        plots=("fit.png",),
    ),
    Case(
        "breast_cancer_raw",
        accuracy("81.6 to 93.0 %, mean 88.3 % over ten seeds; majority class 77.2 %", 0.77, 0.95),
        plots=("curves.png",),
    ),
    Case(
        "breast_cancer",
        accuracy("97.4 %, the mean of ten seeds", 0.96, 0.985),
        words=("'seed=range(0,10)'",),
        plots=("comparison.png",),
    ),
    Case(
        "optimizer_comparison",
        (
            parabola("sgd", "0.061", 0.025, 0.09),
            parabola("momentum", "0.0129", 0.009, 0.025),
            parabola("rmsprop-alpha0.9", "0.0116", 0.009, 0.025),
            parabola("adam-betas0.9_0.99", "0.0110", 0.009, 0.025),
        ),
        plots=("comparison.png",),
    ),
    Case(
        "hello_rnncell",
        hello("79", 120, "not below 1.704, the sum of 5 letters", 1.704, 2.2),
        remark="the reference does not give the epochs",
    ),
    Case(
        "hello_rnn",
        hello("not given", 3000, "0.356; not below 0.3408", 0.3408, 0.37),
        remark="the reference does not give the epochs",
    ),
    *(
        Case(f"hello_embedding_{cell}", hello("within 20", 20, "not given", 0.0, 0.1))
        for cell in ("rnn", "lstm", "gru")
    ),
    *(
        Case(
            preset,
            accuracy("not given for this corpus; majority class 6.7 %", low, high),
            words=("dataset.source=builtin",),
            name=f"{preset}_builtin",
            plots=("confusion.png",),
        )
        for preset, low, high in (("names_gru", 0.25, 0.5), ("names_bigru", 0.33, 0.55), ("names_lstm", 0.1, 0.3))
    ),
    Case(
        "names_gru",
        accuracy("76.2 %; 75.0 and 74.8 % with seeds 1 and 2; majority class 46.8 %", 0.725, 0.785),
        plots=("curves.png", "confusion.png"),
        needs="names",
    ),
    Case(
        "names_gru",
        accuracy("83.6 %", 0.815, 0.855),
        words=("optimizer=adam",),
        name="names_gru_adam",
        plots=("curves.png",),
        needs="names",
    ),
    Case("names_bigru", accuracy("not given", 0.73, 0.82), needs="names"),
    Case("names_lstm", accuracy("not given", 0.62, 0.76), needs="names"),
    Case("mnist_mlp", accuracy("98.24 %", 0.979, 0.986), plots=("curves.png", "mistakes.png"), needs="MNIST"),
    Case("mnist_mlp_decay_from_start", accuracy("95.33 %", 0.948, 0.960), needs="MNIST"),
    Case("mnist_fc", accuracy("not given", 0.96, 0.985), needs="MNIST"),
    Case("mnist_cnn_small", accuracy("96.4 %", 0.955, 0.975), needs="MNIST"),
    Case("mnist_cnn", accuracy("96.6 %", 0.955, 0.98), needs="MNIST"),
    Case("mnist_inception", accuracy("not given", 0.965, 0.99), needs="MNIST"),
    Case("mnist_googlenet", accuracy("not given", 0.965, 0.992), needs="MNIST"),
    Case("mnist_resnet", accuracy("not given", 0.975, 0.993), needs="MNIST"),
    Case("mnist_vgg", accuracy("97.1 %, another net", 0.965, 0.993), needs="MNIST"),
    Case(
        "mnist_autoencoder_unpool",
        mse("0.011; the mean image gives 0.0675", 0.004, 0.013),
        plots=("reconstructions.png",),
        needs="MNIST",
    ),
    Case(
        "mnist_autoencoder_transposed",
        mse("0.025; the mean image gives 0.0675", 0.008, 0.027),
        plots=("reconstructions.png",),
        needs="MNIST",
    ),
    Case(
        "mnist_autoencoder_interpolate",
        mse("0.021; the mean image gives 0.0675", 0.008, 0.023),
        plots=("reconstructions.png",),
        needs="MNIST",
    ),
    Case("digits_low", accuracy("not given", 0.98, 0.999), needs="MNIST"),
    Case("finetune_digits", accuracy("not given", 0.94, 0.985), plots=("curves.png", "mistakes.png"), needs="MNIST"),
)
