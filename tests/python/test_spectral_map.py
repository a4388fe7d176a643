"""Gauge-invariant functions of eigenvalues and eigenvectors: gradients at every gap, against 60 digits."""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import gradcheck
from torch.fx.experimental.proxy_tensor import make_fx

import reference
import spectralgrad as sg
from problems import (
    ALL,
    COMPLEX,
    DOUBLE,
    LinAlgError,
    apply_function,
    by_precision,
    distinct,
    expectation,
    gradient,
    hermitian_part,
    invariant_loss,
    normal,
    projector,
    random_hermitian,
    total,
    with_cluster,
    with_spectrum,
)
from reference import relative_error

Fn = Callable[[Tensor, Tensor], Any]
Function = tuple[Callable[[Tensor], Tensor], reference.Weights]


def fermi(x: Tensor) -> Tensor:
    return torch.sigmoid((1.1 - x) / 0.3)


def _fermi(x: Any) -> Any:
    return 1 / (1 + mpmath.exp((x - mpmath.mpf(1.1)) / mpmath.mpf(0.3)))


EXP: Function = (torch.exp, reference.function(mpmath.exp, mpmath.exp))
SQRT: Function = (torch.sqrt, reference.function(mpmath.sqrt, lambda x: 1 / (2 * mpmath.sqrt(x))))
FERMI: Function = (fermi, reference.function(_fermi, lambda x: -_fermi(x) * (1 - _fermi(x)) / mpmath.mpf(0.3)))


class Problem(NamedTuple):
    """A gauge-invariant function, a loss of its result, and the loss's gradient in 60 digits."""

    fn: Fn
    loss: Callable[[Any], Tensor]
    exact: Callable[[Tensor], Tensor]


def _matrix(f: Callable[[Tensor], Tensor]) -> Fn:
    return functools.partial(apply_function, f)


def one(f: Function, M: Tensor) -> Problem:
    """Re tr(M f(A))."""
    return Problem(_matrix(f[0]), lambda y: expectation(M, y), lambda A: reference.frechet(A, M, f[1]))


def sum_of_two(M: Tensor) -> Problem:
    """Re tr(M (exp(A) + B ∘ √A)) with the entrywise product ∘. It is not one of the named functions of A."""
    B = hermitian_part(M @ M)

    def exact(A: Tensor) -> Tensor:
        return reference.frechet(A, M, EXP[1]) + reference.frechet(A, M * B.mT, SQRT[1])

    return Problem(
        lambda L, V: apply_function(torch.exp, L, V) + B * (V @ torch.diag_embed(L.sqrt()).to(V.dtype) @ V.mH),
        lambda y: expectation(M, y),
        exact,
    )


def product_of_two(M: Tensor) -> Problem:
    """Re tr(M exp(A) B √A): neither Hermitian nor a function of A."""
    n = len(M)
    B = normal(n, n, dtype=M.dtype, seed=77)

    def exact(A: Tensor) -> Tensor:
        L, V = torch.linalg.eigh(A)
        E, R = apply_function(torch.exp, L, V), apply_function(torch.sqrt, L, V)
        return reference.frechet(A, hermitian_part(B @ R @ M), EXP[1]) + reference.frechet(
            A, hermitian_part(M @ E @ B), SQRT[1]
        )

    return Problem(
        lambda L, V: apply_function(torch.exp, L, V) @ B @ apply_function(torch.sqrt, L, V),
        lambda y: expectation(M, y),
        exact,
    )


