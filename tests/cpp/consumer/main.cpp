// Uses the installed library as any C++ program would: the gradient of eigh at the identity, where every gap is zero.
#include <spectralgrad/spectralgrad.h>

#include <ATen/ATen.h>

#include <cstdlib>
#include <iostream>

int main() {
  const at::Tensor identity = at::eye(3, at::kDouble);
  at::Tensor A = identity.clone().requires_grad_();
  auto [eigenvalues, eigenvectors] = spectralgrad::eigh(A);
  (eigenvalues.sum() + eigenvectors.square().sum()).backward();
  if (!at::allclose(A.grad(), identity, /*rtol=*/0, /*atol=*/1e-14)) {
    std::cerr << "spectralgrad " SPECTRALGRAD_VERSION ": expected the identity, got\n" << A.grad() << '\n';
    return EXIT_FAILURE;
  }
  std::cout << "spectralgrad " SPECTRALGRAD_VERSION ": the gradient is the identity\n";
  return EXIT_SUCCESS;
}
