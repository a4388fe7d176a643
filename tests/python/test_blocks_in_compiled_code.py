"""Blocks of checks, use_rule and stand_in inside a compiled region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import LinAlgError, gap_factor
from spectralgrad._operators import OPERATORS

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
                assert gap_factor(eigh=compiler(f)) == 0.5
    compiled = compiler(standing_in)
    assert gap_factor(eigh=lambda X: compiled(X)[::-1]) == 0.5
    assert gap_factor(eigh=compiled) == 1  # the call after the block is torch's


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
            assert gap_factor(eigh=compiled) == 0.5
            assert bool(compiled(torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64)))[0].isnan().all())
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