def several_outputs(M: Tensor) -> Problem:
    """A matrix, a vector, a number: Fermi function, the diagonal of exp(A), tr √A · Σ λ."""
    weights = torch.arange(1, len(M) + 1, dtype=torch.float64)

    def fn(L: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        diagonal = (V.abs().square() * L.exp().unsqueeze(-2)).sum(-1)
        return apply_function(fermi, L, V), diagonal, L.sqrt().sum(-1) * L.sum(-1)

    def loss(y: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return expectation(M, y[0]) + (weights * y[1]).sum() + y[2].square().sum()

    def exact(A: Tensor) -> Tensor:
        L, eye = torch.linalg.eigvalsh(A), torch.eye(len(A), dtype=A.dtype)
        roots, total = L.sqrt().sum(), L.sum()
        return (
            reference.frechet(A, M, FERMI[1])
            + reference.frechet(A, torch.diag(weights).to(A.dtype), EXP[1])
            + 2 * roots * total * (total * reference.frechet(A, eye, SQRT[1]) + roots * eye)
        )

    return Problem(fn, loss, exact)


PROBLEMS: dict[str, Callable[[Tensor], Problem]] = {
    "exp": functools.partial(one, EXP),
    "sqrt": functools.partial(one, SQRT),
    "Fermi": functools.partial(one, FERMI),
    "sum of two": sum_of_two,
    "product of two": product_of_two,
    "several outputs": several_outputs,
}
each_problem = pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
each_dtype = pytest.mark.parametrize("dtype", DOUBLE, ids=["real", "complex"])

NEAR = [1e-8, 1e-9, 1e-11, 1e-13, 1e-15, 0.0]
# Clusters of two to five eigenvalues; two clusters at once; a cluster of all eigenvalues.
SPECTRA: dict[str, Callable[[float], list[float]]] = {
    "pair": lambda gap: [0.3, 1, 1 + gap, 2.5],
    "triple": lambda gap: [0.3, 1, 1 + gap, 1 + 2 * gap, 2.5],
    "quadruple": lambda gap: [0.3, *(1 + k * gap for k in range(4)), 2.5],
    "quintuple": lambda gap: [0.3, 0.6, *(1 + k * gap for k in range(5)), 2.5],
    "a pair and a triple": lambda gap: [0.3, 1, 1 + gap, 1.7, 2.5, 2.5 + gap, 2.5 + 2 * gap],
    "nothing else": lambda gap: [1 + k * gap for k in range(3)],
}
each_spectrum = pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)


def map_gradient(problem: Problem, A: Tensor, fn: Fn | None = None) -> Tensor:
    X = A.detach().clone().requires_grad_()
    return torch.autograd.grad(problem.loss(sg.spectral_map(fn or problem.fn, X)), X)[0]


def M_of(n: int, dtype: torch.dtype, seed: int = 100) -> Tensor:
    return random_hermitian(n, n, dtype=dtype, seed=seed)


def error_bound(gap: float, nonlinear: bool) -> float:
    """The bound on errors. If fn is not linear in functions of A, and several pairs are close, gap/4 is left."""
    return max(1e-12, gap / 4) if nonlinear else 1e-12


# --- gradients -------------------------------------------------------------------------------------------------------


@each_dtype
@each_problem
@each_spectrum
def test_gradient_at_small_gaps(
    spectrum: Callable[[float], list[float]], make: Callable[[Tensor], Problem], dtype: torch.dtype
) -> None:
    for gap in NEAR:
        A = with_spectrum(spectrum(gap), dtype, seed=1)
        problem = make(M_of(len(A), dtype))
        G = map_gradient(problem, A)
        assert relative_error(G, problem.exact(A)) <= error_bound(gap, make is product_of_two), gap
        assert torch.equal(G, G.mH.resolve_conj())


@pytest.mark.parametrize("m", [2, 4])
@each_dtype
@each_problem
def test_gradient_at_larger_gaps(make: Callable[[Tensor], Problem], dtype: torch.dtype, m: int) -> None:
    """Larger gaps are not closed, so the error is the noise of one evaluation, about 9 eps, over the gap."""
    for gap in (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 3e-8, 2e-8):
        A = with_cluster(6, m, gap, dtype, seed=2)
        problem = make(M_of(6, dtype))
        assert relative_error(map_gradient(problem, A), problem.exact(A)) <= max(1e-13, 2e-15 / gap), gap


@pytest.mark.parametrize("exactly", [True, False], ids=["exact", "rounding-level"])
@each_dtype
@each_problem
def test_exactly_equal(make: Callable[[Tensor], Problem], dtype: torch.dtype, exactly: bool) -> None:
    """Diagonal matrices, in any order, and the same in another basis."""
    levels = torch.tensor([2.0, 1.0, 2.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    A = torch.diag(levels).to(dtype) if exactly else with_spectrum(levels, dtype, seed=3)
    problem = make(M_of(6, dtype))
    assert relative_error(map_gradient(problem, A), problem.exact(A)) <= 1e-13


@pytest.mark.parametrize("exponent", [-100, -10, 10, 100])
@each_dtype
def test_scale_does_not_matter(dtype: torch.dtype, exponent: int) -> None:
    s, M = 10.0**exponent, M_of(6, dtype)
    for gap in (1e-3, 1e-10, 0):
        A = with_cluster(6, 3, gap, dtype, seed=2)
        scaled = map_gradient(one(EXP, M), s * A, lambda L, V: apply_function(torch.exp, L / s, V))
        assert relative_error(s * scaled, map_gradient(one(EXP, M), A)) <= (1e-12 if gap == 1e-3 else 1e-13)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-5, 1e-6, 1e-8, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_single_precision(dtype: torch.dtype, gap: float) -> None:
    for name, spectrum in itertools.product(("exp", "sqrt"), ("pair", "quadruple", "a pair and a triple")):
        A = with_spectrum(SPECTRA[spectrum](gap), dtype, seed=1)
        problem = PROBLEMS[name](M_of(len(A), dtype))
        error = relative_error(map_gradient(problem, A), problem.exact(A))
        assert error <= (2e-5 if gap <= 1e-5 else 2e-6 / gap**1.0)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (3, 0, 5, 1, 4, 2)])
@each_dtype
@each_problem
def test_batch_where_only_some_have_clusters(
    make: Callable[[Tensor], Problem], dtype: torch.dtype, order: tuple[int, ...]
) -> None:
    """Each matrix as if alone: a cluster of two, of four, two clusters, two different gaps, or no cluster."""
    spectra = [
        [0.3, 0.6, 1.1, 1.5, 2.2, 3.0],
        [0.3, 1, 1, 1.5, 2.2, 3.0],
        [0.3, 1, 1, 1, 1, 3.0],
        [0.3, 0.3, 1, 2, 2 + 1e-9, 2 + 2e-9],
        [0.4, 0.7, 1.2, 1.6, 2.3, 2.9],
        [0.3, 1, 1 + 1e-8, 1.5, 2.2, 2.2 + 1e-12],
    ]
    A = torch.stack([with_spectrum(spectra[k], dtype, seed=k) for k in order])
    problem = make(M_of(6, dtype))
    X = A.reshape(2, 3, 6, 6).requires_grad_()
    y = sg.spectral_map(problem.fn, X)
    # One loss for each matrix, because losses of numbers are not sums over the batch.
    if isinstance(y, tuple):
        losses = [problem.loss(tuple(part.flatten(0, 1)[k] for part in y)) for k in range(6)]
    else:
        losses = [problem.loss(y.flatten(0, 1)[k]) for k in range(6)]
    (G,) = torch.autograd.grad(total(losses), X)
    for ours, alone in zip(G.flatten(0, 1), A):
        assert relative_error(ours, problem.exact(alone)) <= error_bound(1e-8, make is product_of_two)


@each_dtype
def test_any_shape(dtype: torch.dtype) -> None:
    """Results with the batch in front and any shape behind it; summed over the batch; complex; several outputs."""
    A = torch.stack([with_cluster(4, m, 0, dtype, seed=m) for m in (2, 3)])
    M, (d_exp, d_sqrt) = M_of(4, dtype), (EXP[1], SQRT[1])
    exact = torch.stack([reference.frechet(X, M, d_exp) for X in A])
    shapes: dict[str, tuple[Fn, Callable[[Any], Tensor], Tensor]] = {
        "(*)": (lambda L, V: (M.mT * apply_function(torch.exp, L, V)).sum((-2, -1)).real, lambda y: y.sum(), exact),
        "()": (lambda L, V: expectation(M, apply_function(torch.exp, L, V)), lambda y: y, exact),
        "(1, *, n, 2, n)": (
            lambda L, V: torch.stack([apply_function(torch.exp, L, V)] * 2, -2)[None],
            lambda y: expectation(M, y[0, ..., 0, :]) + 2 * expectation(M, y[0, ..., 1, :]),
            3 * exact,
        ),
        "complex": (
            lambda L, V: (
                V * torch.exp(1j * L).unsqueeze(-2) @ V.mH.to(torch.complex128)
                if dtype.is_complex
                else (V * torch.exp(1j * L).unsqueeze(-2)) @ V.mT.to(torch.complex128)
            ),
            lambda y: (M.mT * y).sum().imag,
            torch.stack([reference.frechet(X, M, reference.function(mpmath.sin, mpmath.cos)) for X in A]),
        ),
        "one of two used": (
            lambda L, V: (apply_function(torch.exp, L, V), apply_function(torch.sqrt, L, V)),
            lambda y: expectation(M, y[1]),
            torch.stack([reference.frechet(X, M, d_sqrt) for X in A]),
        ),
        "a list": (lambda L, V: [L.sum(-1), apply_function(torch.exp, L, V)], lambda y: expectation(M, y[1]), exact),
        "beside a constant": (
            lambda L, V: (torch.ones(3), apply_function(torch.exp, L, V), torch.arange(2)),
            lambda y: expectation(M, y[1]) * y[0].sum() / 3,
            exact,
        ),
    }
    for name, (fn, loss, expected) in shapes.items():
        X = A.clone().requires_grad_()
        y = sg.spectral_map(fn, X)
        direct = fn(*torch.linalg.eigh(A))
        for ours, plain in zip(*((z if isinstance(z, (tuple, list)) else (z,)) for z in (y, direct))):
            assert (ours.shape, ours.dtype) == (plain.shape, plain.dtype), name
            torch.testing.assert_close(ours.detach(), plain, rtol=1e-13, atol=1e-13)
        (G,) = torch.autograd.grad(loss(y), X)
        assert relative_error(G, expected) <= 1e-12, name


def test_only_the_lower_triangle_is_read() -> None:
    for dtype in ALL:
        A = with_cluster(5, 3, 0, dtype, seed=1)
        problem = one(EXP, M_of(5, dtype))
        for garbage in (1e3, torch.nan):
            dirty = torch.where(torch.ones_like(A, dtype=torch.bool).triu(1), torch.full_like(A, garbage), A)
            assert torch.equal(sg.spectral_map(problem.fn, dirty), sg.spectral_map(problem.fn, A))
            assert torch.equal(map_gradient(problem, dirty), map_gradient(problem, A))


@pytest.mark.parametrize("batch", [(), (0,), (2, 0), (3,)])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_empty_and_small(n: int, batch: tuple[int, ...]) -> None:
    for dtype in ALL:
        X = torch.eye(n, dtype=dtype).expand(*batch, n, n).clone().requires_grad_()
        y = sg.spectral_map(lambda L, V: apply_function(torch.exp, L, V), X)
        assert (y.shape, y.dtype) == (X.shape, dtype)
        (G,) = torch.autograd.grad(y.real.sum(), X)
        expected = torch.e * torch.ones_like(X)  # D exp(1)[M] = e M, M the matrix of ones
        torch.testing.assert_close(G, expected.detach(), rtol=by_precision(dtype, 1e-14, 1e-5), atol=0)


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.0, 1e-9, 0.3])
@each_dtype
def test_tensors_that_fn_closes_over_get_gradients(dtype: torch.dtype, gap: float) -> None:
    """∂ tr(M exp(t A)) / ∂t = tr(M A exp(t A)), with and without a gradient in A, at once and alone."""
    A = with_cluster(6, 3, gap, dtype, seed=4)
    M = M_of(6, dtype)
    B = M_of(6, dtype, seed=5)
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    C = B.clone().requires_grad_()

    def fn(L: Tensor, V: Tensor) -> Tensor:
        return C * apply_function(lambda x: torch.exp(t * x), L, V)

    E = sg.spectral_map(lambda L, V: apply_function(lambda x: torch.exp(0.7 * x), L, V), A)
    dt = expectation(M, B * (A @ E))
    # The expected gradients use the computed E, so that its round-off does not count.
    dC = (M.mT.conj() * E.conj()) if dtype.is_complex else M.mT * E
    weights = reference.function(
        lambda x: mpmath.exp(mpmath.mpf(0.7) * x), lambda x: mpmath.mpf(0.7) * mpmath.exp(mpmath.mpf(0.7) * x)
    )
    dA = reference.frechet(A, M * B.mT, weights)
    for wanted in ((0, 1, 2), (1, 2), (1,), (0,)):
        X = A.clone().requires_grad_(0 in wanted)
        inputs = [X, t, C]
        y = expectation(M, sg.spectral_map(fn, X))
        for k, G in zip(wanted, torch.autograd.grad(y, [inputs[k] for k in wanted])):
            assert relative_error(G, (dA, dt, dC)[k]) <= 1e-12, (wanted, k)


