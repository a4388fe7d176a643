"""svd and svdvals as functions: values, gradients at separated singular values, shapes, dtypes, rules, out=, errors.

Repeated and zero singular values are tested in test_svd_degenerate.py, messages in test_svd_messages.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from problems import (
    ALL,
    COMPLEX,
    LinAlgError,
    each_double,
    each_dtype,
    eps,
    gradient_of,
    normal,
    return_types,
    with_singular_values,
)
from reference import relative_error

BATCHES: list[tuple[int, ...]] = [(), (0,), (2,), (2, 0, 3), (2, 3)]
SHAPES = [(4, 4), (6, 4), (4, 6)]
ALL_SHAPES = [(0, 0), (0, 3), (3, 0), (1, 1), (1, 4), (5, 2), (2, 5), (5, 5)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["square", "tall", "wide"])
each_full = pytest.mark.parametrize("full", [False, True], ids=["thin", "full"])

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def distinct(m: int, n: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return with_singular_values(m, n, torch.arange(min(m, n), 0, -1) + 0.3, dtype, seed)


def gradient(loss: Loss, A: Tensor, svd: Callable[..., Any] = sg.svd, **options: Any) -> Tensor:
    return gradient_of(lambda X: loss(*svd(X, **options)), A)


def invariant_loss(m: int, n: int, dtype: torch.dtype) -> Loss:
    """Depends on every singular value, and on every pair of singular vectors up to its phase; for distinct ones."""
    k = min(m, n)
    L, R, X = (normal(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate([(m, m), (n, n), (m, n)]))

    def loss(U: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
        weights = torch.arange(1, k + 1, dtype=S.dtype)
        U, V = U[:, :k], Vh[:k].mH
        quadratic = (U.conj() * (L @ U)).sum(0) + (V.conj() * (R @ V)).sum(0) + (U.conj() * (X @ V)).sum(0)
        return (weights * (quadratic.real + S.sin())).sum()

    return loss


@each_full
@pytest.mark.parametrize("shape", ALL_SHAPES)
@pytest.mark.parametrize("batch", BATCHES)
@each_dtype
def test_decomposes(dtype: torch.dtype, batch: tuple[int, ...], shape: tuple[int, int], full: bool) -> None:
    m, n = shape
    k = min(m, n)
    A = normal(*batch, m, n, dtype=dtype, seed=m)
    result = sg.svd(A, full)
    assert isinstance(result, return_types.linalg_svd)
    U, S, Vh = result
    assert result.U is U
    assert result.S is S
    assert result.Vh is Vh
    for ours, torchs in zip(result, torch.linalg.svd(A, full), strict=True):
        assert (ours.shape, ours.dtype, ours.stride()) == (torchs.shape, torchs.dtype, torchs.stride())
    assert bool((S.diff() <= 0).all())
    assert bool((S >= 0).all())
    tolerance: dict[str, Any] = {"rtol": 0, "atol": 40 * eps(dtype)}
    torch.testing.assert_close((U[..., :k] * S.unsqueeze(-2)) @ Vh[..., :k, :], A, **tolerance)
    for ours in (U, Vh.mH):
        identity = torch.eye(ours.shape[-1], dtype=dtype).expand(*batch, -1, -1)
        torch.testing.assert_close(ours.mH @ ours, identity, **tolerance)
    torch.testing.assert_close(sg.svdvals(A), torch.linalg.svdvals(A), **tolerance)
    torch.testing.assert_close(S, torch.linalg.svdvals(A), **tolerance)


def test_arguments_have_torchs_names() -> None:
    A = distinct(4, 3, torch.float64)
    for torchs, ours in ((torch.linalg.svd, sg.svd), (torch.linalg.svdvals, sg.svdvals)):
        for call in (lambda f: f(A), lambda f: f(A=A), lambda f: f(A, driver=None)):
            for x, y in zip(call(torchs), call(ours), strict=True):
                torch.testing.assert_close(x, y)
        for x, y in zip(ours(input=A), ours(A), strict=True):  # the name that torch.svd takes
            assert torch.equal(x, y)
    assert sg.svd(A, False).U.shape == sg.svd(A, full_matrices=False).U.shape == (4, 3)
    assert sg.svd(A).U.shape == (4, 4)
    with pytest.raises(TypeError):
        sg.svd(A, input=A)


@each_full
@each_shape
@each_dtype
def test_gradient_has_the_shape_of_its_matrix(dtype: torch.dtype, shape: tuple[int, int], full: bool) -> None:
    for batch in BATCHES:
        A = normal(*batch, *shape, dtype=dtype, seed=2)
        G = gradient(lambda U, S, Vh: S.sum(), A, full_matrices=full)
        U, _, Vh = torch.linalg.svd(A, full_matrices=False)
        torch.testing.assert_close(G, U @ Vh, rtol=0, atol=40 * eps(dtype))
    for empty in ((0, 0), (0, 3), (3, 0), (2, 0, 3)):
        A = torch.zeros(empty, dtype=dtype)
        assert gradient(lambda U, S, Vh: U.abs().sum() + Vh.abs().sum(), A, full_matrices=full).shape == A.shape
        assert gradient_of(lambda X: sg.svdvals(X).sum(), A).shape == A.shape


@each_shape
@each_dtype
def test_equals_torch_at_separated_singular_values(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    for seed in range(3):
        A = distinct(*shape, dtype, seed)
        loss = invariant_loss(*shape, dtype)
        ours = gradient(loss, A, full_matrices=False)
        torchs = gradient(loss, A, torch.linalg.svd, full_matrices=False)
        assert relative_error(ours, torchs) <= 60 * eps(dtype)
        if shape[0] == shape[1]:
            assert relative_error(gradient(loss, A, torch.linalg.svd), torchs) <= 60 * eps(dtype)
        # torch refuses: "The singular vectors ... full_matrices=True".
        assert relative_error(gradient(loss, A, full_matrices=True), torchs) <= 60 * eps(dtype)
    (torchs,) = (gradient_of(lambda X: torch.linalg.svdvals(X).sin().sum(), A),)
    assert relative_error(gradient_of(lambda X: sg.svdvals(X).sin().sum(), A), torchs) <= 60 * eps(dtype)


def invariants(full: bool) -> Callable[[Tensor], tuple[Tensor, ...]]:
    def f(X: Tensor) -> tuple[Tensor, ...]:
        U, S, Vh = sg.svd(X, full)
        k = S.shape[-1]
        complement: tuple[Tensor, ...] = ()
        if full:
            complement = (U[..., k:] @ U[..., k:].mH, Vh[..., k:, :].mH @ Vh[..., k:, :])
        U, Vh = U[..., :k], Vh[..., :k, :]
        first = U[..., :1] @ U[..., :1].mH
        return S, first, U[..., 1:2] @ Vh[..., 1:2, :], Vh[..., -1:, :].mH @ Vh[..., -1:, :], U @ Vh, *complement

    return f


@each_full
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)], ids=["square", "tall", "wide"])
@each_double
def test_gradcheck(dtype: torch.dtype, shape: tuple[int, int], full: bool) -> None:
    """First and second derivatives in both modes, of σ, u_k u_kᴴ, u_k v_kᴴ, v_k v_kᴴ, U Vᴴ and of the complements."""
    A = distinct(*shape, dtype).requires_grad_()
    f = invariants(full)
    real = not dtype.is_complex  # torch itself fails batched forward gradients through the .mH of a complex tensor
    options: dict[str, Any] = {"check_batched_grad": True, "fast_mode": dtype.is_complex}
    assert gradcheck(f, A, check_forward_ad=True, check_batched_forward_grad=real, **options)
    assert gradgradcheck(f, A, check_fwd_over_rev=True, **options)


@each_double
def test_gradcheck_of_svdvals(dtype: torch.dtype) -> None:
    for shape in SHAPES:
        A = distinct(*shape, dtype).requires_grad_()
        assert gradcheck(sg.svdvals, A, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
        assert gradgradcheck(sg.svdvals, A, check_fwd_over_rev=True, check_batched_grad=True, fast_mode=True)


@each_double
@each_shape
def test_gradcheck_of_the_polar_factor_at_equal_singular_values(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    A = with_singular_values(*shape, [2.0, 1.0, 1.0, 1.0], dtype, 3).requires_grad_()

    def f(X: Tensor) -> tuple[Tensor, Tensor]:
        U, _, Vh = sg.svd(X, False)
        return U @ Vh, U[:, 1:] @ U[:, 1:].mH

    assert gradcheck(f, A, check_forward_ad=True, check_batched_grad=True, fast_mode=dtype.is_complex)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)], ids=["square", "tall", "wide"])
@pytest.mark.parametrize("scale", [1.0, 1e19, 1e-20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_hessian_of_the_nuclear_norm_at_any_scale(dtype: torch.dtype, scale: float, shape: tuple[int, int]) -> None:
    """σi² - σj² would overflow or underflow. The reference is torch's in float64, of the numbers times 1/scale."""
    A = distinct(*shape, dtype)
    E = normal(*shape, dtype=dtype, seed=9)

    def hessian_times_E(svdvals: Callable[[Tensor], Tensor], X: Tensor, E: Tensor) -> Tensor:
        X = X.clone().requires_grad_()
        (G,) = torch.autograd.grad(svdvals(X).sum(), X, create_graph=True)
        return torch.autograd.grad(G, X, E)[0]

    scaled = A * scale
    wide = torch.complex128 if dtype.is_complex else torch.float64
    ours = hessian_times_E(sg.svdvals, scaled, E)
    assert bool(ours.isfinite().all())
    expected = hessian_times_E(torch.linalg.svdvals, scaled.to(wide) / scale, E.to(wide))
    assert relative_error(ours.to(wide) * scale, expected) <= 1e-3


