"""A function that is given in Python, and its derivatives, at the eigenvalues: what operators get of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ._arguments import may_be_differentiated

Elementwise = Callable[[Tensor], Tensor]

# derivatives/divided_differences.h
_ORDER = 4


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


def _nested(f: Elementwise, x: Tensor, order: int) -> tuple[Tensor, ...]:
    """f(x), f'(x), ... of a real function, each entry by itself, at a level of torch.func's own for each."""
    if order == 0:
        return (f(x),)

    def lower(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows = _nested(f, x, order - 1)
        return rows[-1].sum(), rows

    last, rows = torch.func.grad(lower, has_aux=True)(x)
    return (*rows, last)


def _is_locally_constant(f: Elementwise, x: Tensor) -> bool:
    """Tells a constant from a function that autograd cannot see, such as one of NumPy: neither has a graph."""
    with torch.no_grad():
        step = torch.finfo(x.dtype).eps ** 0.25
        return torch.equal(f(x), f(x + step))


def _repeated(f: Elementwise, x: Tensor, y: Tensor, order: int) -> tuple[Tensor, ...]:
    """The same by plain autograd: torch.func does without saved-tensor hooks. `y` is f(x).

    Only f(x) where autograd cannot see how f depends on x.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        rows = [f(x)]
        while len(rows) <= order:
            last = rows[-1]
            grad = None
            if last.requires_grad:
                (grad,) = torch.autograd.grad(last.sum(), x, create_graph=True, allow_unused=True)
            if grad is None and len(rows) == 1 and not _is_locally_constant(f, x):
                break
            rows.append(torch.zeros_like(x) if grad is None else grad)
    # A graph is of use only to what f is made of.
    made_of_more = y.requires_grad or forward_ad.unpack_dual(y).tangent is not None
    return tuple(rows) if made_of_more else tuple(row.detach() for row in rows)


def _derivatives(f: Elementwise, x: Tensor, y: Tensor, order: int) -> tuple[Tensor, ...]:
    traced = torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None
    return _nested(f, x, order) if traced else _repeated(f, x, y, order)


def _real_jets(given: list[Elementwise], x: Tensor, order: int) -> Tensor:
    """Row k the k-th derivative: (*, order + 1, n)."""
    rows = [f(x) for f in given[: order + 1]]
    # The last one given is the one to differentiate.
    for missing in range(order - len(rows) + 1, 0, -1):
        try:
            rows += _derivatives(given[-1], x, rows[-1], missing)[1:]
            break
        except RuntimeError:
            # What some operations have no derivative for may be left out, if it is beyond the second derivative.
            if len(rows) + missing - 1 <= 2:
                raise
    return torch.stack(rows, -2)


def _part(index: int, f: Elementwise) -> Elementwise:
    return lambda x: torch.view_as_real(f(x))[..., index]


def _unit(x: Tensor) -> Tensor:
    """The power of two below max|λ|, (*, 1): in units of it no derivative over- or underflows that need not."""
    largest = x.abs().amax(-1, keepdim=True) if x.shape[-1] else x.sum(-1, keepdim=True)
    unit = largest.log2().floor().exp2()
    return unit.where((unit > 0) & unit.isfinite(), 1.0)


def _in_units(f: Elementwise, unit: Tensor, order: int) -> Elementwise:
    """The `order`-th derivative of x -> f(unit x)."""
    return lambda x: f(unit * x) * unit**order


def jets(
    function: str, A: Tensor, eigenvalues: Tensor, f: Any, df: Any, d2f: Any, d3f: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """`A` and its eigenvalues in units of about max|λ|, and for f of these the jets of its real part and, if it has
    one, of its imaginary part."""
    names, everything = ("f", "df", "d2f", "d3f"), (f, df, d2f, d3f)
    for order in (1, 2):
        if everything[order] is None and everything[order + 1] is not None:
            raise TypeError(
                f"spectralgrad.{function}: Expected {names[order]} where {names[order + 1]} is given, but got None"
            )
    functions = [
        _checked(function, name, g) for name, g in zip(names, everything, strict=True) if g is not None or name == "f"
    ]
    unit = _unit(eigenvalues)
    x = eigenvalues / unit
    given = [_in_units(g, unit, order) for order, g in enumerate(functions)]
    order = _ORDER if may_be_differentiated(A) else 0
    if torch.compiler.is_exporting():
        order = len(given) - 1  # torch.export cannot record a derivative of f
    is_complex = given[0](x).is_complex()
    A = A / unit.unsqueeze(-1)
    if not is_complex:
        return A, x, _real_jets(given, x, order), None
    real, imaginary = (_real_jets([_part(part, g) for g in given], x, order) for part in (0, 1))
    return A, x, real, imaginary