@each_dtype
@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-2])
def test_network_on_invariant_features(dtype: torch.dtype, gap: float) -> None:
    """A network of exp(A)_kk, √A_kk and moments of the levels, against 60-digit differences in A and in its weights."""
    n, hidden = 5, 4
    A = with_cluster(n, 3, gap, dtype, seed=6)
    W1, b1, W2 = (
        normal(*shape, dtype=torch.float64, seed=k)
        for k, shape in enumerate([(hidden, 2 * n + 2), (hidden,), (hidden,)])
    )
    W1 = W1 / 3

    def fn(L: Tensor, V: Tensor, W1: Tensor = W1, b1: Tensor = b1, W2: Tensor = W2) -> Tensor:
        density = V.abs().square()
        features = torch.cat([density @ L.exp(), density @ L.sqrt(), torch.stack([L.sum(-1), L.square().sum(-1)])])
        return W2 @ torch.tanh(W1 @ features + b1)

    to_mpmath = np.vectorize(mpmath.mpmathify, otypes=[object])

    def in_digits(A: Any, W1: Any, b1: Any, W2: Any) -> Any:
        L, V = (mpmath.eighe if dtype.is_complex else mpmath.eigsy)(mpmath.matrix(A.tolist()))
        L, V = np.array(list(L), dtype=object), np.array(V.tolist(), dtype=object)
        density = np.vectorize(lambda z: mpmath.re(z) ** 2 + mpmath.im(z) ** 2, otypes=[object])(V)
        exp, sqrt, tanh = (np.vectorize(f, otypes=[object]) for f in (mpmath.exp, mpmath.sqrt, mpmath.tanh))
        features = np.concatenate([density @ exp(L), density @ sqrt(L), [L.sum(), (L * L).sum()]])
        return W2 @ tanh(W1 @ features + b1)

    leaves = [x.clone().requires_grad_() for x in (A, W1, b1, W2)]
    y = sg.spectral_map(lambda L, V: fn(L, V, *leaves[1:]), leaves[0])
    gradients = torch.autograd.grad(y, leaves)
    with mpmath.workdps(60):
        at = [to_mpmath(x.numpy()) for x in (A, W1, b1, W2)]
        h = mpmath.mpf(10) ** -20
        assert abs(float(in_digits(*at)) - y.item()) <= 1e-13
        for k, (x, G) in enumerate(zip((A, W1, b1, W2), gradients)):
            for seed in range(3):
                E = M_of(n, dtype, seed) if k == 0 else normal(*x.shape, dtype=torch.float64, seed=seed)
                ahead, behind = (
                    in_digits(*(z + sign * h * to_mpmath(E.numpy()) if j == k else z for j, z in enumerate(at)))
                    for sign in (1, -1)
                )
                slope = float((ahead - behind) / (2 * h))
                ours = float((G.conj() * E).sum().real)
                size = float(torch.linalg.vector_norm(G) * torch.linalg.vector_norm(E))
                assert abs(ours - slope) <= 1e-12 * size


