"""docs/spectral_functions.md: every row of its table runs, and is right about degenerate eigenvalues."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import LinAlgError, normal, random_hermitian, with_spectrum
from spectralgrad._high_precision import function_weights

TEXT = (Path(__file__).parents[2] / "docs/spectral_functions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
N, DTYPE = 4, torch.float64

SEPARATED = with_spectrum([0.4, 0.9, 1.7, 3.1], DTYPE, seed=1)
DEGENERATE = torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=DTYPE))
CONSTANTS: dict[str, Any] = {
    "I": torch.eye(N, dtype=DTYPE),
    "B": with_spectrum([0.5, 0.8, 1.4, 2.3], DTYPE, seed=2),
    "S": with_spectrum([0.7, 0.9, 1.1, 1.2], DTYPE, seed=3),
    "Z": normal(5, N, dtype=DTYPE, seed=4),
    "t": 0.7,
    "eps": 0.1,
    "mu": 1.2,
    "kT": 0.4,
}
# Matrices that commute with the degenerate A, so that sums and products are degenerate, too.
AT_DEGENERATE = {
    "overlap": {"S": 4 * torch.eye(N, dtype=DTYPE)},
    "trace distance": {"B": 1.5 * torch.eye(N, dtype=DTYPE)},
}
DIRECTION = random_hermitian(N, N, dtype=DTYPE, seed=5)


def rows() -> list[tuple[str, ...]]:
    table = [line for line in TEXT.splitlines() if line.startswith("| ")]
    cells: list[tuple[str, ...]] = [
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")) for line in table
    ]
    return list(filter(lambda row: len(row) == 5, cells))[1:]


def constants(what: str, degenerate: bool) -> dict[str, Any]:
    names = dict(CONSTANTS)
    for part, other in AT_DEGENERATE.items():
        if degenerate and part in what:
            names |= other
    return names


def value(code: str, A: Tensor, names: dict[str, Any]) -> Tensor:
    """The value of the last statement of a cell."""
    namespace = {"torch": torch, "sg": sg, "A": A, **names}
    exec(BLOCKS[0], namespace)
    if re.search(r"\b[LV]\b", code):
        namespace["L"], namespace["V"] = torch.linalg.eigh(A)
    *before, last = code.split("; ")
    exec("; ".join(before), namespace)
    return eval(last, namespace)


# --- the same in mpmath ----------------------------------------------------------------------------------------------

Array = np.ndarray
mp = mpmath


def matrix_function(f: Callable[[Any], Any], A: Array) -> Array:
    values, vectors = mp.eigsy(mp.matrix(A.tolist()))
    V = np.array(vectors.tolist(), dtype=object)
    return (V * np.array([f(x) for x in values], dtype=object)) @ V.T


def inverse_root(x: Any) -> Any:
    return 1 / mp.sqrt(x)


def steps(A: Array) -> Array:
    """The projector onto the two lowest eigenvalues."""
    values = sorted(mp.eigsy(mp.matrix(A.tolist()), eigvals_only=True))
    return matrix_function(lambda x: mp.mpf(x < (values[1] + values[2]) / 2), A)


def norm(A: Array) -> Any:
    return mp.sqrt((A * A).sum())


def affine_invariant_distance(A: Array, B: Array) -> Any:
    W = matrix_function(inverse_root, A)
    return norm(matrix_function(mp.log, W @ B @ W))


def affine_invariant_mean(A: Array, B: Array) -> Array:
    R, W = matrix_function(mp.sqrt, A), matrix_function(inverse_root, A)
    return R @ matrix_function(mp.sqrt, W @ B @ W) @ R


def bures_wasserstein(A: Array, B: Array) -> Any:
    R = matrix_function(mp.sqrt, A)
    return A.trace() + B.trace() - 2 * matrix_function(mp.sqrt, R @ B @ R).trace()


def fermi(A: Array, mu: Any, kT: Any) -> Array:
    return 2 * matrix_function(lambda x: 1 / (1 + mp.exp((x - mu) / kT)), A)


def with_overlap(A: Array, S: Array, mu: Any, kT: Any) -> Array:
    X = matrix_function(inverse_root, S)
    return X @ fermi(X @ A @ X, mu, kT) @ X


def response(A: Array, B: Array) -> Any:
    values, vectors = mp.eigsy(mp.matrix(A.tolist()))
    L, V = np.array(list(values), dtype=object), np.array(vectors.tolist(), dtype=object)
    W = V.T @ B @ V
    return (W * W / (1 + (L[:, None] - L) ** 2)).sum()


def trace(f: Callable[[Any], Any], A: Array) -> Any:
    return matrix_function(f, A).trace()


REFERENCES: dict[str, Callable[..., Any]] = {
    "exponential": lambda A, **_: matrix_function(mp.exp, A),
    "logarithm": lambda A, **_: matrix_function(mp.log, A),
    "square root, bilinear pooling": lambda A, **_: matrix_function(mp.sqrt, A),
    "ZCA whitening": lambda A, Z, eps, **_: Z @ matrix_function(lambda x: inverse_root(x + eps), A),
    "power": lambda A, **_: matrix_function(lambda x: x ** mp.mpf(0.3), A),
    "any function": lambda A, **_: matrix_function(mp.tanh, A),
    "evolution in time": lambda A, t, **_: matrix_function(lambda x: mp.exp(-1j * t * x), A),
    "heat kernel of a graph": lambda A, t, **_: matrix_function(lambda x: mp.exp(-t * x), A),
    "heat kernel signature": lambda A, t, **_: matrix_function(lambda x: mp.exp(-t * x), A).diagonal(),
    "log-Euclidean mean": lambda A, B, **_: matrix_function(
        mp.exp, (matrix_function(mp.log, A) + matrix_function(mp.log, B)) / 2
    ),
    "log-Euclidean distance": lambda A, B, **_: norm(matrix_function(mp.log, A) - matrix_function(mp.log, B)),
    "affine-invariant distance": lambda A, B, **_: affine_invariant_distance(A, B),
    "affine-invariant mean": lambda A, B, **_: affine_invariant_mean(A, B),
    "Bures-Wasserstein distance, squared": lambda A, B, **_: bures_wasserstein(A, B),
    "fidelity of two states": lambda A, B, **_: (A.trace() + B.trace() - bures_wasserstein(A, B)) ** 2 / 4,
    "pseudo-inverse": lambda A, **_: matrix_function(lambda x: 1 / x, A),
    "projector onto the lowest two": lambda A, **_: steps(A),
    "density matrix, closed shells": lambda A, **_: 2 * steps(A),
    "band energy": lambda A, **_: 2 * sum(sorted(mp.eigsy(mp.matrix(A.tolist()), eigvals_only=True))[:2]),
    "density matrix, Fermi-Dirac": lambda A, mu, kT, **_: fermi(A, mu, kT),
    "density matrix, overlap S": lambda A, S, mu, kT, **_: with_overlap(A, S, mu, kT),
    "purity of exp(-t A)/tr": lambda A, t, **_: (
        trace(lambda x: mp.exp(-2 * t * x), A) / trace(lambda x: mp.exp(-t * x), A) ** 2
    ),
    "von Neumann entropy": lambda A, **_: -trace(lambda x: x * mp.log(x), A),
    "relative entropy": lambda A, B, **_: (A * (matrix_function(mp.log, A) - matrix_function(mp.log, B))).sum(),
    "trace distance": lambda A, B, **_: trace(abs, A - B) / 2,
    "log det": lambda A, **_: trace(mp.log, A),
    "log pseudo-determinant": lambda A, **_: trace(mp.log, A),
    "nuclear norm of F, A = FᴴF": lambda A, **_: trace(mp.sqrt, A),
    "anything else": lambda A, B, **_: response(A, B),
}


def weights(shape: torch.Size) -> Tensor:
    """The weights of the entries of a value in the loss."""
    return normal(*shape, dtype=DTYPE, seed=6)


def loss(x: Tensor) -> Tensor:
    return (weights(x.shape) * (x.real + x.imag if x.is_complex() else x)).sum()


def exact_loss(what: str, A: Array, names: dict[str, Any]) -> Any:
    result = np.asarray(REFERENCES[what](A, **names), dtype=object)
    parts = np.vectorize(lambda x: mp.re(x) + mp.im(x), otypes=[object])(result)
    return np.sum(weights(torch.Size(result.shape)).numpy() * parts)


def exact_derivatives(what: str) -> tuple[Tensor, float]:
    """The gradient at the degenerate A, and the second derivative along `DIRECTION`, by differences in 60 digits."""
    names = {k: x.numpy() if isinstance(x, Tensor) else mp.mpf(x) for k, x in constants(what, True).items()}
    with mp.workdps(60):
        h = mp.mpf(10) ** -20
        A = DEGENERATE.numpy() * mp.mpf(1)

        def along(E: Array) -> tuple[Any, Any]:
            return tuple(exact_loss(what, A + sign * h * E, names) for sign in (1, -1))

        G = np.zeros((N, N))
        for i in range(N):
            for j in range(i + 1):
                E = np.zeros((N, N))
                E[i, j] += 0.5
                E[j, i] += 0.5
                ahead, behind = along(E)
                G[i, j] = G[j, i] = (ahead - behind) / (2 * h)
        ahead, behind = along(DIRECTION.numpy())
        return torch.from_numpy(G), float((ahead - 2 * exact_loss(what, A, names) + behind) / h**2)


def derivatives(what: str, code: str) -> tuple[Tensor, Callable[[], float]]:
    """The gradient at the degenerate A, and a function that computes the second derivative along `DIRECTION`."""
    A = DEGENERATE.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(value(code, A, constants(what, True))), A, create_graph=True)

    def second() -> float:
        return (torch.autograd.grad(G, A, DIRECTION)[0] * DIRECTION).sum().item()

    return (G + G.mT).detach() / 2, second


def verdict(error: float) -> str:
    return "NaN" if np.isnan(error) else "right" if error < 1e-10 else "wrong"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row(row: tuple[str, ...]) -> None:
    what, written, called, gradient_by_torch, second_by_torch = row

    names = constants(what, False)
    left, right = value(written, SEPARATED, names), value(called, SEPARATED, names)
    torch.testing.assert_close(right, left, rtol=1e-13, atol=1e-13)
    with mp.workdps(60):
        exact = {k: x.numpy() if isinstance(x, Tensor) else mp.mpf(x) for k, x in names.items()}
        expected = float(exact_loss(what, SEPARATED.numpy() * mp.mpf(1), exact))
    assert loss(right).item() == pytest.approx(expected, rel=1e-12)

    gradient, second = exact_derivatives(what)

    def gradient_error(G: Tensor) -> float:
        return ((G - gradient).abs().max() / gradient.abs().max()).item()

    def second_error(x: float) -> float:
        return abs(x - second) / abs(second)

    ours, our_second = derivatives(what, called)
    assert gradient_error(ours) < 1e-13
    if "spectral_map" in called:
        with pytest.raises(RuntimeError, match=r"spectral_map"):
            our_second()
    else:
        assert second_error(our_second()) < 1e-12
    torchs, torchs_second = derivatives(what, written)
    assert (verdict(gradient_error(torchs)), verdict(second_error(torchs_second()))) == (
        gradient_by_torch,
        second_by_torch,
    )


# --- the sentences below the table ------------------------------------------------------------------------------------


def test_a_dense_degenerate_matrix_is_finite_and_wrong_by_hand() -> None:
    row = next(row for row in rows() if row[0] == "exponential")
    M, errors = random_hermitian(N, N, dtype=DTYPE, seed=7), []
    for seed in range(8):
        A = with_spectrum([1.0, 1.0, 2.0, 2.0], DTYPE, seed).requires_grad_()
        with mp.workdps(60):
            values, vectors = mp.eigsy(mp.matrix(A.tolist()))
            weights = function_weights(list(values), mp.exp, mp.exp)
            V = np.array(vectors.tolist(), dtype=object)
            expected = torch.from_numpy((V @ (weights * (V.T @ M.numpy() @ V)) @ V.T).astype(float))
        by_hand, ours = (
            torch.autograd.grad((M * value(code, A, constants("", False))).sum(), A)[0] for code in row[1:3]
        )
        errors.append(((by_hand - expected).norm() / expected.norm()).item())
        assert (ours - expected).norm() <= 1e-14 * expected.norm()
    assert max(error for error in errors if not np.isnan(error)) > 1e-3


def test_fourth_derivatives_raise() -> None:
    A = DEGENERATE.clone().requires_grad_()
    y = sg.expm(A).square().sum()
    for _ in range(3):
        (y,) = torch.autograd.grad(y, A, create_graph=True)
        y = y.square().sum()
    with pytest.raises(RuntimeError, match="at most three times"):
        torch.autograd.grad(y, A)


def test_third_derivatives_in_tensors_that_f_uses() -> None:
    t = torch.tensor(0.7, dtype=DTYPE, requires_grad=True)
    y = sg.trace_funm(DEGENERATE, lambda x: torch.exp(-t * x))
    for order in range(1, 4):
        (y,) = torch.autograd.grad(y, t, create_graph=True)
        torch.testing.assert_close(y, (-1) ** order * 2 * ((-t).exp() + 2**order * (-2 * t).exp()))


@pytest.mark.parametrize("f", [sg.sqrtm, lambda A: sg.powm(A, 0.3)], ids=["sqrtm", "powm"])
def test_singular_roots(f: Callable[[Tensor], Tensor]) -> None:
    A = torch.diag(torch.tensor([0.0, 0.0, 1.0, 4.0], dtype=DTYPE)).requires_grad_()
    with pytest.warns(sg.GaugeWarning, match="same rank"):
        (G,) = torch.autograd.grad(f(A).sum(), A)
    assert G.isfinite().all()
    assert (G[:2, :2] == 0).all()
    # 1/(√a + √b), (aᵖ - bᵖ)/(a - b) with a = 0 or 1, b = 4.
    p = 0.5 if f is sg.sqrtm else 0.3
    torch.testing.assert_close(G[1, 2:], torch.tensor([1.0, 4 ** (p - 1)], dtype=DTYPE))
    torch.testing.assert_close(G[2, 3].item(), (4**p - 1) / 3)


@pytest.mark.parametrize("f", [sg.logm, sg.invsqrtm])
def test_singular_logarithms(f: Callable[[Tensor], Tensor]) -> None:
    A = torch.stack([torch.diag(torch.tensor([0.0, 1.0], dtype=DTYPE)), torch.eye(2, dtype=DTYPE)])
    with pytest.raises(LinAlgError, match="positive definite"):
        f(A)
    with sg.checks("ignore"):
        result = f(A)
    assert result[0].isnan().all()
    assert result[1].isfinite().all()


def test_derivatives_at_kinks_equal_torchs() -> None:
    A = torch.zeros(2, 2, dtype=DTYPE, requires_grad=True)
    (G,) = torch.autograd.grad(sg.trace_funm(A, torch.abs), A)
    assert (G == 0).all()
    pure = torch.diag(torch.tensor([0.0, 1.0], dtype=DTYPE)).requires_grad_()
    (G,) = torch.autograd.grad(sg.trace_funm(pure, torch.special.entr), pure)
    torch.testing.assert_close(G, torch.diag(torch.tensor([0.0, -1.0], dtype=DTYPE)))


def test_singular_matrices() -> None:
    """The section's block, by closed forms in F's singular values."""
    names: dict[str, Any] = {"torch": torch, "sg": sg}
    exec(BLOCKS[1], names)
    F = names["F"]
    (G,) = torch.autograd.grad(names["nuclear_norm"], F)
    U, s, Vh = torch.linalg.svd(F.detach(), full_matrices=False)
    torch.testing.assert_close(G, U @ Vh, rtol=0, atol=1e-13)
    # With σ = 1, √(√ρ σ √ρ) is √ρ.
    torch.testing.assert_close(names["fidelity"].detach(), s.sum().square(), rtol=1e-12, atol=0)
    torch.testing.assert_close(names["inverse"].detach(), (Vh.mT / s.square()) @ Vh, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(names["log_det"].detach(), 2 * s.log().sum(), rtol=1e-12, atol=1e-12)


def test_cut_levels() -> None:
    with pytest.raises(LinAlgError):
        sg.spectral_projector(DEGENERATE, 0, 1)
    three = torch.eye(3, dtype=DTYPE)
    torch.testing.assert_close(sg.density_matrix(three, electrons=2, spin=1), 2 / 3 * three, rtol=1e-15, atol=0)
    for kT in (0, 0.1):
        assert sg.density_matrix(DEGENERATE, electrons=2, kT=kT).trace().item() == pytest.approx(2, rel=1e-14)


@pytest.mark.parametrize("gap", [1e-4, 1e-6, 3e-8, 1e-8, 1e-10, 1e-14, 0.0])
def test_spectral_map_is_right_to_a_few_roots_of_eps(gap: float) -> None:
    spectrum = [0.4, 1.0, 1.0 + gap, 1.0 + 2 * gap]
    A, B = with_spectrum(spectrum, DTYPE, seed=8).requires_grad_(), CONSTANTS["B"]
    with mp.workdps(60):
        h, exact, along = mp.mpf(10) ** -25, A.detach().numpy() * mp.mpf(1), DIRECTION.numpy()
        ahead, behind = (response(exact + sign * h * along, B.numpy()) for sign in (1, -1))
        expected = float((ahead - behind) / (2 * h))
    namespace: dict[str, Any] = {"B": B}
    exec(BLOCKS[0], namespace)
    (G,) = torch.autograd.grad(sg.spectral_map(namespace["response"], A), A)
    assert (G * DIRECTION).sum().item() == pytest.approx(expected, rel=1e-6 if gap else 1e-13)


@pytest.mark.parametrize("sees_eigenvalues", [False, True])
def test_spectral_map_warns_if_fn_depends_on_the_basis(sees_eigenvalues: bool) -> None:
    def fn(L: Tensor, V: Tensor) -> Tensor:
        overlap = V[:, 0] @ CONSTANTS["B"] @ V[:, 0]
        return L[0] * overlap if sees_eigenvalues else overlap

    A = DEGENERATE.clone().requires_grad_()
    with pytest.warns(sg.GaugeWarning):
        sg.spectral_map(fn, A).backward()


def test_the_table_is_complete() -> None:
    assert [row[0] for row in rows()] == list(REFERENCES)
