from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from .._rules import Rule, _operator_arguments
from ._arguments import check_out, check_tensor, check_types, overridable, warn_of_resizing

if TYPE_CHECKING:
    from .eigh import EighResult

# Looked up once, because a call on a small matrix takes microseconds.
_operator = torch.ops.spectralgrad.generalized_eigh.default
_return_types: Any = torch.return_types
_result = _return_types.linalg_eigh
_out_result = _return_types.linalg_eigh_out


@overridable
def generalized_eigh(
    A: Tensor,
    B: Tensor,
    UPLO: str = "L",
    *,
    itype: int = 1,
    rule: Rule | None = None,
    out: tuple[Tensor, Tensor] | list[Tensor] | None = None,
) -> EighResult:
    """The generalized eigenvalue problem A v = λ B v, differentiable in A and B, also at degenerate eigenvalues.

    Is `scipy.linalg.eigh` with its argument b, batched. Works with every transform of torch.func, with forward-mode AD
    and with torch.compile.

    ===== ========== =============
    itype problem    normalization
    ===== ========== =============
    1     A v = λ B v Vᴴ B V = I
    2     A B v = λ v Vᴴ B V = I
    3     B A v = λ v Vᴴ B⁻¹ V = I
    ===== ========== =============

    Args:
        A: Hermitian, ``(*, n, n)``, float32, float64, complex64 or complex128.
        B: Hermitian and positive definite, ``(*, n, n)``, of the dtype of `A`; the batches broadcast.
        UPLO: ``"L"`` or ``"U"``: the triangle that is read of `A` and of `B`.
        itype: the type of the problem, 1, 2 or 3.
        rule: how 1/(λj - λi) is formed in derivatives; by default `default_rule()`. `Split` moves eigenvalues apart
            that are closer than its width.
        out: a tuple or list of two tensors to write to; not differentiable.

    Returns:
        A named tuple ``(eigenvalues, eigenvectors)``: λ ``(*, n)``, real, ascending, and V ``(*, n, n)``, of the dtype
        of `A`, with the normalization of the table.

    Raises:
        RuntimeError: `A` or `B` is not a batch of square matrices, `UPLO` is neither letter, or `out` does not fit.
        ValueError: `A` and `B` differ in size, dtype or device, their batches do not broadcast, or `itype` is another
            number.
        NotImplementedError: `A` or `B` is of another dtype.
        torch.linalg.LinAlgError: `A` or `B` holds a NaN or an Inf, `B` is not positive definite, or no convergence was
            reached.
        spectralgrad.GaugeError: in the backward of a complex loss that depends on the phases of the eigenvectors.

    .. warning:: Eigenvectors are defined up to a phase each, and up to a unitary matrix in each eigenspace. A loss
        that depends on that choice has no gradient. A loss of the kind tr(M V f(Λ) Vᴴ) has one, but at degenerate
        eigenvalues no backward can see all of it from V and λ. `density_matrix` with ``overlap=B`` has it, with second
        derivatives. ``rule=Split()`` recovers most of it. Write an energy as Σλ rather than as tr(A V Vᴴ): at a gap d
        between its levels, the second form divides a round-off of about eps·cond(B)·max|λ| by d.

    With S and H the skew-Hermitian and the Hermitian part of VᴴgV, and F the rule's 1/(λj - λi), the gradients for type
    1 are gA = V Q Vᴴ, Q = diag(gλ) + F∘S, and gB = -V [(ΛQ + QΛ)/2 + H/2] Vᴴ. The part H/2 keeps the normalization; it
    is divided by no gap. Giles (2008), "An extended collection of matrix derivative results", has the case B = I; Fox
    and Kapoor (1968), "Rates of change of eigenvalues and eigenvectors", distinct eigenvalues.

    Example::

        >>> K = torch.diag(torch.tensor([2.0, 2.0], dtype=torch.float64))  # stiffness
        >>> M = torch.eye(2, dtype=torch.float64, requires_grad=True)  # mass
        >>> L, V = sg.generalized_eigh(K, M)
        >>> (V @ V.T)[0, 1].backward()  # M⁻¹, although all eigenvalues are equal
        >>> M.grad
        tensor([[ 0.0000, -0.5000],
                [-0.5000,  0.0000]], dtype=torch.float64)
    """
    check_types("generalized_eigh", A, UPLO)
    check_tensor("generalized_eigh", B, "B")
    if not isinstance(itype, Integral) or isinstance(itype, bool):
        raise TypeError(f"spectralgrad.generalized_eigh: Expected itype to be an int, but got {type(itype).__name__}")
    rule_arguments = _operator_arguments("generalized_eigh", rule)
    if out is None:
        return cast("EighResult", _result(_operator(A, B, UPLO, int(itype), *rule_arguments)))
    check_out("generalized_eigh", out, "eigenvalues", "eigenvectors")
    eigenvalues, eigenvectors = out
    if A.dim() >= 2 and B.dim() >= 2:
        shape = torch.broadcast_shapes(A.shape[:-2], B.shape[:-2])
        warn_of_resizing("generalized_eigh", eigenvalues, (*shape, A.shape[-1]))
        warn_of_resizing("generalized_eigh", eigenvectors, (*shape, *A.shape[-2:]))
    pair = torch.ops.spectralgrad.generalized_eigh.out(
        A, B, UPLO, int(itype), *rule_arguments, eigenvalues=eigenvalues, eigenvectors=eigenvectors
    )
    return cast("EighResult", _out_result(pair))
