"""The tensors that an optimizer holds, kept between steps to see if they were replaced; nothing is hashed or copied."""

from __future__ import annotations

from collections.abc import MutableMapping
from itertools import chain
from operator import is_

import torch
from torch import Tensor

from dlrun.objectives.groups import Group
from dlrun.torch_private import base

OptimizerState = MutableMapping[Tensor, Group]  # of a torch optimizer: what it keeps for each weight


def same(tensors: list[Tensor], others: list[Tensor]) -> bool:
    """Are these the very same tensors?"""
    return len(tensors) == len(others) and all(map(is_, tensors, others))


class StateSnapshot:
    """The tensors that an optimizer's state holds, to see if they were replaced."""

    def __init__(self, state: OptimizerState) -> None:
        self.state, self.entries = state, list(state.values())
        self.values = [value for entry in self.entries for value in entry.values()]

    def unchanged(self, state: OptimizerState) -> bool:
        """Does `state` still hold the same tensors?"""
        if self.state is not state or len(state) != len(self.entries):
            return False
        if not all(map(is_, state.values(), self.entries)):
            return False
        return all(map(is_, chain.from_iterable(map(dict.values, self.entries)), self.values))


def joined_counts(entries: list[Group]) -> Tensor:
    """Make the counts `step` of these entries of the state views of one tensor (n,), which is returned.

    Adding 1 to each of six tensors takes as long as the kernel of a small model, adding it to one takes a fifth.
    """
    joined = base(entries[0]["step"])
    shared = [base(entry["step"]) is joined for entry in entries]
    places = [entry["step"].storage_offset() for entry in entries]
    if joined is not None and all(shared) and len(joined) == len(entries) and places == list(range(len(joined))):
        return joined
    joined = torch.stack([entry["step"] for entry in entries])
    for entry, count in zip(entries, joined.unbind(), strict=True):
        entry["step"] = count
    return joined
