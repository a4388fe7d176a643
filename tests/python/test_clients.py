"""Third-party packages at degenerate eigenvalues, without and with this package; docs/clients.md has the results."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import clients_of_eigh
import clients_of_generalized
import clients_of_svd
import spectralgrad as sg
from clients_of_eigh import (
    DIAG,
    FUNCTIONS,
    POINTS,
    X,
    client,
    data_with_covariance,
    divided_differences,
    geoopt_function,
    hermitian_gradient,
    relative_error,
)
from problems import gradient_of, normal

ROOT = Path(__file__).parents[2]

# TorchScript is deprecated, and geoopt warns that its log-Euclidean metric is not complete.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:SPDMetric.LEM is not fully implemented:UserWarning"),
]

MEASUREMENTS = clients_of_eigh.MEASUREMENTS | clients_of_generalized.MEASUREMENTS | clients_of_svd.MEASUREMENTS


def reached(setting: str) -> contextlib.AbstractContextManager[None]:
    """Enters the setting in the last column of the table."""
    rule = sg.Split() if "Split" in setting else None
    return sg.stand_in(rule=rule) if setting.startswith("stand_in") else installed(rule)


@contextlib.contextmanager
def installed(rule: sg.Rule | None) -> Iterator[None]:
    sg.install(rule=rule)
    try:
        yield
    finally:
        sg.uninstall()


def rows(columns: int = 6) -> list[tuple[str, ...]]:
    lines = (ROOT / "docs/clients.md").read_text().splitlines()
    cells = [tuple(cell.strip() for cell in line.replace("`", "").strip("|").split("|")) for line in lines]
    return [row for row in cells if len(row) == columns][2:]


def check(documented: str, error: float) -> None:
    """Compares an error with the documented one: NaN, a value to its digits ("0.58"), or an upper bound ("5e-8")."""
    if documented == "NaN":
        assert math.isnan(error)
    elif "e" in documented:
        assert error <= float(documented)
    else:
        assert error == pytest.approx(float(documented), abs=0.005)


@pytest.mark.parametrize("row", rows(), ids=lambda row: ", ".join(row[:3] + row[5:]))
def test_table(row: tuple[str, ...]) -> None:
    name, what, at, before, after, setting = row
    measure = MEASUREMENTS[name, what]
    check(before, measure(at))
    with reached(setting):
        check(after, measure(at))
    check(before, measure(at))


def test_the_example_has_a_finite_gradient() -> None:
    client("geoopt")
    (example,) = re.findall(r"```python\n(import .*?)```", (ROOT / "docs/clients.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    try:
        exec(example, names)
    finally:
        sg.uninstall()
    assert bool(names["A"].grad.isfinite().all())


def test_the_table_is_complete() -> None:
    assert {row[:2] for row in rows()} == set(MEASUREMENTS)


def test_versions_are_those_that_were_measured() -> None:
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "requirements/clients.txt").read_text(), re.MULTILINE))
    sentence = re.search(r"^Versions: (.*?)torch ", (ROOT / "docs/clients.md").read_text(), re.MULTILINE | re.DOTALL)
    assert sentence is not None
    documented = dict(item.split() for item in sentence.group(1).split(",") if item.strip())
    assert documented == pins


# --- the functions of this package instead of the clients' -----------------------------------------------------------


def names_of(client_name: str, at: str) -> dict[str, Any]:
    """The names that the code of a row may use, in addition to its variables."""
    found: dict[str, Any] = {"torch": torch, "sg": sg, "Y": torch.matrix_exp(X), "I": torch.eye(3, dtype=torch.float64)}
    if at in clients_of_svd.OCTAHEDRA:
        found["y"] = clients_of_svd.clouds(at)[1]
    if client_name == "geoopt":
        found["linalg"] = client("geoopt.linalg.batch_linalg")
        found["SymmetricPositiveDefinite"] = client("geoopt").SymmetricPositiveDefinite
    elif client_name == "tad-mctc":
        found["eighb"] = client("tad_mctc.storch").eighb
    elif client_name == "kornia":
        found["zca_mean"] = client("kornia.enhance.zca").zca_mean
    elif client_name == "by hand":
        found |= clients_of_svd.by_hand()
    else:
        found[client_name] = client(client_name)
    return found


def run(code: str, names: dict[str, Any]) -> Tensor:
    *before, last = code.split("; ")
    namespace = dict(names)
    exec("; ".join(before), namespace)
    return eval(last, namespace)


@dataclass(frozen=True)
class Point:
    """The variable of a row, its value, one with separated values, and the exact gradient of tr(Xᵀ ·) in it."""

    variable: str
    value: Tensor
    separated: Tensor
    expected: Tensor


def point_of(called: str, at: str) -> Point:
    separated = DIAG + 0.3 * X @ X
    if at in clients_of_svd.OCTAHEDRA:
        x, _ = clients_of_svd.clouds(at)
        noise = clients_of_svd.OCTAHEDRA[at] * normal(6, 3, dtype=torch.float64, seed=4)
        return Point("x", x, x + 0.3 * noise, clients_of_svd.alignment_gradient(at))
    if at in clients_of_svd.DIAGONALS:
        M = clients_of_svd.matrix(at)
        return Point("M", M, M @ separated, clients_of_svd.nearest_rotation_gradient(at))
    if "cov" in called:
        D = data_with_covariance(2)
        return Point("D", D, data_with_covariance(1) @ separated @ separated, -(2**-1.5) / 5 * D @ X)
    return Point("A", POINTS[at], separated, expected_gradient(called, POINTS[at]))


def expected_gradient(called: str, A: Tensor) -> Tensor:
    """The gradient of tr(X ·), or of a squared distance itself, in closed form; see the clients' functions."""
    if "Y" in called:
        c = A[0, 0]
        return 2 / c * (c.log() * torch.eye(3, dtype=torch.float64) - X)
    if "density_matrix" in called:
        P = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
        Q = torch.eye(3, dtype=torch.float64) - P
        return -(P @ X @ Q + Q @ X @ P) / (3 * A[0, 0])
    name = {"logm": "log", "sqrtm": "sqrt", "invsqrtm": "inverse sqrt", "funm": "exp"}[called[3 : called.index("(")]]
    return divided_differences(*FUNCTIONS[name], A)


