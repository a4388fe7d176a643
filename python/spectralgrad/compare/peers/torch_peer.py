"""The adapter of PyTorch: the decompositions of ``torch.linalg``. This project's adapter shares much of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ..loss import ALIGNMENT, EIG, EIGH, GENERALIZED, SVD, Array, Loss, Parameters
from . import TITLES, Peer, one_by_one


class TorchOperations:
    def adjoint(self, x: Any) -> Any:
        return x.mH

    def centred(self, points: Any) -> Any:
        return points - points.mean(0)

    def conj(self, x: Any) -> Any:
        return x.conj()

    def exp(self, x: Any) -> Any:
        return torch.exp(x)

    def inv(self, x: Any) -> Any:
        return torch.linalg.inv(x)

    def real(self, x: Any) -> Any:
        return x.real

    def sign_of_det(self, x: Any) -> Any:
        return torch.sign(torch.det(x))

    def sum(self, x: Any) -> Any:
        return x.sum()

    def scale_columns(self, x: Any, weights: Any) -> Any:
        return x * weights


Tensors = tuple[torch.Tensor, ...]


def tensor_gradients(
    value: Callable[[torch.Tensor, Parameters], torch.Tensor], matrices: Array, p: Parameters
) -> list[Array | Exception]:
    """Computes gradients of ``value``, which takes a tensor and the parameters as tensors."""
    p = replace(p, arrays={name: torch.from_numpy(array) for name, array in p.arrays.items()})

    def gradient(matrix: Array) -> Array:
        a = torch.from_numpy(matrix).requires_grad_()
        (result,) = torch.autograd.grad(value(a, p), a)
        return result.numpy()

    return one_by_one(gradient, matrices)


def through(decomposition: Callable[[Any], Tensors], loss: Loss, a: torch.Tensor, p: Parameters) -> torch.Tensor:
    """Returns the loss of a tensor, computed with a decomposition of tensors."""
    ops = TorchOperations()
    value: torch.Tensor = loss.value(ops, a, *decomposition(loss.decomposed(ops, a, p)), p)
    return value


def svd(a: torch.Tensor) -> Tensors:
    return tuple(torch.linalg.svd(a, full_matrices=False))


def in_order(values: torch.Tensor, vectors: torch.Tensor) -> Tensors:
    """Sorts eigenvalues in ascending order of Re + Im, because ``eig`` promises no order."""
    order = torch.argsort(values.detach().real + values.detach().imag)
    return values[order], vectors[:, order]


def _generalized_eigh(pair: Tensors) -> Tensors:
    """Solves A v = lambda B v by the Cholesky factor of B."""
    a, b = pair
    factor = torch.linalg.cholesky(b)
    half = torch.linalg.solve_triangular(factor, a, upper=False)
    values, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(factor, half.mH, upper=False))
    return values, torch.linalg.solve_triangular(factor.mH, vectors, upper=True)


_DECOMPOSITIONS: dict[str, Callable[[Any], Tensors]] = {
    EIGH: torch.linalg.eigh,
    SVD: svd,
    ALIGNMENT: svd,
    EIG: lambda a: in_order(*torch.linalg.eig(a)),
    GENERALIZED: _generalized_eigh,
}


class TorchPeer(Peer):
    label = TITLES["torch"]
    rules = dict.fromkeys((SVD, ALIGNMENT), "1/(σⱼ² - σᵢ²)") | dict.fromkeys((EIGH, EIG, GENERALIZED), "1/Δ")

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        return tensor_gradients(partial(through, _DECOMPOSITIONS[loss.task], loss), matrices, p)


def create() -> Peer:
    torch.set_num_threads(1)
    return TorchPeer()
