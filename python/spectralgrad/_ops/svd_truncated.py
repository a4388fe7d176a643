from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from .._rules import Rule, _operator_arguments
from ._arguments import check_svd_types, integer, overridable, tolerance

if TYPE_CHECKING:
    from .svd import SvdResult

_return_types: Any = torch.return_types
_result = _return_types.linalg_svd

_TRACED = (
    "spectralgrad.svd_truncated: Expected rank and keep_multiplets=False, and no tolerance, where the call is traced "
    "into a graph ({}), because otherwise the number of singular values that are kept depends on their values"
)


@overridable
def svd_truncated(
    A: Tensor,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    keep_multiplets: bool = True,
    driver: str | None = None,
    rule: Rule | None = None,
) -> SvdResult:
    """The largest singular values with their singular vectors, with the derivative of `svd` followed by slicing.

    That derivative needs the dropped singular vectors, too: U and V turn out of the kept subspaces. It is computed at
    the cost of the kept part. See `svd` for transforms, rules, and losses that have a gradient.

    Args:
        A: ``(*, m, n)``, float32, float64, complex64 or complex128.
        rank: how many singular values to keep.
        rtol, atol: with one of them, or without `rank`, keep the values above max(atol, rtol·max(σ)), and at most
            `rank`. As in ``torch.linalg.matrix_rank``, rtol is by default max(m, n)·eps, or 0 if atol > 0. They decide
            nothing else.
        keep_multiplets: a cut between singular values that are equal up to round-off moves outwards until it is none,
            so more than `rank` may be kept. Between values that are 0 up to round-off (max(m, n)·eps·max(σ)), the cut
            stays where it is, because these contribute nothing to `A`.
        driver: the name of a cuSOLVER method, on CUDA only.
        rule: as for `svd`.

    Returns:
        A named tuple ``(U, S, Vh)``: U ``(*, m, r)``, the singular values ``(*, r)``, real, descending, and Vᴴ
        ``(*, r, n)``. r is one number for the batch, including dimensions of `vmap` and the shards of a DTensor: the
        largest that a matrix needs.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError, spectralgrad.GaugeError: as `svd`. Under
            ``checks("ignore")`` a matrix with a NaN needs `rank`, or 0 if a tolerance decides.
        TypeError, ValueError: `rank` is not an integer >= 0, or a tolerance is not a number >= 0.
        NotImplementedError: r depends on the values of a tensor on the meta device.

    .. note:: r depends on the values of `A`, unless `rank` is given without tolerances and with
        ``keep_multiplets=False``. If it does, `A` is waited for on a device, torch.compile breaks the graph, and
        ``fullgraph=True``, make_fx and torch.export raise a RuntimeError.

    .. warning:: With ``keep_multiplets=False`` a cut may separate equal singular values. A loss that depends on which
        of them are kept has no gradient; a `GaugeWarning` reports this.

    The gradient is U [diag(gσ) + F⁻∘S⁺ + F⁺∘S⁻] Vᴴ as for `svd`, over pairs of two kept vectors, plus the complement
    term: the pairs of a kept and a dropped vector, and the parts outside the ranges of U and V, divided by σj. Francuz,
    Schuch and Vanhecke (2023), arXiv:2311.11894.

    Example::

        >>> A = torch.diag(torch.tensor([3.0, 1.0, 1.0, 0.5], dtype=torch.float64)).requires_grad_()
        >>> U, S, Vh = sg.svd_truncated(A, 2)  # the singular value 1 is repeated
        >>> S.detach()
        tensor([3., 1., 1.], dtype=torch.float64)
        >>> (U @ U.T)[0, 3].backward()
        >>> A.grad[0, 3], A.grad[3, 0]
        (tensor(0.0571, dtype=torch.float64), tensor(0.3429, dtype=torch.float64))
    """
    check_svd_types("svd_truncated", A, driver, keep_multiplets=keep_multiplets)
    rank = integer("svd_truncated", "rank", rank)
    rtol = tolerance("svd_truncated", "rtol", rtol)
    atol = tolerance("svd_truncated", "atol", atol)
    rule_arguments = _operator_arguments("svd_truncated", rule)
    if rank is None or keep_multiplets or rtol is not None or atol is not None:
        _refuse_graphs()
    operator = torch.ops.spectralgrad.svd_truncated.default
    return cast("SvdResult", _result(operator(A, rank, rtol, atol, keep_multiplets, driver, *rule_arguments)))


def _refuse_graphs() -> None:
    if torch.compiler.is_dynamo_compiling():
        torch._dynamo.graph_break(msg=_TRACED.format("torch.compile with fullgraph=True"))
        return
    if torch.compiler.is_exporting():
        raise RuntimeError(_TRACED.format("torch.export"))
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        raise RuntimeError(_TRACED.format("make_fx"))
