"""``python -m spectralgrad``: the commands."""

import argparse
import sys

from . import __version__, compare


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m spectralgrad", description=__import__("spectralgrad").__doc__)
    parser.add_argument("--version", action="version", version=f"spectralgrad {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    compare_parser = commands.add_parser(
        "compare",
        help="why gradients of eigenvalue decompositions differ between frameworks, with numbers and pictures",
    )
    compare.add_arguments(compare_parser)
    compare_parser.set_defaults(run=compare.run)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
