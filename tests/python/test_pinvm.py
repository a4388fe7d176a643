"""pinvm and pseudo_logdet: values and derivatives among matrices of the same rank, cutoffs, arguments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacfwd, jacrev, jvp, vmap

import spectralgrad as sg
from problems import (
    DOUBLE,
    LinAlgError,
    double_of,
    each_double,
    each_dtype,
    eps,
    expectation,
    gradient_of,
    hermitian_part,
    hessian_times,
    normal,
    random_hermitian,
    with_singular_values,
    with_spectrum,
)
from reference import relative_error

SPECTRA = {
    "singular": [0.0, 0.0, 1.0, 2.0],
    "degenerate": [0.0, 0.0, 2.0, 2.0],
    "near": [0.0, 0.0, 2.0, 2.0 + 1e-7],
    "regular": [0.5, 1.0, 1.0, 3.0],
    "indefinite": [-1.0, 0.0, 0.0, 2.0],
    "negative": [-2.0, -1.0, 0.0, 0.0],
    "full": [-1.0, -1.0, 1.0, 1.0],
}
each_spectrum = pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)


def _exact_pinv(spectrum: list[float], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A, its pseudo-inverse and the projector onto its kernel."""
    wide = double_of(dtype)
    V = torch.linalg.qr(normal(4, 4, dtype=wide, seed=7)).Q
    L = torch.tensor(spectrum, dtype=torch.float64)
    inverse = torch.where(L == 0, 0, 1 / torch.where(L == 0, 1, L))
    A, P, K = (hermitian_part((V * x) @ V.mH) for x in (L, inverse, (L == 0).double()))
    return A.to(dtype), P, K


def _derivative(P: Tensor, K: Tensor, E: Tensor) -> Tensor:
    """Golub and Pereyra (1973)."""
    return -P @ E @ P + P @ P @ E @ K + K @ E @ P @ P


@each_spectrum
@each_dtype
def test_pinvm(spectrum: list[float], dtype: torch.dtype) -> None:
    A, P, K = _exact_pinv(spectrum, dtype)
    M = random_hermitian(4, 4, dtype=P.dtype, seed=1)
    tolerance = 100 * eps(dtype)
    expected = _derivative(P, K, M)
    for X in (A, A[None], A.expand(20, 4, 4)):  # by tensor code and in SIMD lanes
        assert relative_error(sg.pinvm(X).reshape(-1, 4, 4)[0], P) <= tolerance
        G = gradient_of(lambda X: expectation(M.to(dtype), sg.pinvm(X)).sum(), X)
        assert relative_error(G.reshape(-1, 4, 4)[-1], expected) <= tolerance
    tangent = jvp(sg.pinvm, (A,), (M.to(dtype),))[1]
    assert relative_error(tangent, expected) <= tolerance
    torch.testing.assert_close(sg.pinvm(A), torch.linalg.pinv(A, hermitian=True), rtol=0, atol=tolerance)


@each_spectrum
@each_double
def test_second_derivatives_of_pinvm(spectrum: list[float], dtype: torch.dtype) -> None:
    A, P, K = _exact_pinv(spectrum, dtype)
    M, E = (random_hermitian(4, 4, dtype=dtype, seed=seed) for seed in (1, 2))
    # The derivative of Golub and Pereyra's formula, with that of K = 1 - A⁺A, along matrices of the same rank.
    E = E - K @ E @ K
    dP, dK = _derivative(P, K, E), -(K @ E @ P + P @ E @ K)
    expected = (
        -dP @ M @ P
        - P @ M @ dP
        + (dP @ P + P @ dP) @ M @ K
        + P @ P @ M @ dK
        + dK @ M @ P @ P
        + K @ M @ (dP @ P + P @ dP)
    )
    product = hessian_times(lambda X: expectation(M, sg.pinvm(X)), A, E)
    assert relative_error(product, expected) <= 1e-12


