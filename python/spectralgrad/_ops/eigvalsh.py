from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._rules import Rule, _operator_arguments
from ._arguments import check_out_tensor, check_types, one_name, warn_of_resizing


def eigvalsh(
    A: Tensor | None = None,
    UPLO: str = "L",
    *,
    rule: Rule | None = None,
    out: Tensor | None = None,
    input: Tensor | None = None,  # noqa: A002
) -> Tensor:
    """Eigenvalues of symmetric or Hermitian matrices. Arguments and errors are those of `eigh`.

    Replaces `torch.linalg.eigvalsh`. Eigenvectors are computed only if a derivative is asked for. The gradient is
    V diag(gλ) Vᴴ.

    Args:
        A: ``(*, n, n)``; see `eigh`.
        UPLO: ``"L"`` or ``"U"``, the triangle that is read.
        rule: affects second derivatives, and with `Split` also the values.
        out: a tensor to write to; not differentiable.
        input: the other name of `A`, which torch.linalg takes as a keyword.

    Returns:
        λ ``(*, n)``, real, ascending, in the units of `A`.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.eigvalsh(A).square().sum().backward()
        >>> A.grad
        tensor([[2., 0.],
                [0., 2.]], dtype=torch.float64)
    """
    if A is None or input is not None:
        A = one_name("eigvalsh", A, input)
    if has_torch_function_unary(A):
        return handle_torch_function(eigvalsh, (A,), A, UPLO, rule=rule, out=out)
    check_types("eigvalsh", A, UPLO)
    rule_arguments = _operator_arguments("eigvalsh", rule)
    if out is not None:
        check_out_tensor("eigvalsh", out)
        warn_of_resizing("eigvalsh", out, A.shape[:-1])
        return cast("Tensor", torch.ops.spectralgrad.eigvalsh.out(A, UPLO, *rule_arguments, eigenvalues=out))
    return cast("Tensor", torch.ops.spectralgrad.eigvalsh.default(A, UPLO, *rule_arguments))
