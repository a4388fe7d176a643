from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._rules import Rule, _operator_arguments
from ._arguments import check_out, check_svd_types, one_name, warn_of_resizing


class SvdResult(NamedTuple):
    """The type of results for type checkers. torch creates torch.return_types.linalg_svd at run time."""

    U: Tensor
    S: Tensor
    Vh: Tensor


# Looked up once, because a call on a small matrix takes microseconds.
_operator = torch.ops.spectralgrad.svd.default
_return_types: Any = torch.return_types
_result = _return_types.linalg_svd
_out_result = _return_types.linalg_svd_out


def svd(
    A: Tensor | None = None,
    full_matrices: bool = True,
    *,
    driver: str | None = None,
    rule: Rule | None = None,
    out: tuple[Tensor, Tensor, Tensor] | list[Tensor] | None = None,
    input: Tensor | None = None,  # noqa: A002
) -> SvdResult:
    """Singular value decomposition A = U diag(σ) Vᴴ, differentiable at repeated (degenerate) and zero singular values.

    Replaces `torch.linalg.svd`, with the same arguments. Works with every transform of torch.func, with forward-mode
    AD and with torch.compile.

    Args:
        A: ``(*, m, n)``, float32, float64, complex64 or complex128.
        full_matrices: whether U and V have columns beyond the first k = min(m, n).
        driver: the name of a cuSOLVER method, on CUDA only.
        rule: how 1/(σj - σi), 1/(σj + σi) and 1/σj are formed in derivatives; by default `default_rule()`. `Split`
            moves singular values apart that are closer than its width.
        out: a tuple or list of three tensors to write to; not differentiable.
        input: the other name of `A`.

    Returns:
        A named tuple ``(U, S, Vh)``: U ``(*, m, k)``, or ``(*, m, m)`` with `full_matrices`; the singular values σ
        ``(*, k)``, real, descending, in the units of `A`; and Vᴴ ``(*, k, n)``, or ``(*, n, n)``.

    Raises:
        RuntimeError: `A` has fewer than 2 dimensions, `driver` is given on the CPU, or `out` does not fit.
        NotImplementedError: `A` is of another dtype.
        torch.linalg.LinAlgError: `A` holds a NaN or an Inf, or no convergence was reached.
        spectralgrad.GaugeError: in the backward of a complex loss that depends on the phases of the singular vectors.

    .. warning:: The pair (ui, vi) is defined up to one phase, the pairs of a repeated singular value up to one unitary
        matrix, and the left and the right null space up to one each. A loss that depends on that choice has no
        gradient. Losses of U Vᴴ, of projectors onto whole singular subspaces and, with `full_matrices`, of projectors
        onto the null spaces have one, which is exact.

    With P and Q the skew-Hermitian parts of UᴴgU and VᴴgV, the gradient is U [diag(gσ) + F⁻∘(P + Q) + F⁺∘(P - Q)] Vᴴ,
    where F⁻ is the rule's 1/(σj - σi) and F⁺ its 1/(σj + σi), plus the parts outside the ranges of U and V, divided by
    σj: Giles (2008), "An extended collection of matrix derivative results"; Townsend (2016), "Differentiating the
    singular value decomposition"; Wan and Zhang (2019), arXiv:1909.02659.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> U, S, Vh = sg.svd(A)
        >>> (S.sum() + (U @ Vh)[0, 1]).backward()
        >>> A.grad
        tensor([[ 1.0000,  0.5000],
                [-0.5000,  1.0000]], dtype=torch.float64)
    """
    if A is None or input is not None:
        A = one_name("svd", A, input)
    if has_torch_function_unary(A):
        return handle_torch_function(svd, (A,), A, full_matrices, driver=driver, rule=rule, out=out)
    check_svd_types("svd", A, driver, full_matrices=full_matrices)
    rule_arguments = _operator_arguments("svd", rule)
    if out is None:
        return cast("SvdResult", _result(_operator(A, full_matrices, driver, *rule_arguments)))
    check_out("svd", out, "U", "S", "Vh")
    *batch, m, n = A.shape
    k = min(m, n)
    rows, columns = (m, n) if full_matrices else (k, k)
    for tensor, shape in zip(out, ((*batch, m, rows), (*batch, k), (*batch, columns, n))):
        warn_of_resizing("svd", tensor, shape)
    U, S, Vh = out
    triple = torch.ops.spectralgrad.svd.out(A, full_matrices, driver, *rule_arguments, U=U, S=S, Vh=Vh)
    return cast("SvdResult", _out_result(triple))
