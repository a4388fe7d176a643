"""The values and derivatives of a Python function at the eigenvalues, which operators take instead of the function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import _C
from ._arguments import may_be_differentiated

Elementwise = Callable[[Tensor], Tensor]


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
    """f(x), f'(x), ... of a real elementwise function, each by one more level of torch.func."""
    if order == 0:
        return (f(x),)

    def lower(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        rows = _nested(f, x, order - 1)
        return rows[-1].sum(), rows

    last, rows = torch.func.grad(lower, has_aux=True)(x)
    return (*rows, last)


def _is_locally_constant(f: Elementwise, x: Tensor) -> bool:
    """Distinguishes a constant from a function that autograd cannot see, such as NumPy's. Neither has a graph."""
    with torch.no_grad():
        step = torch.finfo(x.dtype).eps ** 0.25
        return torch.equal(f(x), f(x + step))


def _repeated(f: Elementwise, x: Tensor, y: Tensor, order: int) -> tuple[Tensor, ...]:
    """Like `_nested`, by plain autograd, because torch.func does not support saved-tensor hooks. `y` is f(x).

    Returns only f(x) if autograd cannot see how f depends on x.
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
    # Only tensors that f uses need a graph.
    made_of_more = y.requires_grad or forward_ad.unpack_dual(y).tangent is not None
    return tuple(rows) if made_of_more else tuple(row.detach() for row in rows)


def _derivatives(f: Elementwise, x: Tensor, y: Tensor, order: int) -> tuple[Tensor, ...]:
    traced = torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None
    return _nested(f, x, order) if traced else _repeated(f, x, y, order)


def _real_jets(given: list[Elementwise], x: Tensor, order: int) -> Tensor:
    """The values and derivatives, (*, order + 1, n); row k has the k-th derivative."""
    rows = [f(x) for f in given[: order + 1]]
    # Differentiates the last given function.
    for missing in range(order - len(rows) + 1, 0, -1):
        try:
            rows += _derivatives(given[-1], x, rows[-1], missing)[1:]
            break
        except RuntimeError:
            # Derivatives that autograd does not have may be missing, if their order is above 2.
            if len(rows) + missing - 1 <= 2:
                raise
    return torch.stack(rows, -2)


def _part(index: int, f: Elementwise) -> Elementwise:
    return lambda x: torch.view_as_real(f(x))[..., index]


def _largest(x: Tensor) -> Tensor:
    """max|λ|, (*, 1); 0 if there is no eigenvalue."""
    return x.abs().amax(-1, keepdim=True) if x.shape[-1] else x.sum(-1, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    """The power of two below max|λ|, (*, 1). In this unit derivatives do not overflow unnecessarily."""
    unit = _largest(x).log2().floor().exp2()
    return unit.where((unit > 0) & unit.isfinite(), 1.0)


def _leaves_float32(functions: list[Elementwise], x: Tensor, unit: Tensor) -> Tensor | None:
    """The matrices for which autograd's derivatives of f may leave the range of float32, such as 1/λ² at λ = 1e20.

    None if there are no such matrices, or if f does not accept float64.
    """
    if x.dtype != torch.float32 or torch.compiler.is_compiling() or torch._C._is_tracing():
        return None
    far = 2.0**16
    try:
        wide = (unit > far) | (unit < 1 / far)
        if not bool(wide.any()):
            return None
        for f in functions:
            f(x.double() * unit.double())
    except (RuntimeError, TypeError, ValueError):
        # Under vmap values cannot be read, and f may be a float32 module.
        return None
    return wide


def _in_units(f: Elementwise, unit: Tensor, order: int, wide: Tensor | None) -> Elementwise:
    """The `order`-th derivative of x -> f(unit x), computed in float64 for the matrices in `wide`."""
    if wide is None:
        return lambda x: f(unit * x) * unit**order
    narrow_unit = torch.where(wide, 1.0, unit)
    wide_unit = torch.where(wide, unit, 1.0).double()

    def scaled(x: Tensor) -> Tensor:
        # The eigenvalues of the other matrices are replaced by 1, at which no derivative is infinite. So 0 is never
        # multiplied by an infinite derivative.
        narrow = f(narrow_unit * torch.where(wide, 1.0, x)) * narrow_unit**order
        y = f(wide_unit * torch.where(wide, x, 1.0).double()) * wide_unit**order
        return torch.where(wide, y.to(narrow.dtype), narrow)

    return scaled


def _has_concrete_values(x: Tensor) -> bool:
    """Whether Python may branch on the values of `x`: not under a compiler, a tracer or vmap."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or x.is_meta
        or torch._C._len_torch_dispatch_stack()
        or any(
            level.key() == torch._C._functorch.TransformType.Vmap
            for level in torch._C._functorch.get_interpreter_stack() or ()
        )
    )


def _tolerance(x: Tensor) -> float:
    """The size, as a fraction of max|λ|, up to which eigenvalues count as 0."""
    # Without float(...), which would fix n in an exported program.
    return x.shape[-1] * (_C.zero_eigenvalue * torch.finfo(x.dtype).eps)


