"""Tangents of eigh: their values, and what they must not depend on. tests/cpp/test_eigh_jvp.cpp tests each rule."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import pytest
import torch
import torch.autograd.forward_ad as fw
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import reference
import spectralgrad as sg
from problems import (
    ALL,
    CLUSTER,
    DOUBLE,
    GAPS,
    by_precision,
    clustered,
    distinct,
    double_of,
    eps,
    expectation,
    normal,
    projector,
    random_hermitian,
)
from reference import relative_error

Tangents = tuple[Tensor, Tensor]
Jvp = Callable[[Tensor, Tensor], Tangents]


def _func(A: Tensor, E: Tensor) -> Tangents:
    return torch.func.jvp(lambda X: tuple(sg.eigh(X)), (A,), (E,))[1]


def _dual(A: Tensor, E: Tensor) -> Tangents:
    with fw.dual_level():
        L, V = (fw.unpack_dual(x).tangent for x in sg.eigh(fw.make_dual(A, E)))
        return L, V


WAYS: dict[str, Jvp] = {"torch.func": _func, "dual numbers": _dual}
each_way = pytest.mark.parametrize("jvp", WAYS.values(), ids=WAYS)


def problem(count: int, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Matrices, and tangents that are not Hermitian; only their Hermitian part matters."""
    A = torch.stack([distinct(n, dtype, seed) for seed in range(count)])
    return A, normal(count, n, n, dtype=dtype, seed=n)


def operator(E: Tensor, L: Tensor, V: Tensor) -> Tangents:
    dL, dV = torch.ops.spectralgrad.eigh_jvp(E, L, V, "gated", [4.0, 2.0])
    return dL, dV


