"""Batching for torch.func.vmap: every operator here takes batches, so a mapped dimension becomes a leading one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._operators import OPERATORS, handle


def _leading(x: Any, dim: int | None, size: int) -> Any:
    if not isinstance(x, Tensor):
        return x
    return x.unsqueeze(0).expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


def _register(name: str, one_result: bool) -> None:
    operator: Callable[..., Any] = handle(name)

    def batched(info: Any, in_dims: tuple[int | None, ...], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        outputs = operator(*(_leading(x, dim, info.batch_size) for x, dim in zip(args, in_dims, strict=True)), **kwargs)
        if one_result:
            return outputs, None
        return outputs, (0,) * len(outputs) if isinstance(outputs, tuple) else 0

    torch.library.register_vmap(f"spectralgrad::{name}", batched)


def register_batching() -> None:
    """Registers the operators for `torch.func.vmap`."""
    for name, operator in OPERATORS.items():
        if operator.batched:
            _register(name, operator.one_result)
