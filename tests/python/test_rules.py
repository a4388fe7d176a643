"""Rules: as values, as defaults, and the factor that each uses for 1/(λj - λi)."""

from __future__ import annotations

import dataclasses
import pickle
import threading
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import spectralgrad as sg
from problems import (
    ALL,
    DOUBLE,
    REAL,
    checks_in_all_threads,
    distinct,
    eps,
    gap_factor,
    gradient,
    hermitian_part,
    normal,
    random_hermitian,
)
from reference import relative_error

RULES: dict[str, sg.Rule] = {
    "gated": sg.Gated(),
    "lorentzian": sg.Lorentzian(1e-3),
    "relative lorentzian": sg.Lorentzian(0.1, relative=True),
    "from epsilon": sg.Lorentzian.from_epsilon(1e-12),
    "split": sg.Split(),
    "split of second order": sg.Split(order=2),
    "wide split": sg.Split(0.4),
    "cutoff": sg.Cutoff(1.0),
    "relative cutoff": sg.Cutoff(0.3, relative=True),
    "bare": sg.Bare(),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)

sizes = st.floats(0, 1e300, allow_subnormal=False)
rules = st.one_of(
    st.builds(sg.Gated, sizes, sizes),
    st.builds(sg.Lorentzian, sizes, st.booleans()),
    st.builds(sg.Lorentzian.from_epsilon, sizes),
    st.builds(sg.Split, st.none() | sizes, st.sampled_from([1, 2])),
    st.builds(sg.Cutoff, sizes, st.booleans()),
    st.builds(sg.Bare),
)


# --- as values -------------------------------------------------------------------------------------------------------


@given(rules, rules)
def test_equality_and_hash(a: sg.Rule, b: sg.Rule) -> None:
    same = type(a) is type(b) and dataclasses.astuple(a) == dataclasses.astuple(b)  # type: ignore[call-overload]
    assert (a == b) is same
    assert (a._encoded() == b._encoded()) is same
    if same:
        assert hash(a) == hash(b)
    assert a == pickle.loads(pickle.dumps(a))


@given(rules)
def test_survives_the_way_through_cpp(rule: sg.Rule) -> None:
    with sg.use_rule(rule):
        assert sg.default_rule() == rule
        assert type(sg.default_rule()) is type(rule)


@given(rules)
def test_repr_is_its_constructor(rule: sg.Rule) -> None:
    assert eval(repr(rule), vars(sg)) == rule


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (sg.Gated(), "Gated(noise=4.0, width=2.0)"),
        (sg.Lorentzian(1e-6), "Lorentzian(width=1e-06, relative=False)"),
        (sg.Lorentzian.from_epsilon(1e-12), "Lorentzian(width=1e-06, relative=False)"),
        (sg.Split(), "Split(width=None, order=1)"),
        (sg.Split(order=2), "Split(width=None, order=2)"),
        (sg.Cutoff(0.5, relative=True), "Cutoff(width=0.5, relative=True)"),
        (sg.Bare(), "Bare()"),
    ],
)
def test_repr(rule: sg.Rule, text: str) -> None:
    assert repr(rule) == text


@every_rule
def test_is_immutable(rule: sg.Rule) -> None:
    for name in ("width", "noise", "anything"):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(rule, name, 1.0)


@pytest.mark.parametrize("name", ["gated", "split", "bare"])
def test_defaults_are_cpps(name: str) -> None:
    made = {"gated": sg.Gated, "split": sg.Split, "bare": sg.Bare}[name]()
    assert sg._C.Rule.parse(name, []) == made._encoded()
    assert sg._C.default_rule() == sg.Gated()._encoded()
    assert sg.default_rule() == sg.Gated()


def test_ints_and_numpy_floats_are_numbers() -> None:
    assert sg.Lorentzian(1) == sg.Lorentzian(1.0)
    assert hash(sg.Lorentzian(1)) == hash(sg.Lorentzian(1.0))
    assert sg.Lorentzian(np.float64(0.5)) == sg.Lorentzian(0.5)