# --- functions that depend on the gauge ------------------------------------------------------------------------------


GAUGE_DEPENDENT: dict[str, Callable[[Tensor], Fn]] = {
    "one eigenvector of a level": lambda M: lambda L, V: expectation(M, projector(V, slice(1, 2))),
    "a level cut in two": lambda M: lambda L, V: expectation(M, projector(V, slice(0, 2))),
    "a weight for each": lambda M: (
        lambda L, V: (torch.arange(1, 6, dtype=L.dtype) * (V.conj() * (M @ V)).sum(-2).real).sum()
    ),
    "entries": lambda M: lambda L, V: V.abs().pow(4).sum(),
}


@pytest.mark.parametrize("make", GAUGE_DEPENDENT.values(), ids=GAUGE_DEPENDENT)
@pytest.mark.parametrize("gap", [0.0, 1e-10])
@pytest.mark.parametrize("dtype", ALL)
def test_a_function_that_depends_on_the_gauge_warns(
    make: Callable[[Tensor], Fn], gap: float, dtype: torch.dtype
) -> None:
    A = with_spectrum([0.3, 1, 1 + gap, 1 + 2 * gap, 2.5], dtype, seed=1)
    fn = make(M_of(5, dtype))

    def backward() -> Tensor:
        X = A.clone().requires_grad_()
        return torch.autograd.grad(sg.spectral_map(fn, X), X)[0]

    with pytest.warns(sg.GaugeWarning, match=r"spectralgrad\.spectral_map: ") as caught:
        G = backward()
    assert len(caught) == 1
    # These pairs get the direct value, without rotations; torch's is NaN or noise.
    assert bool(G.isfinite().all())
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match=r"spectralgrad\.spectral_map: "):
        backward()
    with sg.checks("ignore"):
        assert bool(backward().isfinite().all())


