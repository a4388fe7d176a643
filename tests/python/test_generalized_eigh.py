"""Values and derivatives of the generalized problem against SciPy, mpmath and closed forms."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

import generalized_reference
import spectralgrad as sg
from problems import (
    ALL,
    COMPLEX,
    DOUBLE,
    LinAlgError,
    Loss,
    by_precision,
    double_of,
    each_double,
    each_dtype,
    eps,
    expectation,
    hermitian_part,
    normal,
    projector,
    random_hermitian,
    return_types,
    total,
    with_spectrum,
)
from reference import relative_error

TYPES = [1, 2, 3]
each_type = pytest.mark.parametrize("itype", TYPES)


def positive(n: int, dtype: torch.dtype, seed: int, condition: float = 10.0) -> Tensor:
    return with_spectrum(np.geomspace(1 / condition, 1, n), dtype, seed)


def problem(spectrum: Any, B: Tensor, itype: int, seed: int) -> Tensor:
    """An A for which the problem has these eigenvalues, in the precision of B."""
    n = B.shape[-1]
    wide = B.to(double_of(B.dtype))
    Q = torch.linalg.qr(normal(n, n, dtype=wide.dtype, seed=seed)).Q
    L = torch.linalg.cholesky(wide)
    C = (Q * torch.as_tensor(spectrum, dtype=torch.float64)) @ Q.mH
    inverse = torch.linalg.inv(L)
    A = L @ C @ L.mH if itype == 1 else inverse.mH @ C @ inverse
    return hermitian_part(A).to(B.dtype)


def residual(A: Tensor, B: Tensor, L: Tensor, V: Tensor, itype: int) -> float:
    """The largest relative violation of the equation and of the normalization, in units of eps·n."""
    n = A.shape[-1]
    left = {1: lambda: A @ V, 2: lambda: A @ (B @ V), 3: lambda: B @ (A @ V)}[itype]()
    right = (B @ V if itype == 1 else V) * L.unsqueeze(-2)
    unit = V.mH @ (torch.linalg.solve(B, V) if itype == 3 else B @ V)
    errors = [(left - right).abs().max() / right.abs().max(), (unit - torch.eye(n, dtype=A.dtype)).abs().max()]
    return float(max(errors)) / (eps(A.dtype) * n)


# --- values ----------------------------------------------------------------------------------------------------------


@each_type
@pytest.mark.parametrize("UPLO", ["L", "U", "l", "u"])
@each_dtype
def test_values(dtype: torch.dtype, UPLO: str, itype: int) -> None:
    for n in (1, 2, 3, 4, 5, 8, 17, 32, 33, 60, 70):
        A = random_hermitian(3, n, n, dtype=dtype, seed=n)
        B = torch.stack([positive(n, dtype, seed) for seed in range(3)])
        junk = normal(3, n, n, dtype=dtype, seed=1) * 1e3
        halves = [x.tril() + junk.triu(1) if UPLO in "Ll" else x.triu() + junk.tril(-1) for x in (A, B)]
        result = sg.generalized_eigh(halves[0], halves[1], UPLO, itype=itype)
        L, V = result
        assert type(result) is return_types.linalg_eigh
        assert (L.dtype, V.dtype) == (A.real.dtype, dtype)
        assert residual(A, B, L, V, itype) <= 60
        for i in range(3):
            expected = scipy.linalg.eigh(A[i].numpy(), B[i].numpy(), type=itype, eigvals_only=True)
            scale = float(np.abs(expected).max())
            assert np.abs(L[i].numpy() - expected).max() <= 100 * eps(dtype) * n * scale


@each_type
@each_dtype
def test_no_matrices_and_empty_matrices(dtype: torch.dtype, itype: int) -> None:
    for shape in ((0, 3, 3), (0, 0), (2, 0, 0), (0, 40, 40)):
        A, B = (torch.zeros(shape, dtype=dtype, requires_grad=True) for _ in range(2))
        L, V = sg.generalized_eigh(A, B, itype=itype)
        assert (L.shape, V.shape) == (shape[:-1], shape)
        for x in torch.autograd.grad(L.sum() + V.abs().sum(), (A, B)):
            assert x.shape == shape


@each_type
@each_dtype
def test_a_unit_overlap_is_eigh(dtype: torch.dtype, itype: int) -> None:
    for n in (1, 2, 3, 7, 40):
        A = random_hermitian(5, n, n, dtype=dtype, seed=n)
        eye = torch.eye(n, dtype=dtype)
        L, V = sg.generalized_eigh(A, eye, itype=itype)
        expected = sg.eigh(A)
        assert torch.equal(L, expected.eigenvalues)
        assert torch.equal(V, expected.eigenvectors)


@each_dtype
def test_special_matrices(dtype: torch.dtype) -> None:
    """A = B, A = 0, diagonal and one by one."""
    for n in (1, 3, 8, 40):
        B = positive(n, dtype, n)
        tolerance = 100 * n * eps(dtype)
        assert float((sg.generalized_eigh(B, B).eigenvalues - 1).abs().max()) <= tolerance
        zero = torch.zeros_like(B)
        for itype in TYPES:
            L, V = sg.generalized_eigh(zero, B, itype=itype)
            assert torch.equal(L, torch.zeros_like(L))
            unit = V.mH @ (torch.linalg.solve(B, V) if itype == 3 else B @ V)
            assert float((unit - torch.eye(n, dtype=dtype)).abs().max()) <= tolerance
    D = torch.diag(torch.tensor([9.0, 4.0], dtype=dtype))
    L, V = sg.generalized_eigh(D, torch.diag(torch.tensor([1.0, 4.0], dtype=dtype)))
    assert torch.equal(L, torch.tensor([1.0, 9.0], dtype=L.dtype))
    assert torch.equal(V.abs(), torch.tensor([[0.0, 1.0], [0.5, 0.0]], dtype=L.dtype))


# --- broadcasting ----------------------------------------------------------------------------------------------------


@each_type
@pytest.mark.parametrize(
    ("of_A", "of_B"), [((4,), ()), ((), (4,)), ((2, 1), (3,)), ((2, 3), (1, 3)), ((1,), (1, 1))], ids=str
)
@each_double
def test_broadcasting(dtype: torch.dtype, of_A: tuple[int, ...], of_B: tuple[int, ...], itype: int) -> None:
    for n in (3, 40):
        A = random_hermitian(*of_A, n, n, dtype=dtype, seed=0).requires_grad_()
        P = normal(*of_B, n, n, dtype=dtype, seed=1)
        B = (P @ P.mH / n + torch.eye(n, dtype=dtype)).requires_grad_()
        M = random_hermitian(n, n, dtype=dtype, seed=2)
        shape = torch.broadcast_shapes(of_A, of_B)
        wide = [x.detach().expand(*shape, n, n).contiguous().requires_grad_() for x in (A, B)]
        results = []
        for a, b in ((A, B), wide):
            L, V = sg.generalized_eigh(a, b, itype=itype)
            assert L.shape == (*shape, n)
            results.append(torch.autograd.grad(expectation(M, projector(V, slice(1, 2))) + L.sin().sum(), (a, b)))
        for x, y, narrow in zip(*results, (A, B), strict=True):
            assert x.shape == narrow.shape
            assert relative_error(x, y.sum_to_size(narrow.shape)) <= 1e-13


@each_type
@each_double
def test_vmap_of_one_argument(dtype: torch.dtype, itype: int) -> None:
    n = 4
    A = random_hermitian(3, n, n, dtype=dtype, seed=0)
    B = torch.stack([positive(n, dtype, seed) for seed in range(3)])
    M = random_hermitian(n, n, dtype=dtype, seed=2)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        L, V = sg.generalized_eigh(hermitian_part(a), hermitian_part(b), itype=itype)
        return expectation(M, projector(V, slice(1, 3))) + L.sin().sum()

    gradient = torch.func.grad(loss, (0, 1))
    for dims, a, b in (((0, None), A, B[0]), ((None, 0), A[0], B), ((0, 0), A, B)):
        together = torch.func.vmap(gradient, dims)(a, b)
        for i in range(3):
            expected = gradient(A[i] if dims[0] == 0 else A[0], B[i] if dims[1] == 0 else B[0])
            for x, y in zip(together, expected, strict=True):
                assert relative_error(x[i], y) <= 1e-13
    # One mapped argument, and a batch of the other one.
    L = torch.func.vmap(lambda b: sg.generalized_eigh(A, b, itype=itype).eigenvalues)(B)
    assert L.shape == (3, 3, n)
    for i, j in itertools.product(range(3), range(3)):
        assert relative_error(L[i, j], sg.generalized_eigh(A[j], B[i], itype=itype).eigenvalues) <= 1e-13


# --- first derivatives -----------------------------------------------------------------------------------------------


def gradients(loss: Any, A: Tensor, B: Tensor, itype: int = 1, **options: Any) -> tuple[Tensor, Tensor]:
    a, b = (x.detach().clone().requires_grad_() for x in (A, B))
    of_A, of_B = torch.autograd.grad(loss(*sg.generalized_eigh(a, b, itype=itype, **options)), (a, b))
    for x in (of_A, of_B):
        assert torch.equal(x, x.mH)
    return of_A, of_B


GAPS = [0.0, 1e-15, 1e-13, 1e-10, 1e-7, 1e-4, 1e-2]


@pytest.mark.filterwarnings("error::spectralgrad.GaugeWarning")
@pytest.mark.parametrize(("condition", "limit"), [(1.0, 1e-13), (100.0, 1e-13), (1e4, 1e-11)])
@each_type
@each_double
def test_projector_at_every_gap(dtype: torch.dtype, itype: int, condition: float, limit: float) -> None:
    n, inside = 5, slice(1, 4)
    G = random_hermitian(n, n, dtype=dtype, seed=7)
    B = positive(n, dtype, 3, condition)
    for seed, gap in enumerate(GAPS):
        A = problem([-1, 1, 1 + gap, 1 + 2 * gap, 3], B, itype, seed)
        # The other levels are at four times the radius, so the error of 30 points is about 4⁻³⁰ = 1e-18.
        expected = generalized_reference.projector_loss(A, B, G, itype, center=1.0, radius=0.5, points=30)
        V = sg.generalized_eigh(A, B, itype=itype).eigenvectors
        assert relative_error(projector(V, inside), expected.value) <= limit
        of_A, of_B = gradients(lambda L, V: expectation(G, projector(V, inside)), A, B, itype)
        assert relative_error(of_A, expected.A) <= limit
        assert relative_error(of_B, expected.B) <= limit


@pytest.mark.filterwarnings("error::spectralgrad.GaugeWarning")
@each_type
@pytest.mark.parametrize("dtype", ALL, ids=lambda dtype: str(dtype)[6:])
def test_projector_in_any_units(dtype: torch.dtype, itype: int) -> None:
    """A and B scaled by powers of ten: the gradients are those of the unscaled problem, scaled."""
    n, inside = 5, slice(1, 4)
    G = random_hermitian(n, n, dtype=torch.complex128 if dtype.is_complex else torch.float64, seed=7)
    B = positive(n, dtype, 3)
    A = problem([-1, 1, 1, 1, 3], B, itype, 0)
    expected = generalized_reference.projector_loss(A.to(G.dtype), B.to(G.dtype), G, itype, center=1.0, radius=0.5)
    limit = by_precision(dtype, 1e-13, 2e-5)
    for a, b in itertools.product([1.0, 1e-10, 1e10] if dtype not in DOUBLE else [1.0, 1e-20, 1e20], repeat=2):
        # V scales as B^(-1/2), or B^(1/2) for type 3; the loss is divided by that.
        unit = b if itype == 3 else 1 / b
        M = G.to(dtype) / unit
        of_A, of_B = gradients(lambda L, V, M=M: expectation(M, projector(V, inside)), A * a, B * b, itype)
        assert relative_error(of_A * a, expected.A) <= limit
        assert relative_error(of_B * b, expected.B) <= limit


@each_type
@each_double
def test_losses_of_eigenvalues(dtype: torch.dtype, itype: int) -> None:
    """A symmetric function of a cluster's eigenvalues: log det and the trace, in closed form."""
    n = 5
    B = positive(n, dtype, 3)
    A = problem([1, 1, 1, 2, 3], B, itype, 0)
    of_A, of_B = gradients(lambda L, V: L.log().sum(), A, B, itype)
    sign = -1 if itype == 1 else 1
    assert relative_error(of_A, torch.linalg.inv(A)) <= 1e-12
    assert relative_error(of_B, sign * torch.linalg.inv(B)) <= 1e-12
    of_A, of_B = gradients(lambda L, V: L.sum(), A, B, itype)
    inverse = torch.linalg.inv(B)
    assert relative_error(of_A, inverse if itype == 1 else B) <= 1e-12
    assert relative_error(of_B, -inverse @ A @ inverse if itype == 1 else A) <= 1e-12


