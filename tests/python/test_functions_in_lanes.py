"""The operator `spectral_function` for f(A) and its derivative along E: the CPU kernel and the tensor code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import ALL, COMPLEX, REAL, double_of, each_dtype, eps, hermitian_part, normal, random_hermitian

DIGITS = 60


class Function(NamedTuple):
    f: Callable[[Any], Any]
    df: Callable[[Any], Any]
    name: str
    parameters: tuple[float, ...] = ()
    positive: bool = False


def power(p: float) -> Function:
    q = mpmath.mpf(p)
    return Function(lambda x: x**q, lambda x: q * x ** (q - 1), "power", (p,), positive=p != int(p) or p < 0)


FUNCTIONS = {
    "exp": Function(mpmath.exp, mpmath.exp, "exp"),
    "log": Function(mpmath.log, lambda x: 1 / x, "log", positive=True),
    "sqrt": Function(mpmath.sqrt, lambda x: 1 / (2 * mpmath.sqrt(x)), "sqrt", positive=True),
    "invsqrt": Function(lambda x: 1 / mpmath.sqrt(x), lambda x: -(x ** mpmath.mpf(-1.5)) / 2, "invsqrt", positive=True),
    "power 0.3": power(0.3),
    "power -1.7": power(-1.7),
    "power 3": power(3),
    "power -2": power(-2),
    "pinv": Function(lambda x: 1 / x, lambda x: -1 / x**2, "pinv", positive=True),
    "fermi": Function(lambda x: 1 / (1 + mpmath.exp(x)), lambda x: -1 / (4 * mpmath.cosh(x / 2) ** 2), "fermi"),
}
each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
SIZES = [*range(1, 9), 17, 33, 60]
COUNT = 37  # full vector registers and a partly filled one, for every instruction set


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype


def apply(function: Function, L: Tensor, V: Tensor, E: Tensor | None = None, jets: Tensor | None = None) -> Tensor:
    name, parameters = ("jets", ()) if jets is not None else (function.name, function.parameters)
    return torch.ops.spectralgrad.spectral_function.default(V, L, V, jets, E, None, name, list(parameters))


def by_tensor_code(function: Function, L: Tensor, V: Tensor, E: Tensor | None = None) -> Tensor:
    """Uses tensor code, because the kernel does not broadcast."""
    return apply(function, L[None] if E is None else L, V, None if E is None else E[None]).reshape(V.shape)


def spectra(n: int, dtype: torch.dtype, *, positive: bool) -> Tensor:
    """Spectra of n eigenvalues, many of which are one gap apart; the gap of the spectra varies from 1 down to 0."""
    rng = np.random.default_rng(n)
    gaps = [1.0, *(10.0**-k for k in range(1, 17)), 0.0]
    rows = []
    for k in range(COUNT):
        gap = gaps[k % len(gaps)]
        near = (0.3 if positive else -1.0) + 2 * rng.random() + gap * np.arange(n) / max(1, n // 4)
        far = rng.uniform(0.1 if positive else -3.0, 4.0, n)
        rows.append(np.sort(np.where(np.arange(n) % 3 == 2, far, near)))
    return torch.tensor(np.array(rows), dtype=real_dtype(dtype))


def decompositions(n: int, dtype: torch.dtype, *, positive: bool, count: int = COUNT) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues, eigenvectors stored by columns as `eigh` does, and a direction that is not Hermitian."""
    L = spectra(n, dtype, positive=positive)[:count]
    wide = double_of(dtype)
    V = torch.linalg.qr(normal(count, n, n, dtype=wide, seed=n)).Q.to(dtype)
    return L, V.mT.contiguous().mT, normal(count, n, n, dtype=dtype, seed=n + 1)


def distance(x: Tensor, y: Tensor) -> float:
    """The largest distance between the matrices of two batches, relative to their norms."""
    if x.numel() == 0:
        return 0.0
    norm = torch.linalg.matrix_norm(y)
    return float((torch.linalg.matrix_norm(x - y) / norm.clamp_min(torch.finfo(norm.dtype).tiny)).max())


# --- first divided differences, and products with them ----------------------------------------------------------------