def test_the_rotation_whose_entry_is_stationary() -> None:
    """A backward that sees U alone gives ±1/2. d(U Vᵀ) = (dA - Q dAᵀ Q)/2 for a rotation A = Q."""
    Q = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    G = gradient(lambda U, S, Vh: (U @ Vh)[0, 1], Q)
    assert G.abs().max() <= 1e-15
    M = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient(lambda U, S, Vh: (U @ Vh)[0, 0], Q), (M - Q @ M.T @ Q) / 2, rtol=0, atol=1e-15)


# --- rules -----------------------------------------------------------------------------------------------------------


def gap_factors(values: tuple[float, float], rule: sg.Rule, dtype: torch.dtype = torch.float64) -> tuple[float, float]:
    """The factors for 1/(σ0 - σ1) and 1/(σ0 + σ1), from cotangents in which U and V turn together and against."""
    A = torch.diag(torch.tensor(values, dtype=dtype)).requires_grad_()
    U, _, Vh = sg.svd(A, rule=rule)
    signs = (U.diagonal() * Vh.diagonal()).detach()
    assert torch.equal(signs, torch.ones(2, dtype=dtype))
    turn = U.detach() @ torch.tensor([[0, 1], [-1, 0]], dtype=dtype)  # dU of a rotation, U the identity up to signs
    factors = []
    for sign in (1, -1):
        (G,) = torch.autograd.grad((U, Vh), A, (turn, sign * turn.T @ U.detach() @ Vh.detach()), retain_graph=True)
        inner = U.detach().T @ G @ Vh.detach().T
        factors.append(abs(float(inner[0, 1])) / 2)
    return factors[0], factors[1]


