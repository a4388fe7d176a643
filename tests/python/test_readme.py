"""What the README shows is what happens: its Python blocks run, and its comments are what they print."""

import importlib.util
import re
from pathlib import Path

import torch

import spectralgrad as sg

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_first_screen(capsys):
    """A sentence, an example of at most twelve lines where torch is wrong, the two commands."""
    example = python_blocks()[0]
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    exec(example, {})
    printed = capsys.readouterr().out.splitlines()
    promised = [re.match(r"(tensor\(.*?\))", comment)[1] for comment in re.findall(r"# (tensor.*)", example)]
    assert printed == promised
    # The closed form: along X the projector's entry (0, 2) changes by X_02 / (λ_0 - λ_2).
    assert promised[1] == str(torch.tensor(1 / (1.0 - 2.0)) / 2)


def test_other_blocks_run():
    A = torch.diag(torch.tensor([1.0, 1.0, 2.0])).requires_grad_()
    for block in python_blocks()[1:]:
        exec(block, {"sg": sg, "torch": torch, "A": A, "H": A, "S": torch.eye(3)})
    assert not sg.installed()


def test_quoted_speed_is_the_committed_one():
    """Between the marks is what `benchmarks/update_readme.py` writes from the results; no speed stands elsewhere."""
    specification = importlib.util.spec_from_file_location("update_readme", ROOT / "benchmarks/update_readme.py")
    update_readme = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(update_readme)
    before, inside, after = update_readme.split(README)
    assert inside == update_readme.block()
    assert re.findall(r"\d\s+times\b|\d×(?!\d)|\d-fold|\d% faster", before + after) == []


def test_the_limit_that_is_stated_first_is_one():
    """(V diag(λ) Vᵀ)₁₂ and 2 (V Vᵀ)₁₂ at 2I: equal to `eigh`, unequal in truth; `Split` tells them apart."""

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
    assert (first - swap).abs().max() < 1e-7  # the README says about 1e-8
    assert second.abs().max() < 1e-7