@each_type
@each_dtype
def test_the_normalization_survives_in_clusters(dtype: torch.dtype, itype: int) -> None:
    """V Vᴴ is B⁻¹, or B for type 3, whatever A is: of equal eigenvalues, and of A = 0."""
    for n in (2, 3, 8, 40, 60):
        B = positive(n, dtype, n, 4.0)
        G = random_hermitian(n, n, dtype=dtype, seed=1)
        for A in (problem([1.0] * n, B, itype, 0), torch.zeros_like(B), B):
            of_A, of_B = gradients(lambda L, V, G=G: expectation(G, V @ V.mH), A, B, itype)
            inverse = torch.linalg.inv(B.to(double_of(dtype)))
            wide = G.to(inverse.dtype)
            expected = wide if itype == 3 else -inverse @ wide @ inverse
            assert relative_error(of_B, expected) <= by_precision(dtype, 1e-13, 2e-5)
            assert float(of_A.abs().max()) <= by_precision(dtype, 1e-12, 2e-4) * float(expected.abs().max())


@each_double
def test_energies(dtype: torch.dtype) -> None:
    """Σ over occupied λ, written as tr(A V_c V_cᴴ): its derivative through V cancels that through the eigenvalue."""
    n, occupied = 6, slice(0, 3)
    for condition, limit in ((10.0, 1e-12), (100.0, 1e-12)):
        B = positive(n, dtype, 3, condition)
        A = problem([-20, -0.3, -0.3, 0.5, 0.7, 1.1], B, 1, 0)
        a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
        V = sg.generalized_eigh(a, b).eigenvectors
        of_A, of_B = torch.autograd.grad(expectation(a, projector(V, occupied)), (a, b))
        by_L = gradients(lambda L, V: L[occupied].sum(), A, B)
        assert relative_error(of_A, by_L[0]) <= limit
        assert relative_error(of_B, by_L[1]) <= limit


