"""What users of torch.linalg expect beyond values: __torch_function__, contexts, autocast, messages."""

from __future__ import annotations

import asyncio
import contextvars
import io
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import distinct, random_hermitian

DIAGONAL = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))


def F(eigh: Callable[[Tensor], Any] = sg.eigh) -> float:
    """The factor that the current rule uses for 1/(λ2 - λ1) = 1/1."""
    X = DIAGONAL.clone().requires_grad_()
    return float(torch.autograd.grad(eigh(X)[1], X, torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=X.dtype))[0][0, 1])


# --- __torch_function__ ----------------------------------------------------------------------------------------------


class Operator:
    """Not a tensor, but implements torch's functions, as linear_operator does."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func.__name__, args, kwargs


class Refusing:
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return NotImplemented


class Logged(Tensor):
    """Has its own __torch_function__, which calls torch's."""

    log: ClassVar[list[Any]] = []

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        cls.log.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


class Plain(Tensor):
    pass


@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_operators_answer_themselves(name: str) -> None:
    x = Operator()
    theirs = getattr(torch.linalg, name)
    with sg.stand_in():
        assert theirs(x) == theirs(x)
        assert theirs(x)[0] == f"linalg_{name}"
        assert theirs(x)[1][0] is x
        with pytest.raises(TypeError, match="no implementation found"):
            theirs(Refusing())
    assert getattr(sg, name)(x, "U")[:2] == (name, (x, "U"))
    with pytest.raises(TypeError, match="no implementation found"):
        getattr(sg, name)(Refusing())


@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_handlers_of_subclasses_are_asked_and_what_they_call_is_ours(name: str) -> None:
    def first(result: Any) -> Tensor:
        return result if isinstance(result, Tensor) else result[0]

    A = distinct(3, torch.float64, 0)
    for theirs, context in ((getattr(sg, name), sg.use_rule), (getattr(torch.linalg, name), sg.stand_in)):
        for kind in (Logged, Plain):
            x = A.as_subclass(kind)
            Logged.log.clear()
            with context(sg.Split(0.5)):
                values = first(theirs(x))
            assert type(values) is kind
            assert torch.equal(values.as_subclass(Tensor), sg.eigh(A, rule=sg.Split(0.5))[0]) or name == "eigvalsh"
            torch.testing.assert_close(
                values.as_subclass(Tensor), sg.eigvalsh(A, rule=sg.Split(0.5)), rtol=0, atol=1e-14
            )
            assert (theirs in Logged.log) == (kind is Logged)


def test_a_parameter_is_no_subclass_with_a_handler() -> None:
    A = torch.nn.Parameter(torch.eye(3, dtype=torch.float64))
    with sg.stand_in():
        L, V = torch.linalg.eigh(A)
        (L.sum() + V.square().sum()).backward()
    assert A.grad is not None
    assert torch.equal(A.grad, torch.eye(3, dtype=torch.float64))


# --- rules, checks and stand_in follow the context -------------------------------------------------------------------

Block = Callable[[], Any]
SHARED: dict[str, tuple[Block, Callable[[], bool]]] = {
    "use_rule": (lambda: sg.use_rule(sg.Lorentzian(1.0)), lambda: F() == 0.5),
    "checks": (lambda: sg.checks("ignore"), lambda: ignores()),
    "stand_in": (lambda: sg.stand_in(sg.Lorentzian(1.0)), lambda: F(torch.linalg.eigh) == 0.5),
}
shared = pytest.mark.parametrize(("make", "in_force"), SHARED.values(), ids=SHARED)


def ignores() -> bool:
    try:
        return bool(sg.eigvalsh(torch.full((2, 2), torch.nan)).isnan().all())
    except torch.linalg.LinAlgError:
        return False


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert sg.default_rule() == sg.Gated()
    assert not any(in_force() for _, in_force in SHARED.values())
    assert torch._C._len_torch_function_stack() == 0


