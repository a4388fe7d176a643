"""The question that people ask, and its answer in six sentences: the first page of the report and ``docs/why.md``."""

QUESTION = (
    "Why do TensorFlow's and PyTorch's gradients of an eigenvalue decomposition seem to differ from the analytic ones?"
)

ANSWER = (
    "For a symmetric matrix whose eigenvalues are far apart, `eigh` of every framework gives the analytic gradient of "
    "an eigenvalue, v vᵀ.",
    "TensorFlow's looks different because it adds the upper triangle to the lower one: half the sum with the transpose "
    "is v vᵀ.",
    "`eig` does not sort its eigenvalues, they are complex while `backward` wants a real number, and without symmetry "
    "the gradient is left · rightᵀ.",
    "The sum of all eigenvalues is the trace, so its gradient is the identity everywhere and tells nothing about v vᵀ.",
    "Near a repeated (degenerate) eigenvalue the gradient of eigenvectors is round-off divided by the gap: wrong "
    "digits, and often NaN at a gap of zero.",
    "`spectralgrad.eigh` removes the round-off before it divides: gradients that exist stay right, and it warns where "
    "none exists.",
)

CAPTION = (
    "The error of one gradient as eigenvalues come together. The loss is tr(M P): P is the projector onto the "
    "eigenvectors of the near eigenvalues, and M is a fixed matrix. The gradient exists at every gap. The last two "
    "places are gaps of zero: one that rounding turns into a tiny gap, and one that is exactly zero."
)


def answer() -> str:
    """Returns the sentences as a numbered list in Markdown."""
    return "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(ANSWER, 1)) + "\n"
