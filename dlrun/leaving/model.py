"""A model as text: the classes that it is made of, copied from their source, and the calls that build it again.

The calls are read off the built modules and stand in the order in which they were made, so that the same seed draws the
same weights. `eject` builds the text once and compares it with the model before a file is written.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from dlrun.components.registry import MODELS
from dlrun.errors import ConfigError, Problem
from dlrun.leaving.layout import WIDTH, Call, Expression, as_expression, call_of, quoted, statement
from dlrun.leaving.source import sources
from dlrun.models.residual import Residual
from dlrun.models.vgg import Vgg, vgg_convolution

LONGEST = WIDTH - 10  # characters of a docstring on one line
PLACES = ("device", "dtype")  # arguments of every layer that belong to the run


def model_text(name: str, model: nn.Module) -> str:
    """The source of the classes of a model, and of `make_model()`. Raises `ConfigError` for a layer of another kind."""
    own = [kind for kind in dict.fromkeys(type(part) for part in model.modules()) if is_own(kind)]
    parts: list[Callable[..., Any]] = [vgg_convolution, *own] if Vgg in own else list(own)
    head = [f"def make_model() -> {'nn.Sequential' if type(model) is nn.Sequential else type(model).__name__}:"]
    head += [f'    """{first_words(name)}"""']
    return "\n\n\n".join([*sources(parts), "\n".join([*head, *body(model)])])


def body(model: nn.Module) -> list[str]:
    """The statements of `make_model`: one for each large part, and the whole."""
    if not is_own(type(model)):
        return [statement("return", expression(model))]
    given = arguments_of(model)
    large = [isinstance(value, nn.Sequential | nn.RNNBase | list) for value in given.values()]
    last = max((i for i, is_large in enumerate(large) if is_large), default=-1)
    done, words = [], []
    for i, (key, value) in enumerate(given.items()):
        made = layers(value) if isinstance(value, list) else argument(value)
        apart = i <= last and isinstance(value, nn.Module | list)  # in the order in which weights were drawn
        done += [statement(key, made)] if apart else []
        words.append(key if apart else str(made))
    return [*done, statement("return", Call(type(model).__name__, tuple(words)))]


def expression(module: nn.Module) -> Expression:
    """The call that makes a module."""
    kind = type(module)
    if kind is nn.Sequential:
        return sequence(dict(module.named_children()))
    if is_own(kind):
        given = [argument(value) for value in arguments_of(module).values()]
        return Call(kind.__name__, tuple(given))
    if getattr(nn, kind.__name__, None) is not kind:
        raise ConfigError(Problem("model", f"a layer of {kind.__module__}.{kind.__name__} cannot be written out yet."))
    return torch_layer(module)


def is_own(kind: type) -> bool:
    """Whether a class is one of dlrun's, whose source is copied."""
    return kind.__module__.startswith("dlrun.models.")


def arguments_of(module: nn.Module) -> dict[str, Any]:
    """What the constructor of one of dlrun's classes was given, by name: its attributes of the same names."""
    if isinstance(module, Residual):
        first = next(part for part in module.conv1.modules() if isinstance(part, nn.Conv2d))
        norm = any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
        return {"inputs": first.in_channels, "outputs": first.out_channels, "stride": first.stride[0], "norm": norm}
    if isinstance(module, Vgg):
        return {"layers": list(module.vgg), "pool": module.pool, "head": module.head, "taps": module.taps}
    return {name: getattr(module, name) for name in inspect.signature(type(module)).parameters}


def argument(value: object) -> Expression:
    """A value that a constructor is given."""
    if isinstance(value, nn.ModuleList):
        return Call("", tuple(expression(one) for one in value), is_list=True)
    return expression(value) if isinstance(value, nn.Module) else as_expression(value)


def layers(modules: Iterable[nn.Module]) -> Call:
    """The layers of a VGG as a list; a convolution brings its batch norm and its ReLU."""
    found: list[Expression] = []
    rest = list(modules)
    while rest:
        layer = rest.pop(0)
        if isinstance(layer, nn.Conv2d):
            norm = isinstance(rest[0], nn.BatchNorm2d)
            del rest[: 2 if norm else 1]
            found.append(f"*{vgg_convolution.__name__}({layer.in_channels}, {layer.out_channels}, {norm})")
        else:
            found.append(expression(layer))
    return Call("", tuple(found), is_list=True)


def sequence(children: dict[str, nn.Module]) -> Call:
    """`nn.Sequential`, with the names of its layers where they have some: those of the run's checkpoints."""
    inner = {name: expression(child) for name, child in children.items()}
    if list(inner) == [str(i) for i in range(len(inner))]:
        return Call("nn.Sequential", tuple(inner.values()))
    if all(name.isidentifier() and not keyword.iskeyword(name) for name in inner):
        return call_of("nn.Sequential", call_of("OrderedDict", **inner))
    pairs = [Call("", (quoted(name), one)) for name, one in inner.items()]
    return call_of("nn.Sequential", call_of("OrderedDict", Call("", tuple(pairs), is_list=True)))


def torch_layer(module: nn.Module) -> Call:
    """A layer of torch.nn with the arguments that differ from torch's defaults."""
    kind = type(module)
    recurrent = isinstance(module, nn.RNNBase)
    parameters = inspect.signature(nn.RNNBase if recurrent else kind).parameters
    given: list[object] = []
    named: dict[str, object] = {}
    for name, parameter in parameters.items():
        if name in (*PLACES, "mode") or name.startswith("_") or not hasattr(module, name):
            continue
        value = as_given(getattr(module, name), parameter.default)
        if kind.__name__.startswith("Conv") and isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]  # a convolution keeps (3, 3) where it was given 3
        if parameter.default is parameter.empty:
            given.append(value)
        elif value != parameter.default:
            named[name] = value
    if isinstance(module, nn.RNN) and module.nonlinearity != "tanh":
        named["nonlinearity"] = module.nonlinearity
    if kind.__name__ in ("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d"):
        named = {key: value for key, value in named.items() if key != "stride" or value != given[0]}
    return call_of(f"nn.{kind.__name__}", *map(literal, given), **{key: literal(value) for key, value in named.items()})


def as_given(value: object, default: object) -> object:
    """An attribute as the constructor was given it: a bias as yes or no."""
    if isinstance(default, bool) and (value is None or isinstance(value, Tensor)):
        return value is not None
    return value


def literal(value: object) -> object:
    """A value for `call`: strings in quotes."""
    return quoted(value) if isinstance(value, str) else value


def first_words(name: str) -> str:
    """The first sentences of the builder's docstring: what the model is, and its paper."""
    text = " ".join((inspect.getdoc(MODELS.get(name)) or name).split("\n\n")[0].split())
    sentences = text.replace(" Keys as in `gru`.", "").split(". ")
    while len(". ".join(sentences)) > LONGEST:
        sentences.pop()
    return ". ".join(sentences).rstrip(".") + "."
