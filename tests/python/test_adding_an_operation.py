"""CONTRIBUTING's list for a new operation is complete: an operation that follows it builds and passes the tests.

The operation is `purity`, tr(A²). Its files are in tests/toy_operation, and EDITS has its lines in files that list all
operations. Both are added to a copy of the checkout, but only where a row of CONTRIBUTING's two tables asks for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import spectralgrad as sg
from forked import Interpreter, Result
from script_files import ROOT

pytestmark = pytest.mark.slow  # it compiles

NAME = "purity"
TOY = ROOT / "tests/toy_operation"
BUILD = ROOT / "build"
FILES = sorted(str(path.relative_to(TOY)) for path in TOY.rglob("*.*") if path.suffix in {".cpp", ".h", ".py"})


class Edit(NamedTuple):
    line: str
    before: str
    """The beginning of the line that follows."""


EDITS = {
    "CMakeLists.txt": [
        Edit("    csrc/include/spectralgrad/purity.h", "    csrc/include/spectralgrad/rigid_alignment.h"),
        Edit("  csrc/ops/purity.cpp", "  csrc/ops/quantity.cpp"),
    ],
    "csrc/include/spectralgrad/spectralgrad.h": [
        Edit("#include <spectralgrad/purity.h>", "#include <spectralgrad/rigid_alignment.h>")
    ],
    "csrc/ops/autocast.cpp": [Edit('        "purity",', '        "spectral_projector",')],
    "tests/cpp/CMakeLists.txt": [Edit("  test_purity.cpp", "  test_rule.cpp")],
    "python/spectralgrad/__init__.py": [
        Edit("from ._ops.purity import purity  # noqa: E402", "from ._ops.rigid_alignment import"),
        Edit('    "purity",', '    "rigid_alignment",'),
    ],
    "python/spectralgrad/_operators.py": [
        Edit('    "purity": Operator(None, public=True, script=_MATRIX),', '    "spectral_projector":')
    ],
    "tests/python/operator_cases.py": [
        Edit('    "purity": sg.purity,', '    "spectral_projector": lambda A'),
        Edit('    "purity": Call(lambda x: (x.A,)),', '    "quantity": Call('),
    ],
    "tests/python/test_transforms.py": [
        Edit(
            '    "purity": Operation(\n'
            "        lambda X, M: sg.purity(X), reference.function(lambda x: x**2, lambda x: 2 * x), True, True\n"
            "    ),",
            '    "spectral_projector": Operation(',
        )
    ],
    "docs/spectral_functions.md": [
        Edit("| purity | `L.square().sum()` | `sg.purity(A)` | right | NaN |", "| von Neumann entropy |")
    ],
    "tests/python/test_spectral_functions_docs.py": [
        Edit('    "purity": lambda A, **_: (A * A).sum(),', '    "von Neumann entropy": lambda A')
    ],
    "README.md": [Edit("sg.purity(A)  # tr A²", "sg.spectral_projector(A, 0, 2)")],
    "CHANGELOG.md": [Edit("- `purity` is tr(A²).", "- `trace_sqrtm` is")],
}
# Steps for operations with derivatives or kernels of their own, or with a tolerance.
NOT_NEEDED = {
    "csrc/core/tolerances.h",
    "csrc/math/purity.h",
    "csrc/math/purity.cpp",
    "csrc/kernels/purity_vjp/",
    "benchmarks/bench_purity.py",
    "tests/sanitize/parallel_kernels.cpp",
}


def rows(heading: str) -> list[list[str]]:
    """The rows of a table of CONTRIBUTING.md, which begins with `heading`."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = text[text.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def paths(cell: str) -> Iterator[str]:
    for path in re.findall(r"`([^`]*)`", cell.replace("NAME", NAME)):
        braces = re.search(r"\{(.*)\}", path)
        yield from (path.replace(braces[0], suffix) for suffix in braces[1].split(",")) if braces else [path]


NEW_FILES = [path for row in rows("| layer |") for path in paths(row[1])]
LISTS = {path: row[2] for row in rows("| list |") for path in paths(row[0])}


def test_the_tables_have_exactly_the_files_of_the_operation() -> None:
    assert sorted(set(NEW_FILES) - NOT_NEEDED) == FILES
    assert sorted(set(LISTS) - NOT_NEEDED) == sorted(EDITS)


