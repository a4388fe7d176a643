"""Gradients of third-party packages that call eigh, compared with closed forms. `test_clients.py` runs them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from problems import gradient_of, random_hermitian

X = random_hermitian(3, 3, dtype=torch.float64, seed=1)
CI = 2 * torch.eye(3, dtype=torch.float64)
DIAG = torch.diag(torch.tensor([1.0, 1.0, 4.0], dtype=torch.float64))

Function = Callable[[Tensor], Tensor]


def client(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name.split('.')[0]} is not installed: requirements/clients.txt")


def relative_error(G: Tensor, expected: Tensor) -> float:
    return ((G - expected).abs().max() / expected.abs().max()).item()


def hermitian_gradient(loss: Function, A: Tensor) -> Tensor:
    """The symmetric part, which does not depend on how a client treats matrices that are not symmetric."""
    G = gradient_of(loss, A)
    return (G + G.mT) / 2


def divided_differences(f: Callable[[float], float], df: Callable[[float], float], A: Tensor) -> Tensor:
    """The gradient of tr(X f(A)) at a diagonal A, in closed form."""
    points = A.diagonal().tolist()
    F = [[df(a) if a == b else (f(a) - f(b)) / (a - b) for b in points] for a in points]
    return torch.tensor(F, dtype=torch.float64) * X


# Name -> f and its derivative, for the closed form.
FUNCTIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "log": (math.log, lambda x: 1 / x),
    "sqrt": (math.sqrt, lambda x: 0.5 / math.sqrt(x)),
    "inverse sqrt": (lambda x: x**-0.5, lambda x: -0.5 * x**-1.5),
    "exp": (math.exp, math.exp),
    "identity": (lambda x: x, lambda x: 1.0),
    "inverse": (lambda x: 1 / x, lambda x: -1 / x**2),
    "fermi": (lambda x: 1 / (1 + math.exp(x)), lambda x: -math.exp(x) / (1 + math.exp(x)) ** 2),
}
POINTS = {"2 I": CI, "diag(1, 1, 4)": DIAG, "1e-6 diag(1, 1, 4)": 1e-6 * DIAG}


def function_gradient_error(name: str, function: Function, at: str) -> float:
    """The error of the gradient of tr(X f(A)), where f is the function called `name` in `FUNCTIONS`."""
    A = POINTS[at]
    return relative_error(
        hermitian_gradient(lambda B: (X * function(B)).sum(), A), divided_differences(*FUNCTIONS[name], A)
    )


# --- geoopt ----------------------------------------------------------------------------------------------------------


def geoopt_function(name: str, function: str, at: str) -> float:
    return function_gradient_error(name, getattr(client("geoopt.linalg.batch_linalg"), function), at)


def geoopt_second_inverse_sqrt(at: str) -> float:
    both = client("geoopt.linalg.batch_linalg").sym_inv_sqrtm2
    return function_gradient_error("inverse sqrt", lambda A: both(A)[0], at)


def geoopt_funcm(at: str) -> float:
    linalg = client("geoopt.linalg.batch_linalg")
    return function_gradient_error("exp", lambda A: linalg.sym_funcm(A, torch.exp), at)


def geoopt_distance(metric: str, at: str) -> float:
    # At c I, which commutes with all matrices, both are |log Y - log c|², with the gradient 2/c (log c - log Y).
    manifold = client("geoopt").SymmetricPositiveDefinite(metric)
    c = POINTS[at][0, 0]
    expected = 2 / c * (c.log() * torch.eye(3, dtype=torch.float64) - X)
    Y = torch.matrix_exp(X)
    return relative_error(hermitian_gradient(lambda A: manifold.dist(A, Y) ** 2, POINTS[at]), expected)


# --- linear_operator -------------------------------------------------------------------------------------------------


def linear_operator_root(name: str, function: str, at: str) -> float:
    module = client("linear_operator")
    root = getattr(module, function)
    return function_gradient_error(name, lambda A: root(module.to_linear_operator(A), method="symeig").to_dense(), at)


def linear_operator_diagonalization(at: str) -> float:
    module = client("linear_operator")

    def square_root(A: Tensor) -> Tensor:
        L, V = module.diagonalization(module.to_linear_operator(A), method="symeig")
        V = module.to_dense(V)
        return (V * L.sqrt().unsqueeze(-2)) @ V.mT

    return function_gradient_error("sqrt", square_root, at)


# --- tad-mctc --------------------------------------------------------------------------------------------------------


def tad_mctc_density(method: str | None, at: str) -> float:
    # Two orbitals are occupied. With the eigenvalues s, s, 4 s the density matrix is (4 - A/s)/3.
    eighb = client("tad_mctc.storch").eighb
    A = POINTS[at]
    P = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    Q = torch.eye(3, dtype=torch.float64) - P
    expected = -(P @ X @ Q + Q @ X @ P) / (3 * A[0, 0])

    def energy(B: Tensor) -> Tensor:
        occupied = eighb(B, broadening_method=method)[1][:, :2]
        return (X * (occupied @ occupied.mT)).sum()

    return relative_error(hermitian_gradient(energy, A), expected)


def tad_mctc_fermi(method: str | None, at: str) -> float:
    eighb = client("tad_mctc.storch").eighb

    def occupation(A: Tensor) -> Tensor:
        L, V = eighb(A, broadening_method=method)
        return (V / (1 + L.exp()).unsqueeze(-2)) @ V.mT

    return function_gradient_error("fermi", occupation, at)


# --- kornia ----------------------------------------------------------------------------------------------------------


def kornia_quaternions(at: str) -> float:
    # If equal unit quaternions q move by dq_i, their average moves by (1 - q qᵀ) times the mean of dq_i.
    geometry = client("kornia.geometry.quaternion")
    q = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    M = random_hermitian(4, 4, dtype=torch.float64, seed=2)
    tangent = 2 * (M @ q - q * (q @ M @ q))

    def loss(data: Tensor) -> Tensor:
        average = geometry.average_quaternions(geometry.Quaternion(data)).data.reshape(4)
        return average @ M @ average  # independent of the sign of the average

    return relative_error(gradient_of(loss, q.repeat(5, 1)), (tangent / 5).repeat(5, 1))


def data_with_covariance(c: float) -> Tensor:
    """Six centred points in three dimensions whose unbiased covariance is c I."""
    half = math.sqrt(2.5 * c) * torch.eye(3, dtype=torch.float64)
    return torch.cat([half, -half])


def kornia_whitening(at: str) -> float:
    # T = C^(-1/2), where C = DᵀD/5 for centred data. At C = c I, dT = -½ c^(-3/2) dC, so the gradient in D of tr(X T)
    # is -½ c^(-3/2) · 2/5 D X, which is centred like D.
    zca = client("kornia.enhance.zca")
    data = data_with_covariance(2)
    expected = -(2**-1.5) / 5 * data @ X
    return relative_error(gradient_of(lambda D: (X * zca.zca_mean(D, eps=0.0)[0]).sum(), data), expected)


# --- torchspd --------------------------------------------------------------------------------------------------------


def torchspd_function(name: str, function: str, at: str) -> float:
    return function_gradient_error(name, getattr(client("torchspd"), function), at)


# --- the table -------------------------------------------------------------------------------------------------------

# Key: the client, and the second column of docs/clients.md without the markup.
MEASUREMENTS: dict[tuple[str, str], Callable[[str], float]] = {
    ("geoopt", "linalg.sym_logm"): lambda at: geoopt_function("log", "sym_logm", at),
    ("geoopt", "linalg.sym_sqrtm"): lambda at: geoopt_function("sqrt", "sym_sqrtm", at),
    ("geoopt", "linalg.sym_inv_sqrtm1"): lambda at: geoopt_function("inverse sqrt", "sym_inv_sqrtm1", at),
    ("geoopt", "linalg.sym_inv_sqrtm2"): geoopt_second_inverse_sqrt,
    ("geoopt", "linalg.sym_funcm with exp"): geoopt_funcm,
    ("geoopt", "linalg.sym_expm"): lambda at: geoopt_function("exp", "sym_expm", at),
    ("geoopt", 'SymmetricPositiveDefinite("AIM").dist squared'): lambda at: geoopt_distance("AIM", at),
    ("geoopt", 'SymmetricPositiveDefinite("LEM").dist squared'): lambda at: geoopt_distance("LEM", at),
    ("linear_operator", "root_decomposition, symeig, R Rᵀ"): lambda at: linear_operator_root(
        "identity", "root_decomposition", at
    ),
    ("linear_operator", "root_inv_decomposition, symeig, R Rᵀ"): lambda at: linear_operator_root(
        "inverse", "root_inv_decomposition", at
    ),
    ("linear_operator", "diagonalization, then V √λ Vᵀ"): linear_operator_diagonalization,
    ("tad-mctc", "eighb(broadening_method=None), density matrix"): lambda at: tad_mctc_density(None, at),
    ("tad-mctc", 'eighb(broadening_method="lorn"), density matrix'): lambda at: tad_mctc_density("lorn", at),
    ("tad-mctc", "eighb(broadening_method=None), Fermi function"): lambda at: tad_mctc_fermi(None, at),
    ("tad-mctc", 'eighb(broadening_method="cond"), Fermi function'): lambda at: tad_mctc_fermi("cond", at),
    ("kornia", "average_quaternions of equal ones"): kornia_quaternions,
    ("kornia", "enhance.zca_mean, transform"): kornia_whitening,
    ("torchspd", "logm"): lambda at: torchspd_function("log", "logm", at),
    ("torchspd", "sqrtm"): lambda at: torchspd_function("sqrt", "sqrtm", at),
}
