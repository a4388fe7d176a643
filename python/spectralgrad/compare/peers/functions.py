"""The contenders of part 5: this project, torch, and libraries on top of torch that have functions of a matrix.

They share one process, so that they can be timed in turn. A library is imported only if it is compared.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

import spectralgrad as sg

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contender:
    """A contender. ``functions`` has the names of ``compare.functions``. ``rule`` describes the derivative in words."""

    title: str
    rule: str
    functions: Mapping[str, Function]
    versions: dict[str, str] = field(default_factory=dict)


def by_hand(f: Function) -> Function:
    """Returns A -> V f(λ) Vᴴ by torch.linalg.eigh."""

    def function(a: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(a)
        return (vectors * f(values).unsqueeze(-2)) @ vectors.mH

    return function


def _spectralgrad() -> list[Contender]:
    functions = {"exp": sg.expm, "log": sg.logm, "sqrt": sg.sqrtm, "invsqrt": sg.invsqrtm}
    return [Contender("spectralgrad", "closed forms of divided differences", functions)]


def _torch() -> list[Contender]:
    elementwise = {"exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "invsqrt": torch.rsqrt}
    return [
        Contender(
            "eigh by hand", "V f(λ) Vᴴ, 1/Δ by torch.linalg.eigh", {name: by_hand(f) for name, f in elementwise.items()}
        ),
        Contender(
            "matrix_exp", "the exponential of the block matrix [[A, G], [0, A]]", {"exp": torch.linalg.matrix_exp}
        ),
    ]


def _torchspd() -> list[Contender]:
    module = importlib.import_module("torchspd")
    # Its expm is torch's matrix_exp.
    functions = {"log": module.logm, "sqrt": module.sqrtm, "invsqrt": module.invsqrtm}
    rule = "divided differences; within √ε·max(1, λ) a series"
    return [Contender("torchspd", rule, functions, {"torchspd": metadata.version("torchspd")})]


def _spd_learn() -> list[Contender]:
    module = importlib.import_module("spd_learn.functional")
    functions = {
        name: getattr(module, function).apply
        for name, function in (
            ("exp", "matrix_exp"),
            ("log", "matrix_log"),
            ("sqrt", "matrix_sqrt"),
            ("invsqrt", "matrix_inv_sqrt"),
        )
    }
    rule = "divided differences; within 100 ε·max(1, λ) the mean of f'"
    return [Contender("spd-learn", rule, functions, {"spd-learn": metadata.version("spd-learn")})]


def _pot() -> list[Contender]:
    backend = importlib.import_module("ot.backend").TorchBackend()
    return [Contender("POT", "1/(√λᵢ + √λⱼ)", {"sqrt": backend.sqrtm}, {"POT": metadata.version("POT")})]


_MAKERS = {"torch": _torch, "spectralgrad": _spectralgrad, "torchspd": _torchspd, "spd-learn": _spd_learn, "pot": _pot}


def create(name: str) -> list[Contender]:
    """Returns the contenders of a peer; most frameworks have none. Raises ``ImportError`` if it is not installed."""
    return _MAKERS[name]() if name in _MAKERS else []


def _leaf(a: Any) -> Tensor:
    return torch.as_tensor(a).clone().requires_grad_()


def gradient(function: Function, a: Tensor, m: Tensor) -> Tensor:
    """Returns the gradient of tr(M f(A))."""
    a = _leaf(a)
    return torch.autograd.grad((m * function(a)).sum(), a)[0]


def hessian_product(function: Function, a: Tensor, m: Tensor, e: Tensor) -> Tensor:
    """Returns the Hessian of |f(A) - M|^2 / 2, applied to E."""
    a = _leaf(a)
    distance = (function(a) - m).square().sum() / 2
    (first,) = torch.autograd.grad(distance, a, create_graph=True)
    return torch.autograd.grad((e * first).sum(), a)[0]