GAP, SUM = 0.25, 2.25
FACTORS: dict[str, tuple[sg.Rule, float, float]] = {
    "gated": (sg.Gated(), 1 / GAP, 1 / SUM),
    "bare": (sg.Bare(), 1 / GAP, 1 / SUM),
    "lorentzian": (sg.Lorentzian(0.5), GAP / (GAP**2 + 0.25), SUM / (SUM**2 + 0.25)),
    "relative lorentzian": (
        sg.Lorentzian(0.5, relative=True),
        GAP / (GAP**2 + 0.625**2),
        SUM / (SUM**2 + 0.625**2),
    ),
    "cutoff": (sg.Cutoff(0.5), 0.0, 1 / SUM),
    "cutoff of all": (sg.Cutoff(3.0), 0.0, 0.0),
    "split": (sg.Split(0.1), 1 / GAP, 1 / SUM),
    "wide split": (sg.Split(0.4), 1 / 0.5, 1 / SUM),
}


@pytest.mark.parametrize(("rule", "gap", "total"), FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_factors_of_each_rule(rule: sg.Rule, gap: float, total: float, dtype: torch.dtype) -> None:
    ours = gap_factors((1.25, 1.0), rule, dtype)
    assert ours == pytest.approx((gap, total), rel=8 * eps(dtype))
    with sg.use_rule(rule):
        assert gap_factors((1.25, 1.0), sg.default_rule(), dtype) == ours


def test_bare_divides_by_zero() -> None:
    A = torch.eye(2, dtype=torch.float64)
    with sg.checks("ignore"):
        assert bool(gradient(lambda U, S, Vh: U[0, 1] + U[1, 0], A, rule=sg.Bare()).isinf().any()) or bool(
            gradient(lambda U, S, Vh: U[0, 1] + U[1, 0], A, rule=sg.Bare()).isnan().any()
        )


@pytest.mark.parametrize(
    ("diagonal", "columns", "expected"),
    [
        ([2.0, 1.0, 1.0, 1.0], 4, [2.0, 1.2, 1.0, 0.8]),
        ([1.0, 0.5, 0.0], 3, [1.0, 0.5, 0.05]),  # ±0.05 are a width apart
        ([1.0, 0.5, 0.0], 5, [1.0, 0.5, 0.1]),  # and between them lie zeros
        ([1.0, 0.0, 0.0], 3, [1.0, 0.15, 0.05]),
        ([0.0, 0.0], 3, [0.2, 0.1]),
        ([0.0, 0.0], 2, [0.15, 0.05]),
    ],
)
def test_split_moves_singular_values(diagonal: list[float], columns: int, expected: list[float]) -> None:
    A = torch.zeros(len(diagonal), columns, dtype=torch.float64)
    A.diagonal().copy_(torch.tensor(diagonal))
    with sg.checks("ignore"):  # a zero that moves is reported
        for X in (A, A.T):
            S = sg.svdvals(X, rule=sg.Split(0.1))
            torch.testing.assert_close(S, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15)
            assert torch.equal(sg.svd(X, rule=sg.Split(0.1)).S, S)
    if 0.0 in diagonal and any(diagonal):
        with pytest.warns(sg.GaugeWarning, match="a returned singular value crossed"):
            sg.svdvals(A, rule=sg.Split(0.1))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 3e-2)])
