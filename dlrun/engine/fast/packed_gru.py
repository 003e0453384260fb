"""A GRU over packed rows on the CPU, with its own backward: `nn.GRU`'s parameters and results, in half the time.

torch runs a packed GRU as some thirty small operations a step and lets autograd record each. Here a layer is one
`autograd.Function`. Forward needs five operations a step: the biases lie in the input product already, gates are
computed where they lie. Backward first computes, for all steps at once, the factors by which a state's gradient
becomes the gates' gradients; then three operations a step; then the weights' gradients in one product each.
For the first layer over an embedding, the input product is computed once for each letter of the vocabulary and
gathered, and its gradient gathered back: the embedded batch, padding and all, never exists.

S is the number of steps of all rows together (the packed rows), H the hidden size, F the features, V the letters.
Gates as in torch.nn.GRU: r = σ(W x + U h), z likewise, n = tanh(W x + b + r (U h + c)), h' = n + z (h - n)
(Cho et al. 2014, https://arxiv.org/abs/1406.1078, with the reset gate after the product).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dlrun.spec import Forward
from dlrun.torch_private import is_hooked


class GruContext(Protocol):
    """What `GruLayer.forward` leaves to `backward`, in torch's own context."""

    sizes: list[int]
    saved_tensors: tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


class GruLayer(torch.autograd.Function):
    """One direction of one layer: x (S, F), or (V, F) and codes (S,), to the states (S, H) in packed order.

    `sizes` says how many rows are left at each step, falling; the first state is zeros.
    """

    @staticmethod
    def forward(
        ctx: GruContext,
        x: Tensor,
        codes: Tensor | None,
        w_ih: Tensor,  # (3 H, F): gates r, z, n
        w_hh: Tensor,  # (3 H, H)
        b_ih: Tensor,  # (3 H,)
        b_hh: Tensor,  # (3 H,)
        sizes: list[int],
    ) -> Tensor:
        """Compute the states after each step."""
        gates = input_product(x, w_ih, b_ih, b_hh)
        if codes is not None:
            gates = gates.index_select(0, codes)
        hidden = w_hh.shape[1]
        states = x.new_empty(gates.shape[0], hidden)
        weight = w_hh.t()
        before = x.new_zeros(sizes[0], hidden)
        begin = 0
        for size in sizes:
            step = gates[begin : begin + size]  # r z | U h of n | n
            before = before[:size]
            if begin:
                step[:, : 3 * hidden].addmm_(before, weight)
            reset_update = step[:, : 2 * hidden].sigmoid_()
            new = step[:, 3 * hidden :]
            new.addcmul_(reset_update[:, :hidden], step[:, 2 * hidden : 3 * hidden]).tanh_()
            out = states[begin : begin + size]
            before = torch.lerp(new, before, reset_update[:, hidden:], out=out)
            begin += size
        ctx.save_for_backward(x, codes, w_ih, w_hh, gates, states)
        ctx.sizes = sizes
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: GruContext, d_states: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of x, the weights and the biases."""
        x, codes, w_ih, w_hh, gates, states = ctx.saved_tensors
        hidden = w_hh.shape[1]
        grads = gate_gradients(d_states, gates, states, w_hh, ctx.sizes)  # (S, 4 H): n r z | r n of U h
        first, width = ctx.sizes[0], 3 * hidden
        d_w_hh = grads[first:, hidden:].t() @ previous(states, ctx.sizes)
        sums = grads.sum(0)
        if codes is not None:
            grads = grads.new_zeros(x.shape[0], 4 * hidden).index_add_(0, codes, grads)
        d_w_ih = torch.cat([grads[:, hidden:width].t() @ x, grads[:, :hidden].t() @ x])
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (grads[:, hidden:width] @ w_ih[: 2 * hidden]).addmm_(grads[:, :hidden], w_ih[2 * hidden :])
        d_b_ih = torch.cat([sums[hidden:width], sums[:hidden]])
        return d_x, None, d_w_ih, d_w_hh, d_b_ih, sums[hidden:], None


def input_product(x: Tensor, w_ih: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Compute what the gates (., 4 H) begin with: r and z with both biases, the bias of n's U h, W x + b of n."""
    hidden = w_ih.shape[0] // 3
    two = 2 * hidden
    gates = x.new_empty(x.shape[0], 4 * hidden)
    torch.addmm(b_ih[:two] + b_hh[:two], x, w_ih[:two].t(), out=gates[:, :two])
    torch.addmm(b_ih[two:], x, w_ih[two:].t(), out=gates[:, 3 * hidden :])
    gates[:, two : 3 * hidden] = b_hh[two:]
    return gates


def gate_gradients(d_states: Tensor, gates: Tensor, states: Tensor, w_hh: Tensor, sizes: list[int]) -> Tensor:
    """Gradients (S, 4 H) before the activations: n, r, z, and n's share that goes through U h."""
    hidden = states.shape[1]
    r, z, u_h, n = gates.split(hidden, dim=1)
    factors = torch.empty_like(gates)
    d_n, d_r, d_z, d_u = factors.split(hidden, dim=1)
    rest = 1 - z
    torch.mul(rest, 1 - n * n, out=d_n)
    torch.mul(d_n, r, out=d_u)
    torch.mul(d_u, u_h - u_h * r, out=d_r)
    torch.mul(rest, states - n, out=d_z)  # states - n = z (h - n)
    d_h = d_states.clone()
    ends = list(accumulate(sizes))
    for t in range(len(sizes) - 1, -1, -1):
        begin, size = ends[t] - sizes[t], sizes[t]
        here = d_h[begin : ends[t]]
        step = factors[begin : ends[t]]
        step.view(size, 4, hidden).mul_(here.unsqueeze(1))
        if t:
            earlier = begin - sizes[t - 1]
            into = d_h[earlier : earlier + size]
            into.addcmul_(here, z[begin : ends[t]]).addmm_(step[:, hidden:], w_hh)
    return factors