@each_double
def test_density_matrix_agrees(dtype: torch.dtype) -> None:
    """At zero temperature the density matrix is the projector onto the occupied eigenvectors."""
    S = positive(6, dtype, 3)
    H = problem([-1, -1, 0.5, 0.5, 2, 3], S, 1, 0)
    G = random_hermitian(6, 6, dtype=dtype, seed=1)
    expected = []
    for f in (
        lambda h, s: projector(sg.generalized_eigh(h, s).eigenvectors, slice(0, 4)),
        lambda h, s: sg.density_matrix(h, electrons=4, overlap=s, spin=1),
    ):
        h, s = H.clone().requires_grad_(), S.clone().requires_grad_()
        D = f(h, s)
        expected.append([D, *torch.autograd.grad(expectation(G, D), (h, s))])
    for x, y in zip(*expected, strict=True):
        assert relative_error(x, y) <= 1e-12


# --- kernels and tensor code -----------------------------------------------------------------------------------------

RULES: list[sg.Rule] = [
    sg.Gated(),
    sg.Bare(),
    sg.Lorentzian(0.1),
    sg.Lorentzian(0.1, relative=True),
    sg.Cutoff(0.3),
    sg.Split(0.2),
]


@pytest.mark.filterwarnings("ignore::spectralgrad.GaugeWarning")
@pytest.mark.parametrize("rule", RULES, ids=str)
@each_type
@pytest.mark.parametrize("dtype", ALL, ids=lambda dtype: str(dtype)[6:])
def test_kernels_and_tensor_code(dtype: torch.dtype, itype: int, rule: sg.Rule) -> None:
    """Small and large matrices, with each cotangent missing. `create_graph` runs the tensor code."""
    for n, count in ((1, 3), (2, 9), (3, 17), (5, 4), (13, 9), (40, 9), (60, 2)):
        A = random_hermitian(count, n, n, dtype=dtype, seed=n)
        P = normal(count, n, n, dtype=dtype, seed=n + 1)
        B = P @ P.mH / n + torch.eye(n, dtype=dtype)
        M = random_hermitian(n, n, dtype=dtype, seed=2)
        losses: list[Loss] = [
            lambda L, V: L.sin().sum(),
            lambda L, V, M=M: ((V.conj() * (M @ V)).real.sum(-2) * torch.arange(V.shape[-1])).sum(),
            lambda L, V, M=M: ((V.conj() * (M @ V)).real.sum(-2) * L).sum(),
        ]
        for loss, wanted in itertools.product(losses, ((0, 1), (0,), (1,))):
            ab = [A.clone(), B.clone()]
            for i in wanted:
                ab[i].requires_grad_()
            y = loss(*sg.generalized_eigh(ab[0], ab[1], itype=itype, rule=rule))
            arguments = [ab[i] for i in wanted]
            fast = torch.autograd.grad(y, arguments, retain_graph=True)
            slow = torch.autograd.grad(y, arguments, create_graph=True)
            # One of the gradients may vanish; the losses are about 1.
            scale = 1 + max(float(z.detach().abs().max()) for z in slow)
            for x, z in zip(fast, slow, strict=True):
                assert float((x - z).detach().abs().max()) <= by_precision(dtype, 2e-11, 5e-3) * scale