@each_spectrum
@each_dtype
def test_pseudo_logdet(spectrum: list[float], dtype: torch.dtype) -> None:
    A, P, K = _exact_pinv(spectrum, dtype)
    E = random_hermitian(4, 4, dtype=P.dtype, seed=2)
    expected = sum(np.log(abs(x)) for x in spectrum if x)
    assert float(sg.pseudo_logdet(A)) == pytest.approx(expected, rel=0, abs=50 * eps(dtype))
    assert sg.pseudo_logdet(A).dtype == (torch.float64 if dtype in DOUBLE else torch.float32)
    assert relative_error(gradient_of(sg.pseudo_logdet, A), P) <= 100 * eps(dtype)
    if dtype in DOUBLE:
        assert relative_error(hessian_times(sg.pseudo_logdet, A, E), _derivative(P, K, E)) <= 1e-12


@pytest.mark.parametrize("scale", [1e-100, 1e-10, 1e10, 1e100])
@each_double
def test_pinvm_at_every_scale(dtype: torch.dtype, scale: float) -> None:
    A, P, K = _exact_pinv(SPECTRA["degenerate"], dtype)
    M = random_hermitian(4, 4, dtype=dtype, seed=1)
    assert relative_error(scale * sg.pinvm(scale * A), P) <= 1e-13
    G = gradient_of(lambda X: expectation(M, sg.pinvm(X)), scale * A)
    assert relative_error(scale * (scale * G), _derivative(P, K, M)) <= 1e-13
    assert float(sg.pseudo_logdet(scale * A)) == pytest.approx(2 * np.log(2 * scale), rel=1e-14)
    assert relative_error(scale * gradient_of(sg.pseudo_logdet, scale * A), P) <= 1e-13


@each_double
def test_pinvm_through_factors(dtype: torch.dtype) -> None:
    """(FᴴF)⁺ = F⁺F⁺ᴴ and log pdet(FᴴF) = 2 Σ log σ: gradcheck in F, where the rank stays; 2 F⁺ᴴ is the gradient."""
    F = with_singular_values(2, 4, [1.0, 1.0], dtype, 0)
    inverse = torch.linalg.pinv(F)
    torch.testing.assert_close(sg.pinvm(F.mH @ F), inverse @ inverse.mH, rtol=0, atol=1e-14)
    G = gradient_of(lambda X: sg.pseudo_logdet(X.mH @ X), F)
    assert relative_error(G, 2 * inverse.mH) <= 1e-14
    F.requires_grad_()
    for f in (lambda X: sg.pinvm(X.mH @ X), lambda X: sg.pseudo_logdet(X.mH @ X)):
        assert gradcheck(f, F)
        assert gradgradcheck(f, F)


def test_rtol() -> None:
    A = torch.diag(torch.tensor([1e-3, 0.5, 1.0], dtype=torch.float64))
    for rtol, inverse in ((None, [1e3, 2, 1]), (0, [1e3, 2, 1]), (1e-2, [0, 2, 1]), (0.6, [0, 0, 1]), (1, [0, 0, 0])):
        expected = torch.tensor(inverse, dtype=torch.float64)
        torch.testing.assert_close(sg.pinvm(A, rtol), torch.diag(expected))
        torch.testing.assert_close(sg.pinvm(A, rtol=rtol), torch.linalg.pinv(A, rtol=rtol, hermitian=True))
        logs = -expected[expected > 0].log().sum()
        torch.testing.assert_close(sg.pseudo_logdet(A, rtol), logs)
    # A number of NumPy, the default of every dtype: n·eps.
    assert torch.equal(sg.pinvm(A, np.float64(0.6)), sg.pinvm(A, 0.6))
    for dtype in (torch.float32, torch.float64):
        for x, kept in ((6.1, True), (5.9, False)):
            B = torch.diag(torch.tensor([0.0] * 4 + [x / 6 * 6 * eps(dtype), 1])).to(dtype)
            with sg.checks("ignore"):
                assert bool(sg.pinvm(B)[4, 4] > 0) == kept


