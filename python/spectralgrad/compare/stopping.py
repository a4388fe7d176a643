"""Ends the command early, after a signal or if a file cannot be written."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# The probe is larger than any report with its plots, so that an almost full disk is found before the work starts.
_PROBE_BYTES = 4 << 20


class Stopped(BaseException):
    """A signal asked the command to end. Like KeyboardInterrupt, it is not an Exception."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


class WriteError(Exception):
    """A file or folder cannot be written. The text is a sentence for the user."""


@dataclass
class _Delay:
    active: bool = False
    # The signal that came in the meantime.
    number: int | None = None


_delay = _Delay()


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Raises Stopped in the block at Ctrl-C or SIGTERM. Ignores further signals, so that the clean-up can finish."""
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may set handlers.
        yield
        return
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            if not _delay.active:
                raise Stopped(number)
            _delay.number = number

    # A signal that was ignored before stays ignored: shells do this for background jobs, and so does nohup.
    previous = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            # The value is None if Python did not set the handler.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def signals_delayed() -> Iterator[None]:
    """Raises Stopped at the end of the block, for a block that must not be left half done. For the main thread."""
    _delay.active = True
    try:
        yield
    finally:
        _delay.active = False
        number, _delay.number = _delay.number, None
        if number is not None:
            raise Stopped(number)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turns an OSError of the block, such as the one for a full disk, into WriteError."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{what} cannot be written: {error.strerror or error}") from error


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file under a temporary name first, so that a failure does not change an earlier file."""
    part = path.with_name(f"{path.name}.part")
    with writing(f"the file {str(path)!r}"):
        try:
            write(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def prepare_folder(out: Path, files: tuple[str, ...]) -> None:
    """Creates the folder ``--out``. Raises WriteError unless the command will be able to write its files there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".spectralgrad-", dir=out) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            # Network file systems report a full disk only at fsync.
            os.fsync(probe.fileno())
    except OSError as error:
        reason = "it is not a folder" if out.exists() and not out.is_dir() else error.strerror or str(error)
        raise WriteError(f"--out must be a folder that can be written, but got {str(out)!r}: {reason}") from error
    for name in files:
        if (out / name).is_dir():
            raise WriteError(
                f"--out must be a folder in which {name} can be written, but got {str(out)!r}: {name} is a folder there"
            )
