"""The reports of eigh_subset, where it is used in graphs and scripts, and its errors."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import (
    LinAlgError,
    distinct,
    each_dtype,
    expectation,
    gradient_of,
    hessian_times,
    random_hermitian,
    with_spectrum,
)

Loss = Callable[[Tensor, Tensor], Tensor]


def findings(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def gradient(loss: Loss, A: Tensor, start: int, stop: int) -> Tensor:
    return gradient_of(lambda X: loss(*sg.eigh_subset(X, start, stop)), A)


# --- reported losses -------------------------------------------------------------------------------------------------


@each_dtype
def test_a_cut_is_reported_if_the_loss_sees_it(dtype: torch.dtype) -> None:
    A = with_spectrum([-1.0, 2.0, 2.0, 2.0, 3.0, 5.0], dtype, 1)
    M = random_hermitian(6, 6, dtype=dtype, seed=5)
    losses: list[Loss] = [
        lambda L, V: expectation(M, V @ V.mH),
        lambda L, V: expectation(M, (V * L) @ V.mH),
        lambda L, V: L.sum(),
    ]
    for loss in losses:
        for (start, stop), argument in (
            ((0, 2), "stop=2"),
            ((1, 3), "stop=3"),
            ((2, 6), "start=2"),
            ((3, 5), "start=3"),
        ):
            cut = functools.partial(gradient, loss, A, start, stop)
            (message,) = findings(cut)
            assert message.startswith(
                f"spectralgrad.eigh_subset: {argument} cuts through a repeated eigenvalue, and the loss depends on "
                "which of its eigenvectors are kept, so it has no gradient there (matrix 0 of the batch: the level "
            )
            assert re.search(
                r"the level (2|1\.99999\d*|2\.00000\d*) has multiplicity 3, the eigenvalues 1 to 3, and the gap at the "
                r"cut is \d",
                message,
            )
            assert f"Expected {argument[:-2]} at an edge of the level, 1 or 4." in message
            with sg.checks("raise"), pytest.raises(sg.GaugeError, match=rf"^spectralgrad\.eigh_subset: {argument}"):
                cut()
            with sg.checks("ignore"):
                assert not findings(cut)
        if loss is not losses[1]:  # the last one loses a part of its gradient at any repeated eigenvalue
            assert not findings(functools.partial(gradient, loss, A, 0, 4))
        assert not findings(functools.partial(gradient, loss, A, 4, 6))
    # A cut that the loss does not see.
    for start, stop in ((0, 2), (0, 3)):
        lowest = functools.partial(gradient, lambda L, V: L[0] + V[:, :1].abs().sum(), A, start, stop)
        assert not findings(lowest)


def test_the_report_names_the_matrix() -> None:
    A = torch.stack([distinct(4, torch.float64, 0), torch.diag(torch.tensor([0.0, 1.0, 1.0, 2.0]).double())])
    (message,) = findings(lambda: gradient(lambda L, V: (V @ V.mT)[..., 0, 1].sum() + L.sum(), A, 0, 2))
    assert "(matrix 1 of the batch: the level 1 has multiplicity 2, the eigenvalues 1 to 2, and the gap" in message
    assert "gap at the cut is 0)" in message


@each_dtype
def test_other_findings_are_those_of_eigh(dtype: torch.dtype) -> None:
    A = with_spectrum([-1.0, 2.0, 2.0, 3.0, 5.0], dtype, 1)
    M = random_hermitian(5, 5, dtype=dtype, seed=5)
    (message,) = findings(lambda: gradient(lambda L, V: expectation(M, V[:, 1:2] @ V[:, 1:2].mH), A, 0, 3))
    assert message.startswith(
        "spectralgrad.eigh_subset: The loss depends on the choice of eigenvectors inside an eigens"
    )
    (message,) = findings(lambda: gradient(lambda L, V: L[1], A, 0, 3))
    assert message.startswith(
        "spectralgrad.eigh_subset: The loss treats equal eigenvalues differently (eigenvalues 1 and 2"
    )
    (message,) = findings(lambda: gradient(lambda L, V: L[0], A, 1, 3))
    assert message.startswith(
        "spectralgrad.eigh_subset: The loss treats equal eigenvalues differently (eigenvalues 1 and 2"
    )
    if dtype.is_complex:
        with pytest.raises(sg.GaugeError, match="linalg_eigh_backward: The eigenvectors in the complex case are"):
            gradient(lambda L, V: (V[0, 0] * (0.6 + 0.8j)).real, A, 3, 5)
    (message,) = findings(
        lambda: hessian_times(
            lambda X: sg.eigh_subset(X, 0, 3)[0].square().sum(), A, random_hermitian(5, 5, dtype=dtype, seed=2)
        )
    )
    assert message.startswith("spectralgrad.eigh_subset: A second derivative is taken through a repeated eigenvalue")


# --- graphs and scripts ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled(dynamic: bool) -> None:
    torch._dynamo.reset()
    M = random_hermitian(5, 5, dtype=torch.float64, seed=1)

    def loss(X: Tensor, start: int | None = 1, stop: int | None = 3) -> Tensor:
        L, V = sg.eigh_subset(X, start, stop)
        return expectation(M, V @ V.mH) + L.sin().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for seed, (start, stop) in enumerate(((1, 3), (0, 2), (2, 5), (-2, None))):
        A = distinct(5, torch.float64, seed)
        ours = gradient_of(lambda X, a=start, b=stop: compiled(X, a, b), A)
        plain = gradient_of(lambda X, a=start, b=stop: loss(X, a, b), A)
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-14)
    torch._dynamo.reset()


def test_meta() -> None:
    L, V = sg.eigh_subset(torch.empty(2, 5, 5, device="meta"), 1, 3)
    assert (L.shape, V.shape) == ((2, 2), (2, 5, 2))
    L, V = sg.eigh_subset(torch.empty(5, 5, device="meta"), -3, None, B=torch.empty(2, 5, 5, device="meta"))
    assert (L.shape, V.shape) == ((2, 3), (2, 5, 3))


def test_torchscript() -> None:
    @torch.jit.script
    def f(A: Tensor) -> Tensor:
        L, V = sg.eigh_subset(A, 0, 2)
        return (V * L) @ V.mT

    A = torch.diag(torch.tensor([3.0, 1.0, 1.0, 4.0], dtype=torch.float64))
    torch.testing.assert_close(f(A), torch.diag(torch.tensor([0.0, 1, 1, 0], dtype=torch.float64)))


# --- errors ----------------------------------------------------------------------------------------------------------

A3 = torch.eye(3, dtype=torch.float64)
NAN = torch.full((2, 3, 3), torch.nan, dtype=torch.float64)
NOT_POSITIVE = (
    "The factorization could not be completed because the input B is not positive-definite "
    r"\(the leading minor of order {} is not positive-definite\)\."
)
INDEFINITE = torch.stack([A3, torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))])
ERRORS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "start is no integer": ((A3, 0.5, 2), {}, TypeError, "Expected start to be an int or None, but got float"),
    "stop is a bool": ((A3, 0, True), {}, TypeError, "Expected stop to be an int or None, but got bool"),
    "stop is a tensor": ((A3, 0, torch.tensor(2)), {}, TypeError, "Expected stop to be an int or None, but got Tensor"),
    "stop too large": (
        (A3, 0, 4),
        {},
        ValueError,
        "Expected 0 <= start <= stop <= 3, where negative indices count from the end, but got start=0 and stop=4",
    ),
    "start too small": ((A3, -4, None), {}, ValueError, "Expected 0 <= start .* but got start=-4 and stop=None"),
    "start after stop": ((A3, 2, 1), {}, ValueError, "Expected 0 <= start <= stop <= 3, .* start=2 and stop=1"),
    "rule": ((A3, 0, 1), {"rule": "gated"}, TypeError, "Expected rule to be a Rule"),
    "UPLO": ((A3, 0, 1, "X"), {}, RuntimeError, "Expected UPLO argument to be 'L' or 'U', but got X"),
    "UPLO's type": ((A3, 0, 1, 1), {}, TypeError, "Expected UPLO to be a str, but got int"),
    "B is no tensor": ((A3, 0, 1), {"B": 3}, TypeError, "Expected B to be a Tensor, but got int"),
    "dtype of B": (
        (A3, 0, 1),
        {"B": A3.float()},
        RuntimeError,
        "Expected B to have the dtype of A, Double, but got Float",
    ),
    "integer B": (
        (A3, 0, 1),
        {"B": A3.int()},
        NotImplementedError,
        "not implemented for 'Int': Expected B to be float32",
    ),
    "shape of B": ((A3, 0, 1), {"B": torch.eye(2)}, RuntimeError, "Expected B to"),
    "size of B": (
        (A3, 0, 1),
        {"B": torch.eye(2, dtype=torch.float64)},
        RuntimeError,
        "Expected B to be 3 by 3, as A is, but it is 2 by 2",
    ),
    "1-D B": (
        (A3, 0, 1),
        {"B": A3[0]},
        RuntimeError,
        "The input tensor B must have at least 2 dimensions, but it has 1",
    ),
    "NaN in B": (
        (A3, 0, 1),
        {"B": NAN},
        LinAlgError,
        r"\(Batch element 0\): Expected the lower triangle of B to be finite, but the entry \(0, 0\) is nan",
    ),
    "NaN in A": (
        (NAN, 0, 1),
        {"B": A3},
        LinAlgError,
        r"\(Batch element 0\): Expected the lower triangle of A to be finite, but the entry \(0, 0\) is nan",
    ),
    "indefinite B": (
        (A3, 0, 1),
        {"B": INDEFINITE},
        LinAlgError,
        rf"\(Batch element 1\): {NOT_POSITIVE.format(2)}",
    ),
    "indefinite B, upper": (
        (A3, 0, 1, "U"),
        {"B": -A3},
        LinAlgError,
        NOT_POSITIVE.format(1),
    ),
}


@pytest.mark.parametrize(("args", "kwargs", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_bad_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=rf'^"?spectralgrad\.eigh_subset"?:? ?{message}'):
        sg.eigh_subset(*args, **kwargs)


def test_only_the_bad_matrix_gives_nan_without_checks() -> None:
    with sg.checks("ignore"):
        L, V = sg.eigh_subset(A3 * torch.tensor([1.0, 2.0, 3.0]).double(), 0, 2, B=INDEFINITE)
    assert L[1].isnan().all()
    assert V[1].isnan().all()
    assert L[0].tolist() == pytest.approx([1.0, 2.0])


def test_the_operator_checks_its_arguments_too() -> None:
    operator = torch.ops.spectralgrad.eigh_subset
    with pytest.raises(ValueError, match=r"spectralgrad\.eigh_subset: Expected 0 <= start <= stop <= 3"):
        operator(A3, 0, 5)
    with pytest.raises(RuntimeError, match=r"spectralgrad\.eigh_subset: Expected B to have the dtype of A"):
        operator(A3, 0, 2, "L", A3.to(torch.complex64))
