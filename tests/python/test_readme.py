"""The README is right: its blocks run, and they print what their comments say. So do the examples of the headers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import spectralgrad as sg
from script_files import ROOT, load

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def python_blocks() -> list[str]:
    return blocks("python")


def cmakedir() -> str:
    command = [sys.executable, "-m", "spectralgrad", "--cmakedir"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip("\n")


def test_first_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """The first example has at most twelve lines, and prints what its comments say."""
    example = python_blocks()[0]
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    exec(example, {})
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"# (tensor\(.*?\))", example)
    assert printed == promised
    # The closed form: along X the projector's entry (0, 2) changes by X_02 / (λ_0 - λ_2).
    assert promised[1] == str(torch.tensor(1 / (1.0 - 2.0)) / 2)


@pytest.mark.parametrize("block", python_blocks()[1:])
def test_other_blocks_run(block: str) -> None:
    """Each block runs alone, as if pasted into a new interpreter. The test defines no names for it."""
    exec(block, {})
    assert not sg.installed()


def test_cmakedir_names_folders_with_the_configurations() -> None:
    """The command prints one line with the prefixes of spectralgrad and of the running torch."""
    ours, torchs = cmakedir().split(";")
    assert Path(ours) == Path(sg.__file__).parent / "share/cmake"
    assert (Path(ours) / "spectralgrad/spectralgradConfig.cmake").is_file()
    assert torchs == torch.utils.cmake_prefix_path
    assert (Path(torchs) / "Torch/TorchConfig.cmake").is_file()


def run_cpp(program: str, folder: Path) -> str:
    """Builds and runs a program with the README's CMake file and command. Returns what both print."""
    beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if shutil.which("cmake", path=beside_python) is None or shutil.which("g++", path=beside_python) is None:
        pytest.skip("needs cmake and g++")
    (project,) = blocks("cmake")
    (folder / "main.cpp").write_text(program)
    (folder / "CMakeLists.txt").write_text(project)
    (commands,) = (block for block in blocks("sh") if "cmake -S" in block)
    build = subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env={**os.environ, "PATH": beside_python},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    return build.stdout


@pytest.mark.slow
def test_cpp_block_compiles_and_prints_the_identity(tmp_path: Path) -> None:
    (program,) = blocks("cpp")
    printed = run_cpp(program, tmp_path).splitlines()[-4:]
    assert [line.split() for line in printed] == [
        list("100"),
        list("010"),
        list("001"),
        ["[", "CPUDoubleType{3,3}", "]"],
    ]


@pytest.mark.slow
def test_examples_of_the_headers_run(tmp_path: Path) -> None:
    """Each example in a public header, in a scope of its own. The one in rule.h does not define its A."""
    headers = ("spectralgrad/spectralgrad.h", "torch/types.h", "torch/csrc/autograd/autograd.h")
    program = "".join(f"#include <{header}>\n" for header in headers)  # torch/torch.h takes half as long again
    program += "int main() {\n"
    program += "[[maybe_unused]] auto A = torch::eye(3, torch::kFloat64);\n"
    for header in sorted((ROOT / "csrc/include/spectralgrad").glob("*.h")):
        examples = re.findall(r"^/// ```\n(.*?)^/// ```$", header.read_text(), re.DOTALL | re.MULTILINE)
        assert examples or header.name in ("export.h", "spectralgrad.h"), f"{header.name} has no example"
        for example in examples:
            program += "{\n" + re.sub(r"^/// ?", "", example, flags=re.MULTILINE) + "}\n"
    run_cpp(program + "}\n", tmp_path)


def test_quoted_speed_is_the_committed_one() -> None:
    """The text between the marks is what `benchmarks/update_readme.py` writes; no speed is quoted elsewhere."""
    update_readme = load(ROOT / "benchmarks/update_readme.py")
    before, inside, after = update_readme.split(README)
    assert inside == update_readme.block()
    assert re.findall(r"\d\s+times\b|\d×(?!\d)|\d-fold|\d% faster", before + after) == []


def test_the_first_limit_of_the_readme() -> None:
    """At 2I, (V diag(λ) Vᵀ)₁₂ and 2 (V Vᵀ)₁₂ have different gradients. `eigh` cannot distinguish them; `Split` can."""

    def gradients(rule: sg.Rule) -> list[torch.Tensor]:
        found = []
        for loss in (lambda L, V: ((V * L) @ V.T)[0, 1], lambda L, V: 2 * (V @ V.T)[0, 1]):
            A = (2 * torch.eye(2, dtype=torch.float64)).requires_grad_()
            found.append(torch.autograd.grad(loss(*sg.eigh(A, rule=rule)), A)[0])
        return found

    with sg.checks("ignore"):
        kept = gradients(sg.Gated())
    torch.testing.assert_close(kept[0], kept[1], rtol=0, atol=1e-15)
    first, second = gradients(sg.Split())
    swap = torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=torch.float64)
    assert (first - swap).abs().max() < 1e-7  # typically a few 1e-8, says the README
    assert second.abs().max() < 1e-7
