"""Part 1: the three small programs of the question, as they stand and corrected, and the same in other frameworks.

The question is why TensorFlow's and PyTorch's gradients of an eigenvalue seem to differ from the analytic v v^T. Each
program is executed as text in its framework's process, so that it raises the same error as for any user. A program may
set ``eigenvalues`` (n), ``eigenvectors`` (n, n) and ``gradient`` (n, n). The matrix is the one from the question, or
another one that is not symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .losses import Array

SYMMETRIC = np.array([[2.0, 0.1], [0.1, 1.0]])
NOT_SYMMETRIC = np.array([[2.0, 1.0], [0.1, 1.0]])

# The gradients with which programs are compared.
IDENTITY = "identity"
VECTOR = "v vᵀ"
LEFT_RIGHT = "left rightᵀ"


@dataclass(frozen=True)
class Program:
    """A program. ``wanted`` names the right gradient, and ``explanation`` says what the program shows."""

    key: str
    peer: str
    title: str
    wanted: str
    explanation: str
    source: str


PROGRAMS = (
    Program(
        "numpy as it stands",
        "numpy",
        "as it stands: eig and v vᵀ",
        VECTOR,
        "Right: the formula v vᵀ holds for a symmetric matrix. But `eig` promises no order of the eigenvalues. The "
        "sign of v is arbitrary, but it cancels in v vᵀ.",
        """
import numpy as np

A = np.array([[2.0, 0.1], [0.1, 1.0]])
eigenvalues, eigenvectors = np.linalg.eig(A)
gradients = [np.outer(v, v) for v in eigenvectors.T]
gradient = gradients[np.argmax(eigenvalues)]
""",
    ),
    Program(
        "numpy corrected",
        "numpy",
        "corrected: eigh and v vᵀ",
        VECTOR,
        "`eigh` returns the eigenvalues in ascending order, so the last one is the largest in every framework.",
        """
import numpy as np

A = np.array([[2.0, 0.1], [0.1, 1.0]])
eigenvalues, eigenvectors = np.linalg.eigh(A)
gradient = np.outer(eigenvectors[:, -1], eigenvectors[:, -1])
""",
    ),
    Program(
        "tensorflow as it stands",
        "tensorflow",
        "as it stands: eig, the sum of the eigenvalues",
        IDENTITY,
        "Right, but for another loss. The sum of the eigenvalues is the trace, and the gradient of the trace is the "
        "identity for all eigenvalues and eigenvectors. This loss cannot show any difference.",
        """
import tensorflow as tf

A = tf.Variable([[2.0, 0.1], [0.1, 1.0]], dtype=tf.float64)
with tf.GradientTape() as tape:
    eigenvalues, eigenvectors = tf.linalg.eig(A)
    loss = tf.reduce_sum(eigenvalues)
gradient = tape.gradient(loss, A)
""",
    ),
    Program(
        "tensorflow corrected",
        "tensorflow",
        "corrected: eigh, the largest eigenvalue",
        VECTOR,
        "The same as v vᵀ, but folded: TensorFlow adds the upper triangle to the lower one, so the off-diagonal entry "
        "appears once and doubled. Half the sum of the gradient and its transpose is v vᵀ.",
        """
import tensorflow as tf

A = tf.Variable([[2.0, 0.1], [0.1, 1.0]], dtype=tf.float64)
with tf.GradientTape() as tape:
    eigenvalues, eigenvectors = tf.linalg.eigh(A)
    loss = eigenvalues[-1]
gradient = tape.gradient(loss, A)
""",
    ),
    Program(
        "torch as it stands",
        "torch",
        "as it stands: eig, the sum of the eigenvalues",
        IDENTITY,
        "`eig` returns complex numbers even if the eigenvalues are real. A complex loss has no gradient, so PyTorch "
        "raises an error.",
        """
import torch

