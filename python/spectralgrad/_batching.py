"""Batching for torch.func.vmap. The rule, one for all operators, is csrc/autograd/batching.cpp."""

from __future__ import annotations

from . import _C
from ._operators import OPERATORS


def register_batching() -> None:
    """Registers the operators for `torch.func.vmap`."""
    for name, operator in OPERATORS.items():
        if operator.batched:
            _C.register_batching(name, operator.one_result)
