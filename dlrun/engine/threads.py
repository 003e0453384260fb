"""The number of threads that a run computes with on the CPU.

Threads that share a product must meet again at its end. Small products are faster in one thread, and where other
processes keep the processors busy, threads wait for each other many times longer than they compute. The rule of
`device.threads=auto` counts, and measures nothing, so that a run has the same number each time on one machine:
sums are added in another order by another number of threads, and their last bits differ.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dlrun.generators import forked
from dlrun.processes import processors
from dlrun.torch_private import watched

SMALL = 5_000_000  # multiply-adds of a product below which one thread is faster (measured: between 4 and 8 million)
MOST = 4  # more threads gain little for models that are trained on a CPU


@contextmanager
def threads_of(number: int | None) -> Iterator[None]:
    """Context manager that computes with `number` threads, and afterwards with as many as before; None: no change."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def auto_threads(model: nn.Module, inputs: Sequence[Tensor], batch_size: int) -> int:
    """The number of threads for `device.threads=auto`; `inputs` are a few rows as the model takes them.

    It is 1 where the largest product of a forward pass over a batch is small; else 4, or as many as this process may
    use processors, or as torch is set to (by `OMP_NUM_THREADS`, say), if these are fewer.
    """
    most = min(MOST, processors(), torch.get_num_threads())
    if most == 1:
        return 1
    rows = max(1, len(inputs[0]))
    return 1 if largest_product(model, inputs) * batch_size / rows < SMALL else most


def largest_product(model: nn.Module, inputs: Sequence[Tensor]) -> float:
    """The multiply-adds of the largest matrix product or convolution of a forward pass on these rows.

    A copy of the model is called, so that nothing of it changes. Infinity if that fails.
    """
    try:
        tried = copy.deepcopy(model).eval()
        counted = Products()
        for module in tried.modules():
            if isinstance(module, nn.RNNBase):
                module.register_forward_pre_hook(counted.enter_recurrent)
                module.register_forward_hook(counted.leave_recurrent)
        # With gradients, as in training: without them, attention would be one operation that hides its products.
        with threads_of(1), forked(0), warnings.catch_warnings(), torch.enable_grad(), watched(counted.operation):
            warnings.simplefilter("ignore")
            tried(*(x.clone() for x in inputs))
    except Exception:  # whatever a user's model may raise: torch's own way is to use all
        return math.inf
    return counted.largest


class Products:
    """The size of the largest product among the operations of a forward pass, also of those in a user's own code.

    Recurrent layers are counted by the product of one step, since the steps are computed one after another.
    """

    def __init__(self) -> None:
        self.largest = 0.0
        self.inside = 0  # how many recurrent layers are being called

    def operation(self, name: str, output: Tensor, arguments: Sequence[Tensor]) -> None:
        """Count an operation that was computed."""
        if name in SIZES and not self.inside:
            self.largest = max(self.largest, SIZES[name](output, arguments))

    def enter_recurrent(self, module: nn.Module, inputs: tuple[Tensor | PackedSequence, ...]) -> None:
        """Count the largest of the layer's matrices times the sequences of the batch."""
        assert isinstance(module, nn.RNNBase)
        given = inputs[0]
        if isinstance(given, PackedSequence):
            rows = int(given.batch_sizes[0])
        else:
            rows = given.shape[0 if module.batch_first else 1] if given.ndim == 3 else 1
        self.largest = max(self.largest, rows * max(p.numel() for p in module.parameters() if p.ndim == 2))
        self.inside += 1

    def leave_recurrent(self, module: nn.Module, inputs: object, output: object) -> None:
        """Count single operations again."""
        self.inside -= 1


def _matrices(output: Tensor, arguments: Sequence[Tensor]) -> int:
    """(..., n, k) times (..., k, m)."""
    return output.numel() * arguments[0].shape[-1]


def _added(output: Tensor, arguments: Sequence[Tensor]) -> int:
    """A bias plus (..., n, k) times (..., k, m)."""
    return output.numel() * arguments[1].shape[-1]


def _convolution(output: Tensor, arguments: Sequence[Tensor]) -> int:
    """Each output is a product with a filter; in a transposed convolution, each input is multiplied by one."""
    x, weight, _bias, _stride, _padding, _dilation, transposed = arguments[:7]
    return (x if transposed else output).numel() * math.prod(weight.shape[1:])


def _attention(output: Tensor, arguments: Sequence[Tensor]) -> int:
    """Queries (N, H, L, E) times keys (N, H, S, E)."""
    return arguments[0].numel() * arguments[1].shape[-2]


def _bilinear(output: Tensor, arguments: Sequence[Tensor]) -> int:
    """Each row times each of the matrices (K, I, J)."""
    return len(arguments[0]) * arguments[1].numel()


def _lstm(output: Tensor, arguments: Sequence[Tensor]) -> int:
    """A step of a layer that a user calls as a function, for x (T, N, I)."""
    x, w_ih, w_hh = arguments[:3]
    return x.shape[1] * max(w_ih.numel(), w_hh.numel())


SIZES: dict[str, Callable[[Tensor, Sequence[Tensor]], int]] = {  # multiply-adds of an operation
    "aten.mm": _matrices,
    "aten.bmm": _matrices,
    "aten.addmm": _added,
    "aten.baddbmm": _added,
    "aten.convolution": _convolution,
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._trilinear": _bilinear,
    "aten.mkldnn_rnn_layer": _lstm,
}
