from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._rules import Rule, _operator_arguments
from ._arguments import check_out_tensor, check_tensor, one_name, warn_of_resizing


def eigvals(
    A: Tensor | None = None,
    *,
    rule: Rule | None = None,
    out: Tensor | None = None,
    input: Tensor | None = None,  # noqa: A002
) -> Tensor:
    """Eigenvalues of general matrices. Arguments and errors are those of `eig`.

    Replaces `torch.linalg.eigvals`. Eigenvectors are computed only if a derivative is asked for.

    Args:
        A: ``(*, n, n)``; see `eig`.
        rule: affects second derivatives only.
        out: a tensor to write to; not differentiable.
        input: the other name of `A`.

    Returns:
        λ ``(*, n)``, complex, in no particular order, in the units of `A`.

    Example::

        >>> A = torch.tensor([[0.0, 1.0], [4.0, 0.0]], dtype=torch.float64, requires_grad=True)
        >>> sg.eigvals(A).square().sum().real.backward()  # the trace of A², whose gradient is 2 Aᵀ
        >>> torch.allclose(A.grad, 2 * A.mT)
        True
    """
    if A is None or input is not None:
        A = one_name("eigvals", A, input)
    if has_torch_function_unary(A):
        return handle_torch_function(eigvals, (A,), A, rule=rule, out=out)
    check_tensor("eigvals", A)
    rule_arguments = _operator_arguments("eigvals", rule)
    if out is not None:
        check_out_tensor("eigvals", out)
        warn_of_resizing("eigvals", out, tuple(A.shape[:-1]))
        return cast("Tensor", torch.ops.spectralgrad.eigvals.out(A, *rule_arguments, eigenvalues=out))
    return cast("Tensor", torch.ops.spectralgrad.eigvals.default(A, *rule_arguments))
