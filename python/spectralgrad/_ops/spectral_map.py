from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from .. import _C
from .._rules import Gated
from ._arguments import autocast, check_tensor, may_be_differentiated, overridable_but_by_modes
from .eigh import eigh

_T = TypeVar("_T")


_TRACED = (
    "spectralgrad.spectral_map: Expected a matrix whose eigenvalues can be read, but the call is traced into a graph "
    "({}). How often fn is called depends on the eigenvalues. funm, trace_funm, spectral_projector and density_matrix "
    "can be traced"
)


def _rounds(eigenvalues: Tensor) -> int:
    """The number of rounds in which all pairs of the largest cluster meet; 0 if no derivative is possible."""
    functorch = torch._C._functorch
    if torch.compiler.is_exporting():
        if torch.is_grad_enabled() or functorch.peek_interpreter_stack() is not None:
            raise RuntimeError(
                _TRACED.format("torch.export") + "; torch.no_grad() around the export keeps values alone"
            )
        return 0
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        raise RuntimeError(_TRACED.format("make_fx"))
    while functorch.is_functorch_wrapped_tensor(eigenvalues):
        eigenvalues = functorch.get_unwrapped(eigenvalues)
    if eigenvalues.is_meta or isinstance(eigenvalues, FakeTensor):
        return 0  # shapes are the same with and without clusters
    return int(torch.ops.spectralgrad.cluster_rounds.default(eigenvalues.detach()))


@overridable_but_by_modes
def spectral_map(fn: Callable[[Tensor, Tensor], _T], A: Tensor) -> _T:
    """fn(λ, V) of the eigenvalues and eigenvectors of `A`, with an exact first derivative at every gap, 0 included.

    For any `fn` that does not depend on the choice of eigenvectors: sums and products of several functions of A,
    projectors, networks on invariant features. At degenerate eigenvalues, part of the derivative is invisible to any
    backward of `eigh`. It is found by calling `fn` again, at neighbours of the matrix in which pairs of eigenvectors of
    a cluster are rotated into each other. This takes about 4m more calls if the largest cluster has m eigenvalues (8m
    for complex matrices), and none without a cluster or if no derivative is possible.

    Eigenvalues form a cluster if they are at most 8√eps·max|λ| apart. Inside a cluster, the derivative errs by the
    square of the gap. If `fn` is not linear in functions of A and several pairs are near, it errs by a fraction of the
    gap. Outside clusters the error is eps over the gap: a few 1e-9 at worst in float64, and round-off for a gap
    of 0.

    Args:
        fn: takes eigenvalues ``(*, n)``, ascending, and eigenvectors ``(*, n, n)``, and returns a tensor or a tuple
            (list, dict) of tensors, of any shape. Tensors that it uses get their gradients, too. Repeated calls must
            give the same results.
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the lower triangle is read.

    Returns:
        The results of `fn`.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError: as `eigh`.
        TypeError: `fn` is not a function, or returns anything but tensors.
        RuntimeError: a second derivative is asked for at a cluster. `funm`, `trace_funm`, `spectral_projector` and
            `density_matrix` have one.

    If `fn` does depend on the choice of eigenvectors, reverse mode reports it with a `GaugeWarning`, and such pairs get
    the gradient of plain `eigh`. Under torch.compile the number of calls breaks the graph. With ``fullgraph=True`` this
    raises, as it does under make_fx and torch.export. On the meta device and for fake tensors `fn` is called once.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> y = sg.spectral_map(lambda L, V: V @ torch.diag(L.exp() + 1 / L) @ V.T, A)
        >>> y[0, 1].backward()
        >>> A.grad[0, 1] * 2 - torch.e
        tensor(-1.0000, dtype=torch.float64)
    """
    if torch.compiler.is_dynamo_compiling():
        torch._dynamo.graph_break(msg=_TRACED.format("torch.compile with fullgraph=True"))
    check_tensor("spectral_map", A)
    if not callable(fn):
        raise TypeError(f"spectralgrad.spectral_map: Expected fn to be a function, but got {type(fn).__name__}")
    A = autocast(A)
    with _C.CallerName("spectral_map"):
        eigenvalues, eigenvectors = eigh(A, rule=Gated())
    rounds = _rounds(eigenvalues) if may_be_differentiated(A) else 0
    if rounds == 0:
        return _map(lambda y: y, fn(eigenvalues, eigenvectors))
    constant = torch.ops.spectralgrad.constant.default
    values, vectors, rotated_values, rotated_vectors = torch.ops.spectralgrad.rotated_eigenpairs.default(
        A, constant(eigenvalues), constant(eigenvectors), rounds
    )
    result = _map(lambda y: y, fn(values, vectors))
    for L, V in zip(rotated_values.unbind(-2), rotated_vectors.unbind(-3), strict=True):
        # The difference is zero, and so is its derivative in tensors that fn uses. Its derivative in A is the lost
        # part.
        result = _map(_corrected, result, fn(L, V), fn(constant(L), constant(V)))
    return result


def _corrected(y: Tensor, here: Tensor, same: Tensor) -> Tensor:
    return y + (here - same) if y.is_floating_point() or y.is_complex() else y


def _map(function: Callable[..., Tensor], tree: _T, *others: _T) -> _T:
    """Applies `function` to the tensors in a result of fn, together with those at the same place in `others`.

    torch.utils._pytree.tree_map would leave a reference cycle at each call, which the garbage collector has to find.
    """
    if isinstance(tree, Tensor):
        return cast("_T", function(tree, *others))
    node = pytree.SUPPORTED_NODES.get(pytree._get_node_type(tree))
    if node is None:
        raise TypeError(
            "spectralgrad.spectral_map: Expected fn to return a Tensor or a tuple of Tensors, but got "
            f"{type(tree).__name__}"
        )
    children, context = node.flatten_fn(tree)
    rows = zip(children, *(node.flatten_fn(other)[0] for other in others), strict=True)
    return cast("_T", node.unflatten_fn([_map(function, *row) for row in rows], context))
