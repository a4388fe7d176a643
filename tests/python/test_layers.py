"""The includes in csrc follow the table in scripts/check_layers.py, and that script finds violations."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from script_files import ROOT, load, write_tree


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load(ROOT / "scripts" / "check_layers.py")


def test_the_tree_follows_the_table(script: ModuleType) -> None:
    assert script.findings(ROOT / "csrc") == []


GOOD = {
    "core/sizes.h": "#pragma once\nnamespace s {\nint size(int n);\ninline int twice(int n) { return 2 * n; }\n}\n",
    "core/sizes.cpp": '#include "core/sizes.h"\nnamespace s {\nint size(int n) { return n; }\n}\n',
    "kernels/eigh/solve.h": '#pragma once\n#include "core/sizes.h"\n#include "math/pairs/gaps.h"\n',
    "math/pairs/gaps.h": "#pragma once\nnamespace s {\ntemplate <typename T>\nT gap(T a, T b) { return b - a; }\n}\n",
    "ops/eigh.cpp": '#include "kernels/eigh/solve.h"\n#include <spectralgrad/eigh.h>\n',
}


def test_a_good_tree_has_no_findings(script: ModuleType, tmp_path: Path) -> None:
    assert script.findings(write_tree(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ({"kernels/eigh/up.h": '#include "ops/eigh.h"\n', "ops/eigh.h": ""}, "kernels may not include ops/eigh.h"),
        ({"kernels/eigh/up.h": '#include "math/eigh.h"\n', "math/eigh.h": ""}, "kernels may not include math/eigh.h"),
        ({"math/pairs/up.h": '#include "math/eigh.h"\n', "math/eigh.h": ""}, "math/pairs may not include math/eigh.h"),
        ({"core/a.h": '#include "core/b.h"\n', "core/b.h": '#include "core/a.h"\n'}, "include each other"),
        (
            {
                "kernels/a.h": "",
                "kernels/a.cpp": '#include "kernels/b.h"\n',
                "kernels/b.h": "",
                "kernels/b.cpp": '#include "kernels/a.h"\n',
            },
            "kernels/a -> kernels/b -> kernels/a",
        ),
        ({"core/lost.h": "namespace s {\nint lost(int n);\n}\n"}, "declares `int lost(int n)`"),
        ({"core/gone.h": '#include "core/nowhere.h"\n'}, "which does not exist"),
        ({"helpers/more.h": ""}, "is in no layer"),
    ],
    ids=["upwards", "math", "inside math", "circle", "circle of units", "elsewhere", "missing", "no layer"],
)
def test_a_bad_tree_is_found(script: ModuleType, tmp_path: Path, bad: dict[str, str], found: str) -> None:
    findings = script.findings(write_tree(tmp_path, GOOD | bad))
    assert len(findings) == 1
    assert found in findings[0]