def test_dependence_that_vanishes_where_pairs_are_rotated_warns() -> None:
    """P_01 = sin t cos t of the first eigenvector has a slope at t = 0 and none at 45°."""
    A = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    y = sg.spectral_map(lambda L, V: projector(V, slice(0, 1))[0, 1], A)
    with pytest.warns(sg.GaugeWarning, match="depends on the choice of eigenvectors"):
        torch.autograd.grad(y, A)


@each_dtype
def test_the_other_clusters_keep_their_gradient(dtype: torch.dtype) -> None:
    """fn depends on the basis of the lower level, but its gradient in the upper level is exact."""
    M = M_of(6, dtype)
    A = torch.diag(torch.tensor([1.0, 1.0, 2.0, 3.0, 3.0, 3.0], dtype=torch.float64)).to(dtype)

    def fn(L: Tensor, V: Tensor) -> Tensor:
        return expectation(M, apply_function(torch.exp, L, V)) + expectation(M, projector(V, slice(0, 1)))

    X = A.clone().requires_grad_()
    with pytest.warns(sg.GaugeWarning):
        (G,) = torch.autograd.grad(sg.spectral_map(fn, X), X)
    upper = slice(3, 6)
    assert relative_error(G[upper, upper], reference.frechet(A, M, EXP[1])[upper, upper]) <= 1e-12


@pytest.mark.parametrize("dtype", COMPLEX)
def test_phases_raise(dtype: torch.dtype) -> None:
    """A dependence on phases raises as with eigh, with and without clusters."""
    for A in (distinct(4, dtype, 0), with_cluster(4, 2, 0, dtype, 0)):
        X = A.clone().requires_grad_()
        with pytest.raises(sg.GaugeError, match=r"e\^\{i phi\}"):
            torch.autograd.grad(sg.spectral_map(lambda L, V: V[:, -1].real.sum(), X), X)


@pytest.mark.parametrize("gap", NEAR)
@pytest.mark.parametrize("dtype", ALL)
def test_invariant_functions_do_not_warn(dtype: torch.dtype, gap: float) -> None:
    """Projectors onto whole levels are as exact as through eigh (and warnings are errors here)."""
    spectrum = [0.3, 1, 1 + gap, 1 + 2 * gap, 2.5]
    A, M = with_spectrum(spectrum, dtype, seed=1), M_of(5, dtype)
    X = A.clone().requires_grad_()
    y = sg.spectral_map(lambda L, V: expectation(M, projector(V, slice(1, 4))), X)
    (G,) = torch.autograd.grad(y, X)
    assert relative_error(G, reference.frechet(A, M, reference.projector(1, 4))) <= by_precision(dtype, 1e-13, 1e-5)


