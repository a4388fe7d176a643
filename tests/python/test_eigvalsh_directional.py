"""eigvalsh_directional: values against differences in 60 digits, derivatives, special values, messages."""

from __future__ import annotations

import mpmath
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import ALL, COMPLEX, LinAlgError, by_precision, each_double, each_dtype, random_hermitian

ONE = torch.eye(2, dtype=torch.float64)
PAULI_Y = torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128)
# Their entries, and so their equal eigenvalues, are exact in every precision.
MATRICES = {
    "distinct": torch.tensor([[2.0, 1.0, 0.0], [1.0, -1.0, 2.0], [0.0, 2.0, 4.0]]),
    "zero": torch.zeros(4, 4),
    "identity": torch.eye(4),
    "minus identity": -torch.eye(3),
    "0, 0, 3": torch.ones(3, 3),
    "1, 1, 3, 3": torch.kron(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.eye(2)),
    "a cycle graph": torch.eye(4).roll(1, 0) + torch.eye(4).roll(-1, 0),
    "diagonal": torch.diag(torch.tensor([1.0, 0.0, 1.0, -2.0, 0.0, 1.0])),
    "-1, -1, 1, 1": torch.kron(PAULI_Y, ONE),
}
cases = pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name, A in MATRICES.items() for dtype in ALL if dtype in COMPLEX or not A.is_complex()],
    ids=lambda x: x if isinstance(x, str) else str(x)[6:],
)


def eigenvalues(A: mpmath.matrix) -> list[mpmath.mpf]:
    return sorted(mpmath.eighe(A, eigvals_only=True))


def in_digits(A: Tensor) -> mpmath.matrix:
    return mpmath.matrix([[mpmath.mpc(complex(x)) for x in row] for row in A.tolist()])


def one_sided_differences(A: Tensor, E: Tensor) -> Tensor:
    """(λ(A + tE) − λ(A))/t: with t = 1e-25, the error of the first-order formula is about 1e-25."""
    with mpmath.workdps(60):
        t = mpmath.mpf(10) ** -25
        exact, step = in_digits(A), in_digits(E) * t
        slopes = [(y - x) / t for x, y in zip(eigenvalues(exact), eigenvalues(exact + step), strict=True)]
        return torch.tensor([float(x) for x in slopes], dtype=torch.float64)


def limit(dtype: torch.dtype) -> float:
    return by_precision(dtype, 2e-14, 1e-5)


@cases
def test_values(name: str, dtype: torch.dtype) -> None:
    A = MATRICES[name].to(dtype)
    E = random_hermitian(*A.shape, dtype=dtype, seed=5)
    slopes = sg.eigvalsh_directional(A, E)
    expected = one_sided_differences(A, E)
    assert slopes.dtype == dtype.to_real()
    assert float((slopes - expected).abs().max()) <= limit(dtype) * float(E.abs().max())
    backwards = -sg.eigvalsh_directional(A, -E)
    reverse = -one_sided_differences(A, -E)
    assert float((backwards - reverse).abs().max()) <= limit(dtype) * float(E.abs().max())


@cases
def test_special_directions(name: str, dtype: torch.dtype) -> None:
    """The eigenvalues of A + tA, A + t and A are known, and those along a projector of an eigenspace."""
    A = MATRICES[name].to(dtype)
    L, V = sg.eigh(A)
    size = max(1.0, float(L.abs().max()))
    identity = torch.eye(len(A), dtype=dtype)
    assert float((sg.eigvalsh_directional(A, A) - L).abs().max()) <= limit(dtype) * size
    assert float((sg.eigvalsh_directional(A, identity) - 1).abs().max()) <= limit(dtype)
    assert torch.equal(sg.eigvalsh_directional(A, torch.zeros_like(A)), torch.zeros_like(L))
    inside = (L - L[0]).abs() < 1e-3
    P = V[:, inside] @ V[:, inside].mH
    assert float((sg.eigvalsh_directional(A, P) - inside.to(L.dtype)).abs().max()) <= limit(dtype)


@each_dtype
@pytest.mark.parametrize(("of_A", "of_E"), [(1e20, 1.0), (1.0, 1e20), (1e-20, 1e-20), (1e20, 1e-20), (1e-20, 1e20)])
def test_scales(dtype: torch.dtype, of_A: float, of_E: float) -> None:
    A = MATRICES["1, 1, 3, 3"].to(dtype)
    E = random_hermitian(4, 4, dtype=dtype, seed=5)
    expected = sg.eigvalsh_directional(A, E)
    slopes = sg.eigvalsh_directional(A * of_A, E * of_E) / of_E
    assert float((slopes - expected).abs().max()) <= limit(dtype) * float(E.abs().max())


@each_double
@pytest.mark.parametrize("gap", [1e-2, 1e-6, 1e-10, 1e-14])
def test_near_eigenvalues(gap: float, dtype: torch.dtype) -> None:
    """Eigenvalues that are apart have each its own slope vᴴEv, whose error grows like eps/gap."""
    A = torch.diag(torch.tensor([1.0, 1.0 + gap, 3.0], dtype=dtype))
    E = random_hermitian(3, 3, dtype=dtype, seed=6)
    assert torch.equal(sg.eigvalsh_directional(A, E), E.diagonal().real)
    # With a tolerance above the gap, the two are one cluster.
    together = torch.linalg.eigvalsh(E[:2, :2])
    slopes = sg.eigvalsh_directional(A, E, rtol=2 * gap)
    assert float((slopes[:2] - together).abs().max()) <= 1e-14 * float(E.abs().max())


