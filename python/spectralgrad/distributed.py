"""Batches sharded over a mesh with `torch.distributed.tensor.DTensor`.

Every operator takes batches of matrices, so each rank computes its shard of the batch without communication. A sharded
dimension of the matrices is gathered, or its shards are exchanged for those of a batch dimension. A `Partial` is
reduced. The rank that holds a bad matrix reports it, so batch positions in messages count within the shard of that
rank.

DTensor has a table of the operators that it can shard, and it takes long to import. So the operators are entered there
by `import spectralgrad` if DTensor is already imported, else by the first call of a function with a DTensor. `register`
does it at any time. It is needed where no function of this package is called in eager mode before: with `install`, or
if DTensor is imported after this package and the first call is inside of `torch.compile`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from ._operators import OPERATORS, handle, tensor_positions

__all__ = ["register"]

_registered = False


def _batch_dimensions(tensors: Sequence[Any], trailing: tuple[int | None, ...]) -> int:
    known = (x.ndim - count for x, count in zip(tensors, trailing) if x is not None and count is not None)
    return next(known, 0)


def _register(name: str, trailing: tuple[int | None, ...]) -> None:
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.experimental import register_sharding

    operator = handle(name)
    results, positions = len(operator._schema.returns), tensor_positions(name)

    # DTensor calls this with a description of each tensor. It returns, for one dimension of the mesh, the possible
    # placements of the results and of the arguments. DTensor takes the one that is cheapest to reach.
    @register_sharding(operator)
    def placements(*args: Any) -> list[tuple[list[Any], list[Any]]]:
        # An optional tensor at the end is absent if it was not given.
        tensors = {i: args[i] for i in positions if i < len(args)}
        choices = [Replicate(), *(Shard(dim) for dim in range(_batch_dimensions(list(tensors.values()), trailing)))]
        return [
            ([choice] * results, [None if tensors.get(i) is None else choice for i in range(len(args))])
            for choice in choices
        ]


def register() -> None:
    """Tells DTensor how the operators of this package are sharded. Imports DTensor. A second call does nothing.

    Raises:
        RuntimeError: torch is built without ``torch.distributed``.

    Example::

        >>> import spectralgrad.distributed
        >>> spectralgrad.distributed.register()
    """
    global _registered
    if _registered:
        return
    if not torch.distributed.is_available():
        raise RuntimeError(
            "spectralgrad.distributed.register: Expected a torch with torch.distributed, but this one is built "
            "without it"
        )
    for name, operator in OPERATORS.items():
        if operator.trailing is not None:
            _register(name, operator.trailing)
    _registered = True


def _register_if_imported() -> None:
    """Calls `register` if DTensor is already imported."""
    if "torch.distributed.tensor" in sys.modules:
        register()