def projectors(V: Tensor, dV: Tensor) -> Tensor:
    """Tangents (*, n, n, n) of the projectors onto each eigenvector, which do not depend on phases."""
    half = torch.einsum("...ik,...jk->...kij", dV, V.conj())
    return half + half.mH


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("n", [*range(1, 9), 17, 33, 48, 65])
@pytest.mark.parametrize("dtype", ALL)
@each_way
def test_values(jvp: Jvp, dtype: torch.dtype, n: int, count: int, device: str) -> None:
    A, E = problem(count, n, dtype)
    wide = double_of(dtype)
    exact, along = A.to(wide), (E + E.mH).to(wide) / 2
    L, V = torch.linalg.eigh(exact)
    # First-order perturbation theory, with eigenvalues 0.75 apart or more.
    X = V.mH @ along @ V
    gaps = (L.unsqueeze(-2) - L.unsqueeze(-1)).masked_fill(torch.eye(n, dtype=torch.bool), torch.inf)
    dL, dV = jvp(A.to(device), E.to(device))
    tolerance = 8 * (n + 4) * eps(dtype)
    assert (dL.dtype, dV.dtype) == (dtype.to_real(), dtype)
    assert relative_error(dL, X.diagonal(0, -2, -1).real) <= tolerance
    ours = projectors(sg.eigh(A.to(device)).eigenvectors, dV)
    expected = projectors(V, V @ (X / gaps))
    assert float((ours.cpu() - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1)
    # The gauge: the tangent of an eigenvector is orthogonal to it.
    overlaps = (sg.eigh(A.to(device)).eigenvectors.conj() * dV).sum(-2)
    assert float(overlaps.abs().max()) <= tolerance


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("dtype", ALL)
def test_near_a_degeneracy(dtype: torch.dtype, gap: float, device: str) -> None:
    A = torch.stack([clustered(gap, dtype, seed) for seed in range(3)])
    E = random_hermitian(3, 8, 8, dtype=dtype, seed=100)
    tangents = torch.func.jvp(lambda X: projector(sg.eigh(X).eigenvectors), (A.to(device),), (E.to(device),))[1]
    # If the gap is resolved, two parts of the tangent cancel. Forward mode cannot avoid this error of eps over the gap.
    noise = eps(dtype) / max(gap, eps(dtype)) if gap > 4 * eps(dtype) else 0
    for X, D, tangent in zip(A, E, tangents, strict=True):
        expected = reference.frechet(X, D, reference.projector(CLUSTER.start, CLUSTER.stop))
        assert relative_error(tangent, expected) <= by_precision(dtype, 1e-13, 1e-5) + 40 * noise


@pytest.mark.parametrize("dtype", ALL)
def test_exact_degeneracy(dtype: torch.dtype, device: str) -> None:
    """Pairs of exactly equal eigenvalues contribute zero; perturbation theory gives the contributions of the others."""
    levels = torch.tensor([-1, 1, 1, 1, 3], dtype=dtype.to_real(), device=device)
    E = random_hermitian(2, 5, 5, dtype=dtype, seed=3).to(device)
    V = torch.eye(5, dtype=dtype, device=device)
    dL, dV = operator(E, levels.expand(2, 5), V.expand(2, 5, 5))
    gaps = levels - levels.unsqueeze(-1)
    expected = torch.where(gaps == 0, torch.zeros((), dtype=dtype, device=device), E / torch.where(gaps == 0, 1, gaps))
    torch.testing.assert_close(dV, expected, rtol=4 * eps(dtype), atol=0)
    torch.testing.assert_close(dL, E.diagonal(0, -2, -1).real, rtol=0, atol=0)
    dL, dV = operator(E, torch.zeros_like(dL), V.expand(2, 5, 5))
    assert bool((dV == 0).all())


@pytest.mark.parametrize("dtype", DOUBLE)
def test_functions_of_eigenvalues(dtype: torch.dtype, device: str) -> None:
    """The tangent of a sum over a degenerate level is accurate to the last digits."""
    for gap in (0.1, 1e-8, 0):
        A, E = clustered(gap, dtype, 0), random_hermitian(8, 8, dtype=dtype, seed=7)
        expected = expectation(
            E, reference.frechet(A, torch.eye(8, dtype=dtype), reference.function(mpmath.exp, mpmath.exp))
        )
        for values in (sg.eigvalsh, lambda X: sg.eigh(X).eigenvalues):
            tangent = torch.func.jvp(lambda X, f=values: f(X).exp().sum(), (A.to(device),), (E.to(device),))[1]
            assert abs(float(tangent) - float(expected)) <= 1e-13 * float(A.abs().max().exp())


@pytest.mark.parametrize("exponent", [-30, -20, 20, 30])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", [3, 8, 17, 70])
def test_scale_does_not_matter(n: int, dtype: torch.dtype, exponent: int, device: str) -> None:
    A, E = (x.to(device) for x in problem(3, n, dtype))
    s = 10.0**exponent
    V = sg.eigh(A).eigenvectors
    expected_dL, expected_dV = _func(A, E)
    dL, dV = _func(s * A, s * E)
    assert relative_error(dL / s, expected_dL) <= 200 * eps(dtype)
    scaled = sg.eigh(s * A).eigenvectors
    assert relative_error(projectors(scaled, dV), projectors(V, expected_dV)) <= 200 * eps(dtype)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "by columns": lambda x: x.mT.contiguous().mT,
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
    "sliced": lambda x: torch.nn.functional.pad(x, (1, 2, 3, 1))[..., 3:-1, 1:-2],
    "batch last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "backwards": lambda x: x.flip(0).contiguous().flip(0),
    "conjugated": lambda x: x.conj().resolve_conj().conj(),
    "negative view": lambda x: torch._neg_view(-x),
    "conjugate transpose": lambda x: x.mH.clone().mH,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("n", [1, 3, 17, 70])
@pytest.mark.parametrize("dtype", ALL)
def test_layout_does_not_matter(layout: Callable[[Tensor], Tensor], dtype: torch.dtype, n: int, device: str) -> None:
    A, E = (x.to(device) for x in problem(6, n, dtype))
    L, V = sg.eigh(A)
    expected = operator(E, L, V)
    for results in (operator(layout(E), L, V), operator(E, L, layout(V)), operator(layout(E), L, layout(V))):
        for ours, theirs in zip(results, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0 if n < 40 else 1e-4)
    for ours, theirs in zip(_func(A, layout(E)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0 if n < 40 else 1e-4)


@pytest.mark.parametrize("n", [2, 8, 33, 70])
@pytest.mark.parametrize("dtype", ALL)
def test_one_tangent_for_all_and_one_matrix_for_all(dtype: torch.dtype, n: int) -> None:
    A, E = problem(9, n, dtype)
    ours = _dual(A, E[:1].expand(9, n, n))
    expected = _dual(A, E[:1].expand(9, n, n).contiguous())
    assert_same_bits(ours, expected)
    ours = torch.func.vmap(_func, in_dims=(None, 0))(A[0], E)
    expected = _dual(A[:1].repeat(9, 1, 1), E)
    for x, y in zip(ours, expected, strict=True):
        # Another method may decompose the matrices, and its eigenvectors may have other phases.
        assert relative_error(x.abs(), y.abs()) <= 100 * n * eps(dtype)


def assert_same_bits(ours: Tangents, theirs: Tangents) -> None:
    for x, y in zip(ours, theirs, strict=True):
        assert torch.equal(torch.nan_to_num(x, nan=7.0), torch.nan_to_num(y, nan=7.0))


def assert_bits_do_not_depend_on_the_batch(n: int, dtype: torch.dtype, set_threads: Callable[[int], None]) -> None:
    A, E = problem(70, n, dtype)
    set_threads(1)
    expected = _dual(A, E)
    order = torch.randperm(70)
    for count in (1, 2, 3):
        set_threads(count)
        assert_same_bits(_dual(A[order], E[order]), tuple(x[order] for x in expected))  # type: ignore[arg-type]
    for some in (slice(0, 1), slice(3, 5), slice(7, 24), slice(50, 70)):
        assert_same_bits(_dual(A[some], E[some]), tuple(x[some] for x in expected))  # type: ignore[arg-type]
    assert_same_bits(_dual(A[9], E[9]), (expected[0][9], expected[1][9]))


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("dtype", ALL)
def test_bits_of_small_matrices(dtype: torch.dtype, n: int, set_threads: Callable[[int], None]) -> None:
    assert_bits_do_not_depend_on_the_batch(n, dtype, set_threads)


@pytest.mark.parametrize("n", [9, 17, 24, 25, 33, 64])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.usefixtures("deterministic")
def test_bits_under_deterministic_algorithms(dtype: torch.dtype, n: int, set_threads: Callable[[int], None]) -> None:
    assert_bits_do_not_depend_on_the_batch(n, dtype, set_threads)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 17, 33, 70])
