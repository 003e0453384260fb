"""The tables of components: a name and where it lives. Nothing is imported until it is asked for.

Built-in components are lines here. A user's plug-in registers with a decorator:

    import dlrun

    @dlrun.register.model("my_net")
    def my_net(spec, width: int = 32): ...
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from dlrun.errors import ConfigError, Problem, did_you_mean


class Registry:
    """Names of one kind of component. A duplicate is an error; an unknown name is answered with the nearest."""

    def __init__(self, kind: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self.builtin = builtin
        self.plugins: dict[str, Callable[..., Any]] = {}

    def names(self) -> list[str]:
        """All names, built-in ones first."""
        return [*self.builtin, *self.plugins]

    def get(self, name: str) -> Callable[..., Any]:
        """The function or class of that name, imported now. Raises `ConfigError` when there is none."""
        if name in self.plugins:
            return self.plugins[name]
        if name not in self.builtin:
            hint = did_you_mean(name, self.names()) or f"Allowed: {', '.join(self.names())}."
            raise ConfigError(Problem(self.kind, f"there is no {self.kind} named {name!r}.", hint))
        module, attribute = self.builtin[name].split(":")
        return getattr(import_module(module), attribute)

    def register(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator that adds a user's component. The same function registered again replaces itself."""

        def add(component: Callable[..., Any]) -> Callable[..., Any]:
            old = self.plugins.get(name)
            same = old is not None and old.__qualname__ == component.__qualname__
            if name in self.builtin or (old is not None and not same):
                raise ConfigError(Problem(self.kind, f"a {self.kind} named {name!r} is registered already."))
            self.plugins[name] = component
            return component

        return add


MODELS = Registry(
    "model",
    {
        "linear": "dlrun.models.mlp:linear",
        "polynomial": "dlrun.models.mlp:polynomial",
        "mlp": "dlrun.models.mlp:mlp",
        "cnn": "dlrun.models.cnn:cnn",
        "vgg": "dlrun.models.vgg:vgg",
        "inception": "dlrun.models.inception:inception",
        "googlenet": "dlrun.models.inception:googlenet",
        "resnet": "dlrun.models.residual:resnet",
        "rnn": "dlrun.models.recurrent:rnn",
        "rnn_cell": "dlrun.models.recurrent:rnn_cell",
        "lstm": "dlrun.models.recurrent:lstm",
        "gru": "dlrun.models.recurrent:gru",
        "autoencoder": "dlrun.models.autoencoder:autoencoder",
        "encoder_decoder": "dlrun.models.encoder_decoder:encoder_decoder",
        "fusion": "dlrun.models.fusion:fusion",
        "parameter_list": "dlrun.models.parameters:parameter_list",
        "sequential": "dlrun.models.sequential:sequential",
        "torchvision": "dlrun.models.torchvision:torchvision_model",
    },
)

DATASETS = Registry(
    "dataset",
    {
        "digits": "dlrun.data.sklearn_sets:digits",
        "breast_cancer": "dlrun.data.sklearn_sets:breast_cancer",
        "iris": "dlrun.data.sklearn_sets:iris",
        "wine": "dlrun.data.sklearn_sets:wine",
        "diabetes": "dlrun.data.sklearn_sets:diabetes",
        "moons": "dlrun.data.toys:moons",
        "circles": "dlrun.data.toys:circles",
        "parabola": "dlrun.data.toys:parabola",
        "line": "dlrun.data.toys:line",
        "pass_fail": "dlrun.data.toys:pass_fail",
        "hello": "dlrun.data.toys:hello",
        "tags": "dlrun.data.toys:tags",
        "scenes": "dlrun.data.scenes:scenes",
        "mnist": "dlrun.data.mnist:mnist",
        "fashion_mnist": "dlrun.data.mnist:fashion_mnist",
        "image_folder": "dlrun.data.image_folder:image_folder",
        "names": "dlrun.data.names:names",
    },
)

OPTIMIZERS = Registry(
    "optimizer",
    {
        name: f"dlrun.objectives.optimizers:{name}"
        for name in (
            *("sgd", "rmsprop", "adam", "adamw", "adamax", "nadam"),
            *("radam", "adagrad", "adadelta", "asgd", "rprop", "lbfgs"),
        )
    },
)

SCHEDULERS = Registry(
    "scheduler",
    {
        name: f"dlrun.objectives.schedulers:{name}"
        for name in (
            *("none", "step", "multistep", "exponential", "cosine", "warmup_cosine"),
            *("linear", "polynomial", "onecycle", "plateau", "cyclic"),
        )
    },
)

LOSSES = Registry(
    "loss",
    {
        name: f"dlrun.objectives.losses:{name}"
        for name in ["mse", "mae", "huber", "cross_entropy", "nll", "bce", "bce_with_logits"]
    },
)

METRICS = Registry(
    "metric",
    {
        "classification": "dlrun.objectives.metrics:Classification",
        "multilabel": "dlrun.objectives.metrics:Multilabel",
        "regression": "dlrun.objectives.metrics:Regression",
    },
)

TABLES = {table.kind: table for table in (MODELS, DATASETS, OPTIMIZERS, SCHEDULERS, LOSSES, METRICS)}


class Register:
    """`dlrun.register.model("name")` and its siblings, one decorator a kind."""

    model = staticmethod(MODELS.register)
    dataset = staticmethod(DATASETS.register)
    optimizer = staticmethod(OPTIMIZERS.register)
    scheduler = staticmethod(SCHEDULERS.register)
    loss = staticmethod(LOSSES.register)
    metric = staticmethod(METRICS.register)


register = Register()