class _Zero(NamedTuple):
    """The masks of the eigenvalues that count as 0, and of those among them at which f has no finite slope."""

    counts: Tensor
    infinite_slope: Tensor


def _zero(given: list[Elementwise], x: Tensor, near: Tensor) -> _Zero:
    """For a function that has a value at 0 and none below it, or an infinite slope at 0.

    `near` is the mask of the eigenvalues that are 0 up to round-off. f is evaluated for each entry, because tensors
    that it uses may make it a different function for each.
    """
    f, *derivatives = given
    # torch.export takes zeros_like for a constant inside jvp. If x is not finite, this is NaN, and no value is near it.
    zero = (x - x).detach()
    value = f(zero).detach()
    ends = ~f(zero - _tolerance(x)).detach().isfinite()
    slope = zero
    if derivatives:
        slope = derivatives[0](zero).detach()
    elif not torch.compiler.is_exporting():
        with contextlib.suppress(RuntimeError):  # f may have no derivative
            _, *known = _derivatives(f, zero, value, 1)
            slope = known[0].detach() if known else zero
    # If f is defined above 0 only, NaN is the slope of x log x, which autograd computes as ∞ - ∞. Otherwise it may be
    # an error in f.
    infinite = slope.isinf() | (ends & slope.isnan())
    near = near & value.isfinite()
    return _Zero(near & (ends | infinite), near & infinite)


def _jets_at_zero(given: list[Elementwise], x: Tensor, order: int, zero: _Zero, slope_at_zero: float) -> Tensor:
    """The jets of a function that counts as constant around 0 if its slope is infinite there.

    `slope_at_zero` replaces an infinite slope.
    """
    if order == 0:
        return given[0](x).unsqueeze(-2)
    # Evaluated away from 0. Otherwise, gradients of tensors that f uses would contain 0 times an infinite derivative,
    # NaN.
    away = torch.where(zero.infinite_slope, 1, x)
    rows = list(_real_jets(given, away, order).unbind(-2))
    rows[0] = given[0](x)
    if len(rows) > 1:
        rows[1] = torch.where(zero.infinite_slope, slope_at_zero, rows[1])
    for k in range(2, len(rows)):
        rows[k] = torch.where(zero.infinite_slope | (zero.counts & ~rows[k].detach().isfinite()), 0, rows[k])
    return torch.stack(rows, -2)


def _check_values(function: str, x: Tensor, y: Tensor, unit: Tensor) -> None:
    bad = y.isnan() & x.isfinite()
    if _C.checks() == _C.Checks.ignore or not bool(bad.any()):
        return
    matrix, k = bad.reshape(-1, x.shape[-1]).nonzero()[0].tolist()
    eigenvalue = float((x * unit).reshape(-1, x.shape[-1])[matrix, k])
    where = f"(Batch element {matrix}): " if x.ndim > 1 else ""
    raise torch.linalg.LinAlgError(  # type: ignore[attr-defined]
        f"spectralgrad.{function}: {where}Expected f to be defined at every eigenvalue of A, but f is NaN at the "
        f"eigenvalue {eigenvalue:g}. For a singular A, spectralgrad.pinvm and spectralgrad.pseudo_logdet take the "
        "inverse and log det on the range; for x log x call torch.special.xlogy(x, x) in f, which is 0 at 0"
    )


def jets(
    function: str, A: Tensor, eigenvalues: Tensor, f: Any, df: Any, d2f: Any, d3f: Any, *, slope_at_zero: float
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Returns `A` and its eigenvalues in units of about max|λ|, and the jets of f's real and imaginary part there.

    The last one is None if f is real. If f is a function of semidefinite matrices, such as torch.sqrt, eigenvalues are
    set to 0 that are 0 up to round-off. If its slope is infinite at 0, the jets have `slope_at_zero` there, and 0 for
    higher derivatives.
    """
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
    wide = _leaves_float32(functions, x, unit) if may_be_differentiated(A) else None
    given = [_in_units(g, unit, order, wide) for order, g in enumerate(functions)]
    order = _C.jet_order if may_be_differentiated(A) else 0
    if torch.compiler.is_exporting():
        order = len(given) - 1  # torch.export cannot record a derivative of f
    y = given[0](x)
    A = A / unit.unsqueeze(-1)
    parts = [[_part(part, g) for g in given] for part in (0, 1)] if y.is_complex() else [given]

    near = x.abs() <= _tolerance(x) * _largest(x)
    has_values = _has_concrete_values(x)
    if has_values and not bool(near.any()):
        _check_values(function, x, y, unit)
        rows = [_real_jets(part, x, order) for part in parts]
    else:
        zeros = [_zero(part, x, near) for part in parts]
        x = torch.where(torch.stack([zero.counts for zero in zeros]).any(0), 0, x)
        rows = [_jets_at_zero(part, x, order, zero, slope_at_zero) for part, zero in zip(parts, zeros, strict=True)]
        if has_values:
            _check_values(function, x, torch.stack([row[..., 0, :] for row in rows]).sum(0), unit)
    return A, x, rows[0], rows[1] if len(rows) > 1 else None
