"""The form of a loss: everything that the frameworks and the references need to know about it.

Symbols of losses of eigenvalues: A (n, n) is real symmetric or Hermitian, with ascending eigenvalues lambda (n) and
eigenvectors V (n, n) as columns. Symbols of losses of singular values: A (m, n) = U diag(sigma) V^H with k = min(m, n)
descending singular values, U (m, k) and V^H (k, n). Symbols of losses of ``eig``: A (n, n) = V diag(lambda) V^-1 is any
matrix, and lambda is in ascending order of Re + Im. Symbols of losses of the generalized problem: A V =
B V diag(lambda) and V^H B V = I with Hermitian A and B, where B is positive definite. A loss depends on the values
start:stop (``stop = start + 1`` for a single one), and on a matrix M or a vector y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Parameters:
    """The parameters of a loss: the values start:stop, its arrays ``M`` or ``y``, if any, and the columns n of A."""

    start: int
    stop: int
    arrays: dict[str, Any] = field(default_factory=dict)
    columns: int = 0


class Operations(Protocol):
    """The operations that the losses need and that have different names in different frameworks."""

    def adjoint(self, x: Any) -> Any: ...
    def centred(self, points: Any) -> Any: ...
    def conj(self, x: Any) -> Any: ...
    def exp(self, x: Any) -> Any: ...
    def inv(self, x: Any) -> Any: ...
    def real(self, x: Any) -> Any: ...
    def sign_of_det(self, x: Any) -> Any: ...
    def sum(self, x: Any) -> Any: ...
    def scale_columns(self, x: Any, weights: Any) -> Any: ...


# The tasks of a peer: to differentiate eigh, to differentiate svd, to align point clouds, to differentiate eig, and to
# differentiate the generalized problem A v = lambda B v.
EIGH, SVD, ALIGNMENT, EIG, GENERALIZED = "eigh", "svd", "alignment", "eig", "generalized"


def _needs_hermitian(*_: Any) -> Any:
    raise TypeError("a loss of eig has its exact gradient in Loss.exact")


@dataclass(frozen=True)
class Loss:
    """One loss, in every form that the comparison needs.

    ``value`` is written once, in terms of ``Operations``, and each framework differentiates it. Its arguments are the
    operations, A, the parts of the decomposition (lambda and V, or U, sigma and V^H), and the parameters.

    ``cotangents`` returns the derivatives by the parts of the decomposition, from A, the parts and the parameters. They
    are written by hand, for the formula in NumPy. For eigh they are gL (n) and gV (n, n), with dphi = sum(gL dL) +
    Re tr(gV^H dV). gV is None if the loss does not depend on V. For svd they are gU, gsigma and gV, where gU and gV may
    be None. For eig they are gL and gV, with dphi = Re sum(conj(gL) dL) + Re tr(gV^H dV). If a loss also depends on A
    directly, there is another term, Re tr(g^H dA), with g (n, n) from ``direct``.

    ``weights`` (K) and ``matrix`` (M) give the exact gradient V (K o (V^H M V)) V^H; see ``_high_precision``. Losses of
    singular values have the weights and the matrix of the Hermitian matrix [[0, A], [A^H, 0]]; see ``singular_values``.
    Losses of eig have ``exact`` instead, the gradient from a ``RieszProjector`` and the parameters. Losses of the
    generalized problem have neither; see ``generalized``. Their variable is A or B, and the parameters hold the other
    one.
    """

    name: str
    title: str
    column: str
    formula: str
    value: Callable[..., Any]
    cotangents: Callable[..., Any]
    weights: Callable[..., Array] = _needs_hermitian
    matrix: Callable[[Parameters], Array | None] = _needs_hermitian
    # Whether a derivative exists if values inside start:stop, or at its edge, are exactly equal.
    exists_inside_degeneracy: bool = True
    direct: Callable[[Array, Parameters], Array] | None = None
    exact: Callable[[Any, Parameters], Any] | None = None
    # Whether the loss depends on eigenvalues alone.
    of_values: bool = False
    task: str = EIGH
    # The matrix that is decomposed, from the operations, the variable and the parameters. By default, the variable. It
    # is the pair of A and B for the generalized problem.
    decomposed: Callable[[Any, Any, Parameters], Any] = lambda ops, a, p: a
    # The gradient by the variable, from the gradient by the decomposed matrix and the parameters.
    pull_back: Callable[[Array, Parameters], Array] = lambda gradient, p: gradient


def high_precision() -> Any:
    """Returns the module of references. The processes of the frameworks do not import it, because they lack mpmath."""
    from .. import _high_precision

    return _high_precision


def exact_outer(y: Array) -> Array:
    """Returns y y^H, exactly: the reference is the gradient for the rounded y, not for a rounded y y^H."""
    reference = high_precision()
    column = reference.HighPrecisionMatrix.from_array(y[:, None], 256)
    with reference.working_precision():
        return np.asarray((column @ column.adjoint).to_mpmath())
