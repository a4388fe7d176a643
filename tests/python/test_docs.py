"""Every public name is documented, and the examples in docstrings run."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

import spectralgrad as sg


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


@pytest.mark.parametrize("name", ["eigh", "eigvalsh", "checks", "set_default_rule", "stand_in", "use_rule"])
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