@pytest.mark.parametrize("value", [-1.0, -1e-300, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("make", "where", "what"),
    [
        (lambda x: sg.Gated(noise=x), "Gated", "noise"),
        (lambda x: sg.Gated(width=x), "Gated", "width"),
        (sg.Lorentzian, "Lorentzian", "width"),
        (lambda x: sg.Lorentzian(x, relative=True), "Lorentzian", "width"),
        (sg.Lorentzian.from_epsilon, r"Lorentzian\.from_epsilon", "epsilon"),
        (sg.Split, "Split", "width"),
        (sg.Cutoff, "Cutoff", "width"),
    ],
)
def test_bad_width(make: Callable[[float], Any], where: str, what: str, value: float) -> None:
    sentence = rf"spectralgrad\.{where}: Expected {what} to be a finite number >= 0, but got {value:g}"
    with pytest.raises(ValueError, match=sentence):
        make(value)


@pytest.mark.parametrize("order", [0, 3, -1, 1.5])
def test_bad_order(order: Any) -> None:
    with pytest.raises(
        (ValueError, TypeError), match=rf"spectralgrad\.Split: Expected order to be 1 or 2, but got {order}"
    ):
        sg.Split(order=order)


@pytest.mark.parametrize("value", ["a", [1.0], 1j])
def test_width_of_another_type(value: Any) -> None:
    with pytest.raises(TypeError, match="width"):
        sg.Lorentzian(value)


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("gate", [], r'Expected rule to be one of "gated", .*"bare", but got "gate"'),
        ("lorentzian", [], r'Expected the rule "lorentzian" to come with 1 to 2 parameters, but got 0'),
        ("bare", [1.0], r'Expected the rule "bare" to come with 0 to 0 parameters, but got 1'),
        ("cutoff", [-1.0], r"spectralgrad\.Cutoff: Expected width to be a finite number >= 0, but got -1"),
    ],
)
def test_operators_check_a_rule_by_name(name: str, parameters: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        torch.ops.spectralgrad.eigh(torch.eye(2), rule=name, parameters=parameters)


# --- as defaults -----------------------------------------------------------------------------------------------------


def test_use_rule_nests() -> None:
    with sg.use_rule(sg.Lorentzian(1.0)) as outer:
        assert outer == sg.default_rule() == sg.Lorentzian(1.0)
        assert gap_factor() == 0.5
        with sg.use_rule(sg.Cutoff(2.0)):
            assert gap_factor() == 0
            assert gap_factor(1.0, rule=sg.Bare()) == 1
        assert gap_factor() == 0.5
        with pytest.raises(ZeroDivisionError), sg.use_rule(sg.Bare()):
            raise ZeroDivisionError
        assert sg.default_rule() == sg.Lorentzian(1.0)
    assert sg.default_rule() == sg.Gated()


def test_one_use_rule_can_be_entered_again() -> None:
    again = sg.use_rule(sg.Bare())
    with again, sg.use_rule(sg.Cutoff(1.0)), again:
        assert sg.default_rule() == sg.Bare()
    assert sg.default_rule() == sg.Gated()


def in_another_thread(f: Callable[[], Any]) -> Any:
    result = []
    thread = threading.Thread(target=lambda: result.append(f()))
    thread.start()
    thread.join()
    return result[0]


def test_use_rule_holds_in_one_thread_and_the_default_in_all() -> None:
    with sg.use_rule(sg.Bare()):
        assert in_another_thread(sg.default_rule) == sg.Gated()
        assert in_another_thread(lambda: gap_factor(1e-20)) == pytest.approx(1e20)
    sg.set_default_rule(sg.Cutoff(1.0))
    try:
        assert in_another_thread(sg.default_rule) == sg.Cutoff(1.0)
        assert in_another_thread(lambda: gap_factor(0.5)) == 0
        with sg.use_rule(sg.Bare()):
            assert gap_factor(0.5) == 2
            assert in_another_thread(lambda: gap_factor(0.5)) == 0
    finally:
        sg.set_default_rule(sg.Gated())


def test_a_rule_is_fixed_when_eigh_is_called() -> None:
    A = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64)).requires_grad_()
    with sg.use_rule(sg.Lorentzian(1.0)):
        _, V = sg.eigh(A)
    with sg.use_rule(sg.Cutoff(5.0)):
        (G,) = torch.autograd.grad(V, A, torch.tensor([[0, 2], [0, 0]], dtype=torch.float64))
    assert float(G[0, 1]) == 0.5


