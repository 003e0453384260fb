"""torch.optim's optimizers by name, with the settings that the YAML files of conf/optimizer list.

Each function takes the parameters first: `groups.Trainable(model)`, or anything that torch takes. `groups`
and `decay_norm_and_bias` go by names, so they need the former. How: `groups.py`, `without_dynamo.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from dlrun.errors import ConfigError, Problem
from dlrun.objectives import without_dynamo as light
from dlrun.objectives.groups import KEY, Trainable, parameter_groups

Params = Iterable[Any]
Groups = Sequence[Mapping[str, Any]]


def needs_closure(optimizer: Optimizer) -> bool:
    """Does `step` evaluate the loss itself? LBFGS does; a user's says so by `needs_closure = True`."""
    return bool(getattr(optimizer, "needs_closure", isinstance(optimizer, torch.optim.LBFGS)))


def sgd(
    params: Params,
    *,
    lr: float = 0.01,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Stochastic gradient descent. Momentum: Polyak (1964). Nesterov's: Sutskever et al., ICML 2013, section 2."""
    settings = {"momentum": momentum, "dampening": dampening, "nesterov": nesterov, "maximize": maximize}
    return _make(torch.optim.SGD, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def rmsprop(
    params: Params,
    *,
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """RMSprop: Hinton, Neural Networks for Machine Learning, lecture 6e (2012); centered: Graves (2013)."""
    settings = {"alpha": alpha, "eps": eps, "momentum": momentum, "centered": centered, "maximize": maximize}
    return _make(torch.optim.RMSprop, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def adam(
    params: Params,
    *,
    lr: float = 0.001,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Adam: Kingma & Ba, https://arxiv.org/abs/1412.6980; AMSGrad: https://arxiv.org/abs/1904.09237."""
    settings = {"betas": _pair("betas", betas), "eps": eps, "amsgrad": amsgrad, "maximize": maximize}
    return _make(torch.optim.Adam, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def adamw(
    params: Params,
    *,
    lr: float = 0.001,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
    weight_decay: float = 0.01,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Adam with decoupled weight decay: Loshchilov & Hutter, https://arxiv.org/abs/1711.05101."""
    settings = {"betas": _pair("betas", betas), "eps": eps, "amsgrad": amsgrad, "maximize": maximize}
    return _make(torch.optim.AdamW, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def adamax(
    params: Params,
    *,
    lr: float = 0.002,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Adam by the infinity norm: Kingma & Ba, https://arxiv.org/abs/1412.6980, section 7.1."""
    settings = {"betas": _pair("betas", betas), "eps": eps, "maximize": maximize}
    return _make(torch.optim.Adamax, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def nadam(
    params: Params,
    *,
    lr: float = 0.002,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    momentum_decay: float = 0.004,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Adam with Nesterov momentum: Dozat, ICLR workshop 2016."""
    settings = {"betas": _pair("betas", betas), "eps": eps, "momentum_decay": momentum_decay}
    settings |= {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
    return _make(torch.optim.NAdam, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def radam(
    params: Params,
    *,
    lr: float = 0.001,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Adam with a rectified variance: Liu et al., https://arxiv.org/abs/1908.03265."""
    settings = {"betas": _pair("betas", betas), "eps": eps}
    settings |= {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
    return _make(torch.optim.RAdam, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def adagrad(
    params: Params,
    *,
    lr: float = 0.01,
    lr_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Adagrad: Duchi, Hazan & Singer, JMLR 12 (2011), pages 2121 to 2159."""
    settings = {"lr_decay": lr_decay, "eps": eps, "maximize": maximize}
    settings |= {"initial_accumulator_value": initial_accumulator_value}
    return _make(torch.optim.Adagrad, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def adadelta(
    params: Params,
    *,
    lr: float = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Adadelta: Zeiler, https://arxiv.org/abs/1212.5701."""
    settings = {"rho": rho, "eps": eps, "maximize": maximize}
    return _make(torch.optim.Adadelta, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def asgd(
    params: Params,
    *,
    lr: float = 0.01,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    maximize: bool = False,
    decay_norm_and_bias: bool = True,
    groups: Groups = (),
) -> Optimizer:
    """Averaged SGD: Polyak & Juditsky, SIAM J. Control Optim. 30 (1992). The averages stay in its state (`ax`)."""
    settings = {"lambd": lambd, "alpha": alpha, "t0": t0, "maximize": maximize}
    return _make(torch.optim.ASGD, params, groups, decay_norm_and_bias, lr, weight_decay, **settings)


def rprop(
    params: Params,
    *,
    lr: float = 0.01,
    etas: Sequence[float] = (0.5, 1.2),
    step_sizes: Sequence[float] = (1e-6, 50.0),
    maximize: bool = False,
    groups: Groups = (),
) -> Optimizer:
    """Resilient backpropagation (Riedmiller & Braun 1993): signs of full-batch gradients, a step size per weight."""
    settings = {"etas": _pair("etas", etas), "step_sizes": _pair("step_sizes", step_sizes), "maximize": maximize}
    return _make(torch.optim.Rprop, params, groups, True, lr, None, **settings)


def lbfgs(
    params: Params,
    *,
    lr: float = 1.0,
    max_iter: int = 20,
    max_eval: int | None = None,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    history_size: int = 100,
    line_search: Literal["strong_wolfe"] | None = None,
) -> Optimizer:
    """L-BFGS: Nocedal & Wright, Numerical Optimization (2006), algorithm 7.5. One group, and a closure (T24)."""
    settings: dict[str, Any] = {"max_iter": max_iter, "max_eval": max_eval, "history_size": history_size}
    settings |= {"tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
    return _make(torch.optim.LBFGS, params, (), True, lr, None, line_search_fn=line_search, **settings)


def _make(
    kind: type[Optimizer],
    params: Params,
    groups: Groups,
    decay_norm_and_bias: bool,
    lr: float,
    weight_decay: float | None,
    **settings: Any,
) -> Optimizer:
    """Make the optimizer, over the groups that names ask for. Raises `ConfigError` for settings that torch refuses."""
    settings = {"lr": lr, **settings} | ({} if weight_decay is None else {"weight_decay": weight_decay})
    if groups or not decay_norm_and_bias:
        if not isinstance(params, Trainable):
            raise ConfigError(Problem(KEY, "groups go by parameter names: give Trainable(model)."))
        params = parameter_groups(
            params.model,
            options=list(settings),
            weight_decay=weight_decay or 0.0,
            decay_norm_and_bias=decay_norm_and_bias,
            groups=groups,
        )
    try:
        return light.construct(kind, params, **settings)
    except ValueError as error:
        raise ConfigError(Problem("optimizer", f"{kind.__name__.lower()}: {error}.")) from error


def _pair(key: str, values: Sequence[float]) -> tuple[float, float]:
    """Exactly two numbers, as the tuple that torch keeps in its state."""
    if len(values) != 2:
        raise ConfigError(Problem(f"optimizer.{key}", f"{list(values)} must be two numbers."))
    return float(values[0]), float(values[1])
