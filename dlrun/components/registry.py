"""The registries of components, which are imported when they are first used.

Built-in components are listed here. Plug-ins register theirs with a decorator:

    import dlrun

    @dlrun.register.model("my_net")
    def my_net(spec, width: int = 32): ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dlrun.errors import ConfigError, Problem, allowed_words, an
from dlrun.package import PACKAGE


@dataclass(frozen=True)
class Builtin:
    """Facts about a built-in component that are needed before it is imported."""

    place: str  # module:function
    imports: tuple[str, ...] = ()  # modules that it imports when it is called
    folder: str = ""  # data sets: the folder of its files below the data root
    binary: bool = False  # losses: two classes have a single output
    wants: str = ""  # losses: the last activation that it expects of the model
    of_logits: str = ""  # losses that expect one: the loss for a model without it
    applies: tuple[str, ...] = ()  # losses: activations that the model must not apply before it
    needs: str = ""  # a package that is not a dependency: the extra of dlrun with its name installs it
    reads: str = ""  # data sets: module:function that reads labelled rows for a trained model

    @property
    def module(self) -> str:
        """The module that it is imported from."""
        return self.place.partition(":")[0]


class Registry:
    """The components of one kind by name, built-in ones and those of plug-ins."""

    def __init__(self, kind: str, builtin: dict[str, Builtin]) -> None:
        self.kind = kind
        self.builtin = builtin
        self.plugins: dict[str, Callable[..., Any]] = {}

    def names(self) -> list[str]:
        """All names, built-in ones first."""
        return [*self.builtin, *self.plugins]

    def get(self, name: str) -> Callable[..., Any]:
        """Import the function or class with this name. Raises `ConfigError` if there is none."""
        if name in self.plugins:
            return self.plugins[name]
        if name not in self.builtin:
            hint = allowed_words(name, self.names())
            raise ConfigError(Problem(self.kind, f"there is no {self.kind} named {name!r}.", hint))
        module, _, attribute = self.builtin[name].place.partition(":")
        return getattr(import_module(module), attribute)

    def known(self, name: object) -> Builtin:
        """The facts about a built-in component; empty ones for a user's component."""
        return self.builtin.get(str(name), Builtin(""))

    def register(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator that registers a user's component. Raises `ConfigError` for a name that another one has."""

        def add(component: Callable[..., Any]) -> Callable[..., Any]:
            old = self.plugins.get(name)
            same = old is not None and old.__qualname__ == component.__qualname__
            if name in self.builtin or (old is not None and not same):
                raise ConfigError(Problem(self.kind, f"{an(self.kind)} named {name!r} is registered already."))
            self.plugins[name] = component
            return component

        return add


def _from(module: str, *names: str, **known: Any) -> dict[str, Builtin]:
    """Components of one module, each with the name of its function or class."""
    return {name: Builtin(f"{PACKAGE.name}.{module}:{name}", **known) for name in names}


MODELS = Registry(
    "model",
    {
        **_from("models.mlp", "linear", "polynomial", "mlp"),
        **_from("models.cnn", "cnn"),
        **_from("models.vgg", "vgg"),
        **_from("models.inception", "inception", "googlenet"),
        **_from("models.residual", "resnet"),
        **_from("models.recurrent", "rnn", "rnn_cell", "lstm", "gru"),
        **_from("models.autoencoder", "autoencoder"),
        **_from("models.encoder_decoder", "encoder_decoder"),
        **_from("models.fusion", "fusion"),
        **_from("models.parameters", "parameter_list"),
        **_from("models.sequential", "sequential"),
        "torchvision": Builtin("dlrun.models.torchvision:torchvision_model"),
    },
)

DATASETS = Registry(
    "dataset",
    {
        **_from("data.sklearn_sets", "digits"),
        **_from("data.sklearn_sets", "breast_cancer", "iris", "wine", "diabetes", imports=("sklearn.datasets",)),
        **_from("data.toys", "moons", "circles", "parabola", "line", "pass_fail", "hello", "tags"),
        **_from("data.scenes", "scenes"),
        **_from("data.mnist", "mnist", folder="MNIST"),
        **_from("data.mnist", "fashion_mnist", folder="FashionMNIST"),
        **_from("data.image_folder", "image_folder", reads="dlrun.data.image_folder:labelled_rows"),
        **_from("data.table.table", "table"),
        **_from("data.names", "names", folder="names", reads="dlrun.data.names:labelled_rows"),
    },
)

OPTIMIZERS = Registry(
    "optimizer",
    _from(
        "objectives.optimizers",
        *("sgd", "rmsprop", "adam", "adamw", "adamax", "nadam"),
        *("radam", "adagrad", "adadelta", "asgd", "rprop", "lbfgs"),
    ),
)

SCHEDULERS = Registry(
    "scheduler",
    _from(
        "objectives.schedulers",
        *("none", "step", "multistep", "exponential", "cosine", "warmup_cosine"),
        *("linear", "polynomial", "onecycle", "plateau", "cyclic"),
    ),
)

LOSSES = Registry(
    "loss",
    {
        **_from("objectives.losses", "mse", "mae", "huber"),
        **_from("objectives.losses", "cross_entropy", applies=("softmax", "sigmoid")),
        **_from("objectives.losses", "nll", wants="log_softmax", of_logits="cross_entropy"),
        **_from("objectives.losses", "bce", binary=True, wants="sigmoid", of_logits="bce_with_logits"),
        **_from("objectives.losses", "bce_with_logits", binary=True, applies=("sigmoid", "softmax")),
    },
)

METRICS = Registry(
    "metric",
    {
        "classification": Builtin("dlrun.objectives.metrics:Classification"),
        "multilabel": Builtin("dlrun.objectives.metrics:Multilabel"),
        "regression": Builtin("dlrun.objectives.metrics:Regression"),
    },
)

LOGGERS = Registry(
    "logger",
    {
        **_from("loggers.files", "default", "jsonl"),
        "tensorboard": Builtin("dlrun.loggers.files:TensorBoard", needs="tensorboard"),
        "wandb": Builtin("dlrun.loggers.trackers:Wandb", needs="wandb"),
        "trackio": Builtin("dlrun.loggers.trackers:Trackio", needs="trackio"),
    },
)

TABLES = {table.kind: table for table in (MODELS, DATASETS, OPTIMIZERS, SCHEDULERS, LOSSES, METRICS, LOGGERS)}


class Register:
    """The decorators `dlrun.register.model("name")`, `dlrun.register.dataset("name")` and so on."""

    model = staticmethod(MODELS.register)
    dataset = staticmethod(DATASETS.register)
    optimizer = staticmethod(OPTIMIZERS.register)
    scheduler = staticmethod(SCHEDULERS.register)
    loss = staticmethod(LOSSES.register)
    metric = staticmethod(METRICS.register)
    logger = staticmethod(LOGGERS.register)


register = Register()
