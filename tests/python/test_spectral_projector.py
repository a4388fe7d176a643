"""Projectors onto spans of eigenvectors: values and two derivatives against 60 digits and closed forms.

test_funm.py tests layouts, batches, triangles and matrices that are not finite, together with the other functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, jvp, vmap

import reference
import spectralgrad as sg
from problems import (
    ALL,
    DOUBLE,
    LinAlgError,
    benzene,
    buckminsterfullerene,
    by_precision,
    cluster,
    directions,
    distinct,
    each_double,
    eps,
    expectation,
    gradient,
    gradient_of,
    hermitian_part,
    hessian_times,
    huckel,
    normal,
    projector_loss,
    total,
    with_cluster,
    with_spectrum,
)
from reference import relative_error

GAPS = [1.0, 0.1, *(10.0**-k for k in range(2, 16)), 0.0]
DTYPES_AND_GAPS = [(dtype, gap) for dtype in ALL for gap in GAPS if dtype in DOUBLE or gap >= 1e-8 or gap == 0]
SIZES = [(3, 2), (4, 3), (7, 5)]  # size of the matrix, size of its cluster


def loss(M: Tensor, start: int, stop: int) -> Callable[[Tensor], Tensor]:
    return lambda X: expectation(M, sg.spectral_projector(X, start, stop))


# --- values, gradients and Hessians ----------------------------------------------------------------------------------
#
# Bounds are multiples of the relative condition number, as in test_funm.py: about |A| over the gap to other levels.


def bound(dtype: torch.dtype, condition: float) -> float:
    return by_precision(dtype, min(1e-14 * max(1, condition), 1e-13), 3e-6 * max(1, condition))


@pytest.mark.parametrize(("dtype", "gap"), DTYPES_AND_GAPS)
def test_a_cluster_and_its_complement(dtype: torch.dtype, gap: float, device: str) -> None:
    for n, m in SIZES if dtype in DOUBLE else SIZES[:2]:
        A, (M, E) = with_cluster(n, m, gap, dtype, seed=n), directions(n, dtype)
        inside = cluster(n, m)
        for start, stop in [(inside.start, inside.stop), (0, inside.stop)]:
            exact = reference.of(A, reference.step(start, stop))
            P = sg.spectral_projector(A.to(device), start, stop)
            assert relative_error(P, exact.value()) <= bound(dtype, exact.condition())
            f = loss(M.to(device), start, stop)
            G = gradient_of(f, A.to(device))
            assert relative_error(G, exact.first(M)) <= bound(dtype, exact.condition_of_first(M))
            if dtype in DOUBLE:
                product = hessian_times(f, A.to(device), E.to(device))
                assert relative_error(product, exact.second(M, E)) <= 1e-12


def test_size_32() -> None:
    dtype = torch.float64
    A, (M, E), inside = with_cluster(32, 5, 1e-6, dtype, seed=0), directions(32, dtype), cluster(32, 5)
    exact = reference.of(A, reference.step(inside.start, inside.stop))
    f = loss(M, inside.start, inside.stop)
    assert relative_error(gradient_of(f, A), exact.first(M)) <= 1e-13
    assert relative_error(hessian_times(f, A, E), exact.second(M, E)) <= 1e-12


@pytest.mark.parametrize("border", [1e-2, 1e-4, 1e-6])
@each_double
def test_near_its_border(dtype: torch.dtype, border: float) -> None:
    """If the next level is close, the error is proportional to the condition. Gaps inside a level do not matter."""
    M, _ = directions(5, dtype)
    for inside in (1e-9, 0):
        A = with_spectrum([-1, -1 + inside, -1 + border, -1 + border + inside, 2], dtype, seed=0)
        exact = reference.of(A, reference.step(0, 2))
        assert relative_error(sg.spectral_projector(A, 0, 2), exact.value()) <= 1e-14 * exact.condition()
        assert relative_error(gradient_of(loss(M, 0, 2), A), exact.first(M)) <= 1e-14 * exact.condition_of_first(M)


@pytest.mark.parametrize("exponent", [-100, -10, 10, 100])
@each_double
def test_scale_does_not_matter(dtype: torch.dtype, exponent: int) -> None:
    """P(sA) = P(A), so each derivative adds a factor 1/s."""
    s = 10.0**exponent
    M, E = directions(6, dtype)
    f = loss(M, 1, 5)
    for gap in (1e-3, 1e-9, 0):
        A = with_cluster(6, 4, gap, dtype, seed=0)
        if abs(exponent) <= 10:
            exact = reference.of(s * A, reference.step(1, 5))
            assert relative_error(gradient_of(f, s * A), exact.first(M)) <= 1e-13
            assert relative_error(hessian_times(f, s * A, E), exact.second(M, E)) <= 1e-12
        assert relative_error(s * gradient_of(f, s * A), gradient_of(f, A)) <= 1e-13
        assert relative_error(s * (s * hessian_times(f, s * A, E)), hessian_times(f, A, E)) <= 1e-12


@pytest.mark.parametrize("exponent", [-30, -10, 10, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_scale_does_not_matter_in_single_precision(dtype: torch.dtype, exponent: int) -> None:
    s = 10.0**exponent
    f = loss(directions(6, dtype)[0], 1, 5)
    for gap in (1e-1, 1e-3, 0):
        A = with_cluster(6, 4, gap, dtype, seed=0)
        assert relative_error(s * gradient_of(f, s * A), gradient_of(f, A)) <= 1e-5


@pytest.mark.parametrize(
    ("graph", "occupied", "low", "high"),
    [(benzene, 3, -4.0, 0.0), (buckminsterfullerene, 30, -3.25, -0.2)],
    ids=["benzene", "C60"],
)
def test_occupied_projector_of_a_molecule(graph: Any, occupied: int, low: float, high: float, device: str) -> None:
    H = huckel(graph())
    M, _ = directions(len(H), torch.float64)
    G = gradient_of(loss(M.to(device), 0, occupied), H.to(device))
    assert relative_error(G, reference.resolvent_frechet(H, M, low, high)) <= 1e-12


# --- the spectrum {1, 1, 3, 3} ---------------------------------------------------------------------------------------


def _two_levels(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The matrix, and the projectors onto its levels 1 and 3."""
    V = torch.linalg.qr(normal(4, 4, dtype=dtype, seed=0)).Q
    P, Q = V[:, :2] @ V[:, :2].mH, V[:, 2:] @ V[:, 2:].mH
    return hermitian_part(P + 3 * Q), P, Q


