"""The most frequent question and its answer in six sentences, for the first page of the report and ``docs/why.md``."""

QUESTION = (
    "Why do TensorFlow's and PyTorch's gradients of an eigenvalue decomposition seem to differ from the analytic ones?"
)

ANSWER = (
    "For a symmetric matrix whose eigenvalues are far apart, `eigh` of every framework gives the analytic gradient of "
    "an eigenvalue, v vᵀ, where v is its eigenvector of length 1.",
    "TensorFlow's gradient looks different because TensorFlow adds the upper triangle to the lower one, but half the "
    "sum of the gradient and its transpose is v vᵀ.",
    "`eig` does not sort its eigenvalues, it returns complex numbers although `backward` needs a real loss, and for a "
    "matrix without symmetry the gradient is left · rightᵀ, with the left and the right eigenvector.",
    "The sum of all eigenvalues is the trace, so its gradient is the identity for every matrix and does not show v vᵀ.",
    "Near a repeated (degenerate) eigenvalue, gradients through eigenvectors contain round-off divided by the gap: "
    "wrong digits, and often NaN at a gap of zero.",
    "`spectralgrad.eigh` removes the round-off before it divides, so gradients of whole eigenspaces stay right at "
    "every gap, and it warns at a repeated eigenvalue if the gradient does not exist or needs another function, such "
    "as `spectralgrad.expm`.",
)

CAPTION = (
    "The picture shows the error of one gradient as eigenvalues come together. The loss is tr(M P), where P is the "
    "projector onto the eigenvectors of the near eigenvalues, and M is a fixed matrix. The gradient exists at every "
    "gap. The last two places are gaps of zero: one that rounding turns into a tiny gap, and one that is exactly zero. "
    "NumPy has no gradients, so its curve shows the textbook formula. TensorFlow computes Δ/(Δ² + 1e-20) instead of "
    "1/Δ, where Δ is the gap, so its error falls again below 1e-10."
)


def answer() -> str:
    """Returns the sentences as a numbered list in Markdown."""
    return "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(ANSWER, 1)) + "\n"
