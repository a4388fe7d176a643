"""Fixtures of all tests: the device, and a check that no test changes the state of the process."""

from __future__ import annotations

import os
import random
import signal
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch reads it: Inductor's own kernels are not the subject, and without SIMD they compile faster.
os.environ["TORCHINDUCTOR_VEC_ISA_OK"] = "0"

import hypothesis
import pytest
import torch
import torch._dynamo
import torch._functorch.config

import spectralgrad as sg
from spectralgrad import _current

# pytest's importlib mode puts no folder on the path; the tests share problems.py and reference.py.
sys.path.insert(0, str(Path(__file__).parent))

# The same examples on every run and machine, so that a failure in CI can be reproduced elsewhere.
hypothesis.settings.register_profile("stable", derandomize=True, deadline=None, max_examples=40, database=None)
hypothesis.settings.load_profile("stable")

# An operator must not return a view of its input. By default, torch only warns about it unless the variable CI is set.
torch._functorch.config.error_on_custom_op_aliasing = True


# A test of the `device` fixture has one case per device. Without a CUDA device, `CasesOnCuda` replaces the CUDA cases.
DEVICES = ["cpu", *([pytest.param("cuda", marks=pytest.mark.cuda)] if torch.cuda.is_available() else [])]


class CasesOnCuda(pytest.Item):
    """One skipped test in place of all cases that need a CUDA device."""

    def runtest(self) -> None:
        raise AssertionError("this test is skipped")

    def reportinfo(self) -> tuple[Path, int, str]:
        return Path(__file__), 0, self.name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="no slow tests; of tests with many cases, every tenth")


def select_quick_cases(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps eight cases of each test, or a tenth if that is more, and no slow ones.

    The choice looks random, because the parameters of evenly spaced cases would be alike. It depends only on their
    names.
    """
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("slow") is None:
            cases[item.nodeid.split("[")[0]].append(item)
    kept: set[pytest.Item] = set()
    for of_test in cases.values():
        of_test.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))
        kept.update(of_test[: max(8, len(of_test) // 10)])
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@pytest.hookimpl(tryfirst=True)  # so that -m 'not cuda' can leave it out
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick"):
        select_quick_cases(config, items)
    cases = sum("device" in getattr(item, "fixturenames", ()) for item in items)
    if cases and len(DEVICES) == 1:
        stand_in = CasesOnCuda.from_parent(session, name="cases_on_cuda")
        stand_in.add_marker(pytest.mark.cuda)
        stand_in.add_marker(pytest.mark.skip(reason=f"no CUDA device: {cases} cases are left out"))
        items.append(stand_in)
    # Long tests first, so that no process is left alone with one of them at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts background jobs with Ctrl-C ignored. Commands that the tests interrupt would inherit this.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # No test may warn about a loss unless it says so with pytest.warns: well-posed losses must be silent.
    config.addinivalue_line("filterwarnings", "error::spectralgrad.GaugeWarning")


def _global_state() -> dict[str, Any]:
    return {
        "default rule": sg.default_rule(),
        "checks": sg._C.checks(),
        "installed": sg.installed(),
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "torch's seed": torch.initial_seed(),
        "random's state": random.getstate(),
    }


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seeds torch before each test, and fails a test that does not restore the state of the process."""
    if torch.accelerator.is_available():
        torch.manual_seed(0)
    else:  # torch.manual_seed would record a stack trace for each kind of device
        torch.default_generator.manual_seed(0)
    before = _global_state()
    yield
    after = _global_state()
    sg.uninstall()
    sg.set_checks("warn")
    sg.set_default_rule(sg.Gated())
    _current.levels.set(())
    _current.rules.set(())
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    leaked = [name for name in before if before[name] != after[name]]
    assert not leaked, f"{request.node.name} changed {', '.join(leaked)} and did not change it back"


@pytest.fixture(scope="session", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest, set_threads: Callable[[int], None]) -> int:
    set_threads(request.param)
    return int(request.param)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """torch.compile keeps a few compiled versions of a function only, and counts those of other tests."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def degenerate() -> torch.Tensor:
    """Two twofold eigenvalues: torch's gradient of anything through its eigenvectors is NaN."""
    return torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=torch.float64))
