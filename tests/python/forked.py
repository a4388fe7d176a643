"""Programs that each need a fresh interpreter, run as forks of one process, so that torch is imported only once.

This file is also the program of that process.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SECONDS = 300  # after which a program is killed


class Result(NamedTuple):
    returncode: int
    output: str
    """The output to stdout and stderr."""


class Interpreter:
    """A process that has imported `modules` and waits for programs. Use it as a context manager."""

    def __init__(self, *modules: str, environment: Mapping[str, str] | None = None, folder: str | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            env={**os.environ, **(environment or {})},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str) -> Result:
        """Runs Python code in a fork of the process: nothing that it imports or changes remains for the next one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(program) + "\n")
        self._process.stdin.flush()
        return Result(*json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Interpreter:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()


def _run(program: str) -> int:
    """The exit status of Python code."""
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as exit_:
        return int(exit_.code or 0)
    except BaseException:  # noqa: BLE001 - the interpreter would print any exception, too
        traceback.print_exc()
        return 1
    return 0


def _serve(modules: list[str]) -> None:
    sys.path[0], sys.argv = "", ["-c"]  # as with python -c
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as output, Path(os.devnull).open() as nothing:
            child = os.fork()
            if child == 0:
                os.dup2(nothing.fileno(), 0)
                for stream in (1, 2):
                    os.dup2(output.fileno(), stream)
                signal.alarm(SECONDS)
                status = _run(json.loads(line))
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
            _, status = os.waitpid(child, 0)
            output.seek(0)
            text = output.read().decode(errors="replace")
        print(json.dumps([os.waitstatus_to_exitcode(status), text]), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
