"""Starts a worker: ``python launch.py PEER FOLDER``, or ``functions`` for the peers of part 5 together.

``python -m spectralgrad.compare.worker`` would import the spectralgrad package first, and torch with it, into the
processes of all other frameworks. Here the package's name stands for its folder only, unless the package is measured.
"""

import sys
import types
from pathlib import Path


def start(peer: str, folder: str) -> None:
    package_folder = Path(__file__).resolve().parents[1]
    sys.path[0] = str(package_folder.parent)
    if peer not in ("spectralgrad", "functions"):
        package = types.ModuleType("spectralgrad")
        package.__path__ = [str(package_folder)]
        sys.modules["spectralgrad"] = package

    if peer == "functions":
        from spectralgrad.compare import functions_worker

        # The parent sends a line when no other process runs.
        functions_worker.work(Path(folder), wait=sys.stdin.readline)
    else:
        from spectralgrad.compare import worker

        worker.work(peer, Path(folder))


if __name__ == "__main__":
    start(*sys.argv[1:3])
