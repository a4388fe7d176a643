"""eigh as a function: values, gradients off degeneracy, shapes, layouts, dtypes, triangles, out=, errors.

Degenerate eigenvalues are tested in test_eigh_degenerate.py, transforms in test_transforms.py.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

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
    eps,
    expectation,
    gradient,
    hermitian_part,
    invariant_loss,
    normal,
    projector,
    random_hermitian,
    return_types,
    total,
    with_spectrum,
)
from reference import relative_error

SHAPES = [(), (0,), (2,), (1, 1), (2, 0, 3), (2, 3)]


@pytest.mark.parametrize("UPLO", ["L", "U", "l", "u"])
@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("batch", SHAPES)
@pytest.mark.parametrize("dtype", ALL)
def test_decomposes(dtype: torch.dtype, batch: tuple[int, ...], n: int, UPLO: str, device: str) -> None:
    A = random_hermitian(*batch, n, n, dtype=dtype, seed=n).to(device)
    result = sg.eigh(A, UPLO)
    L, V = result
    assert isinstance(result, return_types.linalg_eigh)
    assert result.eigenvalues is L
    assert result.eigenvectors is V
    assert (L.shape, L.dtype, L.device) == ((*batch, n), dtype.to_real(), A.device)
    assert (V.shape, V.dtype, V.device) == ((*batch, n, n), dtype, A.device)
    assert bool((L.diff() >= 0).all())
    tolerance: dict[str, Any] = {"rtol": 0, "atol": 40 * eps(dtype)}
    torch.testing.assert_close((V * L.unsqueeze(-2)) @ V.mH, A, **tolerance)
    torch.testing.assert_close(V.mH @ V, torch.eye(n, dtype=dtype, device=device).expand_as(A), **tolerance)
    torchs = torch.linalg.eigh(A, UPLO)
    torch.testing.assert_close(L, torchs.eigenvalues, **tolerance)
    assert V.stride() == torchs.eigenvectors.stride()


@pytest.mark.parametrize("batch", SHAPES)
@pytest.mark.parametrize("n", [0, 1, 4])
def test_gradient_has_the_shape_of_its_matrix(n: int, batch: tuple[int, ...], device: str) -> None:
    for dtype in ALL:
        A = random_hermitian(*batch, n, n, dtype=dtype, seed=2).to(device)
        G = gradient(lambda L, V: L.sum() + V.abs().square().sum(), A)
        torch.testing.assert_close(
            G, torch.eye(n, dtype=dtype, device=device).expand_as(A), rtol=0, atol=30 * eps(dtype)
        )


@pytest.mark.parametrize("n", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("dtype", ALL)
def test_equals_torch_off_degeneracy(dtype: torch.dtype, n: int, device: str) -> None:
    A = torch.stack([distinct(n, dtype, seed) for seed in range(3)]).to(device)
    loss = invariant_loss(random_hermitian(n, n, dtype=dtype, seed=1).to(device))
    expected = hermitian_part(gradient(loss, A, torch.linalg.eigh))
    assert relative_error(gradient(loss, A), expected) <= 8 * n**0.5 * eps(dtype)


@given(
    st.lists(st.floats(0.3, 3), min_size=2, max_size=6), st.floats(-5, 5), st.integers(0, 10**6), st.sampled_from(ALL)
)
def test_gradient_of_each_eigenvector(steps: list[float], lowest: float, seed: int, dtype: torch.dtype) -> None:
    """Against 60 digits: the expectation value of M in every eigenvector, for any spectrum of gaps 0.3 and more."""
    A = with_spectrum(lowest + torch.tensor([0, *steps], dtype=torch.float64).cumsum(0), dtype, seed)
    n = len(steps) + 1
    M = random_hermitian(n, n, dtype=dtype, seed=seed + 1)
    scale = (abs(lowest) + sum(steps)) / min(steps)
    for k in range(n):
        G = gradient(lambda L, V, k=k: expectation(M, projector(V, slice(k, k + 1))), A)
        # Gaps may be 0.3 and eigenvalues 20. Their ratio amplifies round-off.
        assert relative_error(G, reference.frechet(A, M, reference.projector(k, k + 1))) <= 20 * scale * eps(dtype)


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_gradcheck_of_distinct_spectra(dtype: torch.dtype, batch: tuple[int, ...], device: str) -> None:
    A = torch.stack([distinct(3, dtype, seed) for seed in range(2)])[0 if batch == () else slice(None)]
    A = A.to(device).requires_grad_()
    fast: dict[str, Any] = {"fast_mode": batch != ()}

    def invariants(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        L, V = sg.eigh(hermitian_part(X))
        return L, V.abs().square(), apply_function(torch.exp, L, V)

    # torch itself fails batched forward gradients through the .mH of a complex tensor (an internal assert).
    real = not dtype.is_complex
    assert gradcheck(
        invariants, A, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=real, **fast
    )
    assert gradgradcheck(invariants, A, check_batched_grad=True, check_fwd_over_rev=True, **fast)


@pytest.mark.parametrize("dtype", DOUBLE)
@pytest.mark.parametrize("spectrum", [[1, 1, 2, 2], [-1, 2, 2, 2], [0.5, 0.5, 0.5, 3]])
def test_gradcheck_of_projectors_of_repeated_eigenvalues(
    dtype: torch.dtype, spectrum: list[float], device: str
) -> None:
    A = with_spectrum(spectrum, dtype, seed=5).to(device).requires_grad_()
    border = spectrum.index(spectrum[-1])

    def projectors(X: Tensor) -> tuple[Tensor, Tensor]:
        V = sg.eigh(hermitian_part(X)).eigenvectors
        return projector(V, slice(0, border)), projector(V, slice(border, 4))

    assert gradcheck(projectors, A, check_forward_ad=True, check_batched_grad=True)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize(
    "make", [distinct, lambda n, dtype, seed: torch.eye(n, dtype=dtype)], ids=["distinct", "equal"]
)
def test_gradient_is_hermitian_to_the_bit(make: Callable[..., Tensor], dtype: torch.dtype, device: str) -> None:
    for n in (2, 7, 33):
        M = random_hermitian(n, n, dtype=dtype, seed=4).to(device)
        losses = [invariant_loss(M), lambda L, V: L.sum()]
        if make is not distinct:
            losses = losses[1:]
        for loss in losses:
            G = gradient(loss, make(n, dtype, 3).to(device))
            assert torch.equal(G, G.mH.resolve_conj())


@pytest.mark.parametrize("UPLO", ["L", "U"])
@pytest.mark.parametrize("dtype", ALL)
def test_only_the_named_triangle_is_read(dtype: torch.dtype, UPLO: str, device: str) -> None:
    A = distinct(5, dtype, seed=0).to(device)
    loss = invariant_loss(random_hermitian(5, 5, dtype=dtype, seed=1).to(device))
    keep, other = (torch.tril, torch.triu) if UPLO == "L" else (torch.triu, torch.tril)
    shift = 1 if UPLO == "L" else -1
    for garbage in (torch.full_like(A, 1e3), torch.full_like(A, torch.nan), torch.full_like(A, torch.inf)):
        dirty = torch.where(other(torch.ones_like(A, dtype=torch.bool), shift), garbage, A)
        assert torch.equal(keep(dirty), keep(A))
        for ours, clean in zip(sg.eigh(dirty, UPLO), sg.eigh(A, UPLO), strict=True):
            assert torch.equal(ours, clean)
        assert torch.equal(gradient(loss, dirty, UPLO=UPLO), gradient(loss, A, UPLO=UPLO))


@pytest.mark.parametrize("dtype", COMPLEX)
def test_imaginary_part_of_the_diagonal_is_not_read(dtype: torch.dtype, device: str) -> None:
    A = distinct(4, dtype, seed=0).to(device)
    for garbage in (7.0, torch.nan):
        dirty = A.clone()
        dirty.imag.diagonal().fill_(garbage)
        assert torch.equal(sg.eigvalsh(dirty), sg.eigvalsh(A))
        assert torch.equal(sg.eigh(dirty).eigenvectors, sg.eigh(A).eigenvectors)


# Each gives a tensor equal to A in another layout.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda A: A.mT.contiguous().mT,
    "strided": lambda A: torch.stack([A, A], -1)[..., 0],
    "sliced": lambda A: torch.nn.functional.pad(A, (1, 2, 3, 1))[..., 3:-1, 1:-2],
    "expanded": lambda A: A[:1].expand(A.shape),
    "batch last": lambda A: A.movedim(0, -1).contiguous().movedim(-1, 0),
    "conjugated": lambda A: A.conj().resolve_conj().conj(),
    "negative view": lambda A: torch._neg_view(-A),
    "hermitian view": lambda A: A.mH.clone().mH,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ALL)
def test_layout_does_not_matter(layout: Callable[[Tensor], Tensor], dtype: torch.dtype, device: str) -> None:
    A = distinct(4, dtype, seed=0).to(device).expand(3, 4, 4).contiguous()
    other = layout(A)
    assert torch.equal(other, A)
    loss = invariant_loss(random_hermitian(4, 4, dtype=dtype, seed=1).to(device))
    for ours, plain in zip(sg.eigh(other), sg.eigh(A), strict=True):
        assert torch.equal(ours, plain)
    X = A.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(*sg.eigh(layout(X))), X)
    expected = gradient(loss, A)
    if G.shape == expected.shape and layout is LAYOUTS["expanded"]:
        expected = torch.cat([expected.sum(0, keepdim=True), torch.zeros_like(expected[1:])])
    assert relative_error(G, expected) <= 4 * eps(dtype)


@pytest.mark.parametrize("used", [["low"], ["low", "high"]])
@pytest.mark.parametrize("n", [130, pytest.param(257, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ALL)
def test_few_eigenvectors_of_a_large_matrix(dtype: torch.dtype, n: int, used: list[str], device: str) -> None:
    """Against contour integrals, which choose no basis. One eigenvalue that is used has multiplicity 8."""
    few = n // 10
    groups = {
        "low": torch.cat([torch.ones(8), torch.linspace(1.2, 2, few - 8)]),
        "rest": torch.linspace(5, 9, n - 2 * few),
        "high": torch.linspace(12, 13, few),
    }
    columns = {"low": slice(0, few), "high": slice(n - few, n)}
    circles = {"low": (0.2, 2.8), "high": (11.2, 13.8)}
    A = torch.stack([with_spectrum(torch.cat(list(groups.values())).double(), dtype, seed) for seed in range(2)]).to(
        device
    )
    M = random_hermitian(n, n, dtype=dtype, seed=3).to(device)
    G = gradient(lambda L, V: total(expectation(M, projector(V, columns[group])) for group in used), A)
    for ours, matrix in zip(G, A, strict=True):
        expected = total(reference.resolvent_frechet(matrix, M, *circles[group], points=60) for group in used)
        assert relative_error(ours, expected) <= 4 * n**0.5 * eps(dtype)


@pytest.mark.parametrize("dtype", COMPLEX)
def test_lazy_conjugate_is_conjugated(dtype: torch.dtype, device: str) -> None:
    A = distinct(4, dtype, seed=0).to(device)
    assert torch.equal(sg.eigh(A.conj()).eigenvectors, sg.eigh(A.conj().resolve_conj()).eigenvectors)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 17])
@pytest.mark.parametrize("dtype", ALL)
def test_gradients_do_not_depend_on_the_place_in_the_batch(dtype: torch.dtype, n: int, device: str) -> None:
    """They agree to round-off, because the rounding of matrix products depends on the alignment of their data.

    `test_same_bits.py` asserts that decompositions have the same bits.
    """
    A = torch.stack([distinct(n, dtype, seed) for seed in range(7)]).to(device)
    loss = invariant_loss(random_hermitian(n, n, dtype=dtype, seed=1).to(device))
    order = torch.randperm(7)
    assert relative_error(gradient(loss, A[order]), gradient(loss, A)[order]) <= 8 * n * eps(dtype)
    assert relative_error(gradient(loss, A[3]), gradient(loss, A)[3]) <= 8 * n * eps(dtype)


@pytest.mark.parametrize("dtype", ALL)
def test_a_nonfinite_cotangent_does_not_change_the_other_gradients(dtype: torch.dtype, device: str) -> None:
    A = torch.stack([distinct(4, dtype, seed) for seed in range(3)]).to(device).requires_grad_()
    L, V = sg.eigh(A)
    gL = torch.ones_like(L)
    gV = V.detach().clone()
    (clean,) = torch.autograd.grad((L, V), A, (gL, gV), retain_graph=True)
    for bad in (torch.nan, torch.inf):
        bad_gL, bad_gV = gL.clone(), gV.clone()
        bad_gL[1, 2] = bad
        bad_gV[1, 0, 0] = bad
        for cotangents in ((bad_gL, gV), (gL, bad_gV)):
            # For complex matrices, a bad gV has a NaN phase, which is not reported as a dependence on phases.
            (G,) = torch.autograd.grad((L, V), A, cotangents, retain_graph=True)
            assert torch.equal(G[[0, 2]], clean[[0, 2]])
            assert not bool(G[1].isfinite().all()), f"{bad} in the cotangent was lost"


def test_unused_outputs_cost_nothing_and_give_none() -> None:
    A = distinct(3, torch.float64, 0).requires_grad_()
    L, V = sg.eigh(A)
    assert torch.equal(torch.autograd.grad(L[0], A, retain_graph=True)[0], gradient(lambda L, V: L[0], A))
    assert torch.autograd.grad(A.sum(), V, allow_unused=True)[0] is None
    with torch.no_grad():
        assert not sg.eigh(A).eigenvalues.requires_grad
    assert not sg.eigh(A.detach()).eigenvectors.requires_grad


# --- out= ------------------------------------------------------------------------------------------------------------


def test_out_is_written_to_and_returned(device: str) -> None:
    A = distinct(4, torch.complex64, 0).to(device)
    out = torch.empty(0, device=device), torch.empty(0, dtype=A.dtype, device=device)
    result = sg.eigh(A, out=out)
    assert result.eigenvalues is out[0] or result.eigenvalues.data_ptr() == out[0].data_ptr()
    assert isinstance(result, return_types.linalg_eigh_out)
    for written, plain in zip(out, sg.eigh(A), strict=True):
        assert torch.equal(written, plain)


def test_out_in_other_strides_and_batches() -> None:
    A = torch.stack([distinct(3, torch.float64, seed) for seed in range(2)])
    L, V = torch.empty(3, 2, dtype=A.dtype).mT, torch.empty(3, 3, 2, dtype=A.dtype).movedim(-1, 0)
    sg.eigh(A, "U", rule=sg.Split(0.5), out=(L, V))
    expected = sg.eigh(A, "U", rule=sg.Split(0.5))
    assert torch.equal(L, expected.eigenvalues)
    assert torch.equal(V, expected.eigenvectors)


def _out(n: int = 3, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[Tensor, Tensor]:
    return torch.empty(n, dtype=dtype, **options), torch.empty(n, n, dtype=dtype)


def test_out_of_another_shape_is_resized_with_torchs_warning() -> None:
    A = distinct(3, torch.float64, 0)
    for eigh in (torch.linalg.eigh, sg.eigh):
        out = _out(2)
        with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
            eigh(A, out=out)
        assert torch.equal(out[1], eigh(A).eigenvectors)


# --- errors: torch's types, and a sentence with what was expected and what came --------------------------------------

A3 = torch.eye(3, dtype=torch.float64)


def _with(A: Tensor, row: int, column: int, value: float) -> Tensor:
    A = A.clone()
    A[..., row, column] = value
    return A


ERRORS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "1-D": (
        (torch.ones(3),),
        {},
        RuntimeError,
        r"spectralgrad\.{f}: The input tensor A must have at least 2 dimensions, but it has 1",
    ),
    "0-D": ((torch.ones(()),), {}, RuntimeError, r"must have at least 2 dimensions, but it has 0"),
    "not square": (
        (torch.ones(2, 3),),
        {},
        RuntimeError,
        r"spectralgrad\.{f}: A must be batches of square matrices, but they are 2 by 3 matrices",
    ),
    "empty and not square": ((torch.ones(0, 3, 2),), {}, RuntimeError, r"but they are 3 by 2 matrices"),
    "UPLO": ((A3, "X"), {}, RuntimeError, r"spectralgrad\.{f}: Expected UPLO argument to be 'L' or 'U', but got X"),
    "long UPLO": ((A3,), {"UPLO": "LU"}, RuntimeError, r"Expected UPLO argument to be 'L' or 'U', but got LU"),
    "no UPLO": ((A3,), {"UPLO": ""}, RuntimeError, r"Expected UPLO argument to be 'L' or 'U', but got"),
    "UPLO is no string": ((A3, 3), {}, TypeError, r"UPLO"),
    "not a tensor": (([[1.0]],), {}, TypeError, r"Tensor"),
    **{
        name: (
            (torch.ones(3, 3).to(dtype),),
            {},
            NotImplementedError,
            rf'"spectralgrad\.{{f}}" not implemented for \'{torch_name}\': '
            "Expected A to be float32, float64, complex64 or complex128",
        )
        for name, dtype, torch_name in [
            ("float16", torch.float16, "Half"),
            ("bfloat16", torch.bfloat16, "BFloat16"),
            ("int64", torch.int64, "Long"),
            ("int32", torch.int32, "Int"),
            ("bool", torch.bool, "Bool"),
        ]
    },
    "NaN": (
        (_with(A3, 2, 0, torch.nan),),
        {},
        LinAlgError,
        r"spectralgrad\.{f}: Expected the lower triangle of A to be finite, but the entry \(2, 0\) is nan",
    ),
    "Inf": ((_with(A3, 1, 1, -torch.inf),), {}, LinAlgError, r"the entry \(1, 1\) is -inf"),
    "NaN above": (
        (_with(A3, 0, 1, torch.nan), "U"),
        {},
        LinAlgError,
        r"Expected the upper triangle of A to be finite, but the entry \(0, 1\) is nan",
    ),
    "NaN in a batch": (
        (torch.stack([A3, _with(A3, 2, 1, torch.nan), A3]),),
        {},
        LinAlgError,
        r"\(Batch element 1\): Expected the lower triangle of A to be finite, but the entry \(2, 1\) is nan",
    ),
}


@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
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
    if kind is not LinAlgError:  # torch's LAPACK returns NaN for some of these, without an error
        with pytest.raises(kind):
            getattr(torch.linalg, name)(*args, **kwargs)


OUT_ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "dtype of the eigenvalues": (
        (torch.empty(3), torch.empty(3, 3, dtype=torch.float64)),
        RuntimeError,
        "Expected out tensor to have dtype double, but got float instead",
    ),
    "dtype of the eigenvectors": (
        (torch.empty(3, dtype=torch.float64), torch.empty(3, 3)),
        RuntimeError,
        "Expected out tensor to have dtype double, but got float instead",
    ),
    "requires grad": (
        _out(requires_grad=True),
        RuntimeError,
        r"\(\): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
        "requires grad.",
    ),
    "one tensor": (torch.empty(3, dtype=torch.float64), TypeError, "out"),
    "a tuple of one": ((torch.empty(3, dtype=torch.float64),), TypeError, "2"),
}


@pytest.mark.parametrize("case", OUT_ERRORS.values(), ids=OUT_ERRORS)
@pytest.mark.parametrize("eigh", [sg.eigh, torch.linalg.eigh], ids=["ours", "torch"])
def test_bad_out(eigh: Callable[..., Any], case: tuple[Any, ...]) -> None:
    out, kind, message = case
    with pytest.raises(kind, match=message):
        eigh(A3, out=out)


def test_out_is_not_differentiable() -> None:
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        sg.eigh(A3.clone().requires_grad_(), out=_out())
    with torch.no_grad():
        sg.eigh(A3.clone().requires_grad_(), out=_out())


@pytest.mark.parametrize("rule", ["gated", sg.Gated, 1e-6, sg._C.default_rule()], ids=repr)
def test_rule_of_another_type(rule: Any) -> None:
    for f in (sg.eigh, sg.eigvalsh):
        with pytest.raises(
            TypeError, match=rf"spectralgrad\.{f.__name__}: Expected rule to be a Rule such as .* but got"
        ):
            f(A3, rule=rule)


def test_keyword_of_torch() -> None:
    """torch.linalg.eigh documents A and accepts `input`; code under stand_in may use either."""
    assert torch.equal(sg.eigvalsh(A=A3), torch.linalg.eigvalsh(input=A3))
    with sg.stand_in():
        assert torch.equal(torch.linalg.eigvalsh(input=A3), torch.linalg.eigvalsh(A3))


def test_tolerances_of_these_tests_can_fail() -> None:
    """relative_error detects errors: torch's gradient errs by more than 1e-9, and the tests above demand 1e-13."""
    A, M = with_spectrum([1, 1 + 1e-10, 3], torch.float64, 0), random_hermitian(3, 3, dtype=torch.float64, seed=1)
    expected = reference.frechet(A, M, reference.projector(0, 2))

    def loss(L: Tensor, V: Tensor) -> Tensor:
        return expectation(M, projector(V, slice(0, 2)))

    assert relative_error(gradient(loss, A, torch.linalg.eigh), expected) > 1e-9
    assert relative_error(gradient(loss, A), expected) <= 1e-13
    assert relative_error(normal(3, 3, dtype=torch.float64, seed=0), expected) > by_precision(A.dtype, 1e-1, 1e-1)


def test_a_signal_ends_a_long_batch() -> None:
    """If the library did not check for signals, Python would handle this one only after the last matrix."""
    A = random_hermitian(100, 100, dtype=torch.float32, seed=0).repeat(2000, 1, 1)
    start = time.perf_counter()
    sg.eigh(A)
    whole = time.perf_counter() - start

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, whole / 20)
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            sg.eigh(A)
            time.sleep(whole)
        assert time.perf_counter() - start < whole / 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
