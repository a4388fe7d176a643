"""The contenders (torch, this package, TensorFlow, JAX, NumPy) and the matrices that all of them decompose."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import spectralgrad as sg

Array = np.ndarray
Call = Callable[[], Any]

# --- matrices ---------------------------------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if dtype.kind == "c" else x).astype(dtype)


def _adjoint(x: Array) -> Array:
    return x.conj().swapaxes(-1, -2)


def _with_eigenvalues(rng: np.random.Generator, eigenvalues: Array, batch: int, dtype: np.dtype) -> Array:
    n = len(eigenvalues)
    Q = np.linalg.qr(_normal(rng, (batch, n, n), dtype))[0]
    A = (Q * eigenvalues.astype(dtype)) @ _adjoint(Q)
    return ((A + _adjoint(A)) / 2).astype(dtype)


def _tridiagonal(n: int) -> Array:
    return 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


# A solver or a backward may take another code path for structured matrices than for random ones.
SPECTRA = ("random", "positive", "repeated", "graded", "low rank", "identity", "diagonal", "tridiagonal")


def matrices(n: int, batch: int, dtype: str, spectrum: str = "random", seed: int = 0) -> Array:
    """Returns symmetric or Hermitian matrices (batch, n, n), the same for the same arguments."""
    rng = np.random.default_rng([seed, n, batch])
    kind = np.dtype(dtype)
    if spectrum == "random":
        A = _normal(rng, (batch, n, n), kind)
        return A + _adjoint(A)
    if spectrum == "positive":
        return _with_eigenvalues(rng, np.sort(rng.uniform(0.5, 2, n)), batch, kind)
    if spectrum == "repeated":  # in pairs
        return _with_eigenvalues(rng, 1.0 + np.arange(n) // 2, batch, kind)
    if spectrum == "graded":
        return _with_eigenvalues(rng, np.geomspace(1e-6, 1, n), batch, kind)
    if spectrum == "low rank":
        return _with_eigenvalues(rng, np.maximum(0.0, np.arange(n) - (n - n // 2) + 1), batch, kind)
    if spectrum == "diagonal":
        return (rng.standard_normal((batch, n, 1)) * np.eye(n)).astype(kind)
    one = np.eye(n) if spectrum == "identity" else _tridiagonal(n)
    return np.broadcast_to(one, (batch, n, n)).astype(kind)


def _lower(n: int, spectrum: str) -> int:
    """Returns how many of the lowest eigenvectors the loss uses; the number does not divide an eigenspace."""
    if spectrum == "identity":
        return n
    if spectrum == "repeated":
        return min(n, 2 * ((n // 2 + 1) // 2))
    return n - n // 2


def cotangents(L: Array, V: Array, spectrum: str) -> tuple[Array, Array]:
    """Returns the cotangents of L and V for Σ λ + λ²/2 + tr(M V diag(w) Vᴴ)/√n, which does not depend on phases.

    Random matrices have distinct eigenvalues, and w is random, so that the backward divides by every gap. For other
    spectra w is 1 for the lower eigenvectors and 0 otherwise, so that the loss does not depend on bases of eigenspaces.
    """
    n = L.shape[-1]
    rng = np.random.default_rng(n)
    w: Array = np.asarray(rng.standard_normal(n) if spectrum == "random" else np.arange(n) < _lower(n, spectrum))
    M = _normal(rng, (n, n), V.dtype)
    return 1 + L, ((M + _adjoint(M)) / np.sqrt(n)).astype(V.dtype) @ (V * w.astype(V.dtype))


# --- contenders -------------------------------------------------------------------------------------------------------


class TorchPeer:
    def __init__(self, module: Any, prefix: str) -> None:
        self.prefix = prefix
        self._functions = {"eigh": module.eigh, "eigvalsh": module.eigvalsh}

    def forward(self, function: str, A: Array) -> Call:
        f, a = self._functions[function], torch.from_numpy(A)
        return lambda: f(a)

    def forward_backward(self, A: Array, gL: Array, gV: Array) -> Call:
        eigh, a = self._functions["eigh"], torch.from_numpy(A).clone().requires_grad_()
        cotangent = (torch.from_numpy(gL), torch.from_numpy(gV))
        return lambda: torch.autograd.grad(tuple(eigh(a)), a, cotangent)


class TensorFlowPeer:
    """Calls TensorFlow through tf.function. Its eigenvalues of complex matrices have a complex dtype."""

    prefix = "tf.linalg."

    def __init__(self) -> None:
        self._tf = importlib.import_module("tensorflow")
        threads = torch.get_num_threads()
        self._tf.config.threading.set_intra_op_parallelism_threads(threads)
        self._tf.config.threading.set_inter_op_parallelism_threads(1)

    def forward(self, function: str, A: Array) -> Call:
        a = self._tf.constant(A)
        f = self._tf.function(getattr(self._tf.linalg, function)).get_concrete_function(a)
        return lambda: f(a)

    def forward_backward(self, A: Array, gL: Array, gV: Array) -> Call:
        tf = self._tf
        a, gL, gV = tf.constant(A), tf.constant(gL.astype(A.dtype)), tf.constant(gV)

        @tf.function
        def gradient(a: Any, gL: Any, gV: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(a)
                outputs = tf.linalg.eigh(a)
            return tape.gradient(outputs, a, output_gradients=(gL, gV))

        compiled = gradient.get_concrete_function(a, gL, gV)
        return lambda: compiled(a, gL, gV)


class JaxPeer:
    """Calls JAX through jax.jit, without symmetrizing the input, which the others do not do either."""

    prefix = "jax.numpy.linalg."

    def __init__(self) -> None:
        self._jax = importlib.import_module("jax")
        self._jax.config.update("jax_enable_x64", True)

    def _eigh(self, a: Any) -> Any:
        return tuple(self._jax.numpy.linalg.eigh(a, symmetrize_input=False))

    def _eigvalsh(self, a: Any) -> Any:
        return self._jax.numpy.linalg.eigvalsh(a, symmetrize_input=False)

    def forward(self, function: str, A: Array) -> Call:
        jax, a = self._jax, self._jax.numpy.asarray(A)
        f = jax.jit(self._eigh if function == "eigh" else self._eigvalsh)
        return lambda: jax.block_until_ready(f(a))

    def forward_backward(self, A: Array, gL: Array, gV: Array) -> Call:
        jax = self._jax
        a, gL, gV = (jax.numpy.asarray(x) for x in (A, gL, gV))
        gradient = jax.jit(lambda a, gL, gV: jax.vjp(self._eigh, a)[1]((gL, gV)))
        return lambda: jax.block_until_ready(gradient(a, gL, gV))


class NumPyPeer:
    """Forward only. It decomposes single precision in double precision."""

    prefix = "numpy.linalg."

    def forward(self, function: str, A: Array) -> Call:
        f = getattr(np.linalg, function)
        return lambda: f(A)


FORWARD, FORWARD_BACKWARD = "forward", "forward + backward"


def torch_peers() -> list[Any]:
    """Returns torch.linalg, which is the reference, and this package."""
    return [TorchPeer(torch.linalg, "torch.linalg."), TorchPeer(sg, "spectralgrad.")]


def all_peers() -> list[Any]:
    """Returns `torch_peers` and the peers of all other installed frameworks."""
    peers = torch_peers()
    for name, maker in (("tensorflow", TensorFlowPeer), ("jax", JaxPeer), ("numpy", NumPyPeer)):
        if importlib.util.find_spec(name) is not None:
            peers.append(maker())
    return peers


def contenders(peers: list[Any], function: str, A: Array, operations: tuple[str, ...], spectrum: str = "random") -> Any:
    """Returns operation -> contender -> call on A. Raises AssertionError if eigenvalues differ from torch's."""
    calls: dict[str, dict[str, Call]] = {operation: {} for operation in operations}
    reference = None
    for peer in peers:
        forward = peer.forward(function, A)
        results = forward()
        L = np.asarray(results[0] if function == "eigh" else results).real
        if reference is None:
            reference = L
        np.testing.assert_allclose(L, reference, rtol=0, atol=1e4 * np.finfo(L.dtype).eps * np.abs(reference).max())
        if FORWARD in operations:
            calls[FORWARD][peer.prefix + function] = forward
        if FORWARD_BACKWARD in operations and hasattr(peer, "forward_backward"):
            gL, gV = cotangents(L, np.asarray(results[1]), spectrum)
            calls[FORWARD_BACKWARD][peer.prefix + function] = peer.forward_backward(A, gL, gV)
    return calls