@each_dtype
def test_batches_broadcast(dtype: torch.dtype) -> None:
    A = torch.stack([MATRICES["1, 1, 3, 3"], MATRICES["identity"]]).to(dtype)[:, None]
    E = random_hermitian(3, 4, 4, dtype=dtype, seed=7)
    slopes = sg.eigvalsh_directional(A, E)
    assert slopes.shape == (2, 3, 4)
    for i in range(2):
        for j in range(3):
            one = sg.eigvalsh_directional(A[i, 0], E[j])
            assert float((slopes[i, j] - one).abs().max()) <= limit(dtype) * float(E.abs().max())


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3), (2, 0, 0), (1, 1)])
@each_dtype
def test_empty_and_one(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    E = torch.ones(shape, dtype=dtype)
    slopes = sg.eigvalsh_directional(torch.zeros(shape, dtype=dtype), E)
    assert slopes.shape == shape[:-1]
    assert slopes.dtype == dtype.to_real()
    assert torch.equal(slopes, torch.ones_like(slopes))


def test_only_the_lower_triangles_are_read() -> None:
    A, E = MATRICES["1, 1, 3, 3"].double(), random_hermitian(4, 4, dtype=torch.float64, seed=8)
    upper = torch.full_like(A, torch.nan).triu(1)
    assert torch.equal(sg.eigvalsh_directional(A.tril() + upper, E.tril() + upper), sg.eigvalsh_directional(A, E))


def test_a_nan_stays_in_its_matrix() -> None:
    A = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    E = random_hermitian(3, 3, 3, dtype=torch.float64, seed=9)
    expected = sg.eigvalsh_directional(A, E)
    E[1, 2, 0] = torch.nan
    with pytest.raises(LinAlgError, match=r"spectralgrad.eigvalsh_directional: \(Batch element 1\): .*E"):
        sg.eigvalsh_directional(A, E)
    with sg.checks("ignore"):
        slopes = sg.eigvalsh_directional(A, E)
    assert bool(slopes[1].isnan().all())
    assert torch.equal(slopes[::2], expected[::2])


@pytest.mark.filterwarnings("error::spectralgrad.GaugeWarning")
@each_double
@pytest.mark.parametrize("name", ["distinct", "0, 0, 3", "1, 1, 3, 3", "identity"])
def test_derivative_in_the_direction(name: str, dtype: torch.dtype) -> None:
    """At equal eigenvalues of A too: the slopes are distinct there."""
    A = MATRICES[name].to(dtype)
    E = random_hermitian(*A.shape, dtype=dtype, seed=5).requires_grad_()

    def slopes(X: Tensor) -> Tensor:
        return sg.eigvalsh_directional(A, (X + X.mH) / 2)

    assert torch.autograd.gradcheck(slopes, E)
    assert torch.autograd.gradgradcheck(slopes, E)


@each_double
def test_derivative_in_the_matrix(dtype: torch.dtype) -> None:
    """It is a second derivative of the eigenvalues."""
    A = MATRICES["distinct"].to(dtype).requires_grad_()
    E = random_hermitian(3, 3, dtype=dtype, seed=5)
    assert torch.autograd.gradcheck(lambda X: sg.eigvalsh_directional((X + X.mH) / 2, E), A)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.eye(3), torch.eye(2)), RuntimeError, "Expected A and E to be matrices of one size, but they are 3 by"),
        ((torch.eye(2), torch.eye(2).double()), RuntimeError, "Expected A and E to have one dtype, but got Float and"),
        ((torch.eye(2), torch.ones(2, 3)), RuntimeError, "E must be batches of square matrices"),
        ((torch.eye(2), 3.0), TypeError, "Expected E to be a Tensor, but got float"),
        ((torch.eye(2).long(), torch.eye(2).long()), NotImplementedError, "Expected A to be float32"),
    ],
)
def test_bad_arguments(arguments: tuple[Tensor, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"eigvalsh_directional.*{message}"):
        sg.eigvalsh_directional(*arguments)


@pytest.mark.parametrize("rtol", [-1.0, float("nan"), float("inf")])
def test_bad_tolerance(rtol: float) -> None:
    with pytest.raises(ValueError, match=r"spectralgrad\.eigvalsh_directional: Expected rtol to be a number >= 0"):
        sg.eigvalsh_directional(torch.eye(2), torch.eye(2), rtol=rtol)


def test_a_step_that_reduces_the_largest_eigenvalue() -> None:
    """The gradients of one of two equal largest eigenvalues are no descent directions; these slopes tell."""
    A = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))
    directions = random_hermitian(200, 3, 3, dtype=torch.float64, seed=3)
    slopes = sg.eigvalsh_directional(A, directions)[:, -1]
    t = 1e-7
    change = (torch.linalg.eigvalsh(A + t * directions)[:, -1] - 2) / t
    assert float((slopes - change).abs().max()) <= 1e-5
    assert int((slopes < 0).sum()) > 10