def test_split_recovers_the_gradient_of_a_function_of_singular_values(dtype: torch.dtype, tolerance: float) -> None:
    """At A = Q/2, U sin(Σ) Vᵀ is an odd function of A, with the derivative f'(σ) and f(σ)/σ in its two parts."""
    Q = torch.linalg.qr(normal(4, 4, dtype=torch.float64, seed=1)).Q
    M = normal(4, 4, dtype=torch.float64, seed=2)
    A = (0.5 * Q).to(dtype)
    G = gradient(
        lambda U, S, Vh: (M.to(dtype) * ((U * S.sin()) @ Vh)).sum(),
        A,
        rule=sg.Split(),
    )
    X = Q.T @ M
    s = torch.tensor(0.5, dtype=torch.float64)
    expected = Q @ (s.cos() * (X + X.T) / 2 + s.sin() / s * (X - X.T) / 2)
    assert relative_error(G.double(), expected) <= tolerance


# --- out= ------------------------------------------------------------------------------------------------------------


@each_full
def test_out_is_written_to_and_returned(full: bool) -> None:
    A = normal(2, 4, 3, dtype=torch.complex64, seed=0)
    out = (torch.empty(0, dtype=A.dtype), torch.empty(0), torch.empty(0, dtype=A.dtype))
    result = sg.svd(A, full, out=out)
    assert isinstance(result, return_types.linalg_svd_out)
    for written, returned, plain in zip(out, result, sg.svd(A, full), strict=True):
        assert written.data_ptr() == returned.data_ptr()
        assert torch.equal(written, plain)
    values = torch.empty(0)
    assert sg.svdvals(A, out=values) is values
    assert torch.equal(values, sg.svdvals(A))


