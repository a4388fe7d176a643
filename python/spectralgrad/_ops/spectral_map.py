from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from .._rules import Gated
from ._arguments import autocast, check_tensor, may_be_differentiated, overridable_but_by_modes
from ._batching import register_batching
from .eigh import eigh

register_batching("once", "judge_rotations", "rotated_eigenpairs")

_T = TypeVar("_T")


_TRACED = (
    "spectralgrad.spectral_map: Expected a matrix whose eigenvalues can be read, but the call is traced into a graph "
    "({}). How often fn is called depends on the eigenvalues. funm, trace_funm, spectral_projector and density_matrix "
    "can be traced"
)


def _rounds(eigenvalues: Tensor) -> int:
    """How often at most a pair of a cluster has to be rotated; 0 where nobody can ask for a derivative."""
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
    """fn(λ, V) of the eigenvalues and eigenvectors of `A`, with its exact first derivative at every gap, 0 included.

    For any `fn` that does not depend on the choice of eigenvectors: sums and products of several functions of A,
    projectors, networks on invariant features. What no backward of `eigh` can see, where eigenvalues meet, is found by
    calling `fn` again, at neighbours of the matrix whose eigenvectors are turned into each other, pair by pair of a
    cluster: about 4m calls more for a largest cluster of m (8m for complex matrices), and none without a cluster, or
    without a derivative to come. Eigenvalues are a cluster where they are 8√eps·max|λ| apart, or less. Inside, the
    derivative errs by the square of the gap, or by a fraction of it if `fn` is not linear in functions of A and several
    pairs are near; outside by eps over the gap. That is a few 1e-9 at worst in float64, and rounding at a gap of 0.

    Args:
        fn: takes eigenvalues ``(*, n)``, ascending, and eigenvectors ``(*, n, n)``, and returns a tensor or a tuple
            (list, dict) of tensors, of any shape. Tensors that it is made of get their gradients, too. Called more than
            once, it must give the same.
        A: ``(*, n, n)``, float32, float64, complex64 or complex128. Only the lower triangle is read.

    Returns:
        What `fn` returns.

    Raises:
        RuntimeError, NotImplementedError, torch.linalg.LinAlgError: as `eigh`.
        TypeError: `fn` is not a function, or returns anything but tensors.
        RuntimeError: a second derivative is asked for at a cluster; `funm` and its relatives have one.

    Where `fn` does depend on the choice, `GaugeWarning` says so when it is differentiated in reverse mode, and such
    pairs keep what `eigh` gives. Under torch.compile the number of calls breaks the graph; with ``fullgraph=True`` that
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
    try:
        eigenvalues, eigenvectors = eigh(A, rule=Gated())
    except (RuntimeError, NotImplementedError) as error:
        message = str(error).replace("spectralgrad.eigh", "spectralgrad.spectral_map", 1)
        raise type(error)(message) from None
    rounds = _rounds(eigenvalues) if may_be_differentiated(A) else 0
    if rounds == 0:
        return _map(lambda y: y, fn(eigenvalues, eigenvectors))
    constant = torch.ops.spectralgrad.constant.default
    values, vectors, rotated_values, rotated_vectors = torch.ops.spectralgrad.rotated_eigenpairs.default(
        A, constant(eigenvalues), constant(eigenvectors), rounds
    )
    result = _map(lambda y: y, fn(values, vectors))
    for L, V in zip(rotated_values.unbind(-2), rotated_vectors.unbind(-3), strict=True):
        # Nothing in value, nor for what fn is made of; the derivative in A that was lost.
        result = _map(_corrected, result, fn(L, V), fn(constant(L), constant(V)))
    return result


def _corrected(y: Tensor, here: Tensor, same: Tensor) -> Tensor:
    return y + (here - same) if y.is_floating_point() or y.is_complex() else y


def _map(function: Callable[..., Tensor], tree: _T, *others: _T) -> _T:
    """`function` of the tensors in a result of fn, and of those at the same place of others.

    torch.utils._pytree.tree_map leaves a reference cycle behind at each call, which the garbage collector has to find.
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
