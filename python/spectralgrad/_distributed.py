"""Batches sharded over a mesh with `torch.distributed.tensor.DTensor`.

Every operator takes batches of matrices, so each rank computes its shard of the batch without communication. A sharded
dimension of the matrices is gathered, or its shards are exchanged for those of a batch dimension. A `Partial` is
reduced. The rank that holds a bad matrix reports it, so batch positions in messages count within the shard of that
rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ._after_import import after_import

# For each operator and each of its tensors: the number of dimensions at the end that do not belong to the batch. All
# other dimensions are the batch, which is the same for all arguments and results. None if the other arguments determine
# the batch. If no argument does, the operator needs the whole batch.
_TRAILING_DIMENSIONS: dict[str, tuple[int | None, ...]] = {
    "chemical_potential": (2, 1, 2, 0, 0),
    "cluster_rounds": (None,),
    "constant": (0,),
    "eigenpairs": (2,),
    "eigh": (2,),
    "eigh_jvp": (2, 1, 2),
    "eigh_vjp": (1, 2, 1, 2),
    "eigvalsh": (2,),
    "fill_levels": (1, 0, 0),
    "hermitian": (2,),
    "judge_cotangents": (1, 2, 2, 1),
    "judge_rotations": (1, 2, 2, 3, 1, 2),
    "once": (None, 2),
    "quantity": (0,),
    "rotated_eigenpairs": (2, 1, 2),
    "spectral_function": (2, 1, 2, 2, 2, 2),
    "spectral_function_transposed": (2, 1, 2, 2, 2, 2),
    "spectral_trace": (2, 1, 2, 2),
    "warn_of_second_order": (None, 1),
    "watch_second_order": (1, 2),
}

_DTENSOR_MODULE = "torch.distributed.tensor"


def _batch_dimensions(tensors: Sequence[Any], trailing: tuple[int | None, ...]) -> int:
    known = (x.ndim - count for x, count in zip(tensors, trailing) if x is not None and count is not None)
    return next(known, 0)


def _register(name: str, trailing: tuple[int | None, ...]) -> None:
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.experimental import register_sharding

    operator = getattr(torch.ops.spectralgrad, name).default
    results = len(operator._schema.returns)

    # DTensor calls this with a description of each tensor. It returns, for one dimension of the mesh, the possible
    # placements of the results and of the arguments. DTensor takes the one that is cheapest to reach.
    @register_sharding(operator)
    def placements(*args: Any) -> list[tuple[list[Any], list[Any]]]:
        tensors = args[: len(trailing)]
        choices = [Replicate(), *(Shard(dim) for dim in range(_batch_dimensions(tensors, trailing)))]
        others = [None] * (len(args) - len(trailing))
        return [([choice] * results, [None if x is None else choice for x in tensors] + others) for choice in choices]


def register() -> None:
    """Tells DTensor how the operators are sharded."""
    for name, trailing in _TRAILING_DIMENSIONS.items():
        _register(name, trailing)


def register_when_needed() -> None:
    """Calls `register` now or as soon as somebody imports DTensor. Does nothing if torch is built without it."""
    if torch.distributed.is_available():
        after_import(_DTENSOR_MODULE, register)