@pytest.mark.parametrize("way", [apply, by_tensor_code], ids=["kernel", "tensor code"])
@pytest.mark.parametrize("dtype", REAL, ids=["float64", "float32"])
@each_function
def test_first_differences(function: Function, dtype: torch.dtype, way: Callable[..., Tensor]) -> None:
    """If V is the identity and E all ones, the result is f[a, b]. It is accurate to a few eps at every gap."""
    for n in (1, 2, 3, 5, 8, 17):
        L = spectra(n, dtype, positive=function.positive)
        V = torch.eye(n, dtype=dtype).expand(COUNT, n, n)
        result = way(function, L, V, torch.ones(COUNT, n, n, dtype=dtype)).double()
        values = way(function, L, V).double().diagonal(0, -2, -1)
        for row, differences, y in zip(L.tolist(), result.tolist(), values.tolist(), strict=True):
            with mpmath.workdps(DIGITS):
                x = [mpmath.mpf(a) for a in row]
                # The condition number of a power is its exponent.
                most = 8 * eps(dtype) * max(1, *(abs(p) for p in (*function.parameters, 1)))
                f = [function.f(a) for a in x]
                for i, a in enumerate(x):
                    assert abs(y[i] - f[i]) <= most * max(abs(f[i]), mpmath.mpf(1) if function.name == "log" else 0)
                    for j, b in enumerate(x):
                        exact = function.df(a) if a == b else (f[j] - f[i]) / (b - a)
                        assert abs(differences[i][j] - exact) <= most * abs(exact), (row[i], row[j])


def test_integer_powers_across_zero() -> None:
    for dtype in REAL:
        L = torch.tensor([[-2.0, -2.0, -0.5, 0.0, 0.0, 1.5, 3.0]], dtype=dtype)
        E = torch.ones(1, 7, 7, dtype=dtype)
        a, b = L[..., None], L[..., None, :]
        for p, exact in [
            (0, 0 * a * b),
            (1, 1 + 0 * a * b),
            (2, a + b),
            (3, a * a + a * b + b * b),
            (4, (a + b) * (a * a + b * b)),
        ]:
            for way in (apply, by_tensor_code):
                result = way(power(p), L, torch.eye(7, dtype=dtype)[None], E)
                torch.testing.assert_close(result, exact, rtol=16 * eps(dtype), atol=64 * eps(dtype))