@pytest.mark.parametrize("rule", [None, "gated", sg.Gated, 1.0], ids=repr)
@pytest.mark.parametrize("f", [sg.use_rule, sg.set_default_rule])
def test_default_of_another_type(f: Callable[[Any], Any], rule: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"spectralgrad\.{f.__name__}: Expected rule to be a Rule such as .*, but got "
    ):
        f(rule)


# --- the factor of each rule for 1/d ---------------------------------------------------------------------------------


def exact_lorentzian(d: float, width: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        d, width = mpmath.mpf(d), mpmath.mpf(width)
        return d / (d**2 + width**2)


def ulps(x: float, expected: mpmath.mpf, dtype: torch.dtype = torch.float64) -> float:
    return float(abs(mpmath.mpf(x) / expected - 1)) / eps(dtype)


@pytest.mark.parametrize("d", [1e-12, 1e-9, 1e-7, 3e-7, 1e-6, 2e-6, 1e-5, 1e-3, 0.7, 1.0, 30.0, 1e6])
def test_lorentzian_from_epsilon_agrees_with_the_literature(d: float) -> None:
    with mpmath.workdps(60):
        expected = mpmath.mpf(d) / (mpmath.mpf(d) ** 2 + mpmath.mpf(1e-12))
    assert ulps(gap_factor(d, rule=sg.Lorentzian.from_epsilon(1e-12)), expected) <= 4


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-3, 1.0, 1e15, 1e30])
@pytest.mark.parametrize("ratio", [1e-7, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e7])  # width over gap
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("relative", [False, True])
def test_bias_of_the_lorentzian(relative: bool, dtype: torch.dtype, ratio: float, scale: float) -> None:
    """1 - F·d = η²/(d² + η²), at scales whose squares float32 cannot hold."""
    d = float(torch.tensor(scale, dtype=dtype))
    width = ratio if relative else ratio * d  # max|λ| is d
    F = gap_factor(d, dtype, rule=sg.Lorentzian(width, relative=relative))
    expected = exact_lorentzian(d, ratio * d)
    if expected < torch.finfo(dtype).tiny:  # subnormal, with few digits or none
        assert abs(F - expected) <= 2 * torch.finfo(dtype).smallest_normal * eps(dtype)
        return
    assert ulps(F, expected, dtype) <= 6
    if 0.1 <= ratio <= 10:
        bias = ratio**2 / (1 + ratio**2)
        assert 1 - F * d == pytest.approx(bias, abs=6 * eps(dtype))


@given(st.floats(-290, 290), st.floats(-290, 290))
def test_lorentzian_neither_over_nor_underflows(d_exponent: float, width_exponent: float) -> None:
    d, width = 10.0**d_exponent, 10.0**width_exponent
    expected = exact_lorentzian(d, width)
    if 1e-290 < expected < 1e290:
        assert ulps(gap_factor(d, rule=sg.Lorentzian(width)), expected) <= 6


@pytest.mark.parametrize("dtype", REAL)
def test_gated_is_one_over_d_above_the_noise(dtype: torch.dtype) -> None:
    for d in (1e-30, 1e-3, 1.0, 1e30):
        assert gap_factor(d, dtype, rule=sg.Gated()) * d == pytest.approx(1, rel=2 * eps(dtype))


