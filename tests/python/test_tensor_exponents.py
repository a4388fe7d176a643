"""powm with a tensor of exponents: values and derivatives in the exponent and in the matrix, against 60 digits."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
import torch.autograd.forward_ad as fw
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import reference
import spectralgrad as sg
from problems import (
    ALL,
    DOUBLE,
    LinAlgError,
    by_precision,
    directions,
    each_double,
    eps,
    expectation,
    hermitian_part,
    hessian_times,
    with_cluster,
    with_spectrum,
)
from reference import relative_error

EXPONENTS = [0.3, -1.7, 2.5, 3.0, -2.0, 1.0, 0.0, 12.5]


def power(p: float, logarithms: int = 0) -> reference.Differences:
    """x^p log(x)^k, the k-th derivative of x^p in p, for positive x."""
    q, k = mpmath.mpf(p), logarithms

    def term(exponent: Any, m: int) -> Any:
        return lambda x: x**exponent * mpmath.log(x) ** m if m else x**exponent

    def f(x: Any) -> Any:
        return term(q, k)(x)

    def df(x: Any) -> Any:
        return q * term(q - 1, k)(x) + (k * term(q - 1, k - 1)(x) if k else 0)

    def d2f(x: Any) -> Any:
        y = q * (q - 1) * term(q - 2, k)(x)
        if k:
            y += k * (2 * q - 1) * term(q - 2, k - 1)(x)
        if k > 1:
            y += k * (k - 1) * term(q - 2, k - 2)(x)
        return y

    return reference.smooth(f, df, d2f)


# --- values and derivatives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.1, 1e-3, 1e-6, 1e-10, 0])
@pytest.mark.parametrize("dtype", ALL)
def test_value_and_derivatives(dtype: torch.dtype, gap: float, device: str) -> None:
    A, (M, E) = with_cluster(5, 3, gap, dtype, seed=0), directions(5, dtype)
    tight, loose = by_precision(dtype, 1e-13, 2e-5), by_precision(dtype, 2e-10, 1e-3)
    for exponent in EXPONENTS:
        by_p = [reference.of(A, power(exponent, k)) for k in range(3)]
        p = torch.tensor(exponent, dtype=dtype.to_real(), device=device, requires_grad=True)
        X = A.to(device).requires_grad_()
        y = sg.powm(X, p)
        assert (y.dtype, y.shape) == (dtype, A.shape)
        assert relative_error(y, by_p[0].value()) <= tight * max(1, abs(exponent))
        G, g = torch.autograd.grad(expectation(M.to(device), y), (X, p), create_graph=True)
        if exponent == 0:
            torch.testing.assert_close(G.detach(), torch.zeros_like(G), rtol=0, atol=10 * tight)
        else:
            assert relative_error(G, by_p[0].first(M)) <= tight * max(1, by_p[0].condition_of_first(M))
        slope = expectation(M, by_p[1].value())
        assert float((g.detach().cpu() - slope).abs()) <= tight * float(by_p[1].value().norm() * M.norm())
        if dtype not in DOUBLE:
            continue
        product, mixed = torch.autograd.grad(expectation(E, G), (X, p), retain_graph=True)
        assert relative_error(product, by_p[0].second(M, E)) <= loose or exponent in (0, 1)
        expected = by_p[1].first(M)
        assert float((mixed.detach() - expectation(E, expected)).abs()) <= 1e-11 * float(expected.norm() * E.norm())
        mixed, twice = torch.autograd.grad(g, (X, p))
        assert relative_error(mixed, expected) <= 1e-11
        curvature = expectation(M, by_p[2].value())
        assert float((twice - curvature).abs()) <= 1e-12 * float(by_p[2].value().norm() * M.norm())


@pytest.mark.parametrize("dtype", ALL)
def test_equals_the_power_with_a_number(dtype: torch.dtype) -> None:
    M, E = directions(5, dtype)
    for p, gap in itertools.product([*EXPONENTS, 100.0], [0.3, 1e-5, 0]):
        A = with_cluster(5, 3, gap, dtype, seed=1)
        number, tensor = (
            lambda X, q=q: expectation(M, sg.powm(X, q)) for q in (p, torch.tensor(p, dtype=torch.float64))
        )
        tolerance = by_precision(dtype, 1e-13, 2e-5) * max(1, abs(p))
        size = sg.powm(A, p).norm()
        assert (sg.powm(A, torch.tensor(p, dtype=torch.float64)) - sg.powm(A, p)).norm() <= tolerance * size
        X, Y = A.clone().requires_grad_(), A.clone().requires_grad_()
        (G,), (H,) = torch.autograd.grad(number(X), X), torch.autograd.grad(tensor(Y), Y)
        assert (G - H).norm() <= tolerance * size
        if dtype in DOUBLE:
            G, H = hessian_times(number, A, E), hessian_times(tensor, A, E)
            assert (G - H).norm() <= 1e-9 * (size + G.norm())


@pytest.mark.parametrize("dtype", ALL)
def test_integers_and_negative_eigenvalues(dtype: torch.dtype) -> None:
    A, (M, _) = with_spectrum([-2, -0.5, 1, 1, 3], dtype, seed=0), directions(5, dtype)
    for p in (2, 3, -1, 0):
        for exponent in (torch.tensor(p), torch.tensor(p, dtype=torch.int8), torch.tensor(float(p))):
            assert relative_error(sg.powm(A, exponent), sg.powm(A, p)) <= 50 * eps(dtype)
            X = A.clone().requires_grad_()
            (G,) = torch.autograd.grad(expectation(M, sg.powm(X, exponent)), X)
            Y = A.clone().requires_grad_()
            (H,) = torch.autograd.grad(expectation(M, sg.powm(Y, p)), Y)
            torch.testing.assert_close(G, H, rtol=200 * eps(dtype), atol=200 * eps(dtype))
    # x^p is complex in any neighbourhood of p, so the gradient of p is NaN, as for torch.pow. The gradient of A stays.
    two = torch.tensor(2.0, dtype=dtype.to_real(), requires_grad=True)
    X = A.clone().requires_grad_()
    G, g = torch.autograd.grad(expectation(M, sg.powm(X, two)), (X, two))
    assert bool(g.isnan())
    torch.testing.assert_close(G, A @ M + M @ A, rtol=200 * eps(dtype), atol=200 * eps(dtype))


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_shapes() -> None:
    A = torch.stack([with_cluster(3, 2, 0, torch.float64, seed=k) for k in range(6)]).view(2, 3, 3, 3)
    for batch, shape, result in [
        ((2, 3), (2, 3), (2, 3)),
        ((2, 3), (3,), (2, 3)),
        ((2, 3), (), (2, 3)),
        ((2, 3), (2, 1), (2, 3)),
        ((2, 3), (2, 3, 1), (2, 3)),
        ((2, 3), (1, 3, 1), (2, 3)),
        ((), (), ()),
        ((), (1,), ()),
        ((), (5,), (5,)),
        ((3,), (4, 3), (4, 3)),
        ((3,), (4, 1), (3,)),
        ((0,), (), (0,)),
        ((), (0,), (0,)),
    ]:
        X = A.flatten(0, 1)[: max(1, torch.Size(batch).numel())]
        X = X[:0] if batch == (0,) else X.reshape(*batch, 3, 3)
        p = torch.linspace(-1.5, 2.5, torch.Size(shape).numel(), dtype=torch.float64).view(shape)
        if shape == (4, 1):
            with pytest.raises(ValueError, match=r"Expected p to broadcast with the batch of A, \[3\], .* \[4\]"):
                sg.powm(X, p)
            continue
        y = sg.powm(X, p)
        assert y.shape == (*result, 3, 3)
        column = p.squeeze(-1) if len(shape) == len(batch) + 1 and shape[-1] == 1 else p
        exponents, matrices = column.expand(result).flatten(), X.expand(*result, 3, 3).reshape(-1, 3, 3)
        for matrix, exponent, found in zip(matrices, exponents, y.reshape(-1, 3, 3), strict=True):
            assert relative_error(found, sg.powm(matrix, float(exponent))) <= 1e-14
        # The gradient has the shape of p.
        q = p.clone().requires_grad_()
        (g,) = torch.autograd.grad(sg.powm(X, q).sum(), q)
        assert g.shape == q.shape


@pytest.mark.parametrize("dtype", ALL)
def test_empty_matrices(dtype: torch.dtype) -> None:
    p = torch.tensor([0.5, 2], requires_grad=True)
    y = sg.powm(torch.zeros(0, 0, dtype=dtype), p)
    assert y.shape == (2, 0, 0)
    (g,) = torch.autograd.grad(y.real.sum(), p)
    assert torch.equal(g, torch.zeros(2))


# --- singular matrices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("dtype", ALL)
def test_singular_matrices(dtype: torch.dtype, rotated: bool) -> None:
    """x^p log(x) tends to 0: zero eigenvalues add nothing to the gradient of p."""
    L = [0.0, 0.0, 1.0, 4.0]
    A = with_spectrum(L, dtype, seed=0) if rotated else torch.diag(torch.tensor(L, dtype=dtype))
    M = torch.eye(4, dtype=dtype)
    for exponent in (0.3, 0.5, 1.0, 1.5, 2.0, 2.5):
        p = torch.tensor(exponent, dtype=dtype.to_real(), requires_grad=True)
        (g,) = torch.autograd.grad(expectation(M, sg.powm(A, p)), p, create_graph=True)
        log4 = torch.tensor(4.0, dtype=dtype.to_real()).log()
        torch.testing.assert_close(g, 4**p * log4, rtol=200 * eps(dtype), atol=0)
        (h,) = torch.autograd.grad(g, p)
        torch.testing.assert_close(h, 4 ** p.detach() * log4**2, rtol=200 * eps(dtype), atol=0)


@pytest.mark.parametrize("dtype", ALL)
def test_derivatives_at_singular_matrices_agree_for_a_number_and_a_tensor(dtype: torch.dtype) -> None:
    A = with_spectrum([0.0, 0.0, 1.0, 4.0], dtype, seed=0)
    M, _ = directions(4, dtype)
    for exponent in (0.3, 1.5, 2.5, 2.0):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gradients = []
            for p in (exponent, torch.tensor(exponent, dtype=torch.float64)):
                X = A.clone().requires_grad_()
                gradients.append(torch.autograd.grad(expectation(M, sg.powm(X, p)), X)[0])
        assert len(caught) == (2 if exponent == 0.3 else 0)
        assert all("spectralgrad.powm: A is singular" in str(warning.message) for warning in caught)
        assert relative_error(*gradients) <= 100 * eps(dtype)


@pytest.mark.parametrize("dtype", ALL)
def test_zero_matrices(dtype: torch.dtype) -> None:
    p = torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=dtype.to_real(), requires_grad=True)
    A = torch.zeros(3, 3, dtype=dtype)
    y = sg.powm(A, p)
    expected = torch.zeros(4, 3, 3, dtype=dtype)
    expected[3] = torch.eye(3)
    assert torch.equal(y.detach(), expected)
    (g,) = torch.autograd.grad(y.real.sum(), p)
    assert torch.equal(g, torch.zeros_like(p))


# --- transforms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spectrum", [[1.3, 1.3, 1.3], [0.6, 0.6, 1.7]], ids=["threefold", "twofold"])
@each_double
def test_gradcheck(spectrum: list[float], dtype: torch.dtype) -> None:
    A = with_spectrum(spectrum, dtype, seed=5).requires_grad_()
    p = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    f = lambda X, p: sg.powm(hermitian_part(X), p)  # noqa: E731
    real = not dtype.is_complex
    assert gradcheck(f, (A, p), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=real)
    assert gradgradcheck(f, (A, p), fast_mode=True, check_batched_grad=True, check_fwd_over_rev=True)


@each_double
def test_vmap(dtype: torch.dtype) -> None:
    A = torch.stack([with_cluster(4, 3, gap, dtype, seed=k) for k, gap in enumerate([0.1, 1e-6, 0])])
    p, (M, E) = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), directions(4, dtype)
    scalar = lambda X, p: expectation(M, sg.powm(X, p))  # noqa: E731
    product = lambda X, p: jvp(lambda X: grad(scalar, 1)(X, p), (X,), (E,))[1]  # noqa: E731
    for in_dims, X, q in [((0, 0), A, p), ((None, 0), A[0], p), ((0, None), A, p[0])]:
        for f in (sg.powm, grad(scalar), grad(scalar, 1), product):
            found = vmap(f, in_dims)(X, q)
            for k in range(3):
                one = f(X[k] if in_dims[0] == 0 else X, q[k] if in_dims[1] == 0 else q)
                assert relative_error(found[k], one) <= 1e-13
    # A mapped dimension that is not the first, and batches inside.
    found = vmap(sg.powm, (None, 1))(A, torch.stack([p, p + 1], 1))
    assert relative_error(found[1], sg.powm(A, p + 1)) <= 1e-14


@each_double
def test_forward_mode(dtype: torch.dtype) -> None:
    A, (M, E) = with_spectrum([0.5, 1.5, 1.5, 1.5], dtype, seed=0), directions(4, dtype)
    p = torch.tensor(0.7, dtype=torch.float64)
    by_p = [reference.of(A, power(0.7, k)) for k in range(3)]
    with fw.dual_level():
        y = sg.powm(fw.make_dual(A, E), fw.make_dual(p, torch.tensor(2.0, dtype=torch.float64)))
        assert relative_error(fw.unpack_dual(y).tangent, by_p[0].first(E) + 2 * by_p[1].value()) <= 1e-13
    scalar = lambda p: expectation(M, sg.powm(A, p))  # noqa: E731
    transforms: list[Callable[..., Any]] = [jacrev, jacfwd]
    for outer, inner in itertools.product(transforms, repeat=2):
        assert relative_error(outer(inner(scalar))(p), expectation(M, by_p[2].value())) <= 1e-13
    slope = lambda p: jvp(lambda X: expectation(M, sg.powm(X, p)), (A,), (E,))[1]  # noqa: E731
    for transform in (jacrev, jacfwd):
        assert relative_error(transform(slope)(p), expectation(E, by_p[1].first(M))) <= 1e-12

    def twice(p: Tensor) -> Tensor:
        return torch.tensordot(hessian(lambda X: expectation(M, sg.powm(hermitian_part(X), p)))(A), E)

    if not dtype.is_complex:
        assert relative_error(jacrev(twice)(p), by_p[1].second(M, E)) <= 1e-9
        assert relative_error(jacfwd(twice)(p), by_p[1].second(M, E)) <= 1e-9


@pytest.mark.parametrize("backend", ["aot_eager"])
def test_compiled(backend: str) -> None:
    A, (M, _) = with_cluster(4, 3, 1e-6, torch.float64, seed=0), directions(4, torch.float64)
    compiled = torch.compile(sg.powm, backend=backend, fullgraph=True)
    for p in (torch.tensor(0.3, dtype=torch.float64), torch.tensor([0.3, 2.0, -1.0], dtype=torch.float64)):
        results = []
        for f in (sg.powm, compiled):
            X, q = A.clone().requires_grad_(), p.clone().requires_grad_()
            y = f(X, q)
            results.append((y, *torch.autograd.grad((M * y).sum(), (X, q))))
        for found, expected in zip(*results, strict=True):
            assert relative_error(found, expected) <= 1e-13


def scripted_powm(A: Tensor, p: Tensor) -> Tensor:
    return sg.powm(A, p)


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
def test_scripted() -> None:
    """A script keeps the gradient of the exponent, whether it calls powm or is powm."""
    scripted_powm.__annotations__.update({"A": Tensor, "p": Tensor, "return": Tensor})  # TorchScript reads no strings
    A = with_cluster(4, 3, 1e-6, torch.float64, seed=0)
    for f in (torch.jit.script(scripted_powm), torch.jit.script(sg.powm)):
        for p in (torch.tensor(0.3, dtype=torch.float64), torch.tensor([0.3, 2.0, -1.0], dtype=torch.float64)):
            results = []
            for function in (sg.powm, f):
                q = p.clone().requires_grad_()
                y = function(A, q)
                results.append((y, *torch.autograd.grad(y.sum(), q)))
            for found, expected in zip(*results, strict=True):
                assert torch.equal(found, expected)
    for number in (2, 0.3):
        assert torch.equal(torch.jit.script(sg.powm)(A, number), sg.powm(A, number))


def test_learned() -> None:
    """A fit finds the exponent that was used to make the matrix."""
    A = with_cluster(4, 2, 0, torch.float64, seed=0)
    target = sg.powm(A, 0.37)
    p = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([p], tolerance_grad=1e-14, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (sg.powm(A, p) - target).square().sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    assert abs(float(p.detach()) - 0.37) <= 1e-7


def test_under_autocast() -> None:
    A, p = with_cluster(4, 3, 1e-3, torch.float32, seed=0), torch.tensor(0.5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = sg.powm(A, p)
        half = sg.powm(A.bfloat16(), p)
    assert (y.dtype, half.dtype) == (torch.float32, torch.float32)
    assert relative_error(y, sg.powm(A, 0.5)) <= 1e-6


# --- errors ----------------------------------------------------------------------------------------------------------

I3 = torch.eye(3, dtype=torch.float64)
BAD: dict[str, tuple[Tensor, type[Exception], str]] = {
    "complex": (torch.tensor(1j), TypeError, r"Expected p to be real, but got torch\.complex64"),
    "boolean": (torch.tensor(True), TypeError, r"Expected p to be real, but got torch\.bool"),
    "nan": (torch.tensor([1.0, torch.nan]), ValueError, r"Expected p to be finite, but got nan"),
    "inf": (torch.tensor(-torch.inf), ValueError, r"Expected p to be finite, but got -inf"),
}


@pytest.mark.parametrize(("p", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_exponents(p: Tensor, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=r"spectralgrad\.powm: " + message):
        sg.powm(I3, p)


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match=r"powm: Expected p to broadcast with the batch of A, \[2\], .* \[3\]"):
        sg.powm(I3.expand(2, 3, 3), torch.ones(3))
    with pytest.raises(RuntimeError, match=r"powm: The input tensor A must have at least 2 dimensions, but it has 1"):
        sg.powm(torch.ones(3), torch.ones(3))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize(
    ("spectrum", "p", "message"),
    [
        ([-0.5, 1.0], 0.3, r"Expected A to be positive semidefinite, but its smallest eigenvalue is -0\.5"),
        ([-0.5, 1.0], -0.3, r"Expected A to be positive definite, but its smallest eigenvalue is -0\.5"),
        ([0.0, 1.0], -0.3, r"Expected A to be positive definite, but its smallest eigenvalue is 0"),
        ([0.0, 1.0], -2.0, r"Expected A to be invertible, but it has the eigenvalue 0"),
    ],
)
def test_outside_the_domain(spectrum: list[float], p: float, message: str, dtype: torch.dtype) -> None:
    bad, good = torch.diag(torch.tensor(spectrum, dtype=dtype)), torch.eye(2, dtype=dtype)
    with pytest.raises(LinAlgError, match=r"spectralgrad\.powm: " + message):
        sg.powm(bad, torch.tensor(p))
    batch, exponents = torch.stack([good, bad, bad]), torch.tensor([p, p, 2.0])
    with pytest.raises(LinAlgError, match=r"spectralgrad\.powm: \(Batch element 1\): " + message):
        sg.powm(batch, exponents)
    with sg.checks("ignore"):
        X = batch.clone().requires_grad_()
        y = sg.powm(X, exponents)
        assert bool(y[1].isnan().all())
        torch.testing.assert_close(y[[0, 2]].detach(), torch.stack([good, bad @ bad]))
        (G,) = torch.autograd.grad(y, X, torch.ones_like(y))
        assert bool(G[[0, 2]].isfinite().all())


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(half: torch.dtype) -> None:
    """Scripts call the operator itself, which runs in float32."""
    A, p = torch.tensor([[2.0, 0.5], [0.5, 1.0]]), torch.tensor([0.5, 2.0])
    expected = sg.powm(A, p)
    with torch.autocast("cpu", dtype=half):
        for found in (sg.powm(A.to(half), p), torch.ops.spectralgrad.powm.tensor(A.to(half), p)):
            assert torch.equal(found, expected)
