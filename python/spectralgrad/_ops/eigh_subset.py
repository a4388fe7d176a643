from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from .._rules import Rule, _operator_arguments
from ._arguments import check_tensor, check_types, index, overridable

if TYPE_CHECKING:
    from .eigh import EighResult

_return_types: Any = torch.return_types
_result = _return_types.linalg_eigh


@overridable
def eigh_subset(
    A: Tensor,
    start: int | None,
    stop: int | None,
    UPLO: str = "L",
    *,
    B: Tensor | None = None,
    rule: Rule | None = None,
) -> EighResult:
    """The eigenvalues `start` ≤ i < `stop` with their eigenvectors, with the derivative of `eigh` followed by slicing.

    Is SciPy's ``eigh`` with ``subset_by_index=(start, stop - 1)``, batched and differentiable. The backward costs
    O(n² k) for k eigenpairs, and asks for no derivative of the others. It includes the complement term: a change of `A`
    turns the kept eigenvectors out of their subspace. See `eigh` for transforms, rules, and losses that have a
    gradient.

    Args:
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the triangle named by `UPLO` is read.
        start, stop: the range of indices, in ascending order of eigenvalues. Negative ones count from the end, and None
            is the end on that side: ``eigh_subset(A, -3, None)`` are the three largest.
        UPLO: ``"L"`` or ``"U"``, for `A` and `B`.
        B: ``(*, n, n)``, Hermitian, positive definite, of the dtype of `A`; of the problem A x = λ B x. The batches of
            `A` and `B` are broadcast.
        rule: as for `eigh`.

    Returns:
        A named tuple ``(eigenvalues, eigenvectors)``: λ ``(*, k)``, real, ascending, and V ``(*, n, k)`` with
        Vᴴ V = 1, or Vᴴ B V = 1.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError, spectralgrad.GaugeError: as `eigh`.
        TypeError, ValueError: `start` or `stop` is no integer, or 0 ≤ start ≤ stop ≤ n does not hold.
        torch.linalg.LinAlgError: `B` is not positive definite.
        RuntimeError: shape or dtype of `B` does not fit `A`.

    .. note:: All eigenpairs are computed, because the complement term needs the others, and they are kept until the
        backward. LAPACK's drivers for a part of the spectrum (syevr, heevr) compute fewer, and PyTorch's wheels do not
        contain them.

    .. warning:: `start` or `stop` may separate equal eigenvalues. A loss that depends on which of their eigenvectors
        are kept has no gradient; a `GaugeWarning` names the level, its multiplicity and the gap. Other losses are not
        affected.

    The gradient is V [diag(gλ) + F∘S] Vᴴ as for `eigh`, over pairs of two kept vectors, plus the pairs of a kept and a
    dropped vector. With `B` = C Cᴴ, the eigenvectors are C⁻ᴴ times those of C⁻¹ A C⁻ᴴ. Francuz, Schuch and Vanhecke
    (2023), arXiv:2311.11894.

    Example::

        >>> A = torch.diag(torch.tensor([1.0, 1.0, 3.0, 4.0], dtype=torch.float64)).requires_grad_()
        >>> L, V = sg.eigh_subset(A, 0, 2)
        >>> L.detach()
        tensor([1., 1.], dtype=torch.float64)
        >>> (V @ V.T)[0, 2].backward()  # onto the eigenspace of 1
        >>> A.grad[0]
        tensor([ 0.0000,  0.0000, -0.2500,  0.0000], dtype=torch.float64)
    """
    check_types("eigh_subset", A, UPLO)
    if B is not None:
        check_tensor("eigh_subset", B, "B")
    start, stop = (index("eigh_subset", name, x, optional=True) for name, x in (("start", start), ("stop", stop)))
    operator = torch.ops.spectralgrad.eigh_subset.default
    return cast("EighResult", _result(operator(A, start, stop, UPLO, B, *_operator_arguments("eigh_subset", rule))))