def insert(path: Path, edit: Edit) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    (place,) = (i for i, line in enumerate(lines) if line.startswith(edit.before))
    path.write_text("\n".join([*lines[:place], edit.line, *lines[place:]]), encoding="utf-8")


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=300
    )


def compile_and_link(folder: Path, commands: list[list[str]]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda command: run(command, folder), commands):
            assert result.returncode == 0, result.stderr


LIBRARY = r"spectralgrad(_tensor_code|_simd_\w+)?$"
"""The targets of CMake whose objects are linked into the library."""


def target_of(path: str) -> str:
    return re.findall(r"CMakeFiles/(\w+)\.dir/", path)[0]


def sources(checkout: Path) -> set[str]:
    """The files with operators that CMakeLists.txt compiles into the library."""
    text = (checkout / "CMakeLists.txt").read_text(encoding="utf-8")
    library = text[text.index("add_library(\n  spectralgrad SHARED") :]
    return set(re.findall(r"csrc/\S+\.cpp", library[: library.index("\n\n")].split(")\n")[0]))


class Copy:
    """A copy of the checkout with the operation in it. Libraries are linked from the objects of the last build."""

    python: Callable[[str], Result]
    """Runs a program in the copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        for file in filter(None, listed.stdout.split("\0")):
            if (ROOT / file).is_file():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, folder / file)
        package = Path(sg.__file__).parent
        for path in [Path(sg._C.__file__), package / "_build_info.py"]:
            shutil.copy(path, folder / "python/spectralgrad")
        for file in set(FILES) & set(NEW_FILES):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOY / file, folder / file)
        for file in set(EDITS) & set(LISTS):
            for edit in EDITS[file]:
                insert(folder / file, edit)
        built = json.loads((BUILD / "compile_commands.json").read_text())
        built = [entry for entry in built if entry["output"].endswith(".o")]  # no precompiled headers
        # One for each target of CMake, whose files are all compiled alike.
        self.commands = {target_of(entry["output"]): shlex.split(entry["command"]) for entry in built}
        library = [entry["output"] for entry in built if re.match(LIBRARY, target_of(entry["output"]))]
        # The linker keeps the first copy of an inline function, which must run on every processor.
        self.objects = sorted(library, key=lambda path: "_simd_AVX" in path)

    def compilation(self, file: str, target: str) -> list[str]:
        """The command that compiles `file` of the copy as a file of the target is compiled."""
        command = self.commands[target]
        command = [part.replace(f"{ROOT}/csrc", f"{self.folder}/csrc") for part in command]
        (output,) = (i for i, part in enumerate(command) if part == "-o")
        return [*command[:output], "-o", self.object(file), "-c", str(self.folder / file)]

    def object(self, file: str) -> str:
        return str(self.folder / Path(file).name) + ".o"

    def link(self, own: set[str], library: Path) -> list[str]:
        """The command that links the library, with the objects of the copy for the files in `own`."""
        replaced = tuple(f"/{file}.o" for file in own)
        objects = [*map(self.object, own), *(built for built in self.objects if not built.endswith(replaced))]
        torch_libraries = str(Path(torch.__file__).parent / "lib")
        library.parent.mkdir(exist_ok=True)
        return [
            *[self.commands["spectralgrad"][0], "-shared", "-o", str(library)],
            *["-Wl,-soname,libspectralgrad.so", *objects, f"-L{torch_libraries}"],
            *[f"-Wl,-rpath,{torch_libraries}", "-ltorch", "-ltorch_cpu", "-lc10"],
        ]

    def pytest(self, *arguments: str) -> str:
        """The failures; empty if all tests pass."""
        command = ["-q", "-x", "-p", "no:cacheprovider", *arguments]
        result = self.python(f"import pytest, sys; sys.exit(pytest.main({command}))")
        return "" if result.returncode == 0 else result.output

    @contextlib.contextmanager
    def without(self, file: str, line: str) -> Iterator[None]:
        """Takes a line out of a file, for as long as the block runs."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(line + "\n") == 1
        path.write_text(text.replace(line + "\n", ""), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def with_library(self, folder: str) -> Iterator[None]:
        library = self.folder / "python/spectralgrad/lib"
        library.unlink(missing_ok=True)
        library.symlink_to(self.folder / folder)
        try:
            yield
        finally:
            library.unlink()
            library.symlink_to(self.folder / "complete")


AUTOCAST = "csrc/ops/autocast.cpp"


# What the tests of the copy import besides it.
MODULES = ("torch._dynamo.testing", "torch.testing._internal.two_tensor", "mpmath", "pytest")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    if not (BUILD / "compile_commands.json").is_file() or not (ROOT / ".git").exists():
        pytest.skip("needs a checkout, and its folder build: make build")
    copy = Copy(tmp_path_factory.mktemp("copy"))
    operation = sources(copy.folder) - sources(ROOT)
    assert operation == {f"csrc/ops/{NAME}.cpp"}
    compile_and_link(copy.folder, [copy.compilation(file, "spectralgrad") for file in [*operation, AUTOCAST]])
    compile_and_link(
        copy.folder,
        [
            copy.link({*operation, AUTOCAST}, copy.folder / "complete/libspectralgrad.so"),
            copy.link(operation, copy.folder / "without_autocast/libspectralgrad.so"),
        ],
    )
    with copy.with_library("complete"):
        pass
    environment = {"PYTHONPATH": str(copy.folder / "python")}
    with Interpreter(*MODULES, environment=environment, folder=str(copy.folder)) as interpreter:
        copy.python = interpreter.run
        yield copy


def test_the_scripts_find_nothing(copy: Copy) -> None:
    for script in ("layers", "tolerances", "columns"):
        program = f"import runpy; runpy.run_path('scripts/check_{script}.py', run_name='__main__')"
        assert copy.python(program) == Result(0, "")


def test_python_tests_pass(copy: Copy) -> None:
    whole = ("operators", "docs", NAME)
    assert not copy.pytest(*(f"tests/python/test_{name}.py" for name in whole))
    parts = ("opcheck", "transforms", "spectral_functions_docs", "readme")
    selected = f"{NAME} or every_function_has_a_line or other_blocks"
    assert not copy.pytest("-m", "not slow", "-k", selected, *(f"tests/python/test_{name}.py" for name in parts))


def test_cpp_test_passes(copy: Copy) -> None:
    if "spectralgrad_tests" not in copy.commands:
        pytest.skip("needs a build with tests: cmake -DSPECTRALGRAD_TESTS=ON")
    test = f"tests/cpp/test_{NAME}.cpp"
    assert f"test_{NAME}.cpp" in (copy.folder / "tests/cpp/CMakeLists.txt").read_text(encoding="utf-8")
    compilation = copy.compilation(test, "spectralgrad_tests")
    compile_and_link(copy.folder, [compilation])
    torch_libraries, program = str(Path(torch.__file__).parent / "lib"), str(copy.folder / "test")
    folders = [torch_libraries, str(copy.folder / "complete")]
    link = [
        *[compilation[0], copy.object(test), "-o", program, *(f"-L{folder}" for folder in folders)],
        *[*(f"-Wl,-rpath,{folder}" for folder in folders), "-lspectralgrad", "-lgtest", "-lgtest_main"],
        *["-ltorch", "-ltorch_cpu", "-lc10"],
    ]
    compile_and_link(copy.folder, [link])
    result = run([program], copy.folder)
    assert result.returncode == 0, result.stdout
    assert "[  PASSED  ] 2 tests" in result.stdout

    with copy.without("csrc/include/spectralgrad/spectralgrad.h", "#include <spectralgrad/purity.h>"):
        assert "purity" in run([*compilation, "-fsyntax-only"], copy.folder).stderr


LINES = [(file, edit.line) for file, edits in EDITS.items() for edit in edits if ".py`" in LISTS.get(file, "")]


@pytest.mark.parametrize(("file", "line"), LINES, ids=[f"{file}, {line.strip()[:20]}" for file, line in LINES])
def test_a_missing_line_fails_the_test_that_the_table_names(copy: Copy, file: str, line: str) -> None:
    (test,) = re.findall(r"`(test_\w+\.py)`", LISTS[file])
    library = "without_autocast" if file == AUTOCAST else "complete"
    with copy.without(file, line), copy.with_library(library):
        failures = copy.pytest("-k", f"{NAME} or has_a_line or is_sorted or under_autocast", f"tests/python/{test}")
    assert NAME in failures


def test_a_source_that_cmake_does_not_know_fails_the_import(copy: Copy) -> None:
    with copy.with_library("none"):
        shutil.copytree(Path(sg.__file__).parent / "lib", copy.folder / "none")
        result = copy.python("import spectralgrad")
    assert f"spectralgrad' object has no attribute '{NAME}'" in result.output
