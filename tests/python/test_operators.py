"""Every operator has a line in the table of the package and in that of the tests, and the lines are right."""

from __future__ import annotations

import types
from typing import Any

import torch

import operator_cases
import spectralgrad as sg
from spectralgrad._operators import OPERATORS, handle, tensor_positions


def has_kernel(name: str, key: str) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"spectralgrad::{name}", key))


def wrong(expected: Any, got: Any) -> list[str]:
    """The names that only one of two collections has."""
    return sorted(set(expected) ^ set(got))


def test_every_operator_has_a_line() -> None:
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("spectralgrad::")]
    registered = {name.removeprefix("spectralgrad::").split(".")[0] for name in names}
    assert wrong(registered, OPERATORS) == [], "python/spectralgrad/_operators.py"
    assert wrong(registered, operator_cases.OPERATORS) == [], "OPERATORS in tests/python/operator_cases.py"


def test_every_function_has_a_line() -> None:
    others = {"default_rule", "set_default_rule", "set_checks", "install", "installed", "uninstall"}
    functions = {name for name in sg.__all__ if isinstance(getattr(sg, name), types.FunctionType)} - others
    assert wrong(functions, operator_cases.FUNCTIONS) == [], "FUNCTIONS in tests/python/operator_cases.py"
    public = {name.removesuffix("_full") for name, operator in OPERATORS.items() if operator.public}
    # These call a function of the caller, so they are not operators.
    assert wrong(functions - {"funm", "trace_funm", "spectral_map"}, public) == []


def test_compositions_and_trailing_dimensions() -> None:
    for name, operator in OPERATORS.items():
        assert (operator.trailing is None) == has_kernel(name, "CompositeImplicitAutograd"), name
        assert operator.trailing is None or len(operator.trailing) == len(tensor_positions(name)), name


def test_trailing_dimensions_are_those_of_a_call() -> None:
    for name, operator in OPERATORS.items():
        if operator.trailing is not None:
            arguments = operator_cases.OPERATORS[name](operator_cases.Batch(torch.complex128, 4))
            for i, trailing in zip(tensor_positions(name), operator.trailing, strict=True):
                assert trailing is None or isinstance(arguments[i], torch.Tensor), name
                # A scalar operator takes any number of dimensions, which all count as the batch.
                assert trailing in (None, 0) or arguments[i].dim() == 1 + trailing, name


def test_batching_is_registered() -> None:
    assert (
        wrong(
            *[
                [name for name, operator in OPERATORS.items() if operator.batched],
                [name for name in OPERATORS if has_kernel(name, "FuncTorchBatched")],
            ]
        )
        == []
    )


def test_public_operators_run_in_float32_under_autocast() -> None:
    for key in ("AutocastCPU", "AutocastCUDA", "AutocastXPU", "AutocastMPS"):
        public = [name for name, operator in OPERATORS.items() if operator.public]
        assert wrong(public, [name for name in OPERATORS if has_kernel(name, key)]) == [], "csrc/ops/autocast.cpp"


def test_scripts_have_the_parameters_of_the_operator() -> None:
    for name, operator in OPERATORS.items():
        if operator.script is not None:
            parameters = [part.split(":")[0].strip() for part in operator.script.split(", ") if ":" in part]
            assert parameters == [argument.name for argument in handle(name)._schema.arguments][: len(parameters)], name
