"""Runs CMake, which has the only list of sources, and installs the library and the extension into the package."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
COMPONENTS = ("library", "python")


def project_version() -> str:
    match = re.search(r"project\(\s*spectralgrad\s+VERSION\s+([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())
    if match is None:
        raise SystemExit("setup.py: CMakeLists.txt has no project(spectralgrad VERSION ...)")
    return match.group(1)


def torch_version() -> str:
    try:
        return installed_version("torch")
    except PackageNotFoundError:
        raise SystemExit(
            "spectralgrad is built against the PyTorch that it will run with, and none is installed here: install "
            "torch and requirements/build.txt first, then run pip install --no-build-isolation"
        ) from None


def torch_requirement() -> str:
    """C++ autograd is not part of PyTorch's stable ABI, so a build works with one minor version only."""
    major, minor = torch_version().split(".")[:2]
    return f"torch=={major}.{minor}.*"


def torch_cmake_prefix() -> Path:
    # The value of torch.utils.cmake_prefix_path, without importing torch, which takes seconds.
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit("setup.py: torch is installed but cannot be imported")
    return Path(spec.origin).parent / "share" / "cmake"


def pybind11_cmake_dir() -> str:
    import pybind11

    return pybind11.get_cmake_dir()


def find_tool(name: str) -> str | None:
    """Finds a program in this Python environment (activated or not), then on PATH. None if there is none."""
    here = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join([here, os.environ.get("PATH", "")]))


class CMakeBuild(build_ext):
    """Configures, builds and installs the components `library` and `python` into the package's directory.

    An in-place or editable install builds in `build/`, which ctest uses as well, and treats warnings as errors. A wheel
    is built in a directory of its own. CMake's configuration gets the arguments in the environment variable CMAKE_ARGS.
    """

    def run(self) -> None:
        development = bool(self.inplace)
        build = ROOT / "build" if development else Path(self.build_temp).resolve() / "cmake"
        if development:
            package = ROOT / self.get_finalized_command("build_py").get_package_dir("spectralgrad")
        else:
            package = Path(self.build_lib).resolve() / "spectralgrad"

        cmake = find_tool("cmake")
        if cmake is None:
            raise SystemExit("setup.py: there is no cmake: pip install -r requirements/build.txt brings it")
        self.configure(cmake, build, development)
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 1)
        subprocess.run([cmake, "--build", build, "--parallel", jobs], check=True)
        for component in COMPONENTS:
            command = [cmake, "--install", build, "--prefix", package, "--component", component]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        write_if_changed(
            package / "_build_info.py",
            f'"""Written by setup.py: what can be known of the build without loading it."""\n\n'
            f'built_against_torch = "{torch_version()}"\n',
        )

    def configure(self, cmake: str, build: Path, development: bool) -> None:
        arguments = [
            "-DSPECTRALGRAD_PYTHON=ON",
            f"-DCMAKE_PREFIX_PATH={torch_cmake_prefix()};{pybind11_cmake_dir()}",
            f"-DPython_EXECUTABLE={sys.executable}",
            "-DCMAKE_INSTALL_LIBDIR=lib",
        ]
        ninja = find_tool("ninja")
        if ninja is not None:
            arguments += ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        if not development:
            arguments += ["-DSPECTRALGRAD_WERROR=OFF", "-DSPECTRALGRAD_TESTS=OFF"]
        arguments += os.environ.get("CMAKE_ARGS", "").split()

        # CMake reruns itself when CMake files change, but it does not notice another torch or other arguments.
        signature = "\n".join([torch_version(), cmake, *arguments]) + "\n"
        record = build / "configured_by_setup.txt"
        if (build / "CMakeCache.txt").exists() and record.exists() and record.read_text() == signature:
            return
        # --fresh, because CMake's cache would keep the paths that find_package found for another torch.
        subprocess.run([cmake, "--fresh", "-S", ROOT, "-B", build, *arguments], check=True)
        record.write_text(signature)

    def get_source_files(self) -> list[str]:
        """Returns the files that a source distribution needs in addition to the Python package."""
        folders = ("cmake", "csrc", "requirements", "tests")
        files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
        files = [path for path in files if "__pycache__" not in path.parts]
        return [str(path.relative_to(ROOT)) for path in [ROOT / "CMakeLists.txt", *files]]

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


setup(
    version=project_version(),
    install_requires=[torch_requirement()],
    # CMake builds the extension. This entry only makes setuptools tag the wheel for a platform and an interpreter.
    ext_modules=[Extension("spectralgrad._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
    # Not build/ itself, which holds CMake's development build.
    options={"build": {"build_base": "build/wheel"}},
)
