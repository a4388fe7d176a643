"""Describes the machine and the versions with which the numbers were measured."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> dict[str, Any]:
    """Returns processor, cores, platform, and versions of Python and of the packages for references and plots."""
    versions = {"python": platform.python_version()}
    for name in ("numpy", "mpmath", "networkx", "matplotlib", "rich"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"processor": _processor(), "cores": os.cpu_count(), "platform": platform.platform(), "versions": versions}
