"""A function that is given in Python, and its derivatives, at the eigenvalues: what operators get of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

Elementwise = Callable[[Tensor], Tensor]

# derivatives/divided_differences.h
_ORDER = 4


def _may_be_differentiated(A: Tensor) -> bool:
    return (
        torch.compiler.is_compiling()
        or (torch.is_grad_enabled() and A.requires_grad)
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad.unpack_dual(A).tangent is not None
    )


def _checked(function: str, name: str, f: Any) -> Elementwise:
    if not callable(f):
        raise TypeError(f"spectralgrad.{function}: Expected {name} to be a function, but got {type(f).__name__}")

    def checked(x: Tensor) -> Tensor:
        y = f(x)
        if not isinstance(y, Tensor):
            raise TypeError(
                f"spectralgrad.{function}: Expected {name} to return a Tensor, but it returned {type(y).__name__}"
            )
        if y.shape != x.shape or y.real.dtype != x.dtype:
            raise ValueError(
                f"spectralgrad.{function}: Expected {name} to return a tensor of the shape of its argument and of its "
                f"precision, {list(x.shape)} and {x.dtype}, but got {list(y.shape)} and {y.dtype}"
            )
        return y

    return checked


def _derivatives(f: Elementwise, x: Tensor, order: int) -> tuple[Tensor, ...]:
    """f(x), f'(x), ... of a real function, each entry by itself."""
    if order == 0:
        return (f(x),)

    def lower(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows = _derivatives(f, x, order - 1)
        return rows[-1].sum(), rows

    last, rows = torch.func.grad(lower, has_aux=True)(x)
    return (*rows, last)


def _real_jets(given: list[Elementwise], x: Tensor, order: int) -> Tensor:
    """Row k the k-th derivative: (*, order + 1, n)."""
    rows = [f(x) for f in given[: order + 1]]
    # The last one given is the one to differentiate.
    for missing in range(order - len(rows) + 1, 0, -1):
        try:
            rows += _derivatives(given[-1], x, missing)[1:]
            break
        except RuntimeError:
            # What some operations have no derivative for may be left out, if it is beyond the second derivative.
            if len(rows) + missing - 1 <= 3:
                raise
    return torch.stack(rows, -2)


def _part(index: int, f: Elementwise, x: Tensor) -> Tensor:
    return torch.view_as_real(f(x))[..., index]


def jets(
    function: str, A: Tensor, x: Tensor, f: Any, df: Any, d2f: Any
) -> tuple[Tensor, Tensor | None]:
    """Of f at the eigenvalues `x` (*, n) of `A`: the jets of its real part and, if it has one, of its imaginary part."""
    if df is None and d2f is not None:
        raise TypeError(f"spectralgrad.{function}: Expected df where d2f is given, but got None")
    names = ("f", "df", "d2f")
    given = [_checked(function, name, g) for name, g in zip(names, (f, df, d2f), strict=True) if g is not None or name == "f"]
    order = _ORDER if _may_be_differentiated(A) else 0
    is_complex = given[0](x).is_complex()

    if not is_complex:
        return _real_jets(given, x, order), None
    real, imaginary = ([functools.partial(_part, part, g) for g in given] for part in (0, 1))
    return _real_jets(real, x, order), _real_jets(imaginary, x, order)
