"""Behaviour beyond values that users of torch.linalg expect: __torch_function__, contexts, autocast, messages."""

from __future__ import annotations

import asyncio
import contextvars
import io
import signal
import threading
import types
from collections.abc import Callable, Generator, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from operator_cases import FUNCTIONS
from problems import LinAlgError, distinct, random_hermitian
from spectralgrad._operators import OPERATORS

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

    calls: ClassVar[list[Any]] = []

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        cls.calls.append(func)
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
def test_handlers_of_subclasses_run_and_their_calls_reach_this_package(name: str) -> None:
    def first(result: Any) -> Tensor:
        return result if isinstance(result, Tensor) else result[0]

    A = distinct(3, torch.float64, 0)
    for theirs, context in ((getattr(sg, name), sg.use_rule), (getattr(torch.linalg, name), sg.stand_in)):
        for kind in (Logged, Plain):
            x = A.as_subclass(kind)
            Logged.calls.clear()
            with context(sg.Split(0.5)):
                values = first(theirs(x))
            assert type(values) is kind
            assert torch.equal(values.as_subclass(Tensor), sg.eigh(A, rule=sg.Split(0.5))[0]) or name == "eigvalsh"
            torch.testing.assert_close(
                values.as_subclass(Tensor), sg.eigvalsh(A, rule=sg.Split(0.5)), rtol=0, atol=1e-14
            )
            assert (theirs in Logged.calls) == (kind is Logged)


def test_a_parameter_is_no_subclass_with_a_handler() -> None:
    A = torch.nn.Parameter(torch.eye(3, dtype=torch.float64))
    with sg.stand_in():
        L, V = torch.linalg.eigh(A)
        (L.sum() + V.square().sum()).backward()
    assert A.grad is not None
    assert torch.equal(A.grad, torch.eye(3, dtype=torch.float64))


EVERY = FUNCTIONS | {
    "density_matrix with all": lambda A: sg.density_matrix(A, electrons=2, kT=0.1, full_output=True).mu
}
every = pytest.mark.parametrize("name", EVERY)


class Counting(torch.overrides.TorchFunctionMode):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


@every
def test_each_function_asks_handlers(name: str) -> None:
    f, public = EVERY[name], getattr(sg, name.split()[0])

    class Answering:
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append((func, types, args))
            return answer

    seen: list[Any] = []
    x: Any = Answering()
    answer: Any = sg.DensityMatrixResult(*[x] * 6) if "all" in name else (x, x)
    result = f(x)
    assert result is (answer if public not in (sg.eigh,) and "all" not in name else x)
    ((func, types, args),) = seen
    assert func is public
    assert types == (Answering,)
    assert any(argument is x for argument in args)
    with pytest.raises(TypeError, match="no implementation found"):
        f(Refusing())


@every
def test_each_function_of_a_subclass_returns_it(name: str) -> None:
    f, public = EVERY[name], getattr(sg, name.split()[0])
    Z = random_hermitian(4, 4, dtype=torch.float64, seed=0)
    A = Z @ Z + torch.eye(4)
    expected = f(A)
    for kind in (Logged, Plain):
        Logged.calls.clear()
        X = A.clone().as_subclass(kind).requires_grad_()
        y = f(X)
        assert type(y) is kind
        assert torch.equal(y.as_subclass(Tensor), expected)
        assert (public in Logged.calls) == (kind is Logged)
        (G,) = torch.autograd.grad(y.sum(), X)
        Y = A.clone().requires_grad_()
        assert torch.equal(G.as_subclass(Tensor), torch.autograd.grad(f(Y).sum(), Y)[0])
    parameter = torch.nn.Parameter(A)
    assert type(f(parameter)) is Tensor


@every
def test_each_function_under_a_mode(name: str) -> None:
    """A mode sees the function itself, or the functions that it calls if it is composed of them."""
    f, public = EVERY[name], getattr(sg, name.split()[0])
    Z = random_hermitian(4, 4, dtype=torch.float64, seed=0)
    A = Z @ Z + torch.eye(4)
    with Counting() as mode:
        assert torch.equal(f(A), f(A))
    assert (public in mode.seen) == (public not in (sg.funm, sg.trace_funm, sg.spectral_map))
    assert mode.seen


