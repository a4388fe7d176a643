"""svd_truncated: the kept part of svd, its rank, its derivative with the complement term.

test_svd_truncated_messages.py has what it reports and refuses, test_transforms.py the transforms.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import spectralgrad as sg
from problems import (
    ALL,
    DOUBLE,
    GAPS,
    LinAlgError,
    by_precision,
    each_double,
    each_dtype,
    eps,
    expectation,
    gradient_of,
    hermitian_part,
    hessian_times,
    normal,
    random_hermitian,
    return_types,
    with_singular_values,
)
from reference import relative_error
from test_svd import distinct, invariant_loss
from test_svd_degenerate import block, expected_gradient, real_if

SHAPES = [(6, 6), (8, 5), (5, 8), (4, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["square", "tall", "wide", "column"])

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def sliced(A: Tensor, rank: int, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    U, S, Vh = sg.svd(A, False, **options)
    return U[..., :rank], S[..., :rank], Vh[..., :rank, :]


def gradient(loss: Loss, A: Tensor, *args: Any, **options: Any) -> Tensor:
    return gradient_of(lambda X: loss(*sg.svd_truncated(X, *args, **options)), A)


def findings(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


# --- svd and slicing -------------------------------------------------------------------------------------------------


@each_shape
@each_dtype
def test_is_svd_and_slicing(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """Values to the bit; first and second derivatives, and forward mode, to round-off."""
    m, n = shape
    A, E = distinct(m, n, dtype), normal(m, n, dtype=dtype, seed=9)
    tolerance = 60 * eps(dtype)
    assert not gradient(lambda U, S, Vh: U.real.sum() + S.sum() + Vh.real.sum(), A, 0).any()
    for rank in {1, min(3, m, n), min(m, n), 99}:
        result = sg.svd_truncated(A, rank)
        assert isinstance(result, return_types.linalg_svd)
        for ours, plain in zip(result, sliced(A, rank), strict=True):
            assert torch.equal(ours, plain)
        kept = len(result.S)
        of_kept = invariant_loss(m, n, dtype)

        def loss(U: Tensor, S: Tensor, Vh: Tensor, kept: int = kept, of_kept: Loss = of_kept) -> Tensor:
            others = S.new_zeros(min(m, n) - kept)  # of_kept has a weight for each singular value of A
            U = torch.cat([U, U.new_zeros(m, len(others))], -1)
            Vh = torch.cat([Vh, Vh.new_zeros(len(others), n)], -2)
            return of_kept(U, torch.cat([S, others]), Vh)

        def of_ours(X: Tensor, rank: int = rank, loss: Loss = loss) -> Tensor:
            return loss(*sg.svd_truncated(X, rank))

        def of_slices(X: Tensor, rank: int = rank, loss: Loss = loss) -> Tensor:
            return loss(*sliced(X, rank))

        assert relative_error(gradient_of(of_ours, A), gradient_of(of_slices, A)) <= tolerance
        assert relative_error(hessian_times(of_ours, A, E), hessian_times(of_slices, A, E)) <= 10 * tolerance
        along = [torch.func.jvp(f, (A,), (E,))[1] for f in (of_ours, of_slices)]
        torch.testing.assert_close(*along, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)], ids=["square", "tall", "wide"])
@each_double
def test_gradcheck(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    A = distinct(*shape, dtype).requires_grad_()

    def f(X: Tensor) -> tuple[Tensor, ...]:
        U, S, Vh = sg.svd_truncated(X, 2)
        return S, U @ U.mH, U[:, :1] @ Vh[:1], (U * S) @ Vh, Vh[1:].mH @ Vh[1:]

    options: dict[str, Any] = {"check_batched_grad": True, "fast_mode": True}
    assert gradcheck(f, A, check_forward_ad=True, **options)
    assert gradgradcheck(f, A, check_fwd_over_rev=True, **options)


@each_dtype
def test_batches_and_empty_matrices(dtype: torch.dtype) -> None:
    for batch in ((), (0,), (2,), (2, 0, 3), (2, 3)):
        for m, n in ((4, 4), (5, 2), (2, 5), (0, 0), (0, 3), (3, 0)):
            A = normal(*batch, m, n, dtype=dtype, seed=m)
            k = min(2, m, n)
            U, S, Vh = sg.svd_truncated(A, 2)
            assert (U.shape, S.shape, Vh.shape) == ((*batch, m, k), (*batch, k), (*batch, k, n))
            assert (U.dtype, S.dtype, Vh.dtype) == (dtype, torch.empty(0, dtype=dtype).real.dtype, dtype)
            full_U, full_S, full_Vh = sg.svd(A, full_matrices=False)
            G = gradient(lambda U, S, Vh: S.sum(), A, 2)
            expected = full_U[..., :k] @ full_Vh[..., :k, :]
            torch.testing.assert_close(G, expected, rtol=0, atol=40 * eps(dtype))
            assert torch.equal(S, full_S[..., :k])
    assert sg.svd_truncated(torch.zeros(2, 0, 4, 3)).U.shape == (2, 0, 4, 0)


# --- multiplets, against 60 digits -----------------------------------------------------------------------------------

MULTIPLETS = [(dtype, gap) for dtype in ALL for gap in GAPS[::3] if dtype in DOUBLE or gap >= 1e-8 or gap == 0]


def check_kept_part(A: Tensor, rank: int, kept: int, tolerance: float) -> None:
    """Losses of the kept subspaces. The reference is the function of [[0, A], [Aᴴ, 0]] that is 1, or ±1, on them."""
    m, n = A.shape
    dtype = A.dtype
    L, R = random_hermitian(m, m, dtype=dtype, seed=1), random_hermitian(n, n, dtype=dtype, seed=2)
    X = normal(m, n, dtype=dtype, seed=3)
    inside = [int(i < kept) for i in range(min(m, n))]
    losses: list[tuple[Loss, Tensor, int]] = [
        (lambda U, S, Vh: expectation(L, U @ U.mH), block(m, n, left=L), 1),
        (lambda U, S, Vh: expectation(R, Vh.mH @ Vh), block(m, n, right=R), 1),
        (lambda U, S, Vh: (X.conj() * (U @ Vh)).sum().real, block(m, n, X=X), -1),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss, M, sign in losses:
            G = gradient(loss, A, rank)
            expected = expected_gradient(A, real_if(A, M), inside, [sign * x for x in inside])
            assert relative_error(G, expected) <= tolerance
        G = gradient(lambda U, S, Vh: S.sum(), A, rank)
    U, _, Vh = torch.linalg.svd(A, full_matrices=False)
    assert relative_error(G, U[:, :kept] @ Vh[:kept]) <= tolerance


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (5, 7)], ids=["square", "tall", "wide"])
@pytest.mark.parametrize(("dtype", "gap"), MULTIPLETS)
def test_near_and_equal_singular_values(dtype: torch.dtype, gap: float, shape: tuple[int, int]) -> None:
    """In the kept part, and in the dropped part. A cut between equal ones moves outwards."""
    tolerance = by_precision(dtype, 1e-12, 1e-4)
    A = with_singular_values(*shape, [2.0, 1.0 + 2 * gap, 1.0 + gap, 1.0, 0.4], dtype, 0)
    check_kept_part(A, 4, 4, tolerance)
    check_kept_part(A, 1, 1, tolerance)
    if gap == 0:
        check_kept_part(A, 2, 4, tolerance)


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (5, 7)], ids=["square", "tall", "wide"])
@each_dtype
def test_low_rank(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """The dropped singular values are 0. If some of these are kept, losses that see none of their vectors are right."""
    m, n = shape
    tolerance = by_precision(dtype, 1e-12, 1e-4)
    A = with_singular_values(m, n, [2.0, 1.0, 0.5], dtype, 0)
    check_kept_part(A, 3, 3, tolerance)
    check_kept_part(A, 2, 2, tolerance)
    assert len(sg.svd_truncated(A).S) == 3
    assert len(sg.svd_truncated(A, 4).S) == 4
    M = normal(m, n, dtype=dtype, seed=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        G = gradient(lambda U, S, Vh: (M.conj() * (U[:, :3] @ Vh[:3])).sum().real, A, 4)
        assert relative_error(gradient(lambda U, S, Vh: S.square().sum(), A, 4), 2 * A) <= tolerance
    inside = [int(i < 3) for i in range(min(m, n))]
    expected = expected_gradient(A, real_if(A, block(m, n, X=M)), inside, [-x for x in inside])
    assert relative_error(G, expected) <= tolerance
    zero = torch.zeros(m, n, dtype=dtype)
    assert len(sg.svd_truncated(zero, 2).S) == 2
    assert len(sg.svd_truncated(zero).S) == 0
    assert not gradient(lambda U, S, Vh: S.square().sum(), zero, 2).any()


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (5, 7)], ids=["square", "tall", "wide"])
@each_double
def test_the_best_approximation_written_with_a_projector(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """U Uᴴ A is U Σ Vᴴ. Its gradient is exact at repeated singular values, as docs/gradients.md says."""
    m, n = shape
    A = with_singular_values(m, n, [3.0, 2.0, 2.0, 1.0, 0.5], dtype, 0)
    M = normal(m, n, dtype=dtype, seed=5)

    def loss(X: Tensor) -> Tensor:
        U = sg.svd_truncated(X, 2).U
        return (M.conj() * (U @ (U.mH @ X))).sum().real

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        G = gradient_of(loss, A)
    U, S, Vh = (x.detach() for x in sg.svd_truncated(A, 2))
    assert relative_error(U @ U.mH @ A, (U * S) @ Vh) <= 1e-14
    inside = [int(i < 3) for i in range(min(m, n))]
    turned = expected_gradient(A, real_if(A, block(m, n, left=hermitian_part(M @ A.mH))), inside, inside)
    assert relative_error(G, U @ U.mH @ M + turned) <= 1e-12


def test_the_complement_term_in_closed_form() -> None:
    """At diag(3, 1) the projector onto u_1 turns by (σ1 dA_21 + σ2 dA_12)/(σ1² - σ2²)."""
    A = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    G = gradient(lambda U, S, Vh: (U @ U.T)[0, 1], A, 1)
    torch.testing.assert_close(G, torch.tensor([[0, 1 / 8], [3 / 8, 0]], dtype=torch.float64), rtol=0, atol=1e-15)
    tall = torch.tensor([[2.0], [0.0]], dtype=torch.float64)  # no dropped vectors: the null space alone
    G = gradient(lambda U, S, Vh: (U @ U.T)[0, 1], tall, 1)
    torch.testing.assert_close(G, torch.tensor([[0.0], [0.5]], dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("scale", [1e19, 1e-20])
def test_scales_of_single_precision(scale: float) -> None:
    A = distinct(5, 4, torch.float32)
    M = normal(5, 4, dtype=torch.float32, seed=5)
    loss: Loss = lambda U, S, Vh: (M * (U @ Vh)).sum()  # noqa: E731
    ours = gradient(loss, A * scale, 2) * scale
    assert relative_error(ours, gradient(loss, A, 2)) <= 1e-5


# --- a step of the tensor renormalization group ----------------------------------------------------------------------


def trg_step(T: Tensor, rank: int, **options: Any) -> Tensor:
    """Levin and Nave (2007), for a tensor with the legs left, up, right, down."""
    D = T.shape[0]

    def halves(M: Tensor) -> tuple[Tensor, Tensor]:
        U, S, Vh = sg.svd_truncated(M.reshape(D * D, D * D), rank, **options)
        root = S.sqrt()
        return (U * root).reshape(D, D, -1), (root.unsqueeze(-1) * Vh).reshape(-1, D, D)

    A, B = halves(T)  # (left, up) | (right, down)
    C, E = halves(T.permute(1, 2, 3, 0))  # (up, right) | (down, left)
    return torch.einsum("bap,qad,rdc,cbs->psrq", A, E, B, C.permute(1, 0, 2).permute(1, 0, 2))


def free_energy(beta: Tensor, steps: int, rank: int) -> Tensor:
    """log Z per site of an Ising model on the square lattice, with couplings 1 and 0.7 and a field of 0.1.

    The first tensor has rank 2. The square roots in `halves` have no derivative at the other singular values, 0.
    """

    def bond(K: Tensor) -> Tensor:
        root = torch.stack([K.cosh().sqrt(), K.sinh().sqrt()])
        return torch.stack([root, root * torch.tensor([1.0, -1.0], dtype=beta.dtype)])

    field = torch.stack([(0.1 * beta).exp(), (-0.1 * beta).exp()])
    x, y = bond(beta), bond(0.7 * beta)
    T = torch.einsum("s,si,sj,sk,sl->ijkl", field, x, y, x, y)
    total = torch.zeros((), dtype=beta.dtype)
    for step in range(steps):
        norm = T.abs().max()
        total = total + norm.log() / 2**step
        T = trg_step(T / norm, rank, rtol=1e-12)
    return total + torch.einsum("ijij->", T).log() / 2**steps


def test_trg_step() -> None:
    """The energy of an Ising model: against finite differences of the same program."""
    at = torch.tensor(0.3, dtype=torch.float64)
    f = functools.partial(free_energy, steps=5, rank=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = gradient_of(f, at)
    h = 1e-4
    with torch.no_grad():
        slope = (8 * (f(at + h) - f(at - h)) - (f(at + 2 * h) - f(at - 2 * h))) / (12 * h)
    assert abs(float(ours - slope)) <= 1e-9


# --- the rank --------------------------------------------------------------------------------------------------------


def rank_of(values: list[list[float]], *args: Any, dtype: torch.dtype = torch.float64, **options: Any) -> int:
    A = torch.stack([torch.diag(torch.tensor(x, dtype=dtype)) for x in values])
    return sg.svd_truncated(A, *args, **options).S.shape[-1]


@pytest.mark.parametrize("dtype", ALL)
def test_tolerances_are_those_of_matrix_rank(dtype: torch.dtype) -> None:
    values = [1.0, 0.3, 1e-2, 1e-4, 1e-9, 1e-17]
    A = with_singular_values(7, 6, values, dtype, 0)
    tolerances: list[dict[str, Any]] = [
        {},
        {"atol": 0.1},
        {"rtol": 0.1},
        {"atol": 0.0},
        {"rtol": 0.0},
        {"atol": 1e-3, "rtol": 0.1},
        {"atol": 2.0},
    ]
    for scale in (1.0, 100.0):
        for options in tolerances:
            expected = int(torch.linalg.matrix_rank(scale * A, **options))
            assert sg.svd_truncated(scale * A, **options).S.shape == (expected,)
            for rank in (0, 2, 5):
                kept = rank if not options else min(rank, expected)
                assert sg.svd_truncated(scale * A, rank, **options).S.shape == (kept,)
    # A value at the threshold is dropped.
    assert rank_of([[1.0, 0.5, 0.25]], rtol=0.5) == 1
    assert rank_of([[1.0, 0.5, 0.25]], atol=0.25) == 2


def test_a_cut_moves_to_the_edge_of_a_multiplet() -> None:
    spectrum = [5.0, 3.0, 3.0, 3.0, 1.0, 1.0]
    ranks = {0: 0, 1: 1, 2: 4, 3: 4, 4: 4, 5: 6, 6: 6}
    for rank, kept in ranks.items():
        assert rank_of([spectrum], rank) == kept
        assert rank_of([spectrum], rank, keep_multiplets=False) == rank
    assert rank_of([spectrum], atol=2.0) == 4
    e = 2.0**-52
    assert rank_of([[1.0, 1 - 4 * e, 1 - 8 * e, 0.5]], 1) == 3  # a chain of round-off
    assert rank_of([[1.0, 1 - 40 * e, 0.5]], 1) == 1
    assert rank_of([[1.0, 1.0 - 2e-7, 0.5]], 1, dtype=torch.float32) == 2
    # Zeros, and what is round-off of them, do not count as equal.
    assert rank_of([[2.0, 1.0, 0.0, 0.0, 0.0]], 3) == 3
    assert rank_of([[2.0, 1.0, 1e-16, 1e-16, 0.0]], 3) == 3
    assert rank_of([[0.0] * 4], 2) == 2


def test_one_rank_for_a_batch() -> None:
    batch = [[4.0, 3.0, 2.0, 1.0, 0.5], [4.0, 3.0, 3.0, 1.0, 0.5], [4.0, 3.0, 2.0, 2.0, 0.5]]
    assert rank_of(batch, 1) == 1
    assert rank_of(batch, 2) == 4  # the second matrix needs 3, where the third would be cut
    assert rank_of(batch[::-1], 2) == 4
    assert rank_of([*batch, [9.0, 1.0, 1.0, 1.0, 0.0]], rtol=0.9) == 1
    assert rank_of([*batch, [9.0, 8.5, 1.0, 1.0, 0.0]], rtol=0.9) == 4
    assert rank_of([[1.0, 0.1, 0.0], [1.0, 0.5, 0.1]], atol=0.2) == 2
    A = torch.stack([torch.diag(torch.tensor(x)) for x in batch])
    assert torch.func.vmap(lambda X: sg.svd_truncated(X, 2)[1])(A).shape == (3, 4)
    nested = torch.func.vmap(torch.func.vmap(lambda X: sg.svd_truncated(X, 2).S))
    assert nested(A.unsqueeze(1)).shape == (3, 1, 4)
    loss = lambda X: sg.svd_truncated(X, 2).S.square().sum()  # noqa: E731
    G = torch.func.vmap(torch.func.grad(loss))(A)
    assert torch.equal(G, torch.func.grad(loss)(A))


@each_dtype
def test_a_nan_does_not_disturb_the_other_matrices(dtype: torch.dtype) -> None:
    A = torch.stack([with_singular_values(4, 3, [3.0, 2.0, 1.0], dtype, seed) for seed in range(3)])
    bad = A.clone()
    bad[1, 3, 0] = torch.nan
    loss: Loss = lambda U, S, Vh: (U * S.unsqueeze(-2) @ Vh).abs().square().sum()  # noqa: E731
    with pytest.raises(
        LinAlgError, match=r"^spectralgrad\.svd_truncated: \(Batch element 1\): Expected A to be finite"
    ):
        sg.svd_truncated(bad, 2)
    with sg.checks("ignore"):
        for options, kept in (({"rank": 2}, 2), ({"rank": 1, "keep_multiplets": False}, 1), ({"atol": 1.5}, 2)):
            for ours, clean in zip(sg.svd_truncated(bad, **options), sg.svd_truncated(A, **options), strict=True):
                assert bool(ours[1].isnan().all())
                assert torch.equal(ours[[0, 2]], clean[[0, 2]])
            assert sg.svd_truncated(bad, **options).S.shape == (3, kept)
            assert sg.svd_truncated(bad[1], **options).S.shape == (options.get("rank", 0),)
            G, clean = gradient(loss, bad, **options), gradient(loss, A, **options)
            assert bool(G[1].isnan().all())
            assert torch.equal(G[[0, 2]], clean[[0, 2]])


# --- rules -----------------------------------------------------------------------------------------------------------


def test_rules() -> None:
    """The factors 1/(σ0 ∓ σ1) for a kept and a dropped vector, at diag(1.25, 1): a projector's gradient has both."""
    A = torch.diag(torch.tensor([1.25, 1.0], dtype=torch.float64))
    loss: Loss = lambda U, S, Vh: (U @ U.T)[0, 1]  # noqa: E731
    cases = [
        (sg.Gated(), 4.0, 1 / 2.25),
        (sg.Bare(), 4.0, 1 / 2.25),
        (sg.Lorentzian(0.5), 0.25 / (0.25**2 + 0.25), 2.25 / (2.25**2 + 0.25)),
        (sg.Cutoff(0.5), 0.0, 1 / 2.25),
        (sg.Split(0.4), 2.0, 1 / 2.25),
    ]
    for rule, gap, total in cases:
        expected = torch.tensor([[0.0, gap - total], [gap + total, 0.0]], dtype=torch.float64) / 2
        torch.testing.assert_close(gradient(loss, A, 1, rule=rule), expected, rtol=0, atol=1e-14)
        with sg.use_rule(rule):
            torch.testing.assert_close(gradient(loss, A, 1), expected, rtol=0, atol=1e-14)
    # The rank is that of the singular values before Split moves them.
    B = torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
    S = sg.svd_truncated(B, 2, rule=sg.Split(0.1)).S
    torch.testing.assert_close(S, torch.tensor([2.0, 1.1, 0.9], dtype=torch.float64))
