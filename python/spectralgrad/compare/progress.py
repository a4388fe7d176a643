"""Shows the progress of the command on standard error: bars in a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing_extensions import Self

SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """The part of ``rich.progress.Progress`` that the command uses."""

    def add_task(self, description: str, *, total: float) -> Any: ...

    def advance(self, task_id: Any) -> None: ...

    def stop_task(self, task_id: Any) -> None: ...


@dataclass
class _Task:
    description: str
    total: float
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    ended: bool = False


class Lines:
    """Prints the state of the unfinished tasks every few seconds, and each task when it ends."""

    def __init__(self) -> None:
        self._tasks: list[_Task] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._print_periodically, daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def add_task(self, description: str, *, total: float) -> _Task:
        task = _Task(description, total)
        with self._lock:
            self._tasks.append(task)
        return task

    def advance(self, task_id: _Task) -> None:
        with self._lock:
            task_id.done += 1
            complete = task_id.done >= task_id.total
        if complete:
            self.stop_task(task_id)

    def stop_task(self, task_id: _Task) -> None:
        """Marks a task as ended, complete or not, and prints it once."""
        with self._lock:
            ended, task_id.ended = task_id.ended, True
        if not ended:
            seconds = time.monotonic() - task_id.started
            self._print(f"{task_id.description}: {task_id.done} of {task_id.total:g}, ended after {seconds:.0f} s")

    def _print_periodically(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_LINES):
            with self._lock:
                states = [f"{t.description} {t.done} of {t.total:g}" for t in self._tasks if not t.ended]
            if states:
                self._print(f"{time.monotonic() - self._started:.0f} s: {', '.join(states)}")

    @staticmethod
    def _print(line: str) -> None:
        # The comparison continues if its progress cannot be shown.
        if sys.stderr is not None:
            with suppress(OSError):
                print(line, file=sys.stderr, flush=True)


def show() -> AbstractContextManager[Progress]:
    """Returns bars if standard error is a terminal, and lines otherwise."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        return Lines()
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)