def test_the_other_argument_of_a_function_is_asked() -> None:
    H = distinct(3, torch.float64, 0)
    S: Any = Operator()
    func, args, kwargs = sg.density_matrix(H, electrons=2, overlap=S)
    assert (func, kwargs["overlap"]) == ("density_matrix", S)
    assert args[0] is H


@pytest.mark.parametrize("f", [sg.funm, sg.trace_funm], ids=["funm", "trace_funm"])
def test_stand_in_reaches_calls_inside_a_function(f: Callable[..., Tensor]) -> None:
    """torch.linalg inside the function that is given, and inside that of spectral_map."""
    seen: list[float] = []

    def g(x: Tensor) -> Tensor:
        seen.append(F(torch.linalg.eigh))
        return x.exp()

    A = distinct(3, torch.float64, 0)
    with sg.stand_in(sg.Lorentzian(1.0)):
        f(A, g)
        sg.spectral_map(lambda L, V: g(L), A)
    assert set(seen) == {0.5}


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
    except LinAlgError:
        return False


@pytest.fixture(autouse=True)
def check_that_no_state_is_left() -> Iterator[None]:
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
    def generator(block: Any) -> Generator[None, None, None]:
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


# --- blocks inside compiled code -------------------------------------------------------------------------------------

NAN = torch.full((2, 2), torch.nan, dtype=torch.float64)
TWICE = torch.eye(2, dtype=torch.float64)  # an eigenvalue that no loss may take alone

compiled_by = pytest.mark.parametrize("backend", ["eager", "aot_eager"])


@pytest.fixture
def compiler(backend: str) -> Iterator[Callable[..., Any]]:
    torch._dynamo.reset()
    yield lambda f: torch.compile(f, backend=backend, fullgraph=True)
    torch._dynamo.reset()


def lowest(X: Tensor) -> Tensor:
    return sg.eigvalsh(X)[0]


@pytest.mark.slow
@compiled_by
def test_checks_inside_a_compiled_region(compiler: Callable[..., Any]) -> None:
    """Each operator has the level of its own block, whatever is in force around the call."""

    def all_ignore(X: Tensor) -> Tensor:
        with sg.checks("ignore"):
            many = sg.eigvalsh(X).sum() + sg.expm(X).sum() + sg.funm(X, torch.tanh).sum() + sg.eigh(X)[1].sum()
        return many + lowest(TWICE)

    def nested(X: Tensor) -> Tensor:
        with sg.checks("ignore"):
            with sg.checks("raise"):
                finite = lowest(TWICE)
            return finite + lowest(X)

    def before(X: Tensor) -> Tensor:
        first = lowest(X)
        with sg.checks("ignore"):
            return first + lowest(TWICE)

    def after(X: Tensor) -> Tensor:
        with sg.checks("ignore"):
            first = lowest(TWICE)
        return first + lowest(X)

    def innermost(X: Tensor) -> Tensor:
        with sg.checks("ignore"), sg.checks("raise"):
            return lowest(X)

    for f in (all_ignore, nested):
        compiled = compiler(f)
        for level in ("warn", "raise"):
            with sg.checks(level):
                assert bool(compiled(NAN).isnan())
    for f in (before, after, innermost):
        compiled = compiler(f)
        with pytest.raises(LinAlgError, match="eigvalsh: Expected the lower triangle"):
            compiled(NAN)
        assert sg._C.checks().name == "warn"
        with sg.checks("ignore"):
            if f is innermost:
                with pytest.raises(LinAlgError, match="eigvalsh: Expected the lower triangle"):
                    compiled(NAN)
            else:
                assert bool(compiled(NAN).isnan())


@pytest.mark.slow
def test_inductor_keeps_the_level_of_each_operator() -> None:
    @torch.compile(backend="inductor", fullgraph=True)
    def f(X: Tensor, Y: Tensor) -> Tensor:
        with sg.checks("ignore"):
            first = lowest(X)
        return first + lowest(Y)

    assert bool(f(NAN, TWICE).isnan())
    with pytest.raises(LinAlgError, match="eigvalsh: Expected the lower triangle"):
        f(TWICE, NAN)
    torch._dynamo.reset()


