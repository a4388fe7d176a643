from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ._arguments import check_tensor, overridable


@overridable
def purity(A: Tensor) -> Tensor:
    """The purity tr(A²) of symmetric or Hermitian matrices.

    Args:
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the lower triangle is read.

    Returns:
        ``(*)``, real.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError: as `eigh`.

    Example::

        >>> A = torch.eye(2, requires_grad=True)
        >>> sg.purity(A).backward()
        >>> A.grad
        tensor([[2., 0.],
                [0., 2.]])
    """
    check_tensor("purity", A)
    return cast("Tensor", torch.ops.spectralgrad.purity.default(A))
