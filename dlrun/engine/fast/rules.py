"""The rule by which a fast step is chosen. Each sentence of it is a line below, and a word in the run's header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dlrun.engine.allocator import keep_freed_memory
from dlrun.engine.fast.chain import Chain, chain
from dlrun.engine.fast.channels_last import (
    channels_last,
    channels_last_is_safe,
    has_convolutions,
    lay_out_channels_last,
)
from dlrun.engine.fast.compiled import CompiledStep
from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.graph import GraphStep
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.packed_gru import packed_gru
from dlrun.engine.fast.straight import straight
from dlrun.engine.state import TrainState
from dlrun.errors import ConfigError, Problem
from dlrun.spec import BatchSource, Forward

SHORT_EPOCH = 100  # batches; in a shorter one the last, smaller batch matters, and gets a graph of its own


@dataclass(frozen=True)
class StepOptions:
    """What the choice of a step depends on, beside the model and the optimizer.

    `clip_norm` is the largest norm of all gradients together (None: any), `precision` is fp32, bf16 or fp16, and
    `accumulate` the number of batches in an optimizer step.
    """

    batches: BatchSource
    clip_norm: float | None = None
    precision: str = "fp32"
    accumulate: int = 1


class Shortcut(NamedTuple):
    """What takes the place of the model's own call: another forward pass, or forward and backward as a chain."""

    word: str = ""  # in the run's header
    forward: Forward | None = None
    chain: Chain | None = None


def fast_step(state: TrainState, options: StepOptions) -> tuple[FusedStep | GraphStep, list[str]]:
    """The fast step and its words: on a GPU a CUDA graph, where the optimizer has fused kernels, each batch is a
    step, and no text is packed (which reads lengths back); else the eager one.
    """
    eager, words = eager_step(state, options)
    update = fused_update(state.optimizer) if state.device.type == "cuda" else None
    if update is None or options.accumulate > 1 or state.spec.input_kind == "text":
        return eager, words
    eager.fused_update = update
    return GraphStep(eager, update, options.batches.sizes(0)), ["cuda_graph", *words[1:]]


def eager_step(state: TrainState, options: StepOptions) -> tuple[FusedStep, list[str]]:
    """The fast eager step and its words. Weights may be laid out anew; their values stay the same.

    On the CPU, an optimizer with fused kernels is updated by them (`fused`); others by their own step (`lean`).
    """
    found = shortcut(state, options)
    if found.word == "channels_last":
        lay_out_channels_last(state.model)
    update = None
    if state.device.type == "cpu":
        keep_freed_memory()
        update = fused_update(state.optimizer)
    step = FusedStep(
        clip_norm=options.clip_norm,
        precision=options.precision,
        device_type=state.device.type,
        update=update,
        forward=found.forward,
        chain=found.chain,
    )
    return step, ["fused" if update is not None else "lean", *([found.word] if found.word else [])]


def shortcut(state: TrainState, options: StepOptions) -> Shortcut:
    """What takes the place of the model's call:

    - On the CPU in fp32, an embedding, a GRU and a head run over packed letters (`packed_gru`).
    - A model with 2-d convolutions over images runs on weights that are laid out channels last (`channels_last`),
      where a trial shows that this is safe.
    - On the CPU in fp32, a chain of linear layers and activations has its backward pass written out (`chain`).
    - Another `nn.Sequential` is called as a plain chain of its layers (no word: it is the same computation).
    """
    plain_cpu = state.device.type == "cpu" and options.precision == "fp32"
    if plain_cpu and state.spec.input_kind == "text":
        forward = packed_gru(state.model)
        return Shortcut("packed_gru" if forward is not None else "", forward)
    if gains_from_layout(state) and channels_last_is_safe(state, next(iter(options.batches.epoch(0)))):
        return Shortcut("channels_last", channels_last(state.model))
    written_out = chain(state.model, state.loss, len(state.spec.input_shape)) if plain_cpu else None
    return Shortcut("chain" if written_out is not None else "", straight(state.model), written_out)


def gains_from_layout(state: TrainState) -> bool:
    """Is it a model with 2-d convolutions over images, on the CPU or an NVIDIA GPU?"""
    image = state.spec.input_kind == "image" and state.device.type != "mps"
    return image and has_convolutions(state.model)


def compiled_step(state: TrainState, options: StepOptions, *, fast: bool) -> tuple[CompiledStep, list[str]]:
    """The whole step compiled, for batches of the full size and a short epoch's last; eager for the rest.

    Raises `ConfigError` if it cannot be compiled.
    """
    if state.scaler is not None:
        message = "a step with a gradient scaler is not compiled."
        raise ConfigError(Problem("device.compile", message, "Use device.precision=bf16, or device.compile=false."))
    eager = FusedStep(clip_norm=options.clip_norm, precision=options.precision, device_type=state.device.type)
    if fast:
        eager, _ = eager_step(state, options)
    batches = options.batches
    examples = [next(iter(batches.epoch(0)))]
    last = batches.sizes(len(batches) - 1)
    if len(batches) < SHORT_EPOCH and last != batches.sizes(0):
        examples.append(examples[0].first(last))
    step = CompiledStep(state, eager, *examples, accumulate=options.accumulate)
    return step, ["compiled step" if step.whole else "compiled gradients"]