A = torch.tensor([[2.0, 0.1], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
eigenvalues, eigenvectors = torch.linalg.eig(A)
loss = eigenvalues.sum()
loss.backward()
gradient = A.grad
""",
    ),
    Program(
        "torch with .real",
        "torch",
        "made to run: its real part",
        IDENTITY,
        "With `.real` the program runs. It gives the identity, for the same reason as TensorFlow's program.",
        """
import torch

A = torch.tensor([[2.0, 0.1], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
eigenvalues, eigenvectors = torch.linalg.eig(A)
loss = eigenvalues.real.sum()
loss.backward()
gradient = A.grad
""",
    ),
    Program(
        "torch corrected",
        "torch",
        "corrected: eigh, the largest eigenvalue",
        VECTOR,
        "v vᵀ, in both triangles.",
        """
import torch

A = torch.tensor([[2.0, 0.1], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
eigenvalues, eigenvectors = torch.linalg.eigh(A)
loss = eigenvalues[-1]
loss.backward()
gradient = A.grad
""",
    ),
    Program(
        "jax as it would stand",
        "jax",
        "the same: eig, the sum of the eigenvalues",
        IDENTITY,
        "JAX does not differentiate `eig` when it computes eigenvectors, even if only the eigenvalues are used.",
        """
import jax
import jax.numpy as jnp

A = jnp.array([[2.0, 0.1], [0.1, 1.0]])
eigenvalues, eigenvectors = jnp.linalg.eig(A)
gradient = jax.grad(lambda a: jnp.sum(jnp.linalg.eig(a)[0]))(A)
""",
    ),
    Program(
        "jax with eigvals",
        "jax",
        "with eigvals: their sum",
        IDENTITY,
        "`eigvals` has a gradient, but JAX needs a real loss, too.",
        """
import jax
import jax.numpy as jnp

A = jnp.array([[2.0, 0.1], [0.1, 1.0]])
eigenvalues = jnp.linalg.eigvals(A)
gradient = jax.grad(lambda a: jnp.sum(jnp.linalg.eigvals(a)))(A)
""",
    ),
    Program(
        "jax corrected",
        "jax",
        "corrected: eigh, the largest eigenvalue",
        VECTOR,
        "v vᵀ, in both triangles.",
        """
import jax
import jax.numpy as jnp

A = jnp.array([[2.0, 0.1], [0.1, 1.0]])
eigenvalues, eigenvectors = jnp.linalg.eigh(A)
gradient = jax.grad(lambda a: jnp.linalg.eigh(a)[0][-1])(A)
""",
    ),
    Program(
        "spectralgrad",
        "spectralgrad",
        "eigh, the largest eigenvalue",
        VECTOR,
        "v vᵀ, in both triangles. The two eigenvalues are far apart, so every rule gives the same.",
        """
import spectralgrad as sg
import torch

A = torch.tensor([[2.0, 0.1], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
eigenvalues, eigenvectors = sg.eigh(A)
loss = eigenvalues[-1]
loss.backward()
gradient = A.grad
""",
    ),
    Program(
        "numpy not symmetric, v vT",
        "numpy",
        "not symmetric: v vᵀ",
        LEFT_RIGHT,
        "Wrong: v vᵀ is the gradient of an eigenvalue only if its left and right eigenvectors are equal.",
        """
import numpy as np

A = np.array([[2.0, 1.0], [0.1, 1.0]])
eigenvalues, eigenvectors = np.linalg.eig(A)
v = eigenvectors[:, np.argmax(eigenvalues)]
gradient = np.outer(v, v)
""",
    ),
    Program(
        "numpy not symmetric",
        "numpy",
        "not symmetric: left rightᵀ",
        LEFT_RIGHT,
        "Right: the left vector is a row of V⁻¹, normalised by left·right = 1.",
        """
import numpy as np

A = np.array([[2.0, 1.0], [0.1, 1.0]])
eigenvalues, eigenvectors = np.linalg.eig(A)
k = np.argmax(eigenvalues)
gradient = np.outer(np.linalg.inv(eigenvectors)[k], eigenvectors[:, k])
""",
    ),
    Program(
        "tensorflow not symmetric",
        "tensorflow",
        "not symmetric: eig, the largest eigenvalue",
        LEFT_RIGHT,
        "TensorFlow's `eig` uses the general formula, left rightᵀ.",
        """
import tensorflow as tf

A = tf.Variable([[2.0, 1.0], [0.1, 1.0]], dtype=tf.float64)
with tf.GradientTape() as tape:
    eigenvalues, eigenvectors = tf.linalg.eig(A)
    loss = tf.reduce_max(tf.math.real(eigenvalues))
gradient = tape.gradient(loss, A)
""",
    ),
    Program(
        "torch not symmetric",
        "torch",
        "not symmetric: eig, the largest eigenvalue",
        LEFT_RIGHT,
        "The general formula, left rightᵀ.",
        """
import torch

A = torch.tensor([[2.0, 1.0], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
eigenvalues, eigenvectors = torch.linalg.eig(A)
loss = eigenvalues.real.max()
loss.backward()
gradient = A.grad
""",
    ),
    Program(
        "jax not symmetric",
        "jax",
        "not symmetric: eigvals, the largest one",
        LEFT_RIGHT,
        "The general formula, left rightᵀ, through `eigvals` and its real part.",
        """
import jax
import jax.numpy as jnp

A = jnp.array([[2.0, 1.0], [0.1, 1.0]])
eigenvalues = jnp.linalg.eigvals(A)
gradient = jax.grad(lambda a: jnp.max(jnp.real(jnp.linalg.eigvals(a))))(A)
""",
    ),
)


def programs_of_peer(peer: str) -> list[Program]:
    return [program for program in PROGRAMS if program.peer == peer]


def _array(value: Any) -> Array:
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def describe_error(error: BaseException) -> str:
    """The exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def execute(program: Program) -> dict[str, Any]:
    """Runs the text and returns the error that it raised (or None), and the real parts of its arrays as lists.

    The gradients and eigenvalues should be real. The result also has the largest imaginary part, as a check.
    """
    namespace: dict[str, Any] = {}
    raised = None
    try:
        exec(compile(program.source, program.key, "exec"), namespace)
    except Exception as error:
        raised = describe_error(error)
    arrays = {
        name: _array(namespace[name])
        for name in ("eigenvalues", "eigenvectors", "gradient")
        if namespace.get(name) is not None
    }
    return {
        "raised": raised,
        "imaginary": max((float(np.abs(array.imag).max()) for array in arrays.values()), default=0.0),
        **{name: np.real(array).tolist() for name, array in arrays.items()},
    }


def expected(wanted: str) -> Array:
    """Returns the right gradient, computed by NumPy: the identity, v vᵀ, or outer(left, right)."""
    if wanted == IDENTITY:
        return np.eye(2)
    if wanted == VECTOR:
        vector = np.linalg.eigh(SYMMETRIC)[1][:, -1]
        return np.outer(vector, vector)
    values, vectors = np.linalg.eig(NOT_SYMMETRIC)
    k = int(np.argmax(values))
    return np.outer(np.linalg.inv(vectors)[k], vectors[:, k])


def is_folded(gradient: Array) -> bool:
    """Whether the lower triangle of a gradient holds the sum of both triangles, as for TensorFlow's eigh."""
    return bool(gradient[0, 1] == 0 and gradient[1, 0] != 0)


def error(program: Program, gradient: Array) -> float:
    """Returns the largest error of the gradient, or of its symmetric part if the matrix is symmetric."""
    if program.wanted == VECTOR:
        gradient = (gradient + gradient.T) / 2
    return float(np.abs(gradient - expected(program.wanted)).max())


def finite_differences() -> list[tuple[float, float]]:
    """Returns (step, error) of central differences of the largest eigenvalue.

    The errors show that the frameworks do not use finite differences.
    """
    exact = expected(VECTOR)
    results = []
    for step in 10.0 ** -np.arange(1, 14):
        numeric = np.zeros((2, 2))
        for i in range(2):
            for j in range(2):
                direction = np.zeros((2, 2))
                direction[i, j] += step / 2
                direction[j, i] += step / 2
                high = np.linalg.eigvalsh(SYMMETRIC + direction)[-1]
                low = np.linalg.eigvalsh(SYMMETRIC - direction)[-1]
                numeric[i, j] = (high - low) / (2 * step)
        results.append((float(step), float(np.abs(numeric - exact).max())))
    return results
