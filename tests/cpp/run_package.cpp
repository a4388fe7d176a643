// Runs a package that torch.export and AOTInductor compiled from code that calls the operators, without Python. Linking
// the library is sufficient. tests/python/test_transforms.py writes the package and runs this program.
#include <ATen/core/ivalue.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: run_package PACKAGE.pt2 INPUTS.pt OUTPUTS.pt\n";
    return 2;
  }
  std::ifstream in(argv[2], std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  const auto loaded = torch::jit::pickle_load(bytes);
  std::vector<at::Tensor> inputs;
  for (const auto& input : loaded.toListRef()) {
    inputs.push_back(input.toTensor());
  }
  torch::inductor::AOTIModelPackageLoader package(argv[1]);
  const auto outputs = torch::jit::pickle_save(c10::IValue(package.run(inputs)));
  std::ofstream(argv[3], std::ios::binary).write(outputs.data(), static_cast<std::streamsize>(outputs.size()));
  return 0;
}