# --- cost ------------------------------------------------------------------------------------------------------------


class Counted:
    def __init__(self, fn: Fn) -> None:
        self.fn, self.calls = fn, 0

    def __call__(self, L: Tensor, V: Tensor) -> Any:
        self.calls += 1
        return self.fn(L, V)


@each_dtype
def test_without_a_cluster_fn_is_called_once(dtype: torch.dtype) -> None:
    A = torch.stack([distinct(5, dtype, seed) for seed in range(3)])
    loss = invariant_loss(M_of(5, dtype))
    counted = Counted(loss)
    X = A.clone().requires_grad_()
    y = sg.spectral_map(counted, X)
    assert counted.calls == 1
    (G,) = torch.autograd.grad(y, X)
    assert counted.calls == 1
    # Value and gradient are those of eigh.
    assert torch.equal(y.detach(), loss(*sg.eigh(A)))
    assert relative_error(G, gradient(loss, A)) <= 1e-15


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@each_dtype
def test_rounds(m: int, dtype: torch.dtype) -> None:
    """Disjoint pairs of all clusters share a round, so fn is called a bounded number of times.

    A cluster of m takes m - 1 rounds (m if m is odd) for each of two angles, twice as many if complex, and one to test.
    If no derivative is computed, fn is called once.
    """
    A = torch.stack([with_cluster(8, k, 0, dtype, seed=k) for k in (m, 2, m)])
    if m == 3:
        A = torch.cat([A, with_spectrum([0.2, *[1] * m, *[2] * m, 3], dtype, 0)[None]])
    counted = Counted(PROBLEMS["exp"](M_of(8, dtype)).fn)
    X = A.clone().requires_grad_()
    torch.autograd.grad(expectation(M_of(8, dtype), sg.spectral_map(counted, X)), X)
    rounds = (m - 1 + m % 2) * (4 if dtype.is_complex else 2)
    assert counted.calls <= 1 + 2 * (rounds + 1)
    before = counted.calls
    with torch.no_grad():
        sg.spectral_map(counted, X)
    sg.spectral_map(counted, A)
    assert counted.calls == before + 2


# --- second derivatives ----------------------------------------------------------------------------------------------


@each_dtype
def test_second_derivatives_without_a_cluster(dtype: torch.dtype) -> None:
    A, E, M = with_spectrum([0.3, 1, 1.7, 2.5], dtype, seed=2), M_of(4, dtype, seed=7), M_of(4, dtype)
    t = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    for f, weights in (EXP, SQRT, FERMI):
        X = A.clone().requires_grad_()

        def scaled(L: Tensor, V: Tensor, f: Callable[[Tensor], Tensor] = f) -> Tensor:
            return t * apply_function(f, L, V)

        y = expectation(M, sg.spectral_map(scaled, X))
        (G,) = torch.autograd.grad(y, X, create_graph=True)
        product, mixed = torch.autograd.grad(expectation(E, G), (X, t))
        assert relative_error(product, reference.second_frechet(A, M, E, weights)) <= 1e-12
        assert abs(float(mixed) - float(expectation(E, reference.frechet(A, M, weights)))) <= 1e-12


@pytest.mark.parametrize("gap", [0.0, 1e-10])
@each_dtype
def test_second_derivatives_at_a_cluster_raise(dtype: torch.dtype, gap: float) -> None:
    A, M = with_cluster(4, 2, gap, dtype, seed=2), M_of(4, dtype)

    def loss(X: Tensor) -> Tensor:
        return expectation(M, sg.spectral_map(PROBLEMS["exp"](M).fn, X))

    def twice() -> Any:
        X = A.clone().requires_grad_()
        (G,) = torch.autograd.grad(loss(X), X, create_graph=True)
        # The first derivative is right nevertheless.
        assert relative_error(G, PROBLEMS["exp"](M).exact(A)) <= 1e-12
        return torch.autograd.grad(expectation(M, G), X)

    ways = [twice]
    if not dtype.is_complex:
        ways += [lambda: torch.func.hessian(loss)(A), lambda: torch.func.jacrev(torch.func.jacrev(loss))(A)]
    ways.append(lambda: torch.func.jvp(torch.func.grad(loss), (A,), (M,)))
    for way in ways:
        with pytest.raises(RuntimeError, match=r"spectralgrad\.spectral_map: .*second"):
            way()


