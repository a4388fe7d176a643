"""Every public name is documented, examples run, and docs/gradients.md quotes the tolerances of the code."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

import spectralgrad as sg
from script_files import ROOT


@pytest.mark.parametrize("name", sg.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    doc = inspect.getdoc(getattr(sg, name))
    assert doc
    assert doc != inspect.getdoc(object)
    first = doc.splitlines()[0]
    assert first.endswith((".", ":")) or "." in doc.split("\n\n")[0]


@pytest.mark.parametrize("name", sg.__all__)
def test_examples_run(name: str) -> None:
    thing = getattr(sg, name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(recurse=False).find(thing, name, globs={"sg": sg, "torch": torch}):
        result = runner.run(test)
        assert result.failed == 0
        assert result.attempted > 0 or not test.examples


def _takes_a_matrix(name: str) -> bool:
    function = getattr(sg, name)
    return inspect.isfunction(function) and bool({"A", "H"} & set(inspect.signature(function).parameters))


@pytest.mark.parametrize(
    "name", [*filter(_takes_a_matrix, sg.__all__), "checks", "set_default_rule", "stand_in", "use_rule"]
)
def test_examples_exist(name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(sg, name)) or "")


def test_all_is_sorted_and_complete() -> None:
    assert sorted(sg.__all__) == sg.__all__
    # Importing a submodule, such as `compare`, adds its name. Any other module, such as torch, would be a leak.
    submodules = {module.name for module in pkgutil.iter_modules(sg.__path__)}
    public = {name for name in dir(sg) if not name.startswith("_")} - submodules
    assert public == set(sg.__all__)
    assert isinstance(sg.__version__, str)


@pytest.mark.parametrize(("ours", "torchs"), [(sg.eigh, torch.linalg.eigh), (sg.eigvalsh, torch.linalg.eigvalsh)])
def test_arguments_are_torchs(ours: Callable[..., Any], torchs: Callable[..., Any]) -> None:
    """torch documents `eigh(A, UPLO='L', *, out=None)`."""
    assert torchs.__doc__ is not None
    assert torchs.__doc__.strip().splitlines()[0].split("(")[1].startswith("A, UPLO='L', *, out=None")
    parameters = inspect.signature(ours).parameters
    assert list(parameters)[:2] == ["A", "UPLO"]
    assert parameters["UPLO"].default == "L"
    assert {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY} == {"input", "out", "rule"}


GRADIENTS = (ROOT / "docs/gradients.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_on_gradients_print_their_comments(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", GRADIENTS, re.DOTALL)
    assert len(examples) == 3  # of eigh, svd and eig
    for example in examples:
        exec(example, {})
        assert capsys.readouterr().out.splitlines() == re.findall(r"# (tensor\(.*?\))", example)


def test_the_page_on_gradients_quotes_the_tolerances() -> None:
    code = (ROOT / "csrc/core/tolerances.h").read_text(encoding="utf-8")

    def constants_of(name: str, pattern: str) -> list[float]:
        """The numbers at the groups of the pattern in the definition of a tolerance."""
        found = re.search(rf"\b{name}\b.*?{pattern}", code, re.DOTALL)
        assert found is not None, name
        return [float(x) for x in found.groups()]

    constants = ("gate_noise", "gate_width", "close_gap", "same_eigenvalue", "cluster_reach", "finding_floor")
    noise, width, close, same, reach, floor = (constants_of(name, r"= ([\d.]+);")[0] for name in constants)
    products = [noise * x for x in constants_of("double product_rounding", r"\? ([\d.]+) : ([\d.]+)\)")]
    (inside,) = (noise * x for x in constants_of("double cluster_rounding", r"return ([\d.]+) \* eps"))
    (cancelled,) = constants_of("double cancelled_cotangent", r"\? ([\d.]+) \* eps")
    text = re.sub(r"\s+", " ", GRADIENTS)
    for sentence in (
        f"half-width η = {width:g}·eps·max|λ|",
        f"whose steps are at most {same:g}·eps·max|λ|",
        f"if they are at most {reach:g}·eps·max|λ| apart",
        f"κ = {products[0]:g} in float64 and {products[1]:g} in float32",
        f"|S_ij| ≤ {inside:g}·eps·M",
        f"(|d| > {close:g}·eps·max|λ|)",
        f"exceed {floor:g}·eps·M",
        f"a statistic up to {cancelled:g}·eps·max|λ| is not reported",
    ):
        assert sentence in text
