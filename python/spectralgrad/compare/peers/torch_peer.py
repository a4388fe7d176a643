"""The adapter of PyTorch: ``torch.linalg.eigh``. The adapter of this project shares ``tensor_gradients``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..losses import Array, Loss, Parameters
from . import TITLES, Peer, one_by_one


class TorchOperations:
    def adjoint(self, x: Any) -> Any:
        return x.mH

    def conj(self, x: Any) -> Any:
        return x.conj()

    def exp(self, x: Any) -> Any:
        return torch.exp(x)

    def real(self, x: Any) -> Any:
        return x.real

    def sum(self, x: Any) -> Any:
        return x.sum()

    def scale_columns(self, x: Any, weights: Any) -> Any:
        return x * weights


def tensor_gradients(
    eigh: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]], loss: Loss, matrices: Array, p: Parameters
) -> list[Array | Exception]:
    """Computes gradients through an ``eigh`` for tensors with ``torch.autograd.grad``."""
    p = replace(p, arrays={name: torch.from_numpy(array) for name, array in p.arrays.items()})

    def gradient(matrix: Array) -> Array:
        a = torch.from_numpy(matrix).requires_grad_()
        values, vectors = eigh(a)
        (result,) = torch.autograd.grad(loss.value(TorchOperations(), a, values, vectors, p), a)
        return result.numpy()

    return one_by_one(gradient, matrices)


class TorchPeer(Peer):
    label = TITLES["torch"]
    rule = "1/Δ"

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        return tensor_gradients(torch.linalg.eigh, loss, matrices, p)


def create() -> Peer:
    torch.set_num_threads(1)
    return TorchPeer()