@pytest.mark.slow
@compiled_by
def test_checks_around_a_derivative_inside_a_compiled_region(backend: str, compiler: Callable[..., Any]) -> None:
    def derivative(level: Any) -> Callable[[Tensor], Tensor]:
        def f(X: Tensor) -> Tensor:
            with sg.checks(level):
                return torch.func.grad(lowest)(X)

        return f

    def value(X: Tensor) -> Tensor:
        with sg.checks("ignore"):
            return lowest(X)

    def checkpointed(X: Tensor) -> Tensor:
        return torch.utils.checkpoint.checkpoint(value, X, use_reentrant=False) * 1

    expected = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    for level in ("warn", "raise"):
        with sg.checks(level):
            assert torch.equal(compiler(derivative("ignore"))(TWICE), expected)
    assert bool(compiler(checkpointed)(NAN.clone().requires_grad_()).isnan())
    # The derivative is computed outside the block, so the level outside counts.
    X = TWICE.clone().requires_grad_()
    for f in (value, checkpointed):
        with pytest.warns(sg.GaugeWarning, match="only directional derivatives exist"):
            torch.autograd.grad(compiler(f)(X), X)
        with sg.checks("ignore"):
            assert torch.equal(torch.autograd.grad(compiler(f)(X), X)[0], expected)
    if backend != "eager":  # where an exception leaves torch.func's own state behind
        with pytest.raises(sg.GaugeError, match="only directional derivatives exist"), sg.checks("ignore"):
            compiler(derivative("raise"))(TWICE)


@pytest.mark.slow
@compiled_by
def test_stand_in_and_use_rule_inside_a_compiled_region(compiler: Callable[..., Any]) -> None:
    lorentzian = sg.Lorentzian(1.0)

    def standing_in(X: Tensor) -> Any:
        with sg.stand_in(lorentzian):
            first = torch.linalg.eigh(X)[1]
        return first, torch.linalg.eigh(X)[1]

    @sg.stand_in(lorentzian)
    def decorated(X: Tensor) -> Any:
        return None, torch.linalg.eigh(X)[1]

    def both(X: Tensor) -> Any:
        with sg.use_rule(lorentzian), sg.stand_in(), sg.checks("raise"):
            return None, torch.linalg.eigh(X)[1]

    def nested(X: Tensor) -> Any:
        with sg.stand_in(sg.Cutoff(2.0)), sg.stand_in(lorentzian):
            return None, torch.linalg.eigh(X)[1]

    for around in (sg.use_rule(sg.Gated()), sg.stand_in(sg.Cutoff(2.0))):
        with around:
            for f in (decorated, both, nested):
                assert F(compiler(f)) == 0.5
    compiled = compiler(standing_in)
    assert F(lambda X: compiled(X)[::-1]) == 0.5
    assert F(compiled) == 1  # the call after the block is torch's


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_blocks_made_outside_and_graph_breaks(backend: str) -> None:
    """Without fullgraph, Dynamo leaves the code around a block that it cannot trace to Python."""
    torch._dynamo.reset()
    checks, rule, stand_in = sg.checks("ignore"), sg.use_rule(sg.Lorentzian(1.0)), sg.stand_in(sg.Lorentzian(1.0))

    def outside(X: Tensor) -> Any:
        with checks, rule, stand_in:
            return sg.eigvalsh(NAN), torch.linalg.eigh(X)[1] + sg.eigh(X)[1] - torch.linalg.eigh(X)[1]

    def broken(X: Tensor) -> Any:
        with sg.checks("ignore"), sg.use_rule(sg.Lorentzian(1.0)), sg.stand_in():
            torch._dynamo.graph_break()
            return sg.eigvalsh(NAN), torch.linalg.eigh(X)[1]

    for f in (outside, broken):
        compiled = torch.compile(f, backend=backend)
        for _ in range(2):
            assert F(compiled) == 0.5
            assert bool(compiled(DIAGONAL)[0].isnan().all())
    torch._dynamo.reset()


