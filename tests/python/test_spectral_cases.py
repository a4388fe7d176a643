"""funm, trace_funm and spectral_map on the cases that tests/cpp/test_spectral_cases.cpp runs, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import spectralgrad as sg
from problems import apply_function, expectation, gradient_of, hessian_times


class Matrices(NamedTuple):
    A: Tensor
    M: Tensor
    E: Tensor


class Case(NamedTuple):
    name: str
    matrices: Matrices
    exact: list[float]


def read_cases() -> dict[str, Case]:
    lines = iter((Path(__file__).parents[1] / "spectral_cases.txt").read_text().splitlines())

    def read_matrix() -> Tensor:
        return torch.tensor([[float(x) for x in next(lines).split()] for _ in range(3)], dtype=torch.float64)

    cases, matrices = {}, {}
    for line in lines:
        kind, name, *words = line.split()
        if kind == "matrix":
            is_complex = name.startswith("complex")
            given = (torch.complex(read_matrix(), read_matrix()) if is_complex else read_matrix() for _ in range(3))
            matrices[name] = Matrices(*given)
        elif kind == "case":
            matrix, *exact = words
            cases[f"{name}_{matrix}"] = Case(name, matrices[matrix], [float(x) for x in exact])
    return cases


def lorentzian(x: Tensor) -> Tensor:
    return 1 / (1 + x * x)


def slope_of_lorentzian(x: Tensor) -> Tensor:
    return -2 * x * lorentzian(x) ** 2


def x_log_x(x: Tensor) -> Tensor:
    return torch.special.xlogy(x, x)


def step(x: Tensor) -> Tensor:
    return (x > 0.8).to(x.dtype)


def exp_and_step(L: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    return apply_function(torch.exp, L, V), apply_function(step, L, V)


# Losses of A and M. tests/cpp/test_spectral_cases.cpp has the same.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "funm_tanh": lambda A, M: expectation(M, sg.funm(A, torch.tanh)),
    "funm_exp_given_three_derivatives": lambda A, M: expectation(
        M, sg.funm(A, torch.exp, torch.exp, torch.exp, torch.exp)
    ),
    "funm_lorentzian_given_one_derivative": lambda A, M: expectation(M, sg.funm(A, lorentzian, slope_of_lorentzian)),
    "funm_sqrt": lambda A, M: expectation(M, sg.funm(A, torch.sqrt)),
    "funm_x_sqrt_x": lambda A, M: expectation(M, sg.funm(A, lambda x: x * x.sqrt())),
    "funm_x_log_x": lambda A, M: expectation(M, sg.funm(A, x_log_x)),
    "funm_step": lambda A, M: expectation(M, sg.funm(A, step)),
    "trace_funm_tanh": lambda A, M: sg.trace_funm(A, torch.tanh),
    "trace_funm_sqrt": lambda A, M: sg.trace_funm(A, torch.sqrt),
    "trace_funm_x_log_x": lambda A, M: sg.trace_funm(A, x_log_x),
    "spectral_map_exp": lambda A, M: expectation(M, sg.spectral_map(lambda L, V: apply_function(torch.exp, L, V), A)),
    "spectral_map_exp_and_step": lambda A, M: sum(
        (expectation(M, y) for y in sg.spectral_map(exp_and_step, A)), torch.zeros(())
    ),
}
CASES = read_cases()


def error(found: Tensor, exact: float) -> float:
    return abs(float(found) - exact) / max(1.0, abs(exact))


@pytest.mark.parametrize("single", [False, True], ids=["double", "single"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_loss_and_derivatives(case: Case, single: bool) -> None:
    A, M, E = (X.to(torch.complex64 if X.is_complex() else torch.float32) if single else X for X in case.matrices)
    tolerances = (1e-6, 1e-5, 1e-4) if single else (1e-14, 1e-12, 1e-11)
    loss = lambda X: LOSSES[case.name](X, M)  # noqa: E731
    assert error(loss(A), case.exact[0]) <= tolerances[0]
    assert error(expectation(E, gradient_of(loss, A)), case.exact[1]) <= tolerances[1]
    if len(case.exact) == 3:
        assert error(expectation(E, hessian_times(loss, A, E)), case.exact[2]) <= tolerances[2]


def test_every_loss_has_cases() -> None:
    assert {case.name for case in CASES.values()} == set(LOSSES)