@shared
def test_one_object_in_two_threads(make: Block, in_force: Callable[[], bool]) -> None:
    block, barrier, seen = make(), threading.Barrier(2, timeout=20), []

    def work(first: bool) -> None:
        for turn in (first, not first):
            if turn:
                with block:
                    barrier.wait()
                    seen.append(in_force())
            else:
                barrier.wait()
                seen.append(not in_force())
            barrier.wait()
        seen.append(not in_force())

    threads = [threading.Thread(target=work, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 6


@shared
def test_one_object_in_interleaved_tasks(make: Block, in_force: Callable[[], bool]) -> None:
    block, seen = make(), []

    async def inside(ticks: int) -> None:
        with block, block:
            for _ in range(ticks):
                await asyncio.sleep(0)
                seen.append(in_force())
        seen.append(not in_force())

    async def outside(ticks: int) -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
            seen.append(not in_force())

    async def main() -> None:
        # Blocks are not closed in the reverse order of their opening, so a simple stack of blocks would be wrong.
        await asyncio.gather(inside(1), inside(3), outside(6), inside(2), inside(4))

    asyncio.run(main())
    assert len(seen) == 20
    assert all(seen)


@shared
def test_generators_close_blocks_in_any_order(make: Block, in_force: Callable[[], bool]) -> None:
    def generator(block: Any) -> Iterator[None]:
        with block:
            yield

    one = make()
    first, second = generator(one), generator(one)
    next(first)
    next(second)
    first.close()
    assert in_force()
    second.close()
    assert not in_force()


def test_the_innermost_open_block_counts_whatever_order_they_close_in() -> None:
    outer, inner = sg.use_rule(sg.Lorentzian(1.0)), sg.use_rule(sg.Cutoff(2.0))
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert F() == 0
    inner.__exit__(None, None, None)
    assert F() == 1


def test_a_copied_context_keeps_its_rule() -> None:
    async def later(go: asyncio.Event) -> float:
        await go.wait()
        return F()

    async def main() -> tuple[float, float, float]:
        go = asyncio.Event()
        with sg.use_rule(sg.Lorentzian(1.0)):
            task = asyncio.create_task(later(go))
            in_thread = await asyncio.to_thread(F)
        go.set()
        return in_thread, F(), await task

    assert asyncio.run(main()) == (0.5, 1.0, 0.5)
    with sg.use_rule(sg.Cutoff(2.0)):
        context = contextvars.copy_context()
    assert context.run(F) == 0


def test_installed_calls_follow_the_context() -> None:
    sg.install()
    try:
        with sg.use_rule(sg.Lorentzian(1.0)):
            assert F(torch.linalg.eigh) == 0.5
        assert F(torch.linalg.eigh) == 1
    finally:
        sg.uninstall()


def test_compiled_code_follows_interleaved_tasks() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda X: sg.eigh(X)[1], backend="aot_eager", fullgraph=True)

    def compiled_F() -> float:
        return F(lambda X: (None, compiled(X)))

    async def task(block: Any, expected: float, seen: list[bool]) -> None:
        with block:
            for _ in range(2):
                await asyncio.sleep(0)
                seen.append(abs(compiled_F() - expected) < 1e-12)

    async def main() -> list[bool]:
        seen: list[bool] = []
        await asyncio.gather(
            task(sg.use_rule(sg.Lorentzian(1.0)), 0.5, seen), task(sg.use_rule(sg.Lorentzian(2.0)), 0.2, seen)
        )
        return seen

    assert asyncio.run(main()) == [True] * 4
    assert compiled_F() == 1
    torch._dynamo.reset()


# --- autocast --------------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Tensor], Any]] = {
    "eigh": lambda A: sg.eigh(A)[0],
    "eigenvectors": lambda A: sg.eigh(A)[1].abs(),
    "eigvalsh": sg.eigvalsh,
    "expm": sg.expm,
    "logm": sg.logm,
    "sqrtm": sg.sqrtm,
    "invsqrtm": sg.invsqrtm,
    "powm": lambda A: sg.powm(A, 1.5),
    "funm": lambda A: sg.funm(A, torch.tanh),
    "trace_funm": lambda A: sg.trace_funm(A, torch.tanh),
    "spectral_projector": lambda A: sg.spectral_projector(A, 0, 2),
    "spectral_map": lambda A: sg.spectral_map(lambda L, V: (V.unsqueeze(-3) * V.unsqueeze(-2) * L.exp()).sum(-1), A),
    "density_matrix": lambda A: sg.density_matrix(A, electrons=2, kT=0.1),
}


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("f", OPERATIONS.values(), ids=OPERATIONS)
def test_autocast_computes_in_float32(f: Callable[[Tensor], Tensor], half: torch.dtype) -> None:
    Z = random_hermitian(3, 3, dtype=torch.float64, seed=0)
    A = (Z @ Z + torch.eye(3)).to(half)
    with pytest.raises(NotImplementedError, match="float32, float64, complex64 or complex128"):
        f(A)

    def value_and_gradient(X: Tensor, on: bool) -> tuple[Tensor, Tensor]:
        X = X.clone().requires_grad_()
        with torch.autocast("cpu", half, enabled=on):
            y = f(X)
        return y.detach(), torch.autograd.grad(y.square().sum(), X)[0]

    y, G = value_and_gradient(A, True)
    expected, expected_G = value_and_gradient(A.double(), False)
    assert (y.dtype, G.dtype) == (torch.float32, half)
    assert float((y - expected).abs().max()) <= 2e-5 * float(expected.abs().max())
    assert float((G - expected_G).abs().max()) <= 0.03 * float(expected_G.abs().max()) + 1e-4
    for dtype in (torch.float32, torch.float64):
        with torch.autocast("cpu", half):
            assert f(A.to(dtype)).dtype == dtype


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_gives_torchs_dtypes(half: torch.dtype) -> None:
    A = torch.eye(3)
    with torch.autocast("cpu", half):
        H = A @ A
        assert H.dtype == half
        for X in (H, H.float(), H.double(), H.to(torch.complex64)):
            expected = torch.linalg.eigh(X)
            with sg.stand_in():
                for result in (sg.eigh(X), torch.linalg.eigh(X)):
                    assert [x.dtype for x in result] == [x.dtype for x in expected]
                    assert torch.equal(result[0], expected[0])
                assert torch.linalg.eigvalsh(X).dtype == expected[0].dtype
        compiled = torch.compile(lambda X: (sg.eigh(X)[0], sg.funm(X, torch.exp)), backend="aot_eager", fullgraph=True)
        assert [x.dtype for x in compiled(H)] == [torch.float32] * 2
    torch._dynamo.reset()


