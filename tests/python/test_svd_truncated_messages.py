"""The reports of svd_truncated, where a rank that depends on the values cannot be traced, and errors."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import spectralgrad as sg
from problems import (
    each_dtype,
    expectation,
    gradient_of,
    hessian_times,
    normal,
    with_singular_values,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def gradient(loss: Loss, A: Tensor, *args: Any, **options: Any) -> Tensor:
    return gradient_of(lambda X: loss(*sg.svd_truncated(X, *args, **options)), A)


def findings(call: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


# --- reported losses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 5), (6, 5), (5, 6)], ids=["square", "tall", "wide"])
@each_dtype
def test_a_cut_is_reported_if_the_loss_sees_it(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    A = with_singular_values(*shape, [3.0, 2.0, 2.0, 1.0, 0.5], dtype, 1)
    M = normal(*shape, dtype=dtype, seed=5)

    def reconstruction(U: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
        return (M.conj() * ((U * S) @ Vh)).sum().real

    losses: list[Loss] = [
        reconstruction,
        lambda U, S, Vh: expectation(M @ M.mH, U @ U.mH),
        lambda U, S, Vh: expectation(M.mH @ M, Vh.mH @ Vh),
        lambda U, S, Vh: (M.conj() * (U @ Vh)).sum().real,
        lambda U, S, Vh: S.sum(),
    ]
    for loss in losses:
        cut = functools.partial(gradient, loss, A, 2, keep_multiplets=False)
        (message,) = findings(cut)
        assert message.startswith(
            "spectralgrad.svd_truncated: The truncation cuts through a repeated singular value, and the loss depends "
            "on which of its singular vectors are kept, so it has no gradient there (singular values 1, which is kept, "
            "and 2, which is dropped, of matrix 0 of the batch are equal)."
        )
        assert "keep_multiplets=True" in message
        with sg.checks("raise"), pytest.raises(sg.GaugeError, match=r"^spectralgrad\.svd_truncated: The truncation"):
            cut()
        with sg.checks("ignore"):
            assert not findings(cut)
        if loss is not reconstruction:  # at a repeated singular value, svd loses a part of the gradient of U S Vᴴ
            assert not findings(functools.partial(gradient, loss, A, 2))
        assert not findings(functools.partial(gradient, loss, A, 1))
    assert not findings(lambda: gradient(lambda U, S, Vh: S[0] + U[:, :1].abs().sum(), A, 2, keep_multiplets=False))


@each_dtype
def test_other_findings_are_those_of_svd(dtype: torch.dtype) -> None:
    A = with_singular_values(5, 4, [3.0, 2.0, 2.0, 0.5], dtype, 1)
    M = normal(5, 5, dtype=dtype, seed=5)
    (message,) = findings(lambda: gradient(lambda U, S, Vh: expectation(M @ M.mH, U[:, 1:2] @ U[:, 1:2].mH), A, 3))
    assert message.startswith("spectralgrad.svd_truncated: The loss depends on the choice of singular vectors inside a")
    (message,) = findings(lambda: gradient(lambda U, S, Vh: S[1], A, 3))
    assert message.startswith("spectralgrad.svd_truncated: The loss treats equal singular values differently")
    low = with_singular_values(5, 4, [3.0, 2.0], dtype, 1)
    (message,) = findings(lambda: gradient(lambda U, S, Vh: expectation(M @ M.mH, U @ U.mH), low, 3))
    assert message.startswith("spectralgrad.svd_truncated: The loss depends on the choice of singular vectors of the")
    if dtype.is_complex:
        with pytest.raises(sg.GaugeError, match="svd_backward: The singular vectors in the complex case are specified"):
            gradient(lambda U, S, Vh: (U[0, 0] * (0.6 + 0.8j)).real, A, 3)
    (message,) = findings(
        lambda: hessian_times(lambda X: sg.svd_truncated(X, 3).S.square().sum(), A, normal(5, 4, dtype=dtype, seed=2))
    )
    assert message.startswith("spectralgrad.svd_truncated: A second derivative is taken through a repeated or zero")


# --- transforms of a rank that depends on the values; test_transforms.py has those of a given rank -------------------


def test_torch_compile_breaks_the_graph() -> None:
    torch._dynamo.reset()
    A = torch.diag(torch.tensor([3.0, 1.0, 1.0, 0.5], dtype=torch.float64))

    def loss(X: Tensor) -> Tensor:
        U, S, Vh = sg.svd_truncated(2 * X, 2)
        return ((U * S) @ Vh).sum() + S.square().sum()

    compiled = torch.compile(loss, backend="aot_eager")
    torch.testing.assert_close(gradient_of(compiled, A), gradient_of(loss, A), rtol=0, atol=1e-14)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"spectralgrad\.svd_truncated: Expected rank and keep_"):
        torch.compile(loss, backend="aot_eager", fullgraph=True)(A)
    torch._dynamo.reset()


def test_a_graph_of_a_rank_that_depends_on_the_values_is_refused() -> None:
    A = torch.eye(3)
    message = r"spectralgrad\.svd_truncated: Expected rank and keep_multiplets=False, and no tolerance"
    calls: list[dict[str, Any]] = [{}, {"rank": 2}, {"rank": 2, "keep_multiplets": False, "atol": 0.1}]
    for options in calls:
        f = functools.partial(lambda X, options: sg.svd_truncated(X, **options).S, options=options)
        with pytest.raises(RuntimeError, match=message + r".*\(make_fx\)"):
            make_fx(f)(A)
        with pytest.raises(NotImplementedError, match=message + ", for a tensor on the meta device"):
            f(A.to("meta"))
    U, S, Vh = sg.svd_truncated(torch.empty(2, 5, 3, device="meta"), 2, keep_multiplets=False)
    assert (U.shape, S.shape, Vh.shape) == ((2, 5, 2), (2, 2), (2, 2, 3))
    assert sg.svd_truncated(torch.empty(5, 3, device="meta"), 3).S.shape == (3,)


@pytest.mark.slow
def test_export_of_a_rank_that_depends_on_the_values_is_refused() -> None:
    class Module(torch.nn.Module):
        def forward(self, X: Tensor) -> Tensor:
            return sg.svd_truncated(X, 2).S

    with pytest.raises(RuntimeError, match=r"Expected rank and keep_multiplets=False, and no tolerance.*torch\.export"):
        torch.export.export(Module(), (torch.eye(3),))


def test_torchscript() -> None:
    @torch.jit.script
    def f(A: Tensor) -> Tensor:
        U, S, Vh = sg.svd_truncated(A, rank=2)
        return (U * S) @ Vh

    A = torch.diag(torch.tensor([3.0, 1.0, 1.0, 0.5], dtype=torch.float64))
    torch.testing.assert_close(f(A), torch.diag(torch.tensor([3.0, 1, 1, 0], dtype=torch.float64)))


# --- errors ----------------------------------------------------------------------------------------------------------

A3 = torch.eye(3, dtype=torch.float64)
ERRORS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "rank is no integer": ((A3, 1.5), {}, TypeError, "Expected rank to be an int or None, but got float"),
    "rank is a bool": ((A3, True), {}, TypeError, "Expected rank to be an int or None, but got bool"),
    "negative rank": ((A3, -1), {}, ValueError, "Expected rank to be >= 0, but got -1"),
    "rtol is no number": ((A3,), {"rtol": "a"}, TypeError, "Expected rtol to be a real number or None, but got str"),
    "negative rtol": ((A3,), {"rtol": -0.1}, ValueError, "Expected rtol to be a number >= 0, but got -0.1"),
    "NaN as atol": ((A3,), {"atol": torch.nan}, ValueError, "Expected atol to be a number >= 0, but got nan"),
    "keep_multiplets": ((A3,), {"keep_multiplets": 1}, TypeError, "Expected keep_multiplets to be a bool, but got int"),
    "driver": ((A3,), {"driver": "gesvd"}, RuntimeError, "keyword argument `driver=` is only supported on CUDA inputs"),
    "rule": ((A3,), {"rule": "gated"}, TypeError, "Expected rule to be a Rule"),
    "1-D": ((torch.ones(3), 1), {}, RuntimeError, "The input tensor A must have at least 2 dimensions, but it has 1"),
}


@pytest.mark.parametrize(("args", "kwargs", "kind", "message"), ERRORS.values(), ids=ERRORS)
def test_bad_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=rf"^spectralgrad\.svd_truncated: {message}"):
        sg.svd_truncated(*args, **kwargs)


def test_the_operator_checks_its_arguments_too() -> None:
    operator = torch.ops.spectralgrad.svd_truncated
    for arguments, message in (
        ((A3, -1), "Expected rank to be >= 0, but got -1"),
        ((A3, 1, -1.0), "Expected rtol to be a number >= 0, but got -1"),
        ((A3, 1, None, torch.inf), "Expected atol to be a number >= 0, but got inf"),
    ):
        with pytest.raises(ValueError, match=rf"spectralgrad\.svd_truncated: {message}"):
            operator(*arguments)
