from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .._rules import Gated
from ._arguments import autocast, check_tensor, may_be_differentiated
from ._batching import register_batching
from .eigh import eigh

register_batching("once", "judge_rotations", "rotated_eigenpairs")

_T = TypeVar("_T")


def _rounds(eigenvalues: Tensor) -> int:
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(eigenvalues):
        eigenvalues = functorch.get_unwrapped(eigenvalues)
    return int(torch.ops.spectralgrad.cluster_rounds.default(eigenvalues.detach()))


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
    raises.

    Example::

        >>> A = torch.eye(2, dtype=torch.float64, requires_grad=True)
        >>> y = sg.spectral_map(lambda L, V: V @ torch.diag(L.exp() + 1 / L) @ V.T, A)
        >>> y[0, 1].backward()
        >>> A.grad[0, 1] * 2 - torch.e
        tensor(-1.0000, dtype=torch.float64)
    """
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
        result = fn(eigenvalues, eigenvectors)
        _tensors(result)
        return result
    constant = torch.ops.spectralgrad.constant.default
    values, vectors, rotated_values, rotated_vectors = torch.ops.spectralgrad.rotated_eigenpairs.default(
        A, constant(eigenvalues), constant(eigenvectors), rounds
    )
    result = fn(values, vectors)
    sums, structure = _tensors(result)
    for L, V in zip(rotated_values.unbind(-2), rotated_vectors.unbind(-3), strict=True):
        # Nothing in value, nor for what fn is made of; the derivative in A that was lost.
        here, same = _tensors(fn(L, V))[0], _tensors(fn(constant(L), constant(V)))[0]
        sums = [_corrected(*parts) for parts in zip(sums, here, same, strict=True)]
    return pytree.tree_unflatten(sums, structure)


def _corrected(y: Tensor, here: Tensor, same: Tensor) -> Tensor:
    return y + (here - same) if y.is_floating_point() or y.is_complex() else y


def _tensors(result: Any) -> tuple[list[Tensor], Any]:
    leaves, structure = pytree.tree_flatten(result)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise TypeError(
                "spectralgrad.spectral_map: Expected fn to return a Tensor or a tuple of Tensors, but got "
                f"{type(leaf).__name__}"
            )
    return leaves, structure