@each_double
def test_forward_mode_is_the_adjoint(dtype: torch.dtype) -> None:
    for n, itype in itertools.product((1, 3, 6), TYPES):
        B = positive(n, dtype, 3)
        A = problem(np.arange(n) + 0.5, B, itype, 0)
        dA, dB = (random_hermitian(n, n, dtype=dtype, seed=seed) for seed in (4, 5))
        M = random_hermitian(n, n, dtype=dtype, seed=6)

        def loss(a: Tensor, b: Tensor, M: Tensor = M, itype: int = itype) -> Tensor:
            L, V = sg.generalized_eigh(a, b, itype=itype)
            return expectation(M, projector(V, slice(0, (V.shape[-1] + 1) // 2))) + L.sin().sum()

        of_A, of_B = torch.func.grad(loss, (0, 1))(A, B)
        for tangents in ((dA, dB), (dA, 0 * dB), (0 * dA, dB)):
            along = torch.func.jvp(loss, (A, B), tangents)[1]
            expected = expectation(of_A, tangents[0]) + expectation(of_B, tangents[1])
            assert abs(float(along - expected)) <= 1e-12 * float(of_A.abs().max() + of_B.abs().max())
        along = torch.func.jvp(lambda a, B=B: loss(a, B), (A,), (dA,))[1]
        assert abs(float(along - expectation(of_A, dA))) <= 1e-12 * float(of_A.abs().max())
        along = torch.func.jvp(lambda b, A=A: loss(A, b), (B,), (dB,))[1]
        assert abs(float(along - expectation(of_B, dB))) <= 1e-12 * float(of_B.abs().max())


@pytest.mark.slow
@each_type
@each_double
def test_gradcheck(dtype: torch.dtype, itype: int) -> None:
    n = 3
    B = torch.stack([positive(n, dtype, seed) for seed in range(2)])
    A = torch.stack([problem([-1, 0.5, 2], b, itype, i) for i, b in enumerate(B)])

    def f(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        L, V = sg.generalized_eigh(hermitian_part(a), hermitian_part(b), itype=itype)
        return L, (V.unsqueeze(-2) * V.conj().unsqueeze(-3)).abs(), projector(V, slice(0, 2))

    inputs = (A.requires_grad_(), B.requires_grad_())
    fast = dtype.is_complex
    assert torch.autograd.gradcheck(f, inputs, check_forward_ad=True, check_batched_grad=True, fast_mode=fast)
    assert torch.autograd.gradgradcheck(f, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=fast)


# --- writing to given tensors ----------------------------------------------------------------------------------------


@each_dtype
def test_out(dtype: torch.dtype) -> None:
    A, B = random_hermitian(3, 3, dtype=dtype, seed=0), positive(3, dtype, 0)
    expected = sg.generalized_eigh(A, B, itype=2)
    out = (torch.empty(0, dtype=expected.eigenvalues.dtype), torch.empty(0, dtype=dtype))
    result: Any = sg.generalized_eigh(A, B, itype=2, out=out)
    assert type(result) is return_types.linalg_eigh_out
    for x, y, z in zip(result, out, expected, strict=True):
        assert x is y
        assert torch.equal(x, z)
    wrong = (torch.empty(2, dtype=expected.eigenvalues.dtype), torch.empty(3, 3, dtype=dtype))
    with pytest.warns(UserWarning, match=r"generalized_eigh: An output with one or more elements was resized"):
        sg.generalized_eigh(A, B, out=wrong)
    with pytest.raises(TypeError, match="generalized_eigh: Expected out to be a tuple of 2 Tensors"):
        sg.generalized_eigh(A, B, out=(torch.empty(3),))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"generalized_eigh\(\): functions with out=... arguments don't support"):
        sg.generalized_eigh(A.clone().requires_grad_(), B, out=out)


# --- one bad matrix --------------------------------------------------------------------------------------------------


@each_type
@pytest.mark.parametrize("n", [3, 8, 40])
@each_dtype
def test_not_positive_definite(dtype: torch.dtype, n: int, itype: int) -> None:
    A = random_hermitian(4, n, n, dtype=dtype, seed=0)
    B = torch.eye(n, dtype=dtype).repeat(4, 1, 1)
    B[2, 1, 1] = -1
    B[3, 0, 0] = 0
    words = (
        r"^spectralgrad\.generalized_eigh: (\(Batch element 2\): )?The factorization could not be completed because "
        r"the input B is not positive-definite \(the leading minor of order 2 is not positive-definite\)\."
    )
    with pytest.raises(LinAlgError, match=words.replace("?The", "The")):
        sg.generalized_eigh(A, B, itype=itype)
    with pytest.raises(LinAlgError, match=words):
        sg.generalized_eigh(A[2], B[2], itype=itype)
    singular = torch.zeros(n, n, dtype=dtype)
    with pytest.raises(LinAlgError, match="the leading minor of order 1 is"):
        sg.generalized_eigh(A[0], singular, itype=itype)
    with sg.checks("ignore"):
        L, V = sg.generalized_eigh(A, B, itype=itype)
    expected = sg.generalized_eigh(A[:2], B[:2], itype=itype)
    assert torch.equal(L[:2], expected.eigenvalues)
    assert torch.equal(V[:2], expected.eigenvectors)
    assert bool(L[2:].isnan().all())
    assert bool(V[2:].isnan().all())


@each_type
@pytest.mark.parametrize("n", [3, 8, 40, 60])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@each_dtype
def test_not_finite(dtype: torch.dtype, value: float, n: int, itype: int) -> None:
    for name in "AB":
        A = random_hermitian(3, n, n, dtype=dtype, seed=0)
        B = torch.stack([positive(n, dtype, seed) for seed in range(3)])
        (A if name == "A" else B)[1, 2, 0] = value
        with pytest.raises(
            LinAlgError,
            match=rf"^spectralgrad\.generalized_eigh: \(Batch element 1\): Expected the lower triangle of {name} to be "
            r"finite, but the entry \(2, 0\) is",
        ):
            sg.generalized_eigh(A, B, itype=itype)
        with sg.checks("ignore"):
            a, b = A.requires_grad_(), B.requires_grad_()
            L, V = sg.generalized_eigh(a, b, itype=itype)
            got = torch.autograd.grad(L.sum() + projector(V, slice(0, 1)).abs().sum(), (a, b))
        good = torch.tensor([0, 2])
        a, b = (x.detach()[good].requires_grad_() for x in (A, B))
        expected = sg.generalized_eigh(a, b, itype=itype)
        loss = expected.eigenvalues.sum() + projector(expected.eigenvectors, slice(0, 1)).abs().sum()
        assert bool(L[1].isnan().all())
        assert bool(V[1].isnan().all())
        if n < 10:  # larger ones are decomposed by a method that depends on the size of the batch
            assert torch.equal(L[good], expected.eigenvalues)
        assert relative_error(L[good], expected.eigenvalues) <= by_precision(dtype, 1e-13, 1e-5)
        for x, y in zip(got, torch.autograd.grad(loss, (a, b)), strict=True):
            assert bool(x[1].isnan().all())
            assert relative_error(x[good], y) <= by_precision(dtype, 1e-12, 1e-4)


# --- messages --------------------------------------------------------------------------------------------------------


def test_arguments() -> None:
    A, public = torch.eye(3), sg
    call: Any = public.generalized_eigh
    for arguments, options, kind, message in (
        ((A, 1), {}, TypeError, "Expected B to be a Tensor, but got int"),
        ((1, A), {}, TypeError, "Expected A to be a Tensor, but got int"),
        ((A, A), {"itype": 4}, ValueError, "Expected itype to be 1, 2 or 3, but got 4"),
        ((A, A), {"itype": 0}, ValueError, "Expected itype to be 1, 2 or 3, but got 0"),
        ((A, A), {"itype": "1"}, TypeError, "Expected itype to be an int, but got str"),
        ((A, A), {"itype": True}, TypeError, "Expected itype to be an int, but got bool"),
        ((A, A, "X"), {}, RuntimeError, "Expected UPLO argument to be 'L' or 'U', but got X"),
        ((A, A, 1), {}, TypeError, "Expected UPLO to be a str, but got int"),
        ((A, A[:2, :2]), {}, ValueError, "Expected A and B to be matrices of one size, but they are 3 by 3 and 2 by 2"),
        ((A, A.double()), {}, ValueError, "Expected A and B to have one dtype, but got Float and Double"),
        ((A, A.to("meta")), {}, ValueError, "Expected A and B on one device, but got cpu and meta"),
        ((A[0], A), {}, RuntimeError, "The input tensor A must have at least 2 dimensions, but it has 1"),
        ((A, A[0]), {}, RuntimeError, "The input tensor B must have at least 2 dimensions, but it has 1"),
        ((A, A[:2]), {}, RuntimeError, "B must be batches of square matrices, but they are 2 by 3 matrices"),
        ((A, A.half()), {}, NotImplementedError, "not implemented for 'Half': Expected B to be float32"),
        (
            (A.expand(2, 3, 3), A.expand(3, 3, 3)),
            {},
            ValueError,
            r"Expected the batches of A and B to broadcast, but their shapes are \[2\] and \[3\]",
        ),
    ):
        with pytest.raises(kind, match=rf"spectralgrad\.generalized_eigh\"?:? .*{message}|generalized_eigh.*{message}"):
            call(*arguments, **options)


@pytest.mark.parametrize("n", [4, 60])
@pytest.mark.parametrize("create_graph", [False, True])
def test_losses_without_a_gradient(create_graph: bool, n: int) -> None:
    B = positive(n, torch.float64, 0)
    A = problem([1, 1, *range(2, n)], B, 1, 1)
    M = random_hermitian(n, n, dtype=torch.float64, seed=2)

    def run(loss: Any, A: Tensor = A, B: Tensor = B) -> None:
        a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
        torch.autograd.grad(loss(*sg.generalized_eigh(a, b)), (a, b), create_graph=create_graph)

    name = r"^spectralgrad\.generalized_eigh: "
    with pytest.warns(sg.GaugeWarning, match=name + "The loss depends on the choice of eigenvectors inside an"):
        run(lambda L, V: expectation(M, projector(V, slice(0, 1))))
    with pytest.warns(sg.GaugeWarning, match=name + r"The loss looks like tr\(M f\(A\)\).*density_matrix"):
        run(lambda L, V: expectation(M, (V * L.sin()) @ V.mH))
    with pytest.warns(sg.GaugeWarning, match=name + "The loss treats equal eigenvalues differently"):
        run(lambda L, V: L[0])
    with sg.checks("raise"), pytest.raises(sg.GaugeError, match=name + "The loss treats"):
        run(lambda L, V: L[0])
    A = random_hermitian(n, n, dtype=torch.complex128, seed=3)
    phases = name + r"The eigenvectors in the complex case are specified up to multiplication by e\^\{i phi\}"
    with pytest.raises(sg.GaugeError, match=phases):
        run(lambda L, V: V.real.sum(), A, B.to(A.dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        A = problem([1, 1, *range(2, n)], B, 1, 1)
        run(lambda L, V: expectation(M, projector(V, slice(0, 2))) + L[:2].sum() + L[3].sin(), A)
        run(lambda L, V: expectation(M, V @ V.mH), A)
        run(lambda L, V: expectation(A, projector(V, slice(0, 2))), A)


def test_second_derivatives_at_a_degeneracy_warn() -> None:
    B = positive(4, torch.float64, 0).requires_grad_()
    A = problem([1, 1, 2, 3], B.detach(), 1, 1).requires_grad_()
    M = random_hermitian(4, 4, dtype=torch.float64, seed=2)
    y = expectation(M, projector(sg.generalized_eigh(A, B).eigenvectors, slice(0, 2)))
    G = torch.autograd.grad(y, (A, B), create_graph=True)
    with pytest.warns(sg.GaugeWarning, match=r"^spectralgrad\.generalized_eigh: .*second derivative"):
        torch.autograd.grad(total(x.sum() for x in G), (A, B))


@pytest.mark.parametrize("dtype", COMPLEX, ids=["complex128", "complex64"])
def test_the_imaginary_part_of_the_diagonal_is_not_read(dtype: torch.dtype) -> None:
    for n in (3, 40):
        A, B = random_hermitian(n, n, dtype=dtype, seed=0), positive(n, dtype, 0)
        noise = 1j * torch.eye(n, dtype=dtype)
        for x, y in zip(sg.generalized_eigh(A + noise, B + noise), sg.generalized_eigh(A, B), strict=True):
            assert torch.equal(x, y)