def _second_derivative(P: Tensor, Q: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    """D²P[X, Y], for differences f[1,3] = -1/2, f[1,1,3] = -1/4, f[1,3,3] = 1/4 of the step, 0 inside the levels."""
    total = torch.zeros_like(P)
    for B, C in ((X, Y), (Y, X)):
        total += (-P @ B @ Q @ C @ P + Q @ B @ P @ C @ Q) / 4
        total += (-P @ B @ P @ C @ Q + P @ B @ Q @ C @ Q) / 4
        total += (-Q @ B @ P @ C @ P + Q @ B @ Q @ C @ P) / 4
    return total


@each_double
def test_closed_forms_at_two_levels(dtype: torch.dtype) -> None:
    A, P, Q = _two_levels(dtype)
    M, X = directions(4, dtype)
    exact = reference.of(A, reference.step(0, 2))
    assert relative_error(exact.second(M, X), _second_derivative(P, Q, M, X)) <= 1e-14  # the closed form is right
    assert relative_error(sg.spectral_projector(A, 0, 2), P) <= 1e-14
    assert relative_error(gradient_of(loss(M, 0, 2), A), -(P @ M @ Q + Q @ M @ P) / 2) <= 1e-14
    assert relative_error(hessian_times(loss(M, 0, 2), A, X), _second_derivative(P, Q, M, X)) <= 1e-13
    assert relative_error(hessian_times(loss(M, 2, 4), A, X), -_second_derivative(P, Q, M, X)) <= 1e-13


COMPOSITIONS = {
    f"{outer.__name__}({inner.__name__})": (outer, inner)
    for outer, inner in itertools.product((jacrev, jacfwd), repeat=2)
}


@pytest.mark.parametrize(("outer", "inner"), COMPOSITIONS.values(), ids=COMPOSITIONS)
@each_double
def test_second_derivative_along_a_line(outer: Any, inner: Any, dtype: torch.dtype) -> None:
    """(d/dt)² tr(M P(A + tX)). Through eigh every order of modes is wrong at this A: 0.76 or 0.66 instead of 0.88."""
    A, P, Q = _two_levels(dtype)
    M, X = directions(4, dtype)
    expected = expectation(M, _second_derivative(P, Q, X, X))
    zero = torch.zeros((), dtype=torch.float64)
    along = lambda t: loss(M, 0, 2)(A + t * X)  # noqa: E731
    assert relative_error(outer(inner(along))(zero), expected) <= 1e-12
    # The projector itself, entry by entry.
    entries = lambda t: torch.view_as_real(sg.spectral_projector(A + t * X, 0, 2) + 0j)  # noqa: E731
    twice = torch.view_as_complex(outer(inner(entries))(zero).contiguous())
    assert relative_error(twice, _second_derivative(P, Q, X, X)) <= 1e-12
    batched = vmap(outer(inner(along)))(torch.stack([zero + 0.1, zero]))
    assert relative_error(batched[1], expected) <= 1e-12


@pytest.mark.parametrize(("outer", "inner"), COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_hessian_in_all_entries(outer: Any, inner: Any) -> None:
    A, P, Q = _two_levels(torch.float64)
    M, X = directions(4, torch.float64)
    H = outer(inner(lambda Y: loss(M, 0, 2)(hermitian_part(Y))))(A)
    assert relative_error(torch.tensordot(H, X), _second_derivative(P, Q, M, X)) <= 1e-12


@pytest.mark.parametrize("spectrum", [[1, 1, 3, 3], [-1, 2, 2, 2]])
@each_double
def test_gradcheck(spectrum: list[float], dtype: torch.dtype, device: str) -> None:
    A = with_spectrum(spectrum, dtype, seed=5).to(device).requires_grad_()
    border = spectrum.index(spectrum[-1])

    def projectors(X: Tensor) -> Tensor:
        return sg.spectral_projector(hermitian_part(X), 0, border)

    # torch itself fails batched forward gradients through the .mH of a complex tensor (an internal assert).
    real = not dtype.is_complex
    assert gradcheck(projectors, A, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=real)
    assert gradgradcheck(
        projectors,
        A,
        check_batched_grad=True,
        check_fwd_over_rev=True,
        check_rev_over_rev=True,
        fast_mode=dtype.is_complex,
    )


def test_third_derivatives() -> None:
    """Against a difference of second derivatives; a fourth derivative raises."""
    A, _, _ = _two_levels(torch.float64)
    M, X = directions(4, torch.float64)
    along = lambda t: loss(M, 0, 2)(A + t * X)  # noqa: E731
    zero = torch.zeros((), dtype=torch.float64)
    second, h = jacfwd(jacfwd(along)), 1e-3
    expected = (8 * (second(zero + h) - second(zero - h)) - (second(zero + 2 * h) - second(zero - 2 * h))) / (12 * h)
    for transforms in itertools.product((grad, jacfwd), repeat=3):
        f = along
        for transform in transforms:
            f = transform(f)
        torch.testing.assert_close(f(zero), expected, rtol=1e-7, atol=1e-7)
        with pytest.raises(RuntimeError, match=r"spectralgrad.*fourth"):
            grad(f)(zero)


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("batch", [(), (0,), (2,), (2, 0, 3), (2, 3)])
def test_empty_and_full_ranges(n: int, batch: tuple[int, ...], device: str) -> None:
    """Empty and full ranges give 0 and the identity. Their derivatives vanish, also at degenerate eigenvalues."""
    for dtype in ALL:
        A = torch.eye(n, dtype=dtype, device=device).expand(*batch, n, n).contiguous()
        for start, stop, value in [(0, 0, 0 * A), (n, n, 0 * A), (0, n, A)]:
            P = sg.spectral_projector(A, start, stop)
            assert (P.shape, P.dtype, P.device) == (A.shape, A.dtype, A.device)
            torch.testing.assert_close(P, value, rtol=0, atol=4 * eps(dtype))
            f = lambda X, start=start, stop=stop: sg.spectral_projector(X, start, stop).real.sum()  # noqa: E731
            assert torch.equal(gradient_of(f, A), 0 * A)
            assert torch.equal(hessian_times(f, A, A), 0 * A)


I4 = torch.eye(4, dtype=torch.float64)
RANGES: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "stop beyond the end": (1, 5, ValueError, r"0 <= start <= stop <= 4, but got start=1 and stop=5"),
    "stop before start": (3, 2, ValueError, r"0 <= start <= stop <= 4, but got start=3 and stop=2"),
    "start below 0": (-1, 2, ValueError, r"0 <= start <= stop <= 4, but got start=-1 and stop=2"),
    "no integer": (0.5, 2, TypeError, r"start to be an int, but got float"),
    "none": (0, None, TypeError, r"stop to be an int, but got NoneType"),
}


@pytest.mark.parametrize(("start", "stop", "kind", "message"), RANGES.values(), ids=RANGES)
def test_bad_ranges(start: Any, stop: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=r"spectralgrad\.spectral_projector: Expected " + message):
        sg.spectral_projector(I4, start, stop)


@pytest.mark.parametrize(("start", "stop", "cut"), [(0, 2, "stop"), (2, 4, "start"), (2, 3, "start")])
@pytest.mark.parametrize("dtype", ALL)
def test_cut_through_a_level(start: int, stop: int, cut: str, dtype: torch.dtype) -> None:
    level = torch.diag(torch.tensor([2.5, -1, 2.5, 2.5], dtype=dtype))  # ascending: -1, 2.5, 2.5, 2.5
    good = torch.diag(torch.tensor([1, 2, 3, 4], dtype=dtype))
    sentence = rf"Expected {cut} to fill whole levels, but 2 eigenvectors cut the level 2\.5 of multiplicity 3"
    with pytest.raises(LinAlgError, match=r"spectralgrad\.spectral_projector: " + sentence):
        sg.spectral_projector(level, start, stop)
    batch = torch.stack([good, level, good])
    with pytest.raises(LinAlgError, match=r"\(Batch element 1\): " + sentence):
        sg.spectral_projector(batch, start, stop)
    with sg.checks("ignore"):
        P = sg.spectral_projector(batch, start, stop)
        assert bool(P[1].isnan().all())
        assert torch.equal(P[[0, 2]], sg.spectral_projector(good, start, stop).expand(2, 4, 4))


# --- identities ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 3), st.floats(0.3, 2)), min_size=2, max_size=4),
    st.data(),
    st.integers(0, 10**6),
    st.sampled_from(DOUBLE),
)
def test_levels_of_any_multiplicity(
    levels: list[tuple[int, float]], data: st.DataObject, seed: int, dtype: torch.dtype
) -> None:
    """Projectors onto all levels are idempotent, orthogonal and complete, and derivatives obey these identities."""
    spectrum: list[float] = []
    borders = [0]
    energy = data.draw(st.floats(-3, 3))
    for multiplicity, step in levels:
        spectrum += [energy] * multiplicity
        borders.append(len(spectrum))
        energy += step
    n = len(spectrum)
    A, (M, E) = with_spectrum(spectrum, dtype, seed), directions(n, dtype)
    ranges = list(itertools.pairwise(borders))
    projectors = [sg.spectral_projector(A, *r) for r in ranges]
    for (start, stop), P in zip(ranges, projectors, strict=True):
        torch.testing.assert_close(P @ P, P, rtol=0, atol=1e-14)
        assert torch.equal(P, P.mH.resolve_conj())
        assert abs(float(P.trace().real) - (stop - start)) <= 1e-14
        torch.testing.assert_close(P @ A, A @ P, rtol=0, atol=1e-13)
    torch.testing.assert_close(total(projectors), torch.eye(n, dtype=dtype), rtol=0, atol=1e-13)
    tolerance: dict[str, Any] = {"rtol": 0, "atol": 1e-11}
    for derivative in (gradient_of, lambda f, X: hessian_times(f, X, E)):
        whole = total(derivative(loss(M, *r), A) for r in ranges)
        torch.testing.assert_close(whole, torch.zeros_like(A), **tolerance)
    # P² = P along any line: P' = PP' + P'P.
    P, tangent = jvp(lambda X: sg.spectral_projector(X, *ranges[0]), (A,), (E,))[:2]
    torch.testing.assert_close(P @ tangent + tangent @ P, tangent, **tolerance)
    exact = reference.of(A, reference.step(*ranges[0]))
    assert relative_error(tangent, exact.first(E)) <= 1e-14 * exact.condition_of_first(E)


@pytest.mark.parametrize("dtype", ALL)
def test_equals_eigh_off_degeneracy(dtype: torch.dtype) -> None:
    A, (M, _) = distinct(6, dtype, 0), directions(6, dtype)
    G = gradient(projector_loss(M, slice(1, 4)), A)
    assert relative_error(gradient_of(loss(M, 1, 4), A), G) <= 100 * eps(dtype)


# --- compiled --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
@each_double
def test_compiled(dtype: torch.dtype) -> None:
    M, _ = directions(4, dtype)
    compiled = torch.compile(loss(M, 1, 3), backend="aot_eager", fullgraph=True)
    for spectrum in ([-1, 0.5, 1.5, 3], [-1, 1, 1, 3]):
        A = with_spectrum(spectrum, dtype, seed=0)
        exact = reference.of(A, reference.step(1, 3))
        assert relative_error(compiled(A), expectation(M, exact.value())) <= 1e-13
        assert relative_error(gradient_of(compiled, A), exact.first(M)) <= 1e-13
