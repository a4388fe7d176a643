"""PyTorch's C++ interface for autograd may change with each minor version, so a build works with one only."""

import re


def _minor_version(version: str) -> str:
    match = re.match(r"\d+\.\d+", version)
    return match.group() if match else version


def check(built_against: str, running: str) -> None:
    """Raises ImportError if the extension was built against another minor version of PyTorch.

    Called before the extension is loaded, because the dynamic loader would only name a missing C++ symbol.
    """
    built_minor = _minor_version(built_against)
    if built_minor == _minor_version(running):
        return
    raise ImportError(
        f"spectralgrad was built against PyTorch {built_against}, but PyTorch {running} is running, and a build serves "
        f"one minor version only: build spectralgrad again in this environment (from its source, with pip install "
        f"--no-build-isolation --force-reinstall --no-deps .), or install torch=={built_minor}.*"
    )
