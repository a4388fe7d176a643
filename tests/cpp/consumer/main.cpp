// Uses the installed library as any C++ program would. Computes gradients at the identity, where all eigenvalues are
// degenerate.
#include <spectralgrad/spectralgrad.h>

#include <ATen/ATen.h>

#include <cmath>
#include <cstdlib>
#include <iostream>

namespace {

bool has_gradient(const char* function, const at::Tensor& loss, const at::Tensor& A, const at::Tensor& expected) {
  A.mutable_grad() = at::Tensor();
  loss.backward();
  const bool right = at::allclose(A.grad(), expected, /*rtol=*/0, /*atol=*/1e-14);
  std::cout << "spectralgrad " SPECTRALGRAD_VERSION ": the gradient of " << function << " at the identity is "
            << (right ? "right\n" : "wrong\n");
  if (!right) {
    std::cerr << "expected\n" << expected << "\ngot\n" << A.grad() << '\n';
  }
  return right;
}

} // namespace

int main() {
  const at::Tensor identity = at::eye(3, at::kDouble);
  const at::Tensor ones = at::ones({3, 3}, at::kDouble);
  const at::Tensor A = identity.clone().requires_grad_();
  const auto [eigenvalues, eigenvectors] = spectralgrad::eigh(A);
  bool right = has_gradient("eigh", eigenvalues.sum() + eigenvectors.square().sum(), A, identity);
  right &= has_gradient("expm", spectralgrad::expm(A).sum(), A, std::exp(1.) * ones);
  const auto of_square = spectralgrad::funm(A, [](const at::Tensor& x) { return x.square(); });
  right &= has_gradient("funm", of_square.sum(), A, 2 * ones);
  // Three degenerate levels, half filled: each occupation has the slope -1/(4 kT) per spin, and the number of electrons
  // is fixed.
  spectralgrad::DensityMatrixOptions options;
  options.electrons = at::scalar_tensor(3, at::kDouble);
  options.kT = at::scalar_tensor(0.5, at::kDouble);
  right &= has_gradient("density_matrix", spectralgrad::density_matrix(A, options).sum(), A, identity - ones);
  return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