# --- transforms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.0, 0.3])
@each_dtype
@each_problem
def test_transforms(make: Callable[[Tensor], Problem], dtype: torch.dtype, gap: float) -> None:
    A = torch.stack([with_cluster(4, m, gap, dtype, seed=m) for m in (2, 3)])
    problem = make(M_of(4, dtype))
    E = M_of(4, dtype, seed=9)

    def loss(X: Tensor) -> Tensor:
        return problem.loss(sg.spectral_map(problem.fn, X))

    for k, expected in enumerate(problem.exact(X) for X in A):
        gradients = {
            "grad": torch.func.grad(loss)(A[k]),
            "vjp": torch.func.vjp(loss, A[k])[1](torch.ones((), dtype=torch.float64))[0],
            "vmap(grad)": torch.func.vmap(torch.func.grad(loss))(A)[k],
            "vmap(grad) at the end": torch.func.vmap(torch.func.grad(loss), in_dims=-1)(A.movedim(0, -1))[k],
        }
        if not dtype.is_complex:
            gradients["jacrev"] = torch.func.jacrev(loss)(A[k])
        for name, G in gradients.items():
            assert relative_error(G, expected) <= 1e-12, name
        tangent = torch.func.jvp(loss, (A[k],), (E,))[1]
        slope = expectation(E, expected)
        assert abs(float(tangent - slope)) <= 1e-12 * float(
            torch.linalg.matrix_norm(expected) * torch.linalg.matrix_norm(E)
        )
        mapped = torch.func.vmap(loss)(A)[k]
        torch.testing.assert_close(mapped, loss(A[k]), rtol=1e-14, atol=1e-14)


@each_dtype
def test_gradcheck(dtype: torch.dtype) -> None:
    for A in (with_cluster(4, 3, 0, dtype, seed=1), distinct(3, dtype, 1) + 4 * torch.eye(3)):
        fn = several_outputs(M_of(len(A), dtype)).fn

        def outputs(X: Tensor, fn: Fn = fn) -> Any:
            return sg.spectral_map(fn, hermitian_part(X))

        assert gradcheck(outputs, A.requires_grad_(), check_forward_ad=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_compiles_or_raises_about_clusters(gap: float) -> None:
    A, M = with_cluster(4, 2, gap, torch.float64, seed=2), M_of(4, torch.float64)
    problem = PROBLEMS["exp"](M)

    def loss(X: Tensor) -> Tensor:
        return problem.loss(sg.spectral_map(problem.fn, X))

    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(torch.compile(loss, backend="aot_eager")(X), X)
    assert relative_error(G, problem.exact(A)) <= 1e-12


# --- errors ----------------------------------------------------------------------------------------------------------

EYE = torch.eye(3, dtype=torch.float64)


def _nan() -> Tensor:
    A = EYE.expand(3, 3, 3).clone()
    A[1, 2, 0] = torch.nan
    return A


def _fails(L: Tensor, V: Tensor) -> Tensor:
    raise KeyError("fn's own")


ERRORS: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "fn is no function": ((3, EYE), TypeError, r"spectralgrad\.spectral_map: .*fn"),
    "A is no tensor": ((lambda L, V: L, [[1.0]]), TypeError, "Tensor"),
    "arguments swapped": ((EYE, lambda L, V: L), TypeError, r"spectralgrad\.spectral_map: Expected A to be a Tensor"),
    "nothing returned": ((lambda L, V: None, EYE), TypeError, r"spectralgrad\.spectral_map: .*fn"),
    "a number returned": ((lambda L, V: (L, 3.0), EYE), TypeError, r"spectralgrad\.spectral_map: .*fn"),
    "fn fails": ((_fails, EYE), KeyError, "fn's own"),
    "1-D": (
        (lambda L, V: L, torch.ones(3)),
        RuntimeError,
        r"spectralgrad\.spectral_map: The input tensor A must have at least 2 dimensions, but it has 1",
    ),
    "not square": (
        (lambda L, V: L, torch.ones(2, 3)),
        RuntimeError,
        r"spectralgrad\.spectral_map: A must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    "float16": ((lambda L, V: L, EYE.half()), NotImplementedError, r"spectralgrad\.spectral_map.*Half"),
    "NaN": (
        (lambda L, V: L, _nan()),
        LinAlgError,
        r"spectralgrad\.spectral_map: \(Batch element 1\): Expected the lower triangle of A to be finite, "
        r"but the entry \(2, 0\) is nan",
    ),
}


@pytest.mark.parametrize("differentiated", [False, True], ids=["values", "derivatives"])
@pytest.mark.parametrize("name", ERRORS)
def test_bad_input(name: str, differentiated: bool) -> None:
    (fn, A), kind, message = ERRORS[name]
    if differentiated and isinstance(A, Tensor):
        A = A.clone().requires_grad_()
    with pytest.raises(kind, match=message):
        sg.spectral_map(fn, A)


@each_dtype
def test_a_nonfinite_matrix_is_ignored(dtype: torch.dtype) -> None:
    """Under checks("ignore"), only the bad matrix gives NaN, also if the others have clusters."""
    M = M_of(4, dtype)
    problem = PROBLEMS["exp"](M)
    A = torch.stack([with_cluster(4, m, 0, dtype, seed=m) for m in (2, 3, 2)])
    A[1, 2, 0] = torch.nan
    X = A.clone().requires_grad_()
    with sg.checks("ignore"):
        y = sg.spectral_map(problem.fn, X)
        (G,) = torch.autograd.grad(expectation(M, y), X)
    for k in (0, 2):
        assert relative_error(G[k], problem.exact(A[k])) <= 1e-12
    assert bool(y[1].isnan().all())


# --- tensors without data, and reference cycles ----------------------------------------------------------------------


def _exponential(L: Tensor, V: Tensor) -> Tensor:
    return apply_function(torch.exp, L, V)


@each_dtype
@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 3), (0, 0), (0, 2, 2)], ids=str)
@pytest.mark.parametrize("differentiated", [False, True], ids=["values", "derivatives"])
def test_shapes_without_data(shape: tuple[int, ...], dtype: torch.dtype, differentiated: bool) -> None:
    """On the meta device and for fake tensors, inside their mode and outside."""
    mode = FakeTensorMode()
    A = torch.ones(shape, dtype=dtype)

    def results(X: Tensor) -> dict[str, Tensor]:
        X = X.requires_grad_(differentiated)
        value, trace = sg.spectral_map(lambda L, V: (_exponential(L, V), L.sum(-1)), X)
        if not differentiated:
            return {"value": value, "trace": trace}
        (G,) = torch.autograd.grad(value.abs().sum() + trace.sum(), X)
        return {"value": value, "trace": trace, "gradient": G}

    with mode:
        inside = results(mode.from_tensor(A))
    assert all(isinstance(x, FakeTensor) for x in inside.values())
    with sg.checks("ignore"):
        expected = results(A)
    for got in (results(A.to("meta")), inside, results(mode.from_tensor(A))):
        assert {name: (x.shape, x.dtype) for name, x in got.items()} == {
            name: (x.shape, x.dtype) for name, x in expected.items()
        }