def previous(states: Tensor, sizes: list[int]) -> Tensor:
    """The state before each step after the first: (S - sizes[0], H)."""
    begins = [0, *accumulate(sizes)]
    parts = [states[begin : begin + size] for begin, size in zip(begins, sizes[1:], strict=False)]
    return torch.cat(parts) if parts else states[:0]


@dataclass(frozen=True)
class Packing:
    """How rows of several lengths lie packed: step by step, the longest row first."""

    sizes: list[int]  # rows left at each step
    last: Tensor  # (N,) where each row's last step lies, rows in the order of the batch
    source: Tensor  # (S,) which of the N * T padded positions, row by row, each packed step is
    mirror: Tensor  # (S,) where the packed step lies when every row runs backwards; empty if none does


def pack(lengths: Tensor, width: int, both_ways: bool) -> Packing:
    """The packing of rows of these lengths (N,) int64, 1 to `width`, padded to that. Raises ValueError."""
    if int(lengths.min()) < 1:
        raise ValueError("a row has no steps: every length must be at least 1.")
    ordered, rows = lengths.sort(descending=True)  # as pack_padded_sequence sorts
    longest = int(ordered[0])
    if longest > width:
        raise ValueError(f"a row has {longest} steps, and its batch is {width} wide.")
    steps = torch.arange(longest)
    present = steps.unsqueeze(1) < ordered  # (T, N)
    counts = present.sum(1)
    begins = counts.cumsum(0) - counts
    t, place = present.nonzero(as_tuple=True)
    last = torch.empty_like(lengths)
    last[rows] = begins[ordered - 1] + torch.arange(len(ordered))
    mirror = begins[ordered[place] - 1 - t] + place if both_ways else last[:0]
    return Packing(counts.tolist(), last, rows[place] * width + t, mirror)


def last_states(rnn: nn.GRU, x: Tensor, codes: Tensor | None, packing: Packing) -> Tensor:
    """The last layer's state after each row's last step: (N, H), or (N, 2 H) as forward, then backward."""
    ways = 2 if rnn.bidirectional else 1
    for layer in range(rnn.num_layers):
        weights = [rnn.all_weights[layer * ways + way] for way in range(ways)]
        states = GruLayer.apply(x, codes, *weights[0], packing.sizes)
        if ways == 2:
            mirror = packing.mirror
            there = GruLayer.apply(*mirrored(x, codes, mirror), *weights[1], packing.sizes)
        if layer + 1 == rnn.num_layers:
            parts = [states, there] if ways == 2 else [states]
            return torch.cat([part.index_select(0, packing.last) for part in parts], dim=1)
        x = torch.cat([states, there.index_select(0, mirror)], dim=1) if ways == 2 else states
        x, codes = F.dropout(x, rnn.dropout, rnn.training), None
    raise AssertionError("a GRU has at least one layer")


def mirrored(x: Tensor, codes: Tensor | None, mirror: Tensor) -> tuple[Tensor, Tensor | None]:
    """The input of the backward direction: each row's steps in reverse."""
    if codes is None:
        return x.index_select(0, mirror), None
    return x, codes.index_select(0, mirror)


def packed_gru(model: nn.Module) -> Forward | None:
    """A faster `model(codes, lengths)` for an embedding, a GRU and a head that reads its last state, or None.

    The model's very class says that it is one (`dlrun_fast`; a subclass may do anything), with `every_step` false; all
    on the CPU, in one floating type, with biases and without hooks. Codes (N, T) int64, lengths (N,), to (N, K).
    """
    if vars(type(model)).get("dlrun_fast") != "packed_gru":
        return None
    embedding, rnn, head = (getattr(model, name, None) for name in ("embedding", "rnn", "head"))
    if type(embedding) is not nn.Embedding or type(rnn) is not nn.GRU or not isinstance(head, nn.Module):
        return None
    if getattr(model, "every_step", True) or not rnn.bias or not rnn.batch_first:
        return None
    unusual = embedding.max_norm is not None or embedding.sparse or embedding.scale_grad_by_freq
    if unusual or embedding.padding_idx is not None or not _on_cpu(model) or is_hooked(model):
        return None

    def forward(codes: Tensor, lengths: Tensor) -> Tensor:
        packing = pack(lengths, codes.shape[1], rnn.bidirectional)
        letters = codes.reshape(-1).index_select(0, packing.source)
        output: Tensor = head(last_states(rnn, embedding.weight, letters, packing))
        return output

    return forward


def _on_cpu(model: nn.Module) -> bool:
    kinds = {(p.device.type, p.dtype) for p in model.parameters()}
    return len(kinds) == 1 and next(iter(kinds))[0] == "cpu"
