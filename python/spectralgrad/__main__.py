"""``python -m spectralgrad``: the commands."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch.utils

from . import __version__, compare
from .compare import question


def cmake_prefix_path() -> str:
    """Returns the value of CMAKE_PREFIX_PATH with which `find_package(spectralgrad)` works.

    The configuration of spectralgrad finds Torch, so its folder comes with torch's, joined by ";", CMake's separator.
    """
    ours = Path(__file__).resolve().parent / "share" / "cmake"
    return f"{ours};{torch.utils.cmake_prefix_path}"


class PrintCmakePrefixPath(argparse.Action):
    """Prints `cmake_prefix_path()` and exits, as ``--version`` does: no command is needed."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        print(cmake_prefix_path())
        parser.exit()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m spectralgrad", description=__import__("spectralgrad").__doc__)
    parser.add_argument("--version", action="version", version=f"spectralgrad {__version__}")
    parser.add_argument(
        "--cmakedir",
        action=PrintCmakePrefixPath,
        nargs=0,
        help="print what CMAKE_PREFIX_PATH needs for find_package(spectralgrad), and exit",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    compare_parser = commands.add_parser(
        "compare",
        help="why gradients of eigenvalue decompositions differ between frameworks, with numbers and pictures",
        description=f"Answers the question “{question.QUESTION}” with a report, tables and plots. It needs the "
        "packages of requirements/compare.txt, which `make compare` installs. A framework that is not installed is "
        "left out.",
    )
    compare.add_arguments(compare_parser)
    compare_parser.set_defaults(run=compare.run)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
