"""Checks the includes in csrc against the table `ALLOWED`. `make lint` and tests/python/test_layers.py run it.

It reports an include that the table does not allow, files that include each other in a circle, and a header that
declares functions but has no .cpp file of its name beside it.

    python scripts/check_layers.py [FOLDER]

FOLDER is csrc by default. The exit status is 1 if something is wrong; each finding is one line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# A layer is a folder or a file. A file belongs to the layer with the longest matching name. A layer may include itself.
ALLOWED: dict[str, set[str]] = {
    "include": set(),
    "core": set(),
    "autograd": {"core"},
    "math": {"autograd", "core"},
    "math/pairs": {"autograd", "core"},
    "math/closed_forms.h": {"core"},
    "kernels": {"math/pairs", "math/closed_forms.h", "core"},
    "ops": {"kernels", "math", "autograd", "core"},
    "python_bindings.cpp": {"autograd", "core"},
}
# A layer that may include another one may also include the layers inside that one.
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
DIRECTIVE = re.compile(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
# Matches the declaration of a function without a body. It does not parse the parameters.
FUNCTION = re.compile(r"[\w>&*\]]\s+[&*]?~?\w+\s*\(.*\)\s*(?:const|noexcept|override|final|\s)*$", re.DOTALL)
NOT_A_FUNCTION = re.compile(
    r"\b(?:using|typedef|friend|static_assert|template|extern|return|operator|constexpr|inline)\b|="
)


def layer_of(file: str) -> str | None:
    parts = file.split("/")
    names = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in ALLOWED), None)


def is_allowed(source: str, target: str) -> bool:
    """Whether a file of the layer `source` may include one of the layer `target`."""
    around = {target, *("/".join(target.split("/")[:count]) for count in range(1, target.count("/") + 1))}
    return bool(around & (ALLOWED[source] | {source}))


def includes_of(folder: Path) -> dict[str, list[str]]:
    """For each source file, the files of this folder that it includes; names are relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".h", ".cpp"})
    return {str(path.relative_to(folder)): INCLUDE.findall(path.read_text()) for path in files}


def forbidden_includes(includes: dict[str, list[str]]) -> Iterator[str]:
    for file, targets in includes.items():
        layer = layer_of(file)
        if layer is None:
            yield f"{file}: is in no layer; the layers are {', '.join(ALLOWED)}"
            continue
        for target in targets:
            if target not in includes:
                yield f"{file}: includes {target}, which does not exist"
            elif (below := layer_of(target)) is None or not is_allowed(layer, below):
                yield f"{file}: {layer} may not include {target}"


def circles(includes: dict[str, list[str]]) -> Iterator[str]:
    """The circles of includes. A header and its .cpp file count as one unit, so circles through .cpp files count."""
    unit_of = {file: file.rsplit(".", 1)[0] for file in includes}
    graph: dict[str, set[str]] = {unit: set() for unit in unit_of.values()}
    for file, targets in includes.items():
        graph[unit_of[file]] |= {unit_of[target] for target in targets if target in unit_of} - {unit_of[file]}
    done: set[str] = set()

    def visit(unit: str, path: list[str]) -> Iterator[str]:
        if unit in path:
            yield " -> ".join([*path[path.index(unit) :], unit]) + ": include each other"
        elif unit not in done:
            for target in sorted(graph[unit]):
                yield from visit(target, [*path, unit])
            done.add(unit)

    for unit in sorted(graph):
        yield from visit(unit, [])


def declared_functions(text: str) -> Iterator[str]:
    """The declarations of functions without a body at namespace scope."""
    text = DIRECTIVE.sub("", COMMENT_OR_STRING.sub(" ", text))
    statement = ""
    scopes: list[bool] = []  # for each open brace, whether it opened a namespace
    for character in text:
        in_namespace = all(scopes)
        if character == "{":
            scopes.append(bool(in_namespace and re.search(r"\bnamespace\b[^;=()]*$", statement)))
            statement = ""
        elif character == "}":
            if scopes:
                scopes.pop()
            statement = ""
        elif character == ";":
            if in_namespace and FUNCTION.search(statement) and not NOT_A_FUNCTION.search(statement):
                yield " ".join(statement.split())
            statement = ""
        else:
            statement += character


def implemented_elsewhere(folder: Path, includes: dict[str, list[str]]) -> Iterator[str]:
    for file in includes:
        if not file.endswith(".h") or layer_of(file) == "include":
            continue
        declared = next(declared_functions((folder / file).read_text()), None)
        if declared and file[:-2] + ".cpp" not in includes:
            yield f"{file}: declares `{declared}`, and no {Path(file).stem}.cpp stands beside it"


def findings(folder: Path) -> list[str]:
    includes = includes_of(folder)
    return [*forbidden_includes(includes), *circles(includes), *implemented_elsewhere(folder, includes)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks who includes whom.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("csrc"))
    found = findings(parser.parse_args().folder)
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
