"""The rule by which a fast step is chosen. Each sentence of it is a line below, and a word in the run's header."""

from __future__ import annotations

from dlrun.engine.allocator import keep_freed_memory
from dlrun.engine.fast.chain import Chain, chain
from dlrun.engine.fast.channels_last import channels_last, has_convolutions, minds
from dlrun.engine.fast.compiled import CompiledStep, first_rows
from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.graph import GraphStep
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.packed_gru import packed_gru
from dlrun.engine.fast.straight import straight
from dlrun.engine.state import TrainState
from dlrun.errors import ConfigError, Problem
from dlrun.spec import BatchSource, Forward

SHORT_EPOCH = 100  # batches; in a shorter one the last, smaller batch matters, and gets a graph of its own


def fast_step(
    state: TrainState, *, clip_norm: float | None, precision: str, accumulate: int, batches: BatchSource
) -> tuple[FusedStep | GraphStep, list[str]]:
    """The fast step and its words: on a GPU a CUDA graph, where the optimizer has fused kernels, each batch is a
    step, and no text is packed (which reads lengths back); else the eager one.
    """
    eager, words = eager_step(state, clip_norm=clip_norm, precision=precision, batches=batches)
    update = fused_update(state.optimizer) if state.device.type == "cuda" else None
    if update is None or accumulate > 1 or state.spec.input_kind == "text":
        return eager, words
    eager.fused_update = update
    return GraphStep(eager, update, batches.sizes(0)), ["cuda_graph", *words[1:]]


def eager_step(
    state: TrainState, *, clip_norm: float | None, precision: str, batches: BatchSource
) -> tuple[FusedStep, list[str]]:
    """The fast eager step and its words. It lays convolution weights out anew; values stay the same.

    - On the CPU, an optimizer with fused kernels is updated by them (`fused`); others by their own step.
    - A model with 2-d convolutions over images is laid out channels last (`channels_last`), if it does not mind.
    - On the CPU in fp32, an embedding, a GRU and a head run over packed letters (`packed_gru`).
    - On the CPU in fp32, a chain of linear layers and activations has its backward pass written out (`chain`).
    - Another `nn.Sequential` is called as a plain chain of its layers (no word: it is the same computation).
    """
    on_cpu = state.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    update = fused_update(state.optimizer) if on_cpu else None
    words = ["fused" if update is not None else "lean"]
    forward: Forward | None = None
    written_out: Chain | None = None
    if on_cpu and precision == "fp32" and state.spec.input_kind == "text":
        forward = packed_gru(state.model)
        words += ["packed_gru"] if forward is not None else []
    elif gains_from_layout(state) and not minds(state, next(iter(batches.epoch(0)))):
        forward = channels_last(state.model)
        words.append("channels_last")
    else:
        forward = straight(state.model)
        if on_cpu and precision == "fp32":
            written_out = chain(state.model, state.loss, len(state.spec.input_shape))
        words += ["chain"] if written_out is not None else []
    step = FusedStep(
        clip_norm=clip_norm,
        precision=precision,
        device_type=state.device.type,
        update=update,
        forward=forward,
        chain=written_out,
    )
    return step, words


def gains_from_layout(state: TrainState) -> bool:
    """Is it a model with 2-d convolutions over images, on the CPU or a GPU of NVIDIA's?"""
    image = state.spec.input_kind == "image" and state.device.type != "mps"
    return image and has_convolutions(state.model)


def compiled_step(
    state: TrainState, *, clip_norm: float | None, precision: str, fast: bool, accumulate: int, batches: BatchSource
) -> tuple[CompiledStep, list[str]]:
    """The whole step compiled, for batches of the full size and a short epoch's last; eager for the rest.

    Raises `ConfigError` if it cannot be compiled.
    """
    if state.scaler is not None:
        message = "a step with a gradient scaler is not compiled."
        raise ConfigError(Problem("device.compile", message, "Use device.precision=bf16, or device.compile=false."))
    eager = FusedStep(clip_norm=clip_norm, precision=precision, device_type=state.device.type)
    if fast:
        eager, _ = eager_step(state, clip_norm=clip_norm, precision=precision, batches=batches)
    examples = [next(iter(batches.epoch(0)))]
    last = batches.sizes(len(batches) - 1)
    if len(batches) < SHORT_EPOCH and last != batches.sizes(0):
        examples.append(first_rows(examples[0], last))
    step = CompiledStep(state, eager, *examples, accumulate=accumulate)
    return step, ["compiled step" if step.whole else "compiled gradients"]
