from __future__ import annotations

import math
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor

from ._arguments import autocast, check_tensor, overridable, overridable_but_by_modes
from ._jets import Elementwise, jets


@overridable
def expm(A: Tensor) -> Tensor:
    """exp(A) of Hermitian matrices, with derivatives that are exact at degenerate eigenvalues.

    Replaces ``torch.linalg.matrix_exp`` for Hermitian arguments. See `funm` for arguments, derivatives and errors.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.expm(A)[0, 1].backward()
        >>> A.grad / torch.e
        tensor([[0.0000, 0.5000],
                [0.5000, 0.0000]], dtype=torch.float64)
    """
    check_tensor("expm", A)
    return cast("Tensor", torch.ops.spectralgrad.expm.default(A))


@overridable
def logm(A: Tensor) -> Tensor:
    """The logarithm of positive definite matrices, with derivatives that are exact at degenerate eigenvalues.

    See `funm` for arguments, derivatives and errors. Raises ``torch.linalg.LinAlgError`` also if `A` is not positive
    definite.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.logm(A)[0, 1].backward()
        >>> A.grad
        tensor([[0.0000, 0.5000],
                [0.5000, 0.0000]], dtype=torch.float64)
    """
    check_tensor("logm", A)
    return cast("Tensor", torch.ops.spectralgrad.logm.default(A))


@overridable
def sqrtm(A: Tensor) -> Tensor:
    """The square root of positive semidefinite matrices, with derivatives that are exact at degenerate eigenvalues.

    See `funm` for arguments, derivatives and errors. Raises ``torch.linalg.LinAlgError`` also if `A` has a negative
    eigenvalue beyond round-off, n·eps·max|λ|.

    .. note:: Eigenvalues up to n·eps·max|λ| count as 0. At a singular `A` the derivatives are those among matrices of
        the same rank. For ``F.mT @ F`` these are all matrices that the shape of F allows. The derivative is infinite
        along directions inside the null space. That part is left out, and a `GaugeWarning` reports it if it exceeds
        round-off. There is no warning for a cotangent that is a multiple of the identity inside the null space, such as
        that of a trace (and any cotangent in a null space of dimension 1). So nuclear norms, fidelities and Bures
        distances of rank-deficient matrices are well-posed.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.sqrtm(A)[0, 1].backward()
        >>> A.grad
        tensor([[0.0000, 0.2500],
                [0.2500, 0.0000]], dtype=torch.float64)
    """
    check_tensor("sqrtm", A)
    return cast("Tensor", torch.ops.spectralgrad.sqrtm.default(A))