@pytest.mark.parametrize("row", rows(5), ids=lambda row: ", ".join((row[0], row[2], row[3])))
def test_called_in_their_place(row: tuple[str, ...]) -> None:
    client_name, written, called, at, documented = row
    names = names_of(client_name, at)
    point = point_of(called, at)

    left, right = (run(code, {**names, point.variable: point.separated}) for code in (written, called))
    torch.testing.assert_close(right, left, rtol=1e-12, atol=1e-12)

    weights = clients_of_svd.X if point.variable in "xM" else X

    def loss(A: Tensor) -> Tensor:
        result = run(called, {**names, point.variable: A})
        return result if result.ndim == 0 else (weights * result).sum()

    gradient = hermitian_gradient if point.variable == "A" else gradient_of
    check(documented, relative_error(gradient(loss, point.value), point.expected))


@pytest.mark.parametrize(
    "error", [clients_of_generalized.populations_error, clients_of_generalized.motion_error], ids=["H, S", "K, M"]
)
def test_generalized_eigh_in_place_of_a_reduction(error: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clients_of_generalized.by_hand(), "levels", sg.generalized_eigh)
    assert error() <= 1e-14


# --- the sentences below the table ------------------------------------------------------------------------------------


def test_stand_in_reaches_geoopt_which_is_torchscript() -> None:
    client("geoopt")
    with sg.stand_in(rule=sg.Split()):
        assert geoopt_function("log", "sym_logm", "2 I") < 1e-6


def test_geoopt_without_split_warns() -> None:
    client("geoopt")
    with installed(None), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.warns(sg.GaugeWarning, match=r"Split"):
            error = geoopt_function("log", "sym_logm", "2 I")
    assert 0.1 < error < 1


def fitted_with_geoopt(steps: int) -> tuple[Tensor, Tensor]:
    """Minimizes the distance to a target matrix, from the identity on. Returns the result and the target."""
    geoopt = client("geoopt")
    manifold = geoopt.SymmetricPositiveDefinite("AIM")
    target = torch.matrix_exp(X / 2)
    fitted = geoopt.ManifoldParameter(torch.eye(3, dtype=torch.float64), manifold=manifold)
    optimizer = geoopt.optim.RiemannianSGD([fitted], lr=0.25)
    for _ in range(steps):
        optimizer.zero_grad()
        (manifold.dist(fitted, target) ** 2).backward()
        optimizer.step()
    return fitted.detach(), target


def test_geoopt_optimisation_from_the_identity() -> None:
    fitted, _ = fitted_with_geoopt(1)
    assert fitted.isnan().all()
    with installed(sg.Split()):
        fitted, target = fitted_with_geoopt(40)
    torch.testing.assert_close(fitted, target, rtol=0, atol=1e-7)


def test_torchspd_in_small_units() -> None:
    logm = client("torchspd").logm
    A = 1e-10 * torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    expected = divided_differences(*FUNCTIONS["log"], A)
    assert relative_error(hermitian_gradient(lambda B: (X * logm(B)).sum(), A), expected) > 1
    assert relative_error(gradient_of(lambda B: (X * sg.logm(B)).sum(), A), expected) <= 1e-14


def test_torchspd_twice() -> None:
    logm = client("torchspd").logm
    A = DIAG.clone().requires_grad_()
    (G,) = torch.autograd.grad(logm(A).square().sum(), A, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(G.sum(), A)


def test_torchspd_is_the_same_to_the_bit() -> None:
    logm = client("torchspd").logm
    A = DIAG + 0.3 * X @ X

    def G() -> Tensor:
        return gradient_of(lambda B: (X * logm(B)).sum(), A)

    before = G()
    with installed(None):
        assert torch.equal(G(), before)


def second_derivative(function: Callable[[Tensor], Tensor], M: Tensor, direction: Tensor) -> Tensor:
    """The Hessian of tr(Xᵀ function(M)), applied to a direction."""
    M = M.clone().requires_grad_()
    (G,) = torch.autograd.grad((clients_of_svd.X * function(M)).sum(), M, create_graph=True)
    return torch.autograd.grad((direction * G).sum(), M)[0]


def test_roma_twice_by_svd() -> None:
    """At separated singular values, torch's svd and Horn's method agree. roma's backward by svd differs from both."""
    roma = client("roma")
    M, direction = clients_of_svd.R @ (DIAG + 0.3 * X @ X), normal(3, 3, dtype=torch.float64, seed=5)
    expected = second_derivative(roma.special_procrustes_naive, M, direction)
    assert relative_error(second_derivative(roma.special_procrustes, M, direction), expected) < 1e-8

    def by_svd(M: Tensor) -> Tensor:
        return roma.special_procrustes(M, method="svd")

    assert relative_error(second_derivative(by_svd, M, direction), expected) > 0.1
