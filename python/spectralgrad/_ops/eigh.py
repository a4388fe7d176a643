from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._rules import Rule, _operator_arguments
from ._arguments import check_out, check_types, one_name, warn_of_resizing


class EighResult(NamedTuple):
    """The type of results for type checkers. torch creates torch.return_types.linalg_eigh at run time."""

    eigenvalues: Tensor
    eigenvectors: Tensor


# Looked up once, because a call on a small matrix takes microseconds.
_operator = torch.ops.spectralgrad.eigh.default
_return_types: Any = torch.return_types
_result = _return_types.linalg_eigh
_out_result = _return_types.linalg_eigh_out


def eigh(
    A: Tensor | None = None,
    UPLO: str = "L",
    *,
    rule: Rule | None = None,
    out: tuple[Tensor, Tensor] | list[Tensor] | None = None,
    input: Tensor | None = None,  # noqa: A002
) -> EighResult:
    """Eigenvalue decomposition A = V diag(λ) Vᴴ of Hermitian matrices, differentiable at degenerate eigenvalues.

    Replaces `torch.linalg.eigh`, with the same arguments. Works with every transform of torch.func, with forward-mode
    AD and with torch.compile.

    Args:
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the triangle named by `UPLO` is read.
        UPLO: ``"L"`` or ``"U"``.
        rule: how 1/(λj - λi) is formed in derivatives; by default `default_rule()`. `Split` moves eigenvalues apart
            that are closer than its width.
        out: a tuple or list of two tensors to write to; not differentiable.
        input: the other name of `A`, which torch.linalg takes as a keyword.

    Returns:
        A named tuple ``(eigenvalues, eigenvectors)``: λ ``(*, n)``, real, ascending, in the units of `A`, and V
        ``(*, n, n)`` with orthonormal columns, of the dtype of `A`.

    Raises:
        RuntimeError: `A` is not a batch of square matrices, `UPLO` is neither letter, or `out` does not fit.
        NotImplementedError: `A` is of another dtype.
        torch.linalg.LinAlgError: `A` holds a NaN or an Inf, or no convergence was reached.
        spectralgrad.GaugeError: in the backward of a complex loss that depends on the phases of the eigenvectors.

    .. warning:: Eigenvectors are defined up to a phase each, and up to a unitary matrix in each eigenspace. A loss
        that depends on that choice has no gradient. A loss of the kind tr(M f(A)) has one, but at degenerate
        eigenvalues no backward of eigh can see all of it. `funm`, `trace_funm`, `spectral_projector` and
        `density_matrix` have it, with second derivatives, and `spectral_map` too. ``rule=Split()`` and
        ``rule=Split(order=2)`` recover most of it.

    The gradient is V [diag(gλ) + F∘S] Vᴴ with S the skew-Hermitian part of VᴴgV and F the rule's 1/(λj - λi): Giles
    (2008), "An extended collection of matrix derivative results"; Seeger et al. (2017), arXiv:1710.08717.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> L, V = sg.eigh(A)
        >>> (L.sum() + V.square().sum()).backward()
        >>> A.grad
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    if A is None or input is not None:
        A = one_name("eigh", A, input)
    if has_torch_function_unary(A):
        return handle_torch_function(eigh, (A,), A, UPLO, rule=rule, out=out)
    check_types("eigh", A, UPLO)
    rule_arguments = _operator_arguments("eigh", rule)
    if out is not None:
        check_out("eigh", out, "eigenvalues", "eigenvectors")
        eigenvalues, eigenvectors = out
        warn_of_resizing("eigh", eigenvalues, A.shape[:-1])
        warn_of_resizing("eigh", eigenvectors, A.shape)
        pair = torch.ops.spectralgrad.eigh.out(
            A, UPLO, *rule_arguments, eigenvalues=eigenvalues, eigenvectors=eigenvectors
        )
        result = _out_result(pair)
    else:
        result = _result(_operator(A, UPLO, *rule_arguments))
    return cast("EighResult", result)