def test_an_operator_that_is_recorded_has_the_level_of_its_block() -> None:
    def f(X: Tensor) -> Tensor:
        with sg.checks("ignore"):
            return sg.eigvalsh(X)

    recorded = torch.fx.experimental.proxy_tensor.make_fx(lambda X: (f(X), sg.eigvalsh(X + 1)))(TWICE)
    targets = [str(node.target) for node in recorded.graph.nodes if "spectralgrad" in str(node.target)]
    assert targets == ["spectralgrad.eigvalsh.under_checks", "spectralgrad.eigvalsh.default"]
    X = TWICE.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(recorded(X)[0].sum(), X)[0], TWICE)  # it is differentiable, too
    with pytest.raises(ZeroDivisionError):
        torch.fx.experimental.proxy_tensor.make_fx(lambda X: (f(X), 1 // 0))(TWICE)
    with pytest.raises(LinAlgError):
        sg.eigvalsh(NAN)


def test_each_operator_can_be_recorded_with_a_level() -> None:
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("spectralgrad::")}
    operators = {name.removeprefix("spectralgrad::").split(".")[0] for name in names}
    with_level = {name for name in operators if hasattr(getattr(torch.ops.spectralgrad, name), "under_checks")}
    assert operators - with_level == {name for name, operator in OPERATORS.items() if not operator.reports}


@pytest.mark.parametrize("strict", [True, False])
def test_no_block_of_checks_inside_an_exported_program(strict: bool) -> None:
    class Module(torch.nn.Module):
        def forward(self, X: Tensor) -> Tensor:
            with sg.checks("ignore"):
                return sg.eigvalsh(X)

    with pytest.raises(RuntimeError, match=r"checks: Expected no block inside torch\.export"):
        torch.export.export(Module(), (TWICE,), strict=strict)


# --- autocast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "f",
    [*FUNCTIONS.values(), lambda A: sg.eigh(A)[1].abs()],
    ids=[*FUNCTIONS, "eigenvectors"],
)
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
    assert torch.equal(sg.eigh(input=A, UPLO="U")[0], sg.eigh(A, "U")[0])
    assert torch.equal(sg.eigvalsh(input=A, UPLO="U"), sg.eigvalsh(A=A, UPLO="U"))
    for f in (sg.eigh, sg.eigvalsh):
        with pytest.raises(TypeError, match=rf"{f.__name__}: Expected A or input, two names of one argument, but"):
            f(A, input=A)
        for call in (lambda: f(), lambda: f(None), lambda: f(input=None)):  # noqa: B023
            with pytest.raises(TypeError, match=rf"{f.__name__}: Expected A to be a Tensor, but got NoneType"):
                call()
        torchs = getattr(torch.linalg, f.__name__)
        for args, kwargs, message in (
            ((A,), {"input": A}, "multiple values for argument 'input'"),
            ((), {"A": A}, "missing 1 required positional arguments"),
            ((A,), {"foo": 1}, "unexpected keyword argument 'foo'"),
        ):
            with pytest.raises(TypeError, match=message):
                torchs(*args, **kwargs)
            with pytest.raises(TypeError, match=message), sg.stand_in():  # torch's own
                torchs(*args, **kwargs)
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
def test_a_power_beyond_the_range_of_float(sign: int) -> None:
    with pytest.raises(ValueError, match="powm: Expected p to fit into a float64, but it is too large"):
        sg.powm(torch.eye(2), sign * 10**400)


@pytest.mark.parametrize("wrong", ["1", None, True, 1j])
def test_epsilon_that_is_no_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match="from_epsilon: Expected epsilon to be a number, but got"):
        sg.Lorentzian.from_epsilon(wrong)


def test_a_bool_is_not_accepted_as_a_number() -> None:
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