@pytest.mark.parametrize("dtype", ALL)
def test_a_nan_matrix_does_not_change_the_other_tangents(dtype: torch.dtype, n: int, device: str) -> None:
    A, E = (x.to(device) for x in problem(21, n, dtype))
    expected = _func(A, E)
    others = [k for k in range(21) if k != 4]
    bad_A, bad_E = A.clone(), E.clone()
    bad_A[4, 1, 0] = bad_E[4, 1, 0] = torch.nan
    with sg.checks("ignore"):
        results = [_func(bad_A, E), _func(A, bad_E)]
    for result in results:
        for ours, theirs in zip(result, expected, strict=True):
            assert torch.equal(ours[others], theirs[others])
            assert bool(ours[4].isnan().all())


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (0, 0), (2, 0, 3, 3)], ids=str)
@pytest.mark.parametrize("dtype", ALL)
@each_way
def test_empty_batches_and_matrices(jvp: Jvp, dtype: torch.dtype, shape: tuple[int, ...], device: str) -> None:
    A = torch.empty(shape, dtype=dtype, device=device)
    dL, dV = jvp(A, A)
    assert dL.shape == shape[:-1]
    assert dV.shape == shape


def test_one_operator_and_nothing_is_copied() -> None:
    A, E = problem(3, 4, torch.float64)
    code = make_fx(_func)(A, E).code
    assert code.count("spectralgrad.eigh_jvp") == 1
    assert "matmul" not in code
    assert "bmm" not in code
    V = sg.eigh(A).eigenvectors
    assert _dual(A, E)[1].stride() == V.stride()


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("dtype", DOUBLE)
def test_the_tangent_is_differentiated_too(dtype: torch.dtype, n: int, device: str) -> None:
    """A tangent is linear in its direction, so its derivative in the direction is the vjp."""
    A, E = (x.to(device) for x in problem(2, n, dtype))
    gL, gV = normal(2, n, dtype=torch.float64, seed=5).to(device), normal(2, n, n, dtype=dtype, seed=6).to(device)

    def paired(X: Tensor, D: Tensor) -> Tensor:
        dL, dV = _func(X, D)
        return (gL * dL).sum() + (gV.conj() * dV).sum().real

    with sg.checks("ignore"):
        (expected,) = torch.func.vjp(lambda X: tuple(sg.eigh(X)), A)[1]((gL, gV))
    ways = [torch.func.grad(paired, argnums=1)(A, E)]
    leaf = E.clone().requires_grad_()
    ways.append(torch.autograd.grad(paired(A, leaf), leaf)[0])
    ways.append(torch.func.vmap(torch.func.grad(paired, argnums=1), in_dims=(None, 0))(A, torch.stack([E, 2 * E]))[1])
    for G in ways:
        assert relative_error(G, expected) <= 1e-12