def test_out_in_other_strides() -> None:
    A = normal(3, 3, dtype=torch.float64, seed=0)
    out = [torch.empty(3, 3, dtype=A.dtype), torch.empty(6, dtype=A.dtype)[::2], torch.empty(3, 3, dtype=A.dtype)]
    sg.svd(A, rule=sg.Split(0.5), out=out)
    for written, plain in zip(out, sg.svd(A, rule=sg.Split(0.5)), strict=True):
        assert torch.equal(written, plain)


def test_out_of_another_shape_is_resized_with_torchs_warning() -> None:
    A = normal(4, 3, dtype=torch.float64, seed=0)
    for svd in (torch.linalg.svd, sg.svd):
        out = [torch.empty(shape, dtype=A.dtype) for shape in ((4, 3), (2,), (3, 3))]
        with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
            svd(A, full_matrices=False, out=out)
        assert out[1].shape == (3,)
    for svdvals in (torch.linalg.svdvals, sg.svdvals):
        values = torch.empty(2, dtype=A.dtype)
        with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
            svdvals(A, out=values)
        assert torch.equal(values, svdvals(A))


# --- errors: torch's types, and a sentence with what was expected and what came --------------------------------------

A3 = torch.eye(3, dtype=torch.float64)


def spoiled(value: float) -> Tensor:
    A = torch.stack([A3, A3, A3])
    A[1, 2, 0] = value
    return A


ERRORS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "1-D": (
        (torch.ones(3),),
        {},
        RuntimeError,
        r"^spectralgrad\.{f}: The input tensor A must have at least 2 dimensions, but it has 1",
    ),
    "0-D": ((torch.ones(()),), {}, RuntimeError, r"must have at least 2 dimensions, but it has 0"),
    "driver": (
        (A3,),
        {"driver": "gesvd"},
        RuntimeError,
        r"^spectralgrad\.{f}: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend",
    ),
    "driver is no string": (
        (A3,),
        {"driver": 1},
        TypeError,
        r"^spectralgrad\.{f}: Expected driver to be a str, but got int",
    ),
    "not a tensor": (([[1.0]],), {}, TypeError, r"^spectralgrad\.{f}: Expected A to be a Tensor, but got list"),
    "out": ((A3,), {"out": 3}, TypeError, r"^spectralgrad\.{f}: Expected out to be a"),
    **{
        name: (
            (torch.ones(3, 3).to(dtype),),
            {},
            NotImplementedError,
            rf'^"spectralgrad\.{{f}}" not implemented for \'{torch_name}\': '
            "Expected A to be float32, float64, complex64 or complex128",
        )
        for name, dtype, torch_name in [
            ("float16", torch.float16, "Half"),
            ("bfloat16", torch.bfloat16, "BFloat16"),
            ("int64", torch.int64, "Long"),
            ("bool", torch.bool, "Bool"),
        ]
    },
    "NaN in a batch": (
        (spoiled(torch.nan),),
        {},
        LinAlgError,
        r"^spectralgrad\.{f}: \(Batch element 1\): Expected A to be finite, but the entry \(2, 0\) is nan",
    ),
    "Inf": ((spoiled(-torch.inf)[1],), {}, LinAlgError, r"Expected A to be finite, but the entry \(2, 0\) is -inf"),
}