@pytest.mark.parametrize("scale", [1e-20, 1e20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_scale(dtype: torch.dtype, scale: float) -> None:
    """f(sA) = s^p f(A), and likewise the derivative along sE; to the bit for roots, where s^p is a power of two."""
    unit = 16.0 ** round(np.log2(scale) / 4)
    L, V, E = decompositions(5, dtype, positive=True)
    for way in (apply, by_tensor_code):
        for name, p in [("sqrt", 0.5), ("invsqrt", -0.5)]:
            function = FUNCTIONS[name]
            assert torch.equal(way(function, unit * L, V), unit**p * way(function, L, V))
            assert torch.equal(way(function, unit * L, V, unit * E), unit**p * way(function, L, V, E))
        for p in (0.3, 1.0, -0.7):
            function = power(p)
            assert distance(way(function, unit * L, V), unit**p * way(function, L, V)) <= 100 * eps(dtype)
            derivative = way(function, unit * L, V, unit * E)
            assert distance(derivative, unit**p * way(function, L, V, E)) <= 100 * eps(dtype)


@each_dtype
@each_function
def test_kernel_and_tensor_code_agree(function: Function, dtype: torch.dtype) -> None:
    for n in (0, *SIZES):
        L, V, E = decompositions(n, dtype, positive=function.positive)
        value, derivative = apply(function, L, V), apply(function, L, V, E)
        tolerance = 30 * eps(dtype) * max(1, *map(abs, (*function.parameters, 1)))
        assert distance(value, by_tensor_code(function, L, V)) <= tolerance
        assert distance(derivative, by_tensor_code(function, L, V, E)) <= tolerance
        for result in (value, derivative):
            assert torch.equal(result, result.mH)
            assert result.is_contiguous()
        assert torch.equal(derivative, apply(function, L, V, hermitian_part(E)))


@each_dtype
def test_jets(dtype: torch.dtype) -> None:
    """f given by its derivatives at the eigenvalues has the same results as f given by its name."""
    for n in SIZES:
        L, V, E = decompositions(n, dtype, positive=False)
        jets = torch.stack([L.exp()] * 5, -2)
        exp = FUNCTIONS["exp"]
        assert distance(apply(exp, L, V, None, jets), apply(exp, L, V)) <= 30 * eps(dtype)
        assert distance(apply(exp, L, V, E, jets), apply(exp, L, V, E)) <= 30 * eps(dtype)
        with pytest.raises(RuntimeError, match=r"Expected df and d2f to be given"):
            apply(exp, L, V, E, jets[..., :1, :])


@each_dtype
def test_second_directions_and_broadcasting(dtype: torch.dtype) -> None:
    """Tensor code computes second derivatives: x^2 has 2 E^2 along E and E."""
    L, V, E = decompositions(4, dtype, positive=True)
    E = hermitian_part(E)
    result = torch.ops.spectralgrad.spectral_function.default(V, L, V, None, E, E, "power", [2.0])
    assert distance(result, 2 * E @ E) <= 200 * eps(dtype)
    single = apply(FUNCTIONS["sqrt"], L, V, E[0])
    assert distance(single, apply(FUNCTIONS["sqrt"], L, V, E[0].expand_as(V))) <= 100 * eps(dtype)


# --- place in the batch, layout, other matrices in the batch ----------------------------------------------------------


@each_dtype
@each_function
def test_same_bits_at_any_place(function: Function, dtype: torch.dtype) -> None:
    for n in range(1, 9):
        L, V, E = decompositions(n, dtype, positive=function.positive)
        for direction in (None, E):

            def of(places: Any, E: Tensor | None = direction, L: Tensor = L, V: Tensor = V) -> Tensor:
                return apply(function, L[places], V[places], None if E is None else E[places])

            expected = of(slice(None))
            order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(n))
            assert torch.equal(of(order), expected[order])
            assert torch.equal(torch.cat([of(slice(k, k + 1)) for k in range(COUNT)]), expected)
            assert torch.equal(of(slice(3, 14)), expected[3:14])
            assert torch.equal(of(5), expected[5])


@pytest.mark.parametrize("n", [3, 8, 33])
def test_number_of_threads_does_not_matter(n: int, set_threads: Callable[[int], None]) -> None:
    for dtype in ALL:
        L, V, E = (x.repeat(20, *[1] * (x.dim() - 1)) for x in decompositions(n, dtype, positive=True))
        results = []
        for count in (1, 2, 5):
            set_threads(count)
            results.append([apply(FUNCTIONS[name], L, V, E) for name in ("exp", "sqrt", "power 0.3")])
        for result in results[1:]:
            assert all(map(torch.equal, result, results[0]))


def test_deterministic_algorithms_give_the_same_bits_in_any_batch() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        L, V, E = decompositions(40, torch.float32, positive=True)
        expected = apply(FUNCTIONS["exp"], L, V, E)
        assert torch.equal(apply(FUNCTIONS["exp"], L[:1], V[:1], E[:1]), expected[:1])
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("n", [1, 3, 6, 33])
@each_dtype
def test_layouts(dtype: torch.dtype, n: int) -> None:
    exp = FUNCTIONS["exp"]
    L, V, E = (x[:12] for x in decompositions(n, dtype, positive=False))
    value, derivative = apply(exp, L, V), apply(exp, L, V, E)
    apart = torch.zeros(12, 2 * n, 3 * n, dtype=dtype)
    apart[:, ::2, ::3] = V
    batched_last = V.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for vectors in (V.contiguous(), apart[:, ::2, ::3], batched_last, V.conj().resolve_conj().conj()):
        for direction in (
            E.mT.contiguous().mT,
            E.permute(1, 2, 0).contiguous().permute(2, 0, 1),
            E.conj().resolve_conj().conj(),
        ):
            assert torch.equal(apply(exp, L, vectors), value)
            assert torch.equal(apply(exp, L, vectors, direction), derivative)
    wide = L.repeat_interleave(2, -1)
    assert torch.equal(apply(exp, wide[:, ::2], V, E), derivative)
    assert torch.equal(apply(exp, L.view(3, 4, n), V.view(3, 4, n, n), E.view(3, 4, n, n)).view(12, n, n), derivative)
    alike = apply(exp, L, V, E[0].expand_as(V))
    assert torch.equal(alike, apply(exp, L, V, E[0].repeat(12, 1, 1)))
    if dtype in COMPLEX:
        # The imaginary part of a conjugate is a view with the negative bit.
        negated = V.conj().imag
        assert negated.is_neg()
        real = apply(exp, L, negated, E.conj().imag)
        assert torch.equal(real, apply(exp, L, negated.resolve_neg(), -E.imag))


@each_dtype
@each_function
def test_nonfinite_matrices_do_not_change_the_others(function: Function, dtype: torch.dtype) -> None:
    for n in (2, 3, 7):
        L, V, E = decompositions(n, dtype, positive=function.positive)
        value, derivative = apply(function, L, V), apply(function, L, V, E)
        others = torch.arange(COUNT) != 11
        L, V, bad = L.clone(), V.clone(), E.clone()
        bad[11, 0, 1] = float("inf")
        assert torch.equal(apply(function, L, V, bad)[others], derivative[others])
        L[11], V[11] = float("nan"), float("nan")
        for result, expected in ((apply(function, L, V), value), (apply(function, L, V, E), derivative)):
            assert torch.equal(result[others], expected[others])
            assert result[11].isnan().all()


# --- square roots at zero ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 0.3])
@each_dtype
def test_infinite_differences_are_left_out(dtype: torch.dtype, p: float) -> None:
    function = FUNCTIONS["sqrt"] if p == 0.5 else power(p)
    for n in (3, 6, 17):
        L, V, E = decompositions(n, dtype, positive=True)
        regular = apply(function, L, V, E)
        L = L.clone()
        # Two zero eigenvalues, as round-off of both signs.
        L[[4, 20], :2] = torch.tensor([-0.1, 0.1], dtype=L.dtype) * n * eps(dtype) * L[[4, 20], -1:]
        message = r"(sqrtm|powm): A is singular \(matrix 4 of the batch\)"
        with pytest.warns(sg.GaugeWarning, match=message):
            result = apply(function, L, V, E)
        with pytest.warns(sg.GaugeWarning, match=message):
            expected = by_tensor_code(function, L, V, E)
        others = torch.ones(COUNT, dtype=torch.bool)
        others[[4, 20]] = False
        assert torch.equal(result[others], regular[others])
        # Two eigenvalues are zero, the others far away: f[0,x] = x^(p-1), and 0 for the two zeros.
        wide = double_of(dtype)
        X = (V.mH @ hermitian_part(E) @ V)[4].to(wide)
        x = [0.0, 0.0, *L[4, 2:].tolist()]
        M = [[0.0 if a == b == 0 else p * a ** (p - 1) if a == b else (a**p - b**p) / (a - b) for b in x] for a in x]
        if min((abs(a - b) for a in x for b in x if a != b), default=1) > 1e-3:
            exact = V[4].to(wide) @ (torch.tensor(M, dtype=torch.float64) * X) @ V[4].to(wide).mH
            assert distance(result[4][None].to(wide), exact[None]) <= 1000 * eps(dtype)
        assert distance(result, expected) <= 100 * eps(dtype)
        with sg.checks("raise"), pytest.raises(sg.GaugeError, match=message):
            apply(function, L, V, E)
        with sg.checks("ignore"):
            assert torch.equal(apply(function, L, V, E), result)
        # A direction without a part inside the null space gives the exact result and no warning, whatever its scale.
        inside = V[..., :2] @ V[..., :2].mH
        outside = E - inside @ E @ inside
        for scale in (1.0, 1e-25, 1e25):
            apply(function, L, V, scale * outside)


@pytest.mark.parametrize("way", [apply, by_tensor_code], ids=["kernel", "tensor code"])
def test_overflow_is_not_taken_for_a_singular_matrix(way: Callable[..., Tensor]) -> None:
    """3 x^2 at -1e20: infinite in float32, and no warning."""
    L, one = torch.tensor([[-1e20]]), torch.ones(1, 1, 1)
    assert way(power(3), L, one, one).item() == float("inf")


def test_gradients_of_one_matrix_and_of_many() -> None:
    """From the public functions, with a cotangent that is expanded."""
    A = random_hermitian(COUNT, 3, 3, dtype=torch.float32, seed=0)
    A = (A @ A + torch.eye(3)).requires_grad_()
    for f in (sg.expm, sg.sqrtm, sg.logm, sg.invsqrtm, lambda X: sg.powm(X, 1.5)):
        (G,) = torch.autograd.grad(f(A).sum(), A)
        for k in (0, 20):
            (one,) = torch.autograd.grad(f(A[k]).sum(), A)
            assert torch.equal(one[k], G[k])
