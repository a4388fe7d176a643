"""Writes the report as Markdown."""

from __future__ import annotations

from .. import _high_precision as reference
from . import functions, programs, question, sweep
from .findings import findings, lorentzian_against_mask
from .losses import LOSSES
from .peers import TITLES
from .results import Comparison
from .table import Table, to_markdown


def _explanations(comparison: Comparison) -> list[str]:
    lines = []
    for program in programs.PROGRAMS:
        outcome = comparison.answers.get(program.peer, {}).get("programs", {}).get(program.key)
        if outcome is None:
            continue
        lines.append(f"- **{TITLES[program.peer]}, {program.title}.** {program.explanation}")
        if outcome["raised"]:
            lines[-1] += f" It raised `{outcome['raised']}`."
    return lines


def _header(comparison: Comparison) -> str:
    machine = comparison.machine
    versions = dict(machine["versions"])
    for answer in (*comparison.answers.values(), *comparison.functions.get("peers", {}).values()):
        versions |= answer.get("versions", {})
    size = "quick run" if comparison.quick else "full run"
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"A {size} of {comparison.seconds:.0f} s on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['platform']}; {listed}."
    )


def write(comparison: Comparison, tables: dict[str, Table], pictures: dict[str, str]) -> str:
    """Returns the report as Markdown."""

    def picture(subject: str) -> str:
        return f"![{subject}]({pictures[subject]})\n"

    def table(subject: str) -> str:
        return f"**{tables[subject].title}**\n\n{to_markdown(tables[subject])}"

    blocks = [
        f"# {question.QUESTION}\n",
        question.answer(),
        picture("why"),
        f"{question.CAPTION}\n",
        "## Findings\n",
        "Errors are relative. Each is the worst over all sizes and gaps: 1e-16 is nearly perfect, 100 % means no right "
        "digit, and NaN is not a number. "
        "“spectralgrad” is its default rule, Gated; part 2 lists the other rules.\n",
        "\n".join(f"- {line}" for line in findings(comparison)) + "\n",
        "## How it was measured\n",
        _header(comparison) + "\n",
        f"Every error is relative to a reference of {reference.DIGITS} digits. The reference belongs to the matrix "
        "that the frameworks got, after rounding to its precision. An error is the Frobenius norm of the difference of "
        "the Hermitian parts. Only the Hermitian part of a gradient has a meaning, because A is Hermitian, except in "
        "parts 6 to 8. This also undoes TensorFlow's convention, which adds the upper triangle to the lower one. "
        "JAX's complex gradients are conjugated to PyTorch's convention. Every framework ran in its own process.\n",
        "## 1. Three small programs\n",
        table("programs"),
        "\n".join(_explanations(comparison)) + "\n",
        "The frameworks really differ in these points:\n",
        "- the order of the eigenvalues: `eigh` sorts them in ascending order, `eig` does not;\n"
        "- the sign or phase of the vectors;\n"
        "- the triangle that holds the gradient;\n"
        "- the division by a gap Δ: TensorFlow computes Δ/(Δ² + 1e-20), the others 1/Δ;\n"
        "- for a matrix that is not symmetric, the use of v vᵀ instead of left rightᵀ.\n",
        "Near a repeated eigenvalue there is one more point: round-off divided by the gap. Part 2 measures it.\n",
        "## 2. The gap sweep\n",
        "Each matrix has a cluster of 2 (n = 2, 3) or 4 eigenvalues at 1, 1 + gap, …, in a random basis. Its other "
        "eigenvalues are between -3 and -0.5. Rounding turns a gap of 0 into a gap of about eps. The matrix “exact” is "
        "diag(1, …, 1) beside a dense block, so its eigenvalue 1 stays repeated in floating point.\n",
        table("rules"),
        *(
            part
            for precision in sweep.PRECISIONS
            for part in (table(f"sweep {precision}"), picture(f"sweep {precision}"))
        ),
        *(table(f"gaps {loss}") for loss in ("projector", "matrix_function")),
        "### Lorentzian broadening or a mask\n",
        " ".join(lorentzian_against_mask(comparison)) + "\n",
        "The Lorentzian multiplies 1/Δ by Δ²/(Δ² + η²) for every pair, even if the pair is far apart. A mask does not "
        "change such pairs. Both lose the part of the gradient inside the cluster, and both have a width to choose. "
        "Gated compares each entry with its own round-off instead.\n",
        picture("lorentzian or mask"),
        "## 3. Molecules and graphs with symmetry\n",
        "Hückel Hamiltonians (α = 0, β = -1) with the bonding levels occupied, and Laplacians with the lowest whole "
        "levels occupied. The closed form uses no eigenvectors: projectors onto the levels are polynomials in the "
        "matrix.\n",
        *(table(f"graphs {precision}") for precision in sweep.PRECISIONS),
        picture("graphs"),
        "## 4. The effect of the dimension\n",
        "The loss is tr(M P). In the first family, P is the projector onto a pair at the gap 1e-10. In the second, it "
        "is the projector onto the lower half of the eigenvectors of a random matrix. For a pair, 1/Δ multiplies the "
        "difference of two products that are equal in exact arithmetic: a framework that happens to round both alike "
        "has a small error.\n",
        *(table(subject) for subject in tables if subject.startswith("dimension")),
        picture("dimension"),
        "## 5. Functions of a matrix\n",
        "The functions are exp, log, √ and 1/√ of positive definite matrices, by all libraries that can differentiate "
        "them for tensors. The spectra are:\n",
        "- separated eigenvalues, 0.4 … 3;\n"
        "- a cluster: half of the eigenvalues within a few gaps of 1, and the rest in 0.2 … 0.6 (“exact” is the "
        "identity beside a dense block);\n"
        "- both of these times 1e-10, like covariances in small units;\n"
        "- all eigenvalues within one gap of 1;\n"
        "- the identity.\n",
        "The loss is tr(M f(A)), and |f(A) − M|²/2 for second derivatives. The latter is not linear in f(A), so it "
        "shows a backward that treats its eigenvalues as constants. All libraries ran in one process.\n",
        "\n".join(
            f"- **{name}** ({', '.join(contender['functions'])}): {contender['rule']}."
            for name, contender in comparison.functions.get("contenders", {}).items()
        )
        + "\n",
        *(table(subject) for subject in tables if subject.startswith((functions.FIRST, "speed"))),
        "## 6. The gap sweep of svd\n",
        "Each matrix has three singular values at 1, 1 + gap, …, in random bases, and smaller ones. For “σ ≈ 0” they "
        "are at 0, gap, …, below larger ones. “Exact” is a permutation, or zero, beside a dense block. A is not "
        "Hermitian, so the whole gradient counts. The reference is the gradient of the same loss by the Hermitian "
        "matrix [[0, A], [Aᴴ, 0]], whose eigenvalues are the singular values and their negatives.\n",
        table("rules of svd"),
        *(table(f"svd {precision}") for precision in sweep.PRECISIONS),
        picture("singular values"),
        "## 7. Rotations\n",
        "The rotation R takes the corners of an octahedron or a cube, each moved by a distance at random, nearest to a "
        "turned copy of the corners in place (Kabsch). The loss is tr(MᵀR), differentiated by the points. All three "
        "singular values of the covariance are equal if no corner was moved. The frameworks compute U diag(1, 1, s) Vᵀ "
        "by their svd, where s is the sign of det(U Vᵀ), as people write it. “In place” is distance 0, where rounding "
        "leaves gaps of about eps. “Exact” has a copy without round-off.\n",
        table("ways to align"),
        *(table(f"alignment {precision}") for precision in sweep.PRECISIONS),
        picture("alignment"),
        "## 8. Towards a Jordan block\n",
        "A has no symmetry, and a pair of eigenvalues near 1 whose block is [[1, 1], [±gap²/4, 1]], in a random basis "
        "that is not orthogonal. The others are between -3 and -0.5. As the gap goes to 0, the two eigenvectors become "
        "parallel, and a Jordan block remains. Each eigenvalue of the pair then behaves like √x at 0: its gradient "
        "outer(left, right) grows like 1/gap, and rounding A changes this gradient by about eps/gap² of itself. So no "
        "program can be right there; it can only say so. The sum over the pair, the trace, and the projector onto the "
        "plane of the pair (Riesz) have bounded derivatives at every gap.\n",
        "Rounding turns a gap of 0 into one of about √eps. “Exact” is [[1, 1], [0, 1]] beside a dense block. `eig` "
        "promises no order, so eigenvalues are sorted by Re + Im. The loss of a single eigenvalue is Re + Im, because "
        "the real part of a complex pair is half of its sum. The projector is computed from eigenvectors, V₁ (V⁻¹)₁. "
        "PyTorch sometimes takes its round-off for a loss that depends on phases, and raises an error. The reference "
        "needs no eigenvectors: the projector is (I + sign A)/2, by Newton's iteration.\n",
        table("rules of eig"),
        *(table(f"eig {precision}") for precision in sweep.PRECISIONS),
        *(table(f"gaps {loss}") for loss in ("pair_eigenvalue", "pair_sum")),
        *(table(f"eig reports {precision}") for precision in sweep.PRECISIONS),
        picture("jordan"),
        "## 9. The generalized problem\n",
        "A v = λ B v with Hermitian A and positive definite B, as in quantum chemistry and vibrations. cond(B) is "
        "100. A pair of eigenvalues is at 1 and 1 + gap, and the others are between -3 and -0.5. The gradients are by "
        "A with B fixed, and by B with A fixed. PyTorch, JAX and TensorFlow differentiate the usual code: the "
        "Cholesky factor L of B, eigh of L⁻¹ A L⁻ᴴ, and L⁻ᴴ times its eigenvectors. NumPy takes the formula of Fox "
        "and Kapoor (1968), with 1/Δ. spectralgrad is `sg.generalized_eigh(A, B)`. Rounding turns a gap of 0 into one "
        "of about eps. “Exact” has the block diag(1, 4) in A and in B, beside dense blocks, so its eigenvalue 1 stays "
        "repeated. The reference needs no eigenvectors: V_c V_cᴴ is (I + sign B⁻¹A)/2 · B⁻¹, by Newton's iteration.\n",
        table("generalized"),
        "Losses: " + "; ".join(f"{loss.title}: {loss.formula}" for loss in LOSSES.values()) + ".\n",
    ]
    return "\n".join(blocks)
