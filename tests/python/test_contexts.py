"""Rules, checks and stand_in follow the context: threads, asyncio tasks, generators, compiled code."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import torch

import spectralgrad as sg
from problems import LinAlgError, gap_factor

Block = Callable[[], Any]
SHARED: dict[str, tuple[Block, Callable[[], bool]]] = {
    "use_rule": (lambda: sg.use_rule(sg.Lorentzian(1.0)), lambda: gap_factor() == 0.5),
    "checks": (lambda: sg.checks("ignore"), lambda: ignores()),
    "stand_in": (lambda: sg.stand_in(sg.Lorentzian(1.0)), lambda: gap_factor(eigh=torch.linalg.eigh) == 0.5),
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
    assert gap_factor() == 0
    inner.__exit__(None, None, None)
    assert gap_factor() == 1


def test_a_copied_context_keeps_its_rule() -> None:
    async def later(go: asyncio.Event) -> float:
        await go.wait()
        return gap_factor()

    async def main() -> tuple[float, float, float]:
        go = asyncio.Event()
        with sg.use_rule(sg.Lorentzian(1.0)):
            task = asyncio.create_task(later(go))
            in_thread = await asyncio.to_thread(gap_factor)
        go.set()
        return in_thread, gap_factor(), await task

    assert asyncio.run(main()) == (0.5, 1.0, 0.5)
    with sg.use_rule(sg.Cutoff(2.0)):
        context = contextvars.copy_context()
    assert context.run(gap_factor) == 0


def test_installed_calls_follow_the_context() -> None:
    sg.install()
    try:
        with sg.use_rule(sg.Lorentzian(1.0)):
            assert gap_factor(eigh=torch.linalg.eigh) == 0.5
        assert gap_factor(eigh=torch.linalg.eigh) == 1
    finally:
        sg.uninstall()


def test_compiled_code_follows_interleaved_tasks() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda X: sg.eigh(X)[1], backend="aot_eager", fullgraph=True)

    def compiled_factor() -> float:
        return gap_factor(eigh=lambda X: (None, compiled(X)))

    async def task(block: Any, expected: float, seen: list[bool]) -> None:
        with block:
            for _ in range(2):
                await asyncio.sleep(0)
                seen.append(abs(compiled_factor() - expected) < 1e-12)

    async def main() -> list[bool]:
        seen: list[bool] = []
        await asyncio.gather(
            task(sg.use_rule(sg.Lorentzian(1.0)), 0.5, seen), task(sg.use_rule(sg.Lorentzian(2.0)), 0.2, seen)
        )
        return seen

    assert asyncio.run(main()) == [True] * 4
    assert compiled_factor() == 1
    torch._dynamo.reset()
