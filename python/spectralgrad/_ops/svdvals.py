from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from .._rules import Rule, _operator_arguments
from ._arguments import check_out_tensor, check_svd_types, one_name, warn_of_resizing


def svdvals(
    A: Tensor | None = None,
    *,
    driver: str | None = None,
    rule: Rule | None = None,
    out: Tensor | None = None,
    input: Tensor | None = None,  # noqa: A002
) -> Tensor:
    """Singular values of matrices. Arguments and errors are those of `svd`.

    Replaces `torch.linalg.svdvals`. Singular vectors are computed only if a derivative is asked for. The gradient is
    U diag(gσ) Vᴴ. At a singular value 0 that is a subgradient, as it is for `abs` at 0.

    Args:
        A: ``(*, m, n)``; see `svd`.
        driver: the name of a cuSOLVER method, on CUDA only.
        rule: affects second derivatives, and with `Split` also the values.
        out: a tensor to write to; not differentiable.
        input: the other name of `A`.

    Returns:
        σ ``(*, min(m, n))``, real, descending, in the units of `A`.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> sg.svdvals(A).sum().backward()
        >>> A.grad
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    if A is None or input is not None:
        A = one_name("svdvals", A, input)
    if has_torch_function_unary(A):
        return handle_torch_function(svdvals, (A,), A, driver=driver, rule=rule, out=out)
    check_svd_types("svdvals", A, driver)
    rule_arguments = _operator_arguments("svdvals", rule)
    if out is not None:
        check_out_tensor("svdvals", out)
        *batch, m, n = A.shape
        warn_of_resizing("svdvals", out, (*batch, min(m, n)))
        return cast("Tensor", torch.ops.spectralgrad.svdvals.out(A, driver, *rule_arguments, S=out))
    return cast("Tensor", torch.ops.spectralgrad.svdvals.default(A, driver, *rule_arguments))