@pytest.mark.parametrize(
    ("rule", "gap", "expected"),
    [
        (sg.Cutoff(0.5), 0.6, 1 / 0.6),
        (sg.Cutoff(0.5), 0.5, 0.0),
        (sg.Cutoff(0.5), 0.4, 0.0),
        (sg.Cutoff(0.0), 1e-300, 1e300),
        (sg.Cutoff(0.999, relative=True), 3.0, 1 / 3),
        (sg.Cutoff(1.0, relative=True), 3.0, 0.0),
        (sg.Bare(), 4.0, 0.25),
        (sg.Bare(), 1e-200, 1e200),
        (sg.Lorentzian(0.0), 1e-200, 1e200),
    ],
)
def test_cutoff_and_bare(rule: sg.Rule, gap: float, expected: float) -> None:
    assert gap_factor(gap, rule=rule) == pytest.approx(expected, rel=2 * eps(torch.float64), abs=0)


@pytest.mark.parametrize("dtype", ALL)
def test_bare_is_torchs(dtype: torch.dtype, device: str) -> None:
    M = random_hermitian(4, 4, dtype=dtype, seed=1).to(device)

    def loss(L: Tensor, V: Tensor) -> Tensor:
        return ((V.conj() * (M @ V)).real * L).sum()

    A = distinct(4, dtype, 0).to(device)
    assert relative_error(
        gradient(loss, A, rule=sg.Bare()), hermitian_part(gradient(loss, A, torch.linalg.eigh))
    ) <= 16 * eps(dtype)
    degenerate = torch.diag(torch.tensor([1, 1, 2, 2], dtype=dtype, device=device))
    with checks_in_all_threads("ignore"):
        ours = gradient(loss, degenerate, rule=sg.Bare())
    torchs = gradient(loss, degenerate, torch.linalg.eigh)
    assert bool(torchs.isnan().any())
    assert torch.equal(ours.isfinite(), torchs.isfinite())


@pytest.mark.parametrize("dtype", ALL)
@every_rule
def test_forward_and_reverse_are_adjoint(rule: sg.Rule, dtype: torch.dtype, device: str) -> None:
    A = torch.stack([distinct(5, dtype, seed) for seed in range(3)]).to(device)
    tangent = random_hermitian(3, 5, 5, dtype=dtype, seed=1).to(device)
    cotangents = normal(3, 5, dtype=dtype.to_real(), seed=2).to(device), normal(3, 5, 5, dtype=dtype, seed=3).to(device)

    def f(X: Tensor) -> tuple[Tensor, ...]:
        return tuple(sg.eigh(X, rule=rule))

    with checks_in_all_threads("ignore"):  # the cotangents are arbitrary, so they depend on phases
        tangents = torch.func.jvp(f, (A,), (tangent,))[1]
        (G,) = torch.func.vjp(f, A)[1](cotangents)
    forward = sum((g.conj() * t).sum().real for g, t in zip(cotangents, tangents, strict=True))
    reverse = (G.conj() * tangent).sum().real
    size = float(torch.linalg.vector_norm(G) * torch.linalg.vector_norm(tangent))
    assert abs(float(forward - reverse)) <= 20 * eps(dtype) * size


@pytest.mark.parametrize("rule", [r for r in RULES.values() if not isinstance(r, sg.Bare)], ids=repr)
@pytest.mark.parametrize("dtype", DOUBLE)
def test_finite_at_the_zero_matrix(rule: sg.Rule, dtype: torch.dtype) -> None:
    with sg.checks("ignore"):  # Split warns that it moves eigenvalues across zero; see below
        G = gradient(lambda L, V: L.sum() + V.abs().square().sum(), torch.zeros(3, 3, dtype=dtype), rule=rule)
    torch.testing.assert_close(G, torch.eye(3, dtype=dtype), rtol=0, atol=1e-14)