@overridable
def trace_sqrtm(A: Tensor) -> Tensor:
    """tr √A of positive semidefinite matrices. For ``F.mH @ F`` it is the nuclear norm of F.

    The gradient is A^(-1/2)/2 on the range of `A`, and 0 on the null space. See `sqrtm` for singular matrices.

    Returns:
        ``(*)``, real.

    Example::

        >>> F = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]], requires_grad=True)
        >>> y = sg.trace_sqrtm(F.mT @ F)
        >>> y
        tensor(7., grad_fn=<SumBackward1>)
        >>> y.backward()
        >>> F.grad
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    check_tensor("trace_sqrtm", A)
    return cast("Tensor", torch.ops.spectralgrad.trace_sqrtm.default(A))


@overridable
def invsqrtm(A: Tensor) -> Tensor:
    """A^(-1/2) of positive definite matrices, with derivatives that are exact at degenerate eigenvalues.

    See `funm` for arguments, derivatives and errors. Raises ``torch.linalg.LinAlgError`` also if `A` is not positive
    definite.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.invsqrtm(A)[0, 1].backward()
        >>> A.grad
        tensor([[ 0.0000, -0.2500],
                [-0.2500,  0.0000]], dtype=torch.float64)
    """
    check_tensor("invsqrtm", A)
    return cast("Tensor", torch.ops.spectralgrad.invsqrtm.default(A))


@overridable
def powm(A: Tensor, p: float | Tensor) -> Tensor:
    """A^p of Hermitian matrices, with derivatives that are exact at degenerate eigenvalues.

    See `funm` for `A`, derivatives and errors.

    Args:
        A: ``(*, n, n)``. It must be positive semidefinite if `p` is not an integer (a singular `A` is treated as in
            `sqrtm`), and invertible if `p` is negative. Otherwise ``torch.linalg.LinAlgError`` is raised.
        p: a real number, or a real tensor ``(*)`` or ``(*, 1)`` with an exponent for each matrix, which broadcasts with
            the batch of `A`. A tensor counts as ``(*, 1)`` if it has one dimension more than the batch of `A` and its
            last dimension has size 1. The result is differentiable in a tensor `p`, too.

    The derivative in `p` is log(A) A^p. Zero eigenvalues add nothing to it, because x^p log(x) tends to 0 for p > 0. At
    a negative eigenvalue, which is only allowed for an integer `p`, no real derivative exists. Then the gradient of `p`
    is NaN, like that of ``torch.pow``; the gradient of `A` is still right.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.powm(A, 3)[0, 1].backward()
        >>> A.grad
        tensor([[0.0000, 1.5000],
                [1.5000, 0.0000]], dtype=torch.float64)
        >>> p = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
        >>> sg.powm(2 * torch.eye(2, dtype=torch.float64), p)[0, 0].backward()
        >>> p.grad  # 8 log(2)
        tensor(5.5452, dtype=torch.float64)
    """
    check_tensor("powm", A)
    if isinstance(p, Tensor):
        return _power(autocast(A), p)
    if not isinstance(p, Real):
        raise TypeError(f"spectralgrad.powm: Expected p to be a real number or a Tensor, but got {type(p).__name__}")
    try:
        exponent = float(p)
    except OverflowError:
        raise ValueError("spectralgrad.powm: Expected p to fit into a float64, but it is too large") from None
    if not math.isfinite(exponent):
        raise ValueError(f"spectralgrad.powm: Expected p to be finite, but got {p}")
    return cast("Tensor", torch.ops.spectralgrad.powm.default(A, exponent))


def _power(A: Tensor, p: Tensor) -> Tensor:
    if p.is_complex() or p.dtype == torch.bool:
        raise TypeError(f"spectralgrad.powm: Expected p to be real, but got {p.dtype}")
    eigenvalues, eigenvectors = torch.ops.spectralgrad.eigenpairs.default(A, "powm", "all")
    if p.dim() == A.dim() - 1 and p.shape[-1] == 1:
        p = p.squeeze(-1)
    try:
        batch = torch.broadcast_shapes(A.shape[:-2], p.shape)
    except RuntimeError:
        raise ValueError(
            f"spectralgrad.powm: Expected p to broadcast with the batch of A, {list(A.shape[:-2])}, but its shape is "
            f"{list(p.shape)}"
        ) from None
    n = A.shape[-1]
    # The device of a single number does not matter, as in torch.pow.
    p = p.to(dtype=A.real.dtype, device=A.device) if p.dim() == 0 else p.to(A.real.dtype)
    result = torch.ops.spectralgrad.power_of_eigenpairs.default(
        A.expand(*batch, n, n), eigenvalues.expand(*batch, n), eigenvectors.expand(*batch, n, n), p.expand(batch)
    )
    return cast("Tensor", result)


def _funm_from_jets(A: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, rows: Tensor) -> Any:
    return torch.ops.spectralgrad.spectral_function.default(A, eigenvalues, eigenvectors, rows, None, None, "jets", [])


@overridable_but_by_modes
def funm(
    A: Tensor,
    f: Elementwise,
    df: Elementwise | None = None,
    d2f: Elementwise | None = None,
    d3f: Elementwise | None = None,
) -> Tensor:
    """f(A) = V f(λ) Vᴴ of Hermitian matrices A = V diag(λ) Vᴴ, with exact derivatives at degenerate eigenvalues.

    If it is written with the eigenvectors of `eigh`, part of the derivative is a limit 0/0, which no backward of `eigh`
    can see. Works with every transform of torch.func, forward-mode AD and torch.compile, and is three times
    differentiable in `A`; a fourth derivative raises.

    Args:
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the lower triangle is read.
        f: an elementwise function of a real tensor, such as ``torch.tanh``. It may return complex numbers. Tensors that
            it uses get their gradients, too.
        df: its derivative, by default by automatic differentiation of `f`.
        d2f: its second derivative, by default by automatic differentiation of `df` or `f`.
        d3f: its third derivative, by default by automatic differentiation of the last one given. The k-th derivative in
            `A` takes k derivatives of `f`. Give them if autograd cannot differentiate `f`.

    Returns:
        f(A) ``(*, n, n)``, of the dtype of `A`, or complex if `f` is; Hermitian if `f` is real.

    Raises:
        RuntimeError: `A` is not a batch of square matrices, or a fourth derivative in `A` is asked for, or a derivative
            that needs an unknown derivative of `f`.
        NotImplementedError: `A` is of another dtype.
        torch.linalg.LinAlgError: `A` holds a NaN or an Inf, no convergence was reached, or `f` is NaN at an eigenvalue
            (under a compiler or vmap, and with ``checks("ignore")``, the result is NaN).
        TypeError, ValueError: `f`, `df`, `d2f` or `d3f` is not an elementwise function.

    The derivative is V (f[λi, λj] ∘ VᴴȦV) Vᴴ with divided differences f[a,b] = (f(a) - f(b))/(a - b), f[a,a] = f'(a):
    Daleckii and Krein (1965); Higham (2008), "Functions of Matrices", chapter 3. For near eigenvalues they are expanded
    in derivatives of f up to the fourth, as far as those exist.

    .. note:: If `f` has a value at 0 and none below, or an infinite slope at 0 (``torch.sqrt``,
        ``torch.special.entr``), eigenvalues with |λ| ≤ n·eps·max|λ| count as 0, and derivatives are those among
        matrices of the same rank, as for `sqrtm`. Derivatives of `f` at 0 that are not finite then count as 0.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.funm(A, torch.square)[0, 1].backward()
        >>> A.grad
        tensor([[0., 1.],
                [1., 0.]], dtype=torch.float64)
    """
    check_tensor("funm", A)
    A = autocast(A)
    eigenvalues, eigenvectors = torch.ops.spectralgrad.eigenpairs.default(A, "funm", "all")
    A, eigenvalues, real, imaginary = jets("funm", A, eigenvalues, f, df, d2f, d3f, slope_at_zero=math.inf)
    result = _funm_from_jets(A, eigenvalues, eigenvectors, real)
    if imaginary is not None:
        result = result + 1j * _funm_from_jets(A, eigenvalues, eigenvectors, imaginary)
    return cast("Tensor", result)


@overridable_but_by_modes
def trace_funm(
    A: Tensor,
    f: Elementwise,
    df: Elementwise | None = None,
    d2f: Elementwise | None = None,
    d3f: Elementwise | None = None,
) -> Tensor:
    """tr f(A) = Σ f(λi) of Hermitian matrices, without f(A); four exact derivatives at degenerate eigenvalues.

    The gradient is f'(A), and the Hessian is that of a function of a matrix. A sum over `eigvalsh` would lose part of
    the Hessian at equal eigenvalues. See `funm` for arguments, errors and singular matrices: if `f` has an infinite
    slope at 0, the gradient is f'(A) on the range of `A` and 0 on its null space, without a warning.

    Returns:
        ``(*)``, real, or complex if `f` is.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64)
        >>> H = torch.func.hessian(lambda A: sg.trace_funm(A, torch.square))(A)
        >>> H[0, 1]
        tensor([[0., 1.],
                [1., 0.]], dtype=torch.float64)
    """
    check_tensor("trace_funm", A)
    A = autocast(A)
    eigenvalues, eigenvectors = torch.ops.spectralgrad.eigenpairs.default(A, "trace_funm", "all")
    A, eigenvalues, *parts = jets("trace_funm", A, eigenvalues, f, df, d2f, d3f, slope_at_zero=0.0)
    trace = torch.ops.spectralgrad.spectral_trace.default
    real, *imaginary = (trace(A, eigenvalues, eigenvectors, rows) for rows in parts if rows is not None)
    return cast("Tensor", torch.complex(real, *imaginary) if imaginary else real)
