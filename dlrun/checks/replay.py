"""`dlrun replay RUN`: repeat the step that failed with anomaly detection, and find the layer."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine.state import TrainState
from dlrun.engine.step import autocast
from dlrun.errors import RunError, in_words
from dlrun.generators import load_rng_state
from dlrun.objectives.loss import loss_of
from dlrun.plain import say
from dlrun.run.build import build
from dlrun.run.capsule import CAPSULE
from dlrun.run.resume import stored_config
from dlrun.spec import Batch
from dlrun.store import checkpoint as files
from dlrun.store.contents import CRASH_FILE
from dlrun.store.find import find_run
from dlrun.store.rundir import RunDir


def replay_command(run: str) -> int:
    """Print what fails, and in which layer. Returns 0."""
    for line in replay(find_run(run)):
        say(line)
    return 0


def replay(run: RunDir) -> list[str]:
    """Repeat the step in RUN/crash.pt. Returns lines of text; raises `RunError` if there is no crash.pt."""
    path = run.file(CAPSULE)
    if not path.exists():
        raise RunError(f"{run.path} has no {CAPSULE}: no step of it failed, or the failure could not be repeated.")
    capsule = files.read_checkpoint(path, fields=CRASH_FILE)
    built = build(stored_config(run), run.threads)
    state = built.state
    with files.loading(path):
        state.model.load_state_dict(capsule["model"])
        load_rng_state(capsule["rng"], state.device)
    lines = [f"step {capsule['step']} (epoch {capsule['epoch']}): {capsule['reason']}"]
    lines += describe_batch(capsule)
    return lines + repeat(state, capsule, built.config.device.precision)


def describe_batch(capsule: dict[str, Any]) -> list[str]:
    """The shape, range and number of non-finite values of each input and the target."""
    named = [(f"input {i + 1}", x) for i, x in enumerate(capsule["inputs"])] + [("target", capsule["target"])]
    lines = []
    for name, values in named:
        text = f"  {name}: {tuple(values.shape)}"
        if values.is_floating_point() and values.numel():
            bad = int((~torch.isfinite(values)).sum())
            text += f", from {values.min():.4g} to {values.max():.4g}" + (f", {bad} not finite" if bad else "")
        lines.append(text)
    return lines


def repeat(state: TrainState, capsule: dict[str, Any], precision: str) -> list[str]:
    """Run the forward and backward pass, and find the first layer whose output is not finite."""
    not_finite: list[str] = []  # layers, in the order of the forward pass
    handles = [
        module.register_forward_hook(finite_check(name, not_finite))
        for name, module in state.model.named_modules()
        if name and not list(module.children())
    ]
    weights = [name for name, p in state.model.named_parameters() if not bool(torch.isfinite(p).all())]
    lines = [f"  weights that are not finite before the step: {', '.join(weights[:5])}"] if weights else []
    state.train_mode()
    inputs = tuple(x.to(state.device) for x in capsule["inputs"])
    weight = capsule.get("weight")  # an older capsule has none
    weight = None if weight is None else weight.to(state.device)
    batch = Batch(inputs, capsule["target"].to(state.device), weight)
    try:
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("ignore")  # anomaly mode warns that it is slow, and prints its own traceback
            with autocast(state.device.type, precision):
                loss = loss_of(state.loss, state.model(*inputs), batch)
            lines.append(f"  loss: {float(loss)}")
            loss.backward()
    except Exception as error:
        lines.append(f"  {in_words(error)}")
    finally:
        for handle in handles:
            handle.remove()
    lines += (
        [f"  first layer whose output is not finite: {not_finite[0]}"] if not_finite else check_gradients(state.model)
    )
    return lines


def finite_check(name: str, not_finite: list[str]) -> Any:
    """A forward hook that appends the layer to `not_finite` if its output is not finite."""

    def hook(module: nn.Module, inputs: object, output: object) -> None:
        tensors = output if isinstance(output, tuple | list) else (output,)
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                not_finite.append(f"{name} ({type(module).__name__})")
                return

    return hook


def check_gradients(model: nn.Module) -> list[str]:
    """The parameters whose gradients are not finite, or else the one with the largest gradient."""
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    bad = [name for name, grad in grads.items() if not bool(torch.isfinite(grad).all())]
    if bad:
        return [f"  gradients that are not finite: {', '.join(bad[:5])}; the last layer of them is {bad[-1]}"]
    if not grads:
        return []
    name = max(grads, key=lambda key: float(grads[key].abs().max()))
    return [f"  all layers are finite; the largest gradient is {float(grads[name].abs().max()):.4g} in {name}"]