@pytest.mark.parametrize("name", ["svd", "svdvals"])
@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("differentiated", [False, True], ids=["values", "derivatives"])
def test_bad_input(case: tuple[Any, ...], name: str, differentiated: bool) -> None:
    args, kwargs, kind, message = case
    if differentiated:
        if not isinstance(args[0], Tensor) or not args[0].dtype.is_floating_point:
            pytest.skip("nothing that could be differentiated")
        args = (args[0].clone().requires_grad_(), *args[1:])
    with pytest.raises(kind, match=message.replace("{f}", name)):
        getattr(sg, name)(*args, **kwargs)
    if kind is not LinAlgError:  # torch's LAPACK may return NaN without an error
        # torch's message for integers is a RuntimeError, and NotImplementedError is one, too.
        with pytest.raises(RuntimeError if issubclass(kind, RuntimeError) else kind):
            getattr(torch.linalg, name)(*args, **kwargs)


def test_other_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"^spectralgrad\.svd: Expected full_matrices to be a bool, but got str"):
        sg.svd(A3, "S")  # type: ignore[arg-type]
    functions: list[Any] = [sg.svd, sg.svdvals]
    for f in functions:
        with pytest.raises(TypeError, match=rf"^spectralgrad\.{f.__name__}: Expected rule to be a Rule"):
            f(A3, rule="gated")
    pair = (torch.empty(0, dtype=A3.dtype), torch.empty(0, dtype=A3.dtype))
    with pytest.raises(TypeError, match=r"Expected out to be a tuple of 3 Tensors \(U, S, Vh\), but got a tuple of 2"):
        sg.svd(A3, out=pair)  # type: ignore[arg-type]
    for svd in (torch.linalg.svd, sg.svd):
        with pytest.raises(RuntimeError, match="Expected out tensor to have dtype double, but got float instead"):
            svd(A3, out=(torch.empty(0, dtype=A3.dtype), torch.empty(0), torch.empty(0, dtype=A3.dtype)))
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            svd(A3.clone().requires_grad_(), out=[torch.empty(0, dtype=A3.dtype) for _ in range(3)])
    for svdvals in (torch.linalg.svdvals, sg.svdvals):
        with pytest.raises(RuntimeError, match="Expected out tensor to have dtype double, but got float instead"):
            svdvals(A3, out=torch.empty(0))


@each_dtype
def test_a_nan_does_not_change_the_other_matrices_if_checks_are_off(dtype: torch.dtype) -> None:
    A = normal(3, 4, 2, dtype=dtype, seed=0)
    bad = A.clone()
    bad[1, 3, 0] = torch.nan
    with sg.checks("ignore"):
        for ours, clean in zip((*sg.svd(bad), sg.svdvals(bad)), (*sg.svd(A), sg.svdvals(A)), strict=True):
            assert bool(ours[1].isnan().all())
            assert torch.equal(ours[[0, 2]], clean[[0, 2]])
        loss = lambda U, S, Vh: S.square().sum() + (U[..., :1] * Vh[..., :1, :1]).abs().square().sum()  # noqa: E731
        G, clean = gradient(loss, bad), gradient(loss, A)
    assert bool(G[1].isnan().all())
    assert torch.equal(G[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("dtype", COMPLEX)
def test_lazy_conjugate_is_conjugated(dtype: torch.dtype) -> None:
    A = normal(4, 3, dtype=dtype, seed=0)
    for ours, plain in zip(sg.svd(A.conj()), sg.svd(A.conj().resolve_conj()), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=40 * eps(dtype))


def test_unused_outputs_give_none() -> None:
    A = distinct(3, 3, torch.float64).requires_grad_()
    U, S, Vh = sg.svd(A)
    assert all(x is None for x in torch.autograd.grad(A.sum(), (U, S, Vh), allow_unused=True))
    with torch.no_grad():
        assert not sg.svd(A).U.requires_grad
    for dtype in ALL:
        assert not sg.svdvals(A.detach().to(dtype)).requires_grad
