"""PyTorch's OpInfo entries as tests, with the samples and checks of PyTorch's own test_ops_gradients.py.

With `install` in force, the tests cover four groups of torch's functions: those whose gradient uses eigh or eigvalsh
(`THROUGH_EIGH`), eig and eigvals (`THROUGH_EIG`), those whose gradient uses svd or svdvals (`THROUGH_SVD`: norms,
condition numbers, low-rank factorisations), and those that decompose only in the forward, because torch has a formula
for their derivatives (`VALUES_ONLY`: pinv). torch has no error inputs for any of them, so `test_errors_are_torchs` has
its own.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_utils import TestGradients as Gradients
from torch.testing._internal.opinfo.core import OpInfo

import spectralgrad as sg
from problems import ALL, each_double

# torch's class, whose helpers these tests use. pytest reads this attribute, which the class does not declare.
Gradients.__test__ = False  # type: ignore[attr-defined]

THROUGH_EIGH = ["linalg.eigh", "linalg.eigvalsh"]
THROUGH_EIG = ["linalg.eig", "linalg.eigvals"]
THROUGH_SVD = [
    *("linalg.svd", "linalg.svdvals", "svd", "linalg.cond", "linalg.matrix_norm", "linalg.norm", "norm nuc"),
    *("svd_lowrank", "pca_lowrank"),
]
VALUES_ONLY = ["linalg.pinv", "linalg.pinv singular", "linalg.pinv hermitian", "pinverse"]
# torch's own tests leave out the derivatives of a norm at zero, where they are not defined.
WITHOUT_GRADIENT = ["linalg.matrix_rank", "linalg.matrix_rank hermitian", "linalg.norm subgradients_at_zero"]
# Every eleventh sample is checked. Eleven has no common divisor with the numbers of variants that torch goes through.
# So each variant takes its turn: full matrices or not, orders of a norm, outputs of the loss.
STEP = 11
SAMPLED = [
    "linalg.svd",
    "svd",
    "linalg.matrix_norm",
    "linalg.norm",
    "linalg.pinv singular",
    "svd_lowrank",
    "pca_lowrank",
]
BY_NAME: dict[str, OpInfo] = {f"{op.name} {op.variant_test_name}".strip(): op for op in op_db}


class _Checks(Gradients):
    def runTest(self) -> None:
        pass


@pytest.fixture(autouse=True)
def random_state() -> Iterator[None]:
    """Restores the random state, which torch's samples and checks change."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(state)


def _adapted(name: str, dtype: torch.dtype, step: int) -> OpInfo:
    op = copy.copy(BY_NAME[name])
    samples = op.sample_inputs

    def some(*args: Any, **kwargs: Any) -> Iterator[Any]:
        return itertools.islice(samples(*args, **kwargs), 0, None, step)

    op.sample_inputs = some  # type: ignore[method-assign]  # of this copy only
    if name in ("linalg.eigh", "linalg.eigvalsh", "linalg.svdvals"):
        # More than in torch's own tests: batches of cotangents and tangents, and full Jacobians if they are real
        # (complex ones take a minute). Batches of complex tangents fail in torch, in gradcheck's own view_as_real.
        op.check_batched_grad = op.check_batched_gradgrad = True
        op.check_batched_forward_grad = not dtype.is_complex
        op.gradcheck_fast_mode = dtype.is_complex
    return op


def _torch_skips(op: OpInfo, dtype: torch.dtype, kind: str) -> bool:
    suite = "TestBwdGradients" if kind in ("fn_grad", "fn_gradgrad") else "TestFwdGradients"
    return any(skip.is_active(suite, f"test_{kind}", "cpu", dtype, {}) for skip in op.skips)


def check(
    name: str, dtype: torch.dtype, kind: str, function: Callable[..., Any] | None = None, step: int | None = None
) -> None:
    """`kind` is the name of torch's own test. Every `step`-th sample is checked."""
    op = _adapted(name, dtype, step or (STEP if name in SAMPLED else 1))
    if _torch_skips(op, dtype, kind):
        pytest.skip("torch's own tests leave this out")
    function = function or op.get_op()
    checks = _Checks()
    if kind == "fn_grad":
        checks._check_helper("cpu", dtype, op, function, "gradcheck")
    elif kind == "fn_gradgrad":
        checks._check_helper("cpu", dtype, op, function, "bwgrad_bwgrad")
    elif kind == "fn_fwgrad_bwgrad":
        checks._check_helper("cpu", dtype, op, function, "fwgrad_bwgrad")
    else:
        checks._check_helper(
            "cpu",
            dtype,
            op,
            function,
            "gradcheck",
            check_forward_ad=True,
            check_backward_ad=False,
            check_batched_grad=False,
            check_batched_forward_grad=op.check_batched_forward_grad,
        )