# --- checkpoints, messages, arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [sg.Gated(), sg.Lorentzian(1e-3, True), sg.Split(order=2), sg.Cutoff(0.5), sg.Bare()], ids=repr
)
def test_rules_are_loaded_with_weights_only(rule: sg.Rule) -> None:
    file = io.BytesIO()
    torch.save({"rule": rule, "A": torch.eye(2)}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["rule"] == rule


def test_out_as_torch_takes_it() -> None:
    A = distinct(3, torch.float64, 0)
    out = [torch.empty(3, dtype=A.dtype), torch.empty(3, 3, dtype=A.dtype)]
    result = sg.eigh(A, out=out)
    assert result[0] is out[0]
    assert torch.equal(out[0], sg.eigh(A)[0])
    assert torch.equal(out[1], sg.eigh(A)[1])
    with sg.stand_in():
        assert torch.equal(torch.linalg.eigh(input=A, out=out)[0], out[0])
        assert torch.equal(torch.linalg.eigvalsh(input=A), sg.eigvalsh(A))
    for wrong, got in (((out[0],), "tuple"), ([out[0]], "list")):
        with pytest.raises(TypeError, match=rf"eigvalsh: Expected out to be a Tensor, but got {got}"):
            sg.eigvalsh(A, out=wrong)  # type: ignore[arg-type]
    for bad, got in (((out[0],), "a tuple of 1"), ([out[0], 1], "a list of Tensor, int"), (1, "int")):
        with pytest.raises(TypeError, match=rf"eigh: Expected out to be a tuple of 2 Tensors .*, but got {got}"):
            sg.eigh(A, out=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8])
