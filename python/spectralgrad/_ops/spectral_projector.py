from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ._arguments import check_tensor, index, overridable


@overridable
def spectral_projector(A: Tensor, start: int, stop: int) -> Tensor:
    """The orthogonal projector Σ vᵢvᵢᴴ onto the eigenvectors `start` ≤ i < `stop`, in ascending order of eigenvalues.

    Exact, to third derivatives, whatever eigenvalues meet on either side of the cut. Works with every transform of
    torch.func, forward-mode AD and torch.compile; a fourth derivative raises.

    Args:
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the lower triangle is read.
        start, stop: 0 ≤ start ≤ stop ≤ n.

    Returns:
        ``(*, n, n)``, Hermitian, of the dtype of `A`.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError: as `eigh`.
        ValueError: unless 0 ≤ start ≤ stop ≤ n.
        torch.linalg.LinAlgError: `start` or `stop` separates copies of a repeated eigenvalue, so that no projector is
            defined. Under ``checks("ignore")`` that matrix of a batch gives NaN.

    The derivative is V (K ∘ VᴴȦV) Vᴴ with Kᵢⱼ = 1/(λi - λj), signed, between inside and outside, and 0 else: Kato
    (1966), "Perturbation Theory for Linear Operators", II.2.

    Example::

        >>> A = torch.diag(torch.tensor([1.0, 1.0, 3.0, 3.0])).requires_grad_()
        >>> sg.spectral_projector(A, 0, 2)[0, 2].backward()
        >>> A.grad[0]
        tensor([ 0.0000,  0.0000, -0.2500,  0.0000])
    """
    check_tensor("spectral_projector", A)
    return cast(
        "Tensor",
        torch.ops.spectralgrad.spectral_projector.default(
            A, index("spectral_projector", "start", start), index("spectral_projector", "stop", stop)
        ),
    )