SECOND_ORDER = ["fn_gradgrad", "fn_fwgrad_bwgrad"]
KINDS = ["fn_grad", *SECOND_ORDER, "forward_mode_AD"]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def installed() -> Iterator[None]:
    sg.install()
    yield
    sg.uninstall()


# The functions of which test_gradients_of_ours checks every kind of derivative.
OURS: dict[str, Callable[..., Any]] = {
    "linalg.eig": sg.eig,
    "linalg.eigvals": sg.eigvals,
    "linalg.eigh": sg.eigh,
    "linalg.eigvalsh": sg.eigvalsh,
    "linalg.svdvals": sg.svdvals,
    "linalg.svd": sg.svd,
}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] if kind in SECOND_ORDER else [])
        for name in THROUGH_EIGH + THROUGH_EIG + THROUGH_SVD + VALUES_ONLY
        for kind in (["fn_grad"] if name in {*OURS, "svd"} else KINDS)
    ],
)
@each_double
def test_gradients_installed(name: str, dtype: torch.dtype, kind: str) -> None:
    check(name, dtype, kind)


@pytest.mark.slow
@each_kind
@each_double
@pytest.mark.parametrize("name", OURS)
def test_gradients_of_ours(name: str, dtype: torch.dtype, kind: str) -> None:
    """Every sample, but every fifth one of svd. Five has no common divisor with the numbers of variants."""
    check(name, dtype, kind, OURS[name], step=5 if name == "linalg.svd" else None)


@each_double
@pytest.mark.parametrize("name", THROUGH_EIGH + THROUGH_EIG)
def test_gradients_stood_in(name: str, dtype: torch.dtype) -> None:
    """`stand_in` only puts `sg.eigh` in torch's place; `test_gradients_of_ours` has the other kinds."""
    with sg.stand_in():
        check(name, dtype, "fn_grad")


def _outcome(op: OpInfo, sample: Any) -> tuple[Tensor, ...]:
    result = op(sample.input, *sample.args, **sample.kwargs)
    return (result,) if isinstance(result, Tensor) else tuple(result)


def _same(x: Tensor, y: Tensor) -> bool:
    if (x.dtype, x.stride(), x.requires_grad) != (y.dtype, y.stride(), y.requires_grad):
        return False
    return torch.equal(x.isnan(), y.isnan()) and torch.equal(x.detach().nan_to_num(), y.detach().nan_to_num())


@pytest.mark.parametrize("requires_grad", [False, True], ids=["plain", "differentiated"])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("name", THROUGH_EIGH + THROUGH_EIG + THROUGH_SVD + VALUES_ONLY + WITHOUT_GRADIENT)
def test_values_are_torchs_to_the_bit(name: str, dtype: torch.dtype, requires_grad: bool) -> None:
    op = BY_NAME[name]
    samples = list(op.sample_inputs("cpu", dtype, requires_grad=requires_grad and op.supports_autograd))
    assert samples
    expected = [_outcome(op, sample) for sample in samples]
    sg.install()
    for sample, torchs in zip(samples, expected, strict=True):
        ours = _outcome(op, sample)
        assert len(ours) == len(torchs)
        assert all(_same(x, y) for x, y in zip(ours, torchs)), sample
    sg.uninstall()


ERRORS = {
    "one dimension": lambda f: f(torch.ones(3)),
    "not square": lambda f: f(torch.ones(2, 3)),
    "integers": lambda f: f(torch.ones(2, 2, dtype=torch.int64)),
    "half precision": lambda f: f(torch.ones(2, 2, dtype=torch.float16)),
    "UPLO": lambda f: f(torch.eye(2), UPLO="X"),
    "UPLO of another type": lambda f: f(torch.eye(2), UPLO=1),
    "out of another dtype": lambda f: f(
        torch.eye(2), out=torch.empty(2).int() if f is torch.linalg.eigvalsh else (torch.empty(2).int(), torch.eye(2))
    ),
}


def _error(call: Callable[..., Any], f: Callable[..., Any]) -> tuple[type[Exception], str] | None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the caller compares the types
        call(f)
    return raised.type, str(raised.value).replace("spectralgrad.", "linalg.")


@pytest.mark.parametrize("f", [torch.linalg.eigh, torch.linalg.eigvalsh])
@pytest.mark.parametrize("call", ERRORS.values(), ids=ERRORS)
def test_errors_are_torchs(call: Callable[..., Any], f: Callable[..., Any]) -> None:
    expected = _error(call, f)
    sg.install()
    assert _error(call, f) == expected
    sg.uninstall()