@pytest.mark.parametrize("f", [sg.pinvm, sg.pseudo_logdet], ids=["pinvm", "pseudo_logdet"])
def test_arguments_of_pinvm(f: Callable[..., Tensor]) -> None:
    name, A = f.__name__, torch.eye(2)
    for rtol in (-1, float("nan"), float("inf")):
        with pytest.raises(
            ValueError, match=rf"spectralgrad\.{name}: Expected rtol to be a number >= 0, but got {rtol}"
        ):
            f(A, rtol)
    with pytest.raises(
        TypeError, match=rf"spectralgrad\.{name}: Expected rtol to be a real number or None, but got str"
    ):
        f(A, "1")
    with pytest.raises(TypeError, match=rf"spectralgrad\.{name}: Expected A to be a Tensor"):
        f([[1.0]])
    with pytest.raises(NotImplementedError, match=rf"spectralgrad\.{name}"):
        f(torch.eye(2, dtype=torch.long))
    A[1, 0] = torch.nan
    with pytest.raises(LinAlgError, match=rf"spectralgrad\.{name}: Expected the lower triangle"):
        f(A)
    with sg.checks("ignore"):
        y = f(torch.stack([A, torch.eye(2)]))
    assert bool(y[0].isnan().all())
    assert bool(y[1].isfinite().all())


@each_dtype
def test_pinvm_of_empty_and_zero_matrices(dtype: torch.dtype) -> None:
    for shape in ((0, 0), (0, 3, 3), (2, 0, 0)):
        A = torch.zeros(shape, dtype=dtype, requires_grad=True)
        for f in (sg.pinvm, sg.pseudo_logdet, sg.trace_sqrtm):
            y = f(A)
            assert y.shape == (A.shape if f is sg.pinvm else A.shape[:-2])
            (G,) = torch.autograd.grad(y.real.sum(), A)
            assert G.shape == A.shape
    zero = torch.zeros(3, 3, dtype=dtype)
    for f, expected in ((sg.pinvm, zero), (sg.pseudo_logdet, torch.zeros(())), (sg.trace_sqrtm, torch.zeros(()))):
        assert torch.equal(f(zero).to(dtype), expected.to(dtype))
        assert torch.equal(gradient_of(lambda X, f=f: f(X).real.sum(), zero), zero)


@each_dtype
def test_a_cutoff_through_equal_eigenvalues_is_reported(dtype: torch.dtype) -> None:
    real = torch.zeros((), dtype=dtype).real.dtype
    close = torch.tensor([1.0 - 2 * eps(dtype), 1.0, 2.0], dtype=real)
    good = torch.tensor([1e-3, 1.0, 2.0], dtype=real)
    batch = torch.diag_embed(torch.stack([good, close])).to(dtype)
    rtol = 0.5 - eps(dtype) / 2
    for f in (sg.pinvm, sg.pseudo_logdet):
        message = rf"spectralgrad\.{f.__name__}: rtol=0.5 separates eigenvalues .* in matrix 1 of the batch"
        with pytest.warns(sg.GaugeWarning, match=message):
            f(batch, rtol)
        with sg.checks("raise"), pytest.raises(sg.GaugeError, match=message):
            f(batch, rtol)
        with pytest.warns(sg.GaugeWarning, match=message):
            vmap(lambda X, f=f: f(X, rtol))(batch)
        f(batch, 0.1)
        f(batch[:1], rtol)
        with sg.checks("ignore"):
            f(batch, rtol)


def test_jacobians_of_pinvm() -> None:
    A = with_spectrum([0.0, 1.0, 1.0, 2.0], torch.float64, seed=1)
    f = lambda X: sg.pinvm(hermitian_part(X))  # noqa: E731
    torch.testing.assert_close(jacfwd(f)(A), jacrev(f)(A), rtol=0, atol=1e-12)
    assert torch.equal(vmap(sg.pinvm)(A.expand(3, 4, 4)), sg.pinvm(A.expand(3, 4, 4)))
    compiled = torch.compile(sg.pinvm, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(A), sg.pinvm(A), rtol=0, atol=1e-14)