def test_projector_takes_numpys_integers(integer: Callable[[int], Any]) -> None:
    A = distinct(4, torch.float64, 0)
    assert torch.equal(sg.spectral_projector(A, integer(1), integer(3)), sg.spectral_projector(A, 1, 3))
    for wrong in (1.0, np.float64(1), True, np.bool_(True), "1"):
        with pytest.raises(TypeError, match="Expected start to be an int, but got"):
            sg.spectral_projector(A, wrong, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("f", [sg.eigh, sg.eigvalsh, sg.expm, sg.sqrtm, lambda A: sg.funm(A, torch.exp)])
def test_sparse_input(f: Callable[[Tensor], Any]) -> None:
    with pytest.raises(
        NotImplementedError, match=r"Expected A to be a dense tensor, but its layout is Sparse; call to_d"
    ):
        f(torch.eye(3).to_sparse())


@pytest.mark.parametrize("sign", [1, -1])
def test_a_power_that_no_float_holds(sign: int) -> None:
    with pytest.raises(ValueError, match="powm: Expected p to fit into a float64, but it is too large"):
        sg.powm(torch.eye(2), sign * 10**400)


@pytest.mark.parametrize("wrong", ["1", None, True, 1j])
def test_epsilon_that_is_no_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match="from_epsilon: Expected epsilon to be a number, but got"):
        sg.Lorentzian.from_epsilon(wrong)


def test_a_bool_is_no_number() -> None:
    with pytest.raises(TypeError, match="Split: Expected order to be 1 or 2, but got True"):
        sg.Split(order=True)
    with pytest.raises(TypeError, match="Lorentzian: Expected width to be a number, but got False"):
        sg.Lorentzian(False)
    assert sg.Lorentzian(1.0, relative=True).relative


def test_a_decorator_without_parentheses() -> None:
    with pytest.raises(TypeError, match=r"written @spectralgrad\.stand_in\(\), with parentheses"):

        @sg.stand_in  # type: ignore[arg-type]
        def f() -> None: ...


# --- A may be changed in place ---------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "expm": sg.expm,
    "logm": sg.logm,
    "sqrtm": sg.sqrtm,
    "invsqrtm": sg.invsqrtm,
    "powm": lambda A: sg.powm(A, 2.5),
    "funm": lambda A: sg.funm(A, torch.tanh),
    "trace_funm": lambda A: sg.trace_funm(A, torch.tanh),
    "spectral_projector": lambda A: sg.spectral_projector(A, 0, 2),
    "density_matrix": lambda A: sg.density_matrix(A, electrons=2, kT=0.1),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_change_in_place_does_not_matter(
    f: Callable[[Tensor], Tensor], dtype: torch.dtype, leaf: bool, create_graph: bool
) -> None:
    """First and second derivatives are those at the matrix that the function was called with."""
    Z = random_hermitian(4, 4, dtype=dtype, seed=0)
    positive = Z @ Z + torch.eye(4)
    M = random_hermitian(4, 4, dtype=dtype, seed=1)

    def derivatives(change: bool) -> list[Tensor]:
        X = positive.clone().requires_grad_()
        A = X if leaf else X * 1
        y = f(A)
        if change:
            with torch.no_grad():
                A.mul_(3).add_(torch.eye(4))
        (G,) = torch.autograd.grad((y * M.conj() if y.dim() else y).real.sum(), X, create_graph=create_graph)
        if not create_graph:
            return [G]
        return [G, torch.autograd.grad((G * M.conj()).real.sum(), X)[0]]

    for changed, expected in zip(derivatives(True), derivatives(False), strict=True):
        assert float(expected.detach().abs().max()) > 1e-6
        assert torch.equal(changed, expected)


