"""torch.library.opcheck for every operator, and its shapes, dtypes and strides for tensors without data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import spectralgrad as sg
from operator_cases import OPERATORS, Batch
from problems import ALL, DOUBLE, random_hermitian
from spectralgrad._operators import handle


def _contiguous(x: Tensor) -> Tensor:
    return x


def _strided(x: Tensor) -> Tensor:
    """x as every second matrix of a larger tensor, with its last two dimensions transposed in memory."""
    if x.dim() < 2:
        return torch.stack([x, x], -1)[..., 0]
    y = x.mT.contiguous()
    return torch.stack([y, torch.zeros_like(y)], 1)[:, 0].mT


def _expanded(x: Tensor) -> Tensor:
    return x[:1].expand(3, *x.shape[1:])


LAYOUTS = {"contiguous": _contiguous, "strided": _strided, "expanded": _expanded}
# Without a level, there is no filling, and without a point no rotation.
NOT_EMPTY = ("chemical_potential", "point_moments", "point_moments_vjp", "rigid_alignment")
# Derivatives that run as tensor code if they are differentiated.
TENSOR_CODE = (
    "eig_jvp",
    "eig_vjp",
    "eigh_jvp",
    "eigh_subset_vjp",
    "eigh_vjp",
    "eigh_vjp_jvp",
    "eigh_vjp_vjp",
    "in_canonical_gauge_vjp",
    "polar_factor_vjp",
)
each_operator = pytest.mark.parametrize("name", OPERATORS)
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
each_size = pytest.mark.parametrize("n", [0, 1, 3])


# Compiling takes nearly all of the time, so only the empty case is compiled here: test_transforms.py compiles real and
# complex losses of every function. Without gradients, opcheck would run a part of these checks.
@pytest.mark.parametrize(
    ("dtype", "layout", "n", "compiled"),
    [
        pytest.param(DOUBLE[1], _strided, 3, False, id="complex-strided"),
        pytest.param(DOUBLE[0], _contiguous, 3, False, id="real"),
        pytest.param(DOUBLE[0], _expanded, 0, True, id="real-empty"),
    ],
)
@each_operator
def test_opcheck(name: str, dtype: torch.dtype, layout: Callable[[Tensor], Tensor], n: int, compiled: bool) -> None:
    call = OPERATORS[name]
    n = 1 if n == 0 and name in NOT_EMPTY else n
    arguments = tuple(
        x.detach().requires_grad_(x.dtype != torch.long) if isinstance(x, Tensor) else x
        for x in call(Batch(dtype, n, layout), without=call.differentiable_without)
    )
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if compiled:
        tests.append("test_aot_dispatch_dynamic")
    conjugates = (
        name.startswith(("density_matrix", "generalized_eigh_", "svd_"))
        or name in ("eigvalsh_directional", "orthogonal_procrustes", "polar", "track")
        or name in TENSOR_CODE
    )
    if dtype.is_complex and n > 0 and conjugates:
        tests.remove("test_schema")  # it mistakes the lazy conjugation in the tensor code of these cases for a mutation
    # Random cotangents depend on phases, which would raise.
    with sg.checks("ignore"):
        torch.library.opcheck(handle(name), arguments, test_utils=tests)


@each_layout
@each_size
@pytest.mark.parametrize("dtype", ALL)
@each_operator
def test_without_data(name: str, dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> None:
    """Meta and fake tensors have the layout of real ones."""
    n = 1 if n == 0 and name in NOT_EMPTY else n
    arguments = OPERATORS[name](Batch(dtype, n, layout))
    operator = handle(name)
    with sg.checks("ignore"):
        expected = operator(*arguments)
    on_meta = operator(*(x.to("meta") if isinstance(x, Tensor) else x for x in arguments))
    with FakeTensorMode() as mode:
        fake = operator(*(mode.from_tensor(x) if isinstance(x, Tensor) else x for x in arguments))
    for results, device in ((on_meta, "meta"), (fake, "cpu")):
        for x, y in zip(_tuple(results), _tuple(expected), strict=True):
            assert (x.shape, x.dtype, str(x.device)) == (y.shape, y.dtype, device)
            assert _strides(x) == _strides(y)


def _strides(x: Tensor) -> list[int]:
    """The strides of dimensions with more than one entry; the others have no meaning."""
    return [stride for size, stride in zip(x.shape, x.stride(), strict=True) if size > 1 and x.numel() > 0]


def _tuple(x: Any) -> tuple[Tensor, ...]:
    return (x,) if isinstance(x, Tensor) else tuple(x)


@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=["one dimension", "not square"])
@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_arguments_are_checked_without_data(name: str, shape: tuple[int, ...]) -> None:
    messages = []
    for device in ("cpu", "meta"):
        with pytest.raises(RuntimeError, match=rf"spectralgrad\.{name}: ") as raised:
            getattr(sg, name)(torch.empty(shape, device=device))
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_batches_of_any_rank_without_data() -> None:
    A = random_hermitian(2, 3, 3, dtype=torch.complex64, seed=0)[:, None]
    for real, meta in zip(sg.eigh(A), sg.eigh(A.to("meta")), strict=True):
        assert (meta.shape, meta.dtype, meta.stride()) == (real.shape, real.dtype, real.stride())