SCRIPTED = [name for name, operator in OPERATORS.items() if operator.script is not None]
OTHERS = sorted(
    name for name in sg.__all__ if isinstance(getattr(sg, name), types.FunctionType) and name not in SCRIPTED
)


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
@pytest.mark.parametrize("name", SCRIPTED)
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


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_functions_that_cannot_be_scripted_get_a_sentence(name: str) -> None:
    sentence = rf"spectralgrad\.{name}: Expected a call from Python, but TorchScript is to compile it\. Scripts can"
    function = getattr(sg, name)

    def caller(A: Tensor) -> Tensor:
        return function(A)

    for f in (function, caller):
        with pytest.raises(RuntimeError, match=sentence):
            torch.jit.script(f)
    assert {"funm", "trace_funm", "spectral_map", "density_matrix"} < set(OTHERS)


def squared(A: Tensor) -> Tensor:
    return sg.funm(A, torch.square)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_script_calls_them_by_way_of_python() -> None:
    squared.__annotations__.update(dict.fromkeys(("A", "return"), Tensor))  # TorchScript reads no strings
    ignored = torch.jit.ignore(squared)

    def script(A: Tensor) -> Tensor:
        return ignored(A) + sg.expm(A)

    A = distinct(3, torch.float64, 0)
    torch.testing.assert_close(torch.jit.script(script)(A), A @ A + torch.matrix_exp(A), rtol=1e-13, atol=1e-13)


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


def signal_states(f: Callable[[], Any]) -> list[tuple[bool, bool, bool]]:
    """The state in a signal handler while `f` runs. If gradients are on, the handler itself can differentiate."""
    seen: list[tuple[bool, bool, bool]] = []
    running = True

    def handler(*_: Any) -> None:
        if not running:  # a signal that waited until the end: a timer set now would end the process
            return
        state = (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
        with torch.enable_grad():
            X = torch.eye(3, dtype=torch.float64).requires_grad_()
            (G,) = torch.autograd.grad(sg.eigh(X)[0].square().sum() + X.square().sum(), X)
        seen.append((*state, torch.equal(G, 4 * torch.eye(3, dtype=X.dtype))))
        signal.setitimer(signal.ITIMER_REAL, 1e-2)  # never inside itself

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-2)
        f()
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return seen


def many(n: int = 6) -> Tensor:
    return random_hermitian(200_000, n, n, dtype=torch.float32, seed=0)


@pytest.mark.parametrize("how", ["eigh", "stand_in", "install", "expm"])
def test_a_signal_handler_in_a_backward_sees_the_same_state_as_in_torchs_backward(how: str) -> None:
    """Gradients are off there, as in any backward, and can be switched on."""
    X = many().requires_grad_()
    if how == "expm":
        loss = sg.expm(0.1 * X).square().sum()
    elif how == "stand_in":
        with sg.stand_in():
            L, V = torch.linalg.eigh(X)
        loss = L.sum() + V.abs().pow(3).sum()
    else:
        sg.install() if how == "install" else None
        L, V = (torch.linalg.eigh if how == "install" else sg.eigh)(X)
        sg.uninstall()
        loss = L.sum() + V.abs().pow(3).sum()
    seen = signal_states(lambda: torch.autograd.grad(loss, X))
    assert seen
    # Code after the backward runs with gradients on.
    assert all(right and not autocast for _, autocast, right in seen)
    assert not seen[0][0]


def test_errors_in_a_signal_handler_name_its_own_functions() -> None:
    """`eigvalsh`, which is differentiated by `eigh`, has set its own name for messages when it is interrupted."""
    bad = torch.full((2, 2), torch.nan)
    seen: list[str] = []
    running = True

    def handler(*_: Any) -> None:
        if running:
            with pytest.raises(LinAlgError) as error:
                sg.eigh(bad)
            seen.append(str(error.value))
            signal.setitimer(signal.ITIMER_REAL, 1e-2)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-2)
        sg.eigvalsh(many().requires_grad_())
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen
    assert all(message.startswith("spectralgrad.eigh: ") for message in seen)


@pytest.mark.parametrize("f", [sg.eigh, sg.eigvalsh, sg.expm], ids=["eigh", "eigvalsh", "expm"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_signal_handler_sees_autocast_as_it_was(f: Callable[[Tensor], Any], grad: bool) -> None:
    A = many().requires_grad_(grad)
    with torch.autocast("cpu"), torch.set_grad_enabled(grad):
        seen = signal_states(lambda: f(A))
    assert seen
    assert set(seen) == {(grad, True, True)}
