"""torch.library.opcheck for every operator, and its shapes, dtypes and strides for tensors without data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import spectralgrad as sg
from problems import ALL, DOUBLE, distinct, normal, random_hermitian

GATED = ("gated", [4.0, 2.0])


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
Arguments = Callable[[torch.dtype, int, Callable[[Tensor], Tensor]], tuple[Any, ...]]


def _matrices(dtype: torch.dtype, n: int) -> Tensor:
    return torch.stack([distinct(n, dtype, seed) if n else torch.zeros(0, 0, dtype=dtype) for seed in range(2)])


def _decomposition(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    L, V = torch.linalg.eigh(_matrices(dtype, n))
    return layout(L), layout(V)


def _cotangents(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    real = torch.empty((), dtype=dtype).real.dtype
    return layout(normal(2, n, dtype=real, seed=1)), layout(normal(2, n, n, dtype=dtype, seed=2))


def _judged(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    gL, W = _cotangents(dtype, n, layout)
    return gL, W, W.abs() + 1, _decomposition(dtype, n, layout)[0]


def _positive(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> Tensor:
    return layout(_matrices(dtype, n) + (n + 1) * torch.eye(n, dtype=dtype))


def _pairs(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return layout(_matrices(dtype, n)), *_decomposition(dtype, n, layout)


def _jets(L: Tensor) -> Tensor:
    return torch.stack([L.sin(), L.cos(), -L.sin(), -L.cos()], -2)


def _with_jets(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    pairs = _pairs(dtype, n, layout)
    return *pairs, _jets(pairs[1]), _direction(dtype, n, layout, 1)


def _direction(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    return layout(normal(2, n, n, dtype=dtype, seed=seed))


def _quantity(L: Tensor, value: float) -> Tensor:
    return torch.full(L.shape[:-1], value, dtype=L.dtype)


def _electrons(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    A, L, V = _pairs(dtype, n, layout)
    return A, L, V, _quantity(L, n / 3), _quantity(L, 0.5), 2.0, "cold"


def _density(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    A, L, _ = _pairs(dtype, n, layout)
    return A, None, _quantity(L, 0.1), _quantity(L, 0.5), _positive(dtype, n, layout), 2.0, "methfessel-paxton"


def _rotated(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    A, L, V = _pairs(dtype, n, layout)
    return A, L.detach(), V.detach(), 1


def _judged_rotations(dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    _, L, V = _pairs(dtype, n, layout)
    *_, values, vectors = torch.ops.spectralgrad.rotated_eigenpairs(V, L, V, 1)
    return *_cotangents(dtype, n, layout), values + 1, vectors * 2, L, V, 1


# A new operator needs one line here.
OPERATORS: dict[str, Arguments] = {
    "eigh": lambda dtype, n, layout: (layout(_matrices(dtype, n)), "L", *GATED),
    "eigvalsh": lambda dtype, n, layout: (layout(_matrices(dtype, n)), "U", *GATED),
    "eigh_jvp": lambda dtype, n, layout: (
        _direction(dtype, n, layout, 1),
        *_decomposition(dtype, n, layout),
        *GATED,
    ),
    "eigh_vjp": lambda dtype, n, layout: (*_cotangents(dtype, n, layout), *_decomposition(dtype, n, layout), *GATED),
    "chemical_potential": lambda dtype, n, layout: _electrons(
        dtype, max(n, 1), layout
    ),  # without a level, there is no filling
    "cluster_rounds": lambda dtype, n, layout: (_decomposition(dtype, n, layout)[0],),
    "constant": lambda dtype, n, layout: (layout(_matrices(dtype, n)),),
    "density_matrix": _density,
    "density_matrix_full": _density,
    "drop_small_eigenvalues": lambda dtype, n, layout: (_decomposition(dtype, n, layout)[0], None, "pinvm"),
    "eigenpairs": lambda dtype, n, layout: (layout(_matrices(dtype, n)), "expm", "all"),
    "expm": lambda dtype, n, layout: (layout(_matrices(dtype, n)),),
    "fill_levels": lambda dtype, n, layout: (
        _decomposition(dtype, n, layout)[0],
        _quantity(_decomposition(dtype, n, layout)[0], n / 2),
        None,
        "density_matrix",
        "electrons",
        2.0,
        True,
    ),
    "hermitian": lambda dtype, n, layout: (layout(_matrices(dtype, n)), "density_matrix", "H"),
    "invsqrtm": lambda dtype, n, layout: (_positive(dtype, n, layout),),
    "judge_cotangents": _judged,
    "judge_rotations": _judged_rotations,
    "logm": lambda dtype, n, layout: (_positive(dtype, n, layout),),
    "once": lambda dtype, n, layout: (
        _direction(dtype, n, layout, 1),
        layout(torch.zeros(2, n, n, dtype=torch.long)),
        "once",
    ),
    "pinvm": lambda dtype, n, layout: (layout(_matrices(dtype, n)), None),
    "powm": lambda dtype, n, layout: (_positive(dtype, n, layout), 1.5),
    "pseudo_logdet": lambda dtype, n, layout: (layout(_matrices(dtype, n)), 0.1),
    "quantity": lambda dtype, n, layout: (_decomposition(dtype, n, layout)[0].abs() + 1, "density_matrix", "kT", True),
    "rotated_eigenpairs": _rotated,
    "spectral_function": lambda dtype, n, layout: (
        *_with_jets(dtype, n, layout),
        None,  # with a second direction, the result is not differentiable in A
        "jets",
        [],
    ),
    "spectral_function_transposed": lambda dtype, n, layout: (*_with_jets(dtype, n, layout), None),
    "spectral_projector": lambda dtype, n, layout: (layout(_matrices(dtype, n)), 0, n // 2),
    "spectral_trace": lambda dtype, n, layout: _with_jets(dtype, n, layout)[:4],
    "sqrtm": lambda dtype, n, layout: (_positive(dtype, n, layout),),
    "trace_sqrtm": lambda dtype, n, layout: (_positive(dtype, n, layout),),
    "watch_second_order": _decomposition,
    "warn_of_second_order": lambda dtype, n, layout: _decomposition(dtype, n, layout)[::-1],
}
each_operator = pytest.mark.parametrize("name", OPERATORS)
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
each_size = pytest.mark.parametrize("n", [0, 1, 3])


def _operator(name: str) -> Any:
    return getattr(torch.ops.spectralgrad, name).default


def test_every_operator_has_cases() -> None:
    names = torch._C._dispatch_get_all_op_names()
    assert {x.split("::")[1].split(".")[0] for x in names if x.startswith("spectralgrad::")} == set(OPERATORS)


# Without gradients, opcheck runs a part of its checks with gradients, so one case of nontrivial matrices is enough.
@pytest.mark.parametrize(
    ("layout", "n", "requires_grad"),
    [
        pytest.param(_contiguous, 3, True, id="contiguous-differentiated"),
        pytest.param(_contiguous, 3, False, id="contiguous-plain", marks=pytest.mark.slow),
        pytest.param(_strided, 1, True, id="strided-differentiated", marks=pytest.mark.slow),
        pytest.param(_expanded, 0, True, id="expanded-differentiated", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("dtype", DOUBLE, ids=["real", "complex"])
@each_operator
def test_opcheck(
    name: str, dtype: torch.dtype, layout: Callable[[Tensor], Tensor], n: int, requires_grad: bool
) -> None:
    arguments = tuple(
        x.detach().requires_grad_(requires_grad and x.dtype != torch.long) if isinstance(x, Tensor) else x
        for x in OPERATORS[name](dtype, n, layout)
    )
    tests = ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    conjugates = name.startswith("density_matrix") or (name in ("eigh_jvp", "eigh_vjp") and requires_grad)
    if dtype.is_complex and n > 0 and conjugates:
        tests.remove("test_schema")  # it mistakes the lazy conjugation in the tensor code of these cases for a mutation
    # Random cotangents depend on phases, which would raise.
    with sg.checks("ignore"):
        torch.library.opcheck(_operator(name), arguments, test_utils=tests)


@each_layout
@each_size
@pytest.mark.parametrize("dtype", ALL)
@each_operator
def test_without_data(name: str, dtype: torch.dtype, n: int, layout: Callable[[Tensor], Tensor]) -> None:
    """Meta and fake tensors have the layout of real ones."""
    arguments = OPERATORS[name](dtype, n, layout)
    operator = _operator(name)
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
