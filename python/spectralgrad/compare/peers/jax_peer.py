"""The adapter of JAX: its decompositions under ``jit(vmap(grad))``, compiled once for each problem."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.scipy.linalg import solve_triangular

from ..loss import ALIGNMENT, EIG, EIGH, GENERALIZED, SVD, Array, Loss, Parameters
from . import TITLES, Peer, warning_text


class JaxOperations:
    def adjoint(self, x: Any) -> Any:
        return jnp.conj(x.T)

    def centred(self, points: Any) -> Any:
        return points - points.mean(axis=0)

    def conj(self, x: Any) -> Any:
        # M and y stay NumPy arrays, because JAX would compile each operation on one of its own arrays.
        return np.conj(x) if isinstance(x, np.ndarray) else jnp.conj(x)

    def exp(self, x: Any) -> Any:
        return jnp.exp(x)

    def inv(self, x: Any) -> Any:
        return jnp.linalg.inv(x)

    def real(self, x: Any) -> Any:
        return jnp.real(x)

    def sign_of_det(self, x: Any) -> Any:
        return jnp.sign(jnp.linalg.det(x))

    def sum(self, x: Any) -> Any:
        return jnp.sum(x)

    def scale_columns(self, x: Any, weights: Any) -> Any:
        return x * weights


def _svd(a: Any) -> tuple[Any, Any, Any]:
    u, s, vh = jnp.linalg.svd(a, full_matrices=False)
    return u, s, vh


def _eig(a: Any) -> tuple[Any, Any]:
    """Returns the eigenvalues in ascending order of Re + Im, and the eigenvectors."""
    # ``jnp.linalg.eig`` raises an error when it is differentiated.
    values, vectors = jax.lax.linalg.eig(a, compute_left_eigenvectors=False, enable_eigvec_derivs=True)
    order = jnp.argsort(jnp.real(values) + jnp.imag(values))
    return values[order], vectors[:, order]


def _eigvals(a: Any) -> tuple[Any, None]:
    values = jnp.linalg.eigvals(a)
    return values[jnp.argsort(jnp.real(values) + jnp.imag(values))], None


def _generalized_eigh(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Solves A v = lambda B v by the Cholesky factor of B."""
    a, b = pair
    factor = jnp.linalg.cholesky(b)
    half = solve_triangular(factor, a, lower=True)
    values, vectors = jnp.linalg.eigh(solve_triangular(factor, half.conj().T, lower=True))
    return values, solve_triangular(factor.conj().T, vectors, lower=False)


_DECOMPOSITIONS: dict[str, Callable[[Any], Any]] = {
    EIGH: jnp.linalg.eigh,
    SVD: _svd,
    ALIGNMENT: _svd,
    EIG: _eig,
    GENERALIZED: _generalized_eigh,
}


class JaxPeer(Peer):
    label = TITLES["jax"]
    rules = dict.fromkeys((SVD, ALIGNMENT), "1/((σⱼ - σᵢ)(σⱼ + σᵢ))") | {
        EIGH: "1/Δ",
        GENERALIZED: "1/Δ",
        EIG: "1/Δ for vectors (enable_eigvec_derivs); eigvals for eigenvalues",
    }

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}

    def gradients(self, variant: str, loss: Loss, matrices: Array, p: Parameters) -> list[Array | Exception]:
        def value(a: Any) -> Any:
            ops = JaxOperations()
            # ``eigvals`` is what JAX offers for losses of eigenvalues alone.
            decompose = _eigvals if loss.task == EIG and loss.of_values else _DECOMPOSITIONS[loss.task]
            return loss.value(ops, a, *decompose(loss.decomposed(ops, a, p)), p)

        try:
            # JAX returns the conjugate of PyTorch's complex gradient.
            return list(np.asarray(jax.jit(jax.vmap(jax.grad(value)))(matrices)).conj())
        except Exception as error:
            return [error] * len(matrices)

    def gradients_and_warnings(
        self, variant: str, loss: Loss, matrices: Array, p: Parameters
    ) -> tuple[list[Array | Exception], list[str]]:
        # One call for all matrices, because each call compiles.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results = self.gradients(variant, loss, matrices, p)
        return results, [warning_text(caught)] * len(matrices)


def create() -> Peer:
    jax.config.update("jax_enable_x64", True)
    # Every problem is compiled for a few small matrices only, so compiling takes nearly all of the time.
    jax.config.update("jax_disable_most_optimizations", True)
    return JaxPeer()