def test_a_change_in_place_that_is_differentiated() -> None:
    """A.mul_(2) moves A to another node of the graph; the function keeps the node that it was called with."""
    X = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)).requires_grad_()
    A = X * 1
    y = sg.powm(A, 3)[0, 0]
    A.mul_(2)
    (G,) = torch.autograd.grad(y + A[1, 1], X, create_graph=True)
    assert torch.equal(G.detach(), torch.diag(torch.tensor([3.0, 2.0, 0.0], dtype=torch.float64)))
    (H,) = torch.autograd.grad(G[0, 0], X)
    torch.testing.assert_close(H, torch.diag(torch.tensor([6.0, 0.0, 0.0], dtype=torch.float64)), rtol=0, atol=1e-13)


# --- TorchScript -----------------------------------------------------------------------------------------------------


def scripted_eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    return sg.eigh(A)


def scripted_sum(A: Tensor) -> Tensor:
    _, V = sg.eigh(A, "U")
    return (
        sg.eigvalsh(A).sum() + V.square().sum() + (sg.expm(A) + sg.powm(A, 2.0) + sg.spectral_projector(A, 0, 1))[0, 1]
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
def test_scripts_call_ours(degenerate: Tensor) -> None:
    A = degenerate.clone().requires_grad_()
    L, V = torch.jit.script(scripted_eigh)(A)
    (G,) = torch.autograd.grad(L.sum() + V.square().sum(), A)
    assert torch.equal(G, torch.eye(4, dtype=A.dtype))
    X = distinct(4, torch.float64, 0).requires_grad_()
    results = [f(X) for f in (torch.jit.script(scripted_sum), scripted_sum)]
    assert torch.equal(*results)
    assert torch.equal(*(torch.autograd.grad(y, X)[0] for y in results))


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
@pytest.mark.parametrize(
    "name", ["eigh", "eigvalsh", "expm", "logm", "sqrtm", "invsqrtm", "powm", "spectral_projector"]
)
def test_functions_are_scripted_by_themselves(name: str) -> None:
    function = getattr(sg, name)
    more = {"powm": (1.5,), "spectral_projector": (0, 2), "eigh": ("U",)}.get(name, ())
    A = torch.diag(torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)).requires_grad_()

    def results(f: Callable[..., Any]) -> list[Tensor]:
        y = f(A, *more)
        first = y if isinstance(y, Tensor) else y[0]
        return [first, torch.autograd.grad(first.sum(), A)[0]]

    for x, y in zip(results(torch.jit.script(function)), results(function), strict=True):
        assert torch.equal(x, y)
    with pytest.raises(RuntimeError, match=f"spectralgrad.{name}: .* at least 2 dimensions"):
        torch.jit.script(function)(A[0], *more)


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [sg.eigh, sg.eigvalsh, sg.expm, lambda A: sg.eigh(A.detach())])
def test_a_signal_handler_sees_autograd_as_it_was(f: Callable[[Tensor], Any]) -> None:
    """The handler differentiates while a long decomposition is interrupted below autograd."""
    A = random_hermitian(300_000, 6, 6, dtype=torch.float32, seed=0).requires_grad_()
    seen: list[Any] = []

    def handler(*_: Any) -> None:
        X = torch.eye(3, dtype=torch.float64).requires_grad_()
        y = sg.eigh(X)[0].square().sum() + (X @ X).trace()
        (G,) = torch.autograd.grad(y, X)
        seen.append((torch.is_grad_enabled(), torch.equal(G, 4 * torch.eye(3, dtype=X.dtype))))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-2, 1e-2)
        result = f(A)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen
    assert all(state == (True, True) for state in seen)
    first = result if isinstance(result, Tensor) else result[0]
    assert first.requires_grad == (f in (sg.eigh, sg.eigvalsh, sg.expm))
    assert torch.is_grad_enabled()