def _exponential_of(A: Tensor) -> Tensor:
    return sg.spectral_map(_exponential, A)


class _Exported(torch.nn.Module):
    def forward(self, A: Tensor) -> Tensor:
        return _exponential_of(A)


TRACED: dict[str, Callable[[Tensor], Any]] = {
    "make_fx": lambda A: make_fx(_exponential_of)(A),
    "fake make_fx": lambda A: make_fx(_exponential_of, tracing_mode="fake")(A),
    "export": lambda A: torch.export.export(_Exported(), (A,)),
    "strict export": lambda A: torch.export.export(_Exported(), (A,), strict=True),
    "fullgraph": lambda A: torch.compile(_exponential_of, fullgraph=True, backend="eager")(A),
}


@pytest.mark.parametrize("trace", TRACED.values(), ids=TRACED)
def test_a_graph_that_would_lose_part_of_the_derivative_is_refused(trace: Callable[[Tensor], Any]) -> None:
    A = torch.diag(torch.tensor([1.0, 1, 2], dtype=torch.float64)).requires_grad_()
    message = r"spectralgrad\.spectral_map: Expected a matrix whose eigenvalues can be read, but the call is traced"
    with pytest.raises(RuntimeError, match=message):
        trace(A)
    torch._dynamo.reset()


def test_values_are_exported() -> None:
    A = distinct(3, torch.float64, 0)
    with torch.no_grad():
        program = torch.export.export(_Exported(), (EYE.double(),))
    assert relative_error(program.module()(A), torch.matrix_exp(A)) <= 1e-13


class Pair(NamedTuple):
    first: Tensor
    rest: list[Tensor]


CONTAINERS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tensor": lambda y, z: y,
    "tuple": lambda y, z: (y, z),
    "nested": lambda y, z: {"y": [y, (z,)], "empty": (), "index": torch.tensor(3)},
    "named tuple": lambda y, z: Pair(y, [z]),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_no_reference_cycles(container: Callable[[Tensor, Tensor], Any]) -> None:
    """All objects that a call and its backward create are freed at once, whatever fn returns."""
    A = torch.diag(torch.tensor([1.0, 1, 1, 2], dtype=torch.float64))

    def call() -> None:
        X = A.clone().requires_grad_()
        result = sg.spectral_map(lambda L, V: container(_exponential(L, V), L.sum()), X)
        assert type(result) is type(container(A, A))
        leaves = [x for x in torch.utils._pytree.tree_leaves(result) if x.is_floating_point()]
        sum(x.sum() for x in leaves).backward()
        assert X.grad is not None
        assert torch.equal(X.grad, X.grad.mT)

    for _ in range(2):
        call()
    gc.disable()
    gc.freeze()  # older objects do not count
    try:
        for _ in range(5):
            call()
        assert gc.collect() == 0
    finally:
        gc.unfreeze()
        gc.enable()
