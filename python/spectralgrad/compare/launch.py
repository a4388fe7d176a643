"""Starts a worker: ``python launch.py PEER FOLDER``. PEER is ``functions`` for the worker of part 5.

``python -m spectralgrad.compare.worker`` would first import the spectralgrad package, and torch with it, into the
processes of all other frameworks. Therefore this script gives the package's name to an empty module with the package's
folder, unless the package itself is measured.
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

        # The parent writes a line when no other worker runs.
        functions_worker.work(Path(folder), wait=sys.stdin.readline)
    else:
        from spectralgrad.compare import worker

        worker.work(peer, Path(folder))


if __name__ == "__main__":
    start(*sys.argv[1:3])
