"""Polar decomposition and orthogonal Procrustes: SciPy's values, and derivatives against 60 digits."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import polar_reference as exact
import spectralgrad as sg
from problems import ALL, DOUBLE, by_precision, normal, with_singular_values

SHAPES = [(3, 3), (5, 3), (3, 5)]
SPECTRA = {
    "equal": [1.0, 1.0, 1.0],
    "near": [1 + 2e-9, 1 + 1e-9, 1.0],
    "pair": [2.0, 0.5, 0.5],
    "distinct": [3.0, 1.0, 0.2],
}
each_spectrum = pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["square", "tall", "wide"])


def _numpy(x: Tensor) -> Any:
    return x.detach().numpy()


def _check(f: Any, reference: Any, x: list[Tensor], results: tuple[Tensor, ...], tolerance: float) -> None:
    """Compares first and second derivatives along random directions."""
    dtypes = [y.dtype for y in x]
    E, F = ([normal(*y.shape, dtype=d, seed=s + i) for i, (y, d) in enumerate(zip(x, dtypes))] for s in (10, 20))
    weights = [normal(*y.shape, dtype=y.dtype, seed=30 + i) for i, y in enumerate(results)]
    expected = exact.derivatives(reference, x, weights, E, F)
    for value, wanted in zip(exact.computed(f, x, weights, E, F), expected, strict=True):
        assert abs(value - wanted) <= tolerance * max(1, abs(wanted))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", ALL)
@each_shape
def test_values_are_those_of_scipy(shape: tuple[int, int], dtype: torch.dtype, side: Any) -> None:
    A = normal(2, *shape, dtype=dtype, seed=1)
    for U, P, matrix in zip(*sg.polar(A, side), A, strict=True):
        expected_U, expected_P = (torch.from_numpy(x) for x in scipy.linalg.polar(_numpy(matrix), side))
        tolerance = by_precision(dtype, 1e-14, 1e-5)
        torch.testing.assert_close(U, expected_U, rtol=0, atol=tolerance)
        torch.testing.assert_close(P, expected_P, rtol=0, atol=tolerance)
        assert torch.equal(P, P.mH)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", ALL)
@each_spectrum
@each_shape
def test_derivatives(shape: tuple[int, int], spectrum: list[float], dtype: torch.dtype, side: Any) -> None:
    A = with_singular_values(*shape, spectrum, dtype, 3)
    tolerance = by_precision(dtype, 1e-12, 5e-4)
    _check(lambda A: sg.polar(A, side), lambda A: exact.polar(A, side), [A], sg.polar(A, side), tolerance)


@pytest.mark.parametrize("dtype", DOUBLE)
@each_shape
def test_gradcheck_at_equal_singular_values(shape: tuple[int, int], dtype: torch.dtype) -> None:
    A = with_singular_values(*shape, [1.0, 1.0, 1.0], dtype, 4).requires_grad_()
    options: dict[str, Any] = {"check_batched_grad": True, "fast_mode": dtype.is_complex}
    for side in ("left", "right"):
        assert gradcheck(lambda A, side=side: sg.polar(A, side), A, check_forward_ad=True, **options)
        assert gradgradcheck(lambda A, side=side: sg.polar(A, side), A, check_fwd_over_rev=True, **options)


def test_third_derivatives() -> None:
    A = torch.eye(2, dtype=torch.float64)
    H = torch.func.hessian(lambda A: sg.polar(A).U[0, 1])

    def rotation_angle(a: Any) -> Any:
        # The polar factor of [[a, b], [c, d]] turns by the argument of (a + d) + i (c - b).
        return -(a[1, 0] - a[0, 1]) / torch.hypot(a[0, 0] + a[1, 1], a[1, 0] - a[0, 1])

    expected = torch.func.jacfwd(torch.func.hessian(rotation_angle))(A)
    torch.testing.assert_close(torch.func.jacrev(H)(A), expected)
    torch.testing.assert_close(torch.func.jacfwd(H)(A), expected)


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_scaling(scale: float) -> None:
    A, M = normal(3, 3, dtype=torch.float64, seed=1), normal(3, 3, dtype=torch.float64, seed=2)
    gradients = []
    for factor in (1.0, scale):
        X = (factor * A).requires_grad_()
        (sg.polar(X).U * M).sum().backward()
        assert X.grad is not None
        gradients.append(factor * X.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-13, atol=1e-14)


def test_empty() -> None:
    for shape in ((0, 3, 3), (2, 0, 0), (2, 3, 0), (2, 0, 3)):
        A = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        U, P = sg.polar(A)
        assert U.shape == shape
        assert P.shape == (*shape[:-2], shape[-1], shape[-1])
        (U.sum() + P.sum()).backward()
        assert A.grad is not None


# --- Procrustes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ALL)
def test_procrustes_values_are_those_of_scipy(dtype: torch.dtype) -> None:
    A, B = normal(2, 6, 3, dtype=dtype, seed=1), normal(2, 6, 3, dtype=dtype, seed=2)
    for i, (R, scale) in enumerate(zip(*sg.orthogonal_procrustes(A, B), strict=True)):
        expected_R, expected_scale = scipy.linalg.orthogonal_procrustes(_numpy(A[i]), _numpy(B[i]))
        tolerance = by_precision(dtype, 1e-13, 1e-5)
        torch.testing.assert_close(R, torch.from_numpy(expected_R), rtol=0, atol=tolerance)
        assert abs(scale.item() - expected_scale) <= tolerance * expected_scale


def _procrustes_problem(spectrum: list[float], dtype: torch.dtype, *, reflects: bool) -> list[Tensor]:
    """Matrices with these singular values of AᴴB, whose determinant is negative if it `reflects`."""
    A = torch.linalg.qr(normal(6, 3, dtype=dtype, seed=5)).Q
    M = with_singular_values(3, 3, spectrum, dtype, 6)
    if not dtype.is_complex and (torch.linalg.det(M) < 0) != reflects:
        M = M @ torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=dtype))
    return [A, A @ M]


@pytest.mark.parametrize("dtype", DOUBLE)
@each_spectrum
def test_procrustes_derivatives(spectrum: list[float], dtype: torch.dtype) -> None:
    x = _procrustes_problem(spectrum, dtype, reflects=False)
    _check(
        sg.orthogonal_procrustes,
        lambda A, B: exact.polar_factor(A.conj().T @ B),
        x,
        sg.orthogonal_procrustes(*x),
        1e-12,
    )


@pytest.mark.parametrize("reflects", [False, True])
@pytest.mark.parametrize("spectrum", [[1.0, 1.0, 1.0], [2.0, 2.0, 0.5], [1.0, 0.5, 0.0]])
def test_proper(spectrum: list[float], reflects: bool) -> None:
    if reflects and spectrum[1] == spectrum[2]:
        spectrum = [1.0, 1.0, 0.5]  # otherwise it is not unique
    x = _procrustes_problem(spectrum, torch.float64, reflects=reflects)

    def proper(A: Tensor, B: Tensor) -> Any:
        return sg.orthogonal_procrustes(A, B, proper=True)

    results = proper(*x)
    assert torch.linalg.det(results.R) > 0.5
    with sg.checks("raise"):
        _check(proper, lambda A, B: exact.polar_factor(A.T @ B, proper=True), x, results, 1e-12)


def test_proper_is_the_best_rotation() -> None:
    x = _procrustes_problem([1.0, 0.8, 0.5], torch.float64, reflects=True)
    R, scale = sg.orthogonal_procrustes(*x, proper=True)
    assert abs(scale.item() - 1.3) < 1e-14
    for seed in range(100):
        Q = torch.linalg.qr(normal(3, 3, dtype=torch.float64, seed=seed)).Q
        Q = Q * torch.linalg.det(Q)
        assert torch.linalg.norm(x[0] @ Q - x[1]) >= torch.linalg.norm(x[0] @ R - x[1]) - 1e-14


# --- factors that are not unique -------------------------------------------------------------------------------------


def _gradient(loss: Any, A: Tensor) -> Tensor:
    X = A.clone().requires_grad_()
    return torch.autograd.grad(loss(X), X)[0]


@pytest.mark.parametrize("dtype", DOUBLE)
@each_shape
def test_a_singular_matrix_is_reported(shape: tuple[int, int], dtype: torch.dtype) -> None:
    A = with_singular_values(*shape, [2.0, 1.0, 0.0], dtype, 3)
    M = normal(*shape, dtype=dtype, seed=1)
    message = (
        r"spectralgrad\.polar: The loss depends on the unitary factor U, which is not unique, so it has no gradient "
        r"there \(singular value 2 of matrix 0 of the batch is 0\)\. U is unique if A has full rank\."
    )
    with pytest.warns(sg.GaugeWarning, match=message):
        _gradient(lambda A: (sg.polar(A).U * M).sum().real, A)
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match=message):
        _gradient(lambda A: (sg.polar(A).U * M).sum().real, A)
    with warnings.catch_warnings(), sg.checks("ignore"):
        warnings.simplefilter("error")
        assert _gradient(lambda A: (sg.polar(A).U * M).sum().real, A).isfinite().all()


@pytest.mark.parametrize("unit", [1.0, 1e20, 1e-20])
@pytest.mark.parametrize("dtype", ALL)
def test_sums_that_are_round_off_are_reported(dtype: torch.dtype, unit: float) -> None:
    """Sums that are small, but above round-off, have a large gradient and no report."""
    M, eye = normal(3, 3, dtype=dtype, seed=1), torch.eye(3, dtype=dtype)
    Q = torch.linalg.qr(normal(3, 3, dtype=dtype, seed=2)).Q

    def check(f: Any, spectrum: list[float], *, is_unique: bool) -> None:
        A = unit * Q * torch.tensor(spectrum, dtype=dtype)
        if is_unique:
            with sg.checks("raise"):
                gradient = _gradient(lambda A: (M.conj() * f(A)).real.sum(), A)
        else:
            with pytest.warns(sg.GaugeWarning, match="not unique"):
                gradient = _gradient(lambda A: (M.conj() * f(A)).real.sum(), A)
        assert (unit * gradient).abs().max() < (1 / torch.finfo(dtype).eps if is_unique else 10)

    for small, is_unique in ((0.0, False), (2.0, False), (100.0, True)):
        sum_of_two = small * torch.finfo(dtype).eps
        check(lambda A: sg.polar(A).U, [2.0, 1.0, sum_of_two], is_unique=is_unique)
        check(lambda A: sg.polar(A.mH, "left").U.mH, [2.0, 1.0, sum_of_two], is_unique=is_unique)
        if not dtype.is_complex:
            sign = torch.linalg.det(Q).item()
            # One negative value reflects. If it is the last one, its sum with the one before counts.
            spectrum = [2.0, 1.0, -sign * (1 - sum_of_two)]
            check(lambda A: sg.orthogonal_procrustes(eye, A, proper=True).R, spectrum, is_unique=is_unique)
            check(lambda A: sg.orthogonal_procrustes(eye, A, proper=True).R, [2.0, 1.0, 0.0], is_unique=True)


def test_losses_that_do_not_see_the_choice_are_not_reported() -> None:
    A = with_singular_values(4, 3, [2.0, 1.0, 0.0], torch.float64, 3)
    with sg.checks("raise"):
        assert _gradient(lambda A: sg.polar(A).P.square().sum(), A).sub(2 * A).abs().max() < 1e-14
        # The trace of P is the nuclear norm. Its gradient is a subgradient, which is unique on the range of P.
        P = sg.polar(A).P
        assert (_gradient(lambda A: sg.polar(A).P.trace(), A) @ P).sub(A).abs().max() < 1e-13
        assert _gradient(lambda A: sg.polar(A).P.sum(), torch.zeros(2, 2)).isfinite().all()


def test_a_rotation_that_is_not_unique_is_reported() -> None:
    A = torch.eye(3, dtype=torch.float64)
    B = torch.diag(torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64))
    M = normal(3, 3, dtype=torch.float64, seed=1)
    message = (
        r"spectralgrad\.orthogonal_procrustes: The loss depends on the matrix R, which is not unique, so it has no "
        r"gradient there \(the sum of singular values 1 and 2, with the sign of the determinant on the last one, of "
        r"matrix 0 of the batch is 0\)\. R is unique if AᴴB has full rank; for real matrices with proper=True, if"
    ).replace("AᴴB", r"A\^H B")
    with pytest.warns(sg.GaugeWarning, match=message):
        _gradient(lambda A: (sg.orthogonal_procrustes(A, B, proper=True).R * M).sum(), A)
    with sg.checks("raise"):
        expected = B @ sg.orthogonal_procrustes(A, B, proper=True).R.mT
        got = _gradient(lambda A: sg.orthogonal_procrustes(A, B, proper=True).scale, A)
        torch.testing.assert_close(got, expected)


# --- arguments -------------------------------------------------------------------------------------------------------


def test_arguments_are_checked() -> None:
    public: Any = sg  # the calls have wrong types
    linalg: Any = torch.linalg
    A = torch.eye(3)
    calls: list[tuple[Any, type[Exception], str]] = [
        (lambda: public.polar(None), TypeError, r"polar: Expected A to be a Tensor, but got NoneType"),
        (lambda: public.polar(A, 1), TypeError, r"polar: Expected side to be a str, but got int"),
        (lambda: public.polar(A, "up"), ValueError, r"polar: Expected side to be 'left' or 'right', but got 'up'"),
        (lambda: public.polar(A[0]), RuntimeError, r"polar: The input tensor A must have at least 2 dimensions"),
        (lambda: public.polar(A.half()), NotImplementedError, r"spectralgrad.polar\" not implemented for 'Half'"),
        (lambda: public.polar(A / 0), linalg.LinAlgError, r"spectralgrad.polar: Expected A to be finite"),
        (
            lambda: public.orthogonal_procrustes(A, A[:2]),
            ValueError,
            r"procrustes: Expected A and B to be matrices of one shape, but they are 3 by 3 and 2 by 3",
        ),
        (
            lambda: public.orthogonal_procrustes(A, A.double()),
            ValueError,
            r"Expected A and B to have one dtype, but got",
        ),
        (
            lambda: public.orthogonal_procrustes(A.to(torch.complex64), A.to(torch.complex64), proper=True),
            ValueError,
            r"procrustes: Expected real matrices for proper=True, but got ComplexFloat",
        ),
        (lambda: public.orthogonal_procrustes(A, 1), TypeError, r"procrustes: Expected B to be a Tensor, but got int"),
        (lambda: public.orthogonal_procrustes(A, A, proper=1), TypeError, r"Expected proper to be a bool, but got int"),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            call()
