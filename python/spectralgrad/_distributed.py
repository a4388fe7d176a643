"""Batches sharded over a mesh with `torch.distributed.tensor.DTensor`.

Every operator takes batches of matrices, so a shard of the batch is the operator's own business and needs no
communication. A dimension of the matrices that is sharded is gathered, or its shards are exchanged for those of a batch
dimension; a `Partial` is reduced. What is wrong with a matrix is found, and told, by the rank that holds it: batch
positions in messages count within its shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ._after_import import after_import

# Per operator and tensor argument: how many dimensions, at the end, are not the batch's. All that come before are
# dimensions of the batch, the same in all tensors that are given and returned. None where the other arguments tell;
# where none does, the whole batch is looked at.
_TRAILING_DIMENSIONS: dict[str, tuple[int | None, ...]] = {
    "chemical_potential": (2, 1, 2, 0, 0),
    "cluster_rounds": (None,),
    "constant": (0,),
    "drop_small_eigenvalues": (1,),
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

    # Called with what DTensor knows of each tensor in its place; says, for one dimension of the mesh, which placements
    # of the results follow from which of the arguments. DTensor takes the cheapest to get to.
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
    """`register`, now or as soon as somebody imports DTensor, which builds of torch without it cannot."""
    if torch.distributed.is_available():
        after_import(_DTENSOR_MODULE, register)
