from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._rules import Rule, _operator_arguments
from ._arguments import check_out, check_tensor, one_name, warn_of_resizing


class EigResult(NamedTuple):
    """The type of results for type checkers. torch creates torch.return_types.linalg_eig at run time."""

    eigenvalues: Tensor
    eigenvectors: Tensor


# Looked up once, because a call on a small matrix takes microseconds.
_operator = torch.ops.spectralgrad.eig.default
_return_types: Any = torch.return_types
_result = _return_types.linalg_eig
_out_result = _return_types.linalg_eig_out


def eig(
    A: Tensor | None = None,
    *,
    rule: Rule | None = None,
    out: tuple[Tensor, Tensor] | list[Tensor] | None = None,
    input: Tensor | None = None,  # noqa: A002
) -> EigResult:
    """Eigenvalues and eigenvectors of general matrices, differentiable at repeated (degenerate) eigenvalues.

    Replaces `torch.linalg.eig`, with the same argument. Works with every transform of torch.func, with forward-mode AD
    and with torch.compile. For symmetric and Hermitian matrices use `eigh`.

    Args:
        A: ``(*, n, n)``, float32, float64, complex64 or complex128.
        rule: how 1/(λj - λi) is formed in derivatives; by default `default_rule()`. `Split` moves no eigenvalues here.
        out: a tuple or list of two tensors to write to; not differentiable.
        input: the other name of `A`.

    Returns:
        A named tuple ``(eigenvalues, eigenvectors)``: ``(*, n)`` in no particular order, in the units of `A`, and
        ``(*, n, n)`` with columns of norm 1. Both are complex. On the CPU, a matrix that is normal up to round-off
        (symmetric, skew-symmetric, a rotation, a permutation) has orthonormal eigenvectors at every gap.

    Raises:
        RuntimeError: `A` is not square, or `out` does not fit.
        NotImplementedError: `A` is of another dtype.
        torch.linalg.LinAlgError: `A` holds a NaN or an Inf, or no convergence was reached.
        spectralgrad.GaugeError: in the backward of a loss that depends on the phases of the eigenvectors.

    .. warning:: An eigenvector is defined up to a phase, and those of a repeated eigenvalue are an arbitrary basis. A
        loss that depends on that choice has no gradient. Losses of the Riesz projectors ``V[:, c] @ inv(V)[c, :]`` onto
        whole eigenspaces, and symmetric functions of the eigenvalues, have one. A defective matrix (a Jordan block) has
        eigenvalues without a derivative, and near one they lose digits. Both give a `GaugeWarning`, but sums over such
        eigenvalues are exact, and silent.

    With W = VᴴgV, the gradient is V⁻ᴴ [diag(gλ) + conj(F)∘(W - VᴴV real(diag W))] Vᴴ, where Fij is the rule's
    1/(λj - λi): Boeddeker et al. (2017), arXiv:1701.00392. For a single eigenvalue it is the outer product of its left
    and its right eigenvector.

    Example::

        >>> A = torch.tensor([[0.0, 1.0], [4.0, 0.0]], dtype=torch.float64, requires_grad=True)
        >>> L, V = sg.eig(A)
        >>> L.square().sum().real.backward()  # the trace of A², whose gradient is 2 Aᵀ
        >>> torch.allclose(A.grad, 2 * A.mT)
        True
    """
    if A is None or input is not None:
        A = one_name("eig", A, input)
    if has_torch_function_unary(A):
        return handle_torch_function(eig, (A,), A, rule=rule, out=out)
    check_tensor("eig", A)
    rule_arguments = _operator_arguments("eig", rule)
    if out is None:
        return cast("EigResult", _result(_operator(A, *rule_arguments)))
    check_out("eig", out, "eigenvalues", "eigenvectors")
    eigenvalues, eigenvectors = out
    warn_of_resizing("eig", eigenvalues, tuple(A.shape[:-1]))
    warn_of_resizing("eig", eigenvectors, tuple(A.shape))
    pair = torch.ops.spectralgrad.eig.out(A, *rule_arguments, eigenvalues=eigenvalues, eigenvectors=eigenvectors)
    return cast("EigResult", _out_result(pair))
