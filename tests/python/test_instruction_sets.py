"""The kernels of each instruction set: equal results, and no instruction that the processor lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from decomposition_errors import assert_accurate, bits
from problems import ALL, REAL
from spectra import Batch, mixed_batch

_CAPABILITIES = ("default", "avx2", "avx512")

_DECOMPOSE = """
import sys
import torch
import spectralgrad  # noqa: F401, which registers the operators
eigh = torch.ops.spectralgrad.eigh
matrices, results = sys.argv[1:]
torch.save([(method, eigh(A, method=method)) for method, A in torch.load(matrices)], results)
"""

# Runs no kernel of torch, because torch trusts ATEN_CPU_CAPABILITY, whether the processor has the instructions or not.
_WITHOUT_KERNELS_OF_TORCH = """
import array
import torch
import spectralgrad  # noqa: F401
A = array.array("d", [2, 1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 1, 2])
L, _ = torch.ops.spectralgrad.eigh(torch.frombuffer(A, dtype=torch.float64).view(1, 5, 5), method="lanes")
print(*memoryview(L.numpy()).cast("B").cast("d"))
"""


def _python(*arguments: object, capability: str | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    if capability is not None:
        env["ATEN_CPU_CAPABILITY"] = capability
    command = [sys.executable, "-c", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def processor_capabilities() -> tuple[str, ...]:
    """The capability that torch finds without ATEN_CPU_CAPABILITY, and all lower ones."""
    found = _python("import torch; print(torch.backends.cpu.get_cpu_capability())").strip().lower()
    return _CAPABILITIES[: _CAPABILITIES.index(found) + 1] if found in _CAPABILITIES else ("default",)


@pytest.fixture(scope="module")
def batches_for_each() -> list[tuple[str, Batch]]:
    """For each method with kernels of its own."""
    sizes = {"lanes": ((1, 2, 3, 4, 5, 17, 33), ALL), "single": ((5, 33, 65), REAL)}
    return [
        (method, mixed_batch(n, dtype, every_scale=False))
        for method, (numbers, dtypes) in sizes.items()
        for n in numbers
        for dtype in dtypes
    ]


@pytest.fixture(scope="module")
def results_with_capability(
    batches_for_each: list[tuple[str, Batch]],
    processor_capabilities: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], list[Any]]:
    folder = tmp_path_factory.mktemp("instruction_sets")
    torch.save([(method, batch.A) for method, batch in batches_for_each], folder / "matrices")

    def results(capability: str) -> list[Any]:
        if capability not in processor_capabilities:
            pytest.skip(f"this processor does not have {capability}")
        out = folder / capability
        if not out.exists():
            _python(_DECOMPOSE, folder / "matrices", out, capability=capability)
        loaded: list[Any] = torch.load(out)
        return loaded

    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", _CAPABILITIES)
def test_instruction_sets(
    name: str, batches_for_each: list[tuple[str, Batch]], results_with_capability: Callable[[str], list[Any]]
) -> None:
    """The bounds also hold for "default", which has no fused multiplications."""
    for (_, batch), (method, (L, V)) in zip(batches_for_each, results_with_capability(name), strict=True):
        assert_accurate(batch, L, V, method, f"{method}, {name}: ")


@pytest.mark.slow
def test_avx2_and_avx512_give_the_same_bits(results_with_capability: Callable[[str], list[Any]]) -> None:
    for (method, ours), (_, theirs) in zip(*map(results_with_capability, ("avx512", "avx2")), strict=True):
        if method == "lanes":  # the others sum the lanes of one matrix, in an order that depends on their number
            assert all(torch.equal(bits(x), bits(y)) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", _CAPABILITIES)
def test_no_instruction_set_is_used_that_the_processor_lacks(name: str) -> None:
    """For every value of ATEN_CPU_CAPABILITY, the program prints the right eigenvalues and does not end with SIGILL."""
    found = [float(x) for x in _python(_WITHOUT_KERNELS_OF_TORCH, capability=name).split()]
    expected = 2 - 2 * np.cos(np.pi * np.arange(1, 6) / 6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
