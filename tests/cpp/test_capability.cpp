#include "kernels/simd/choose_capability.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace spectralgrad::testing {
namespace {

using kernels::simd::Capability;
using kernels::simd::choose_capability;

TEST(Capability, IsLibTorchsIfTheProcessorHasIt) {
  for (const auto processor : {Capability::portable, Capability::avx2, Capability::avx512}) {
    EXPECT_EQ(choose_capability("DEFAULT", processor), Capability::portable);
    EXPECT_EQ(choose_capability("NEON", processor), Capability::portable);
    EXPECT_EQ(choose_capability("", processor), Capability::portable);
  }
  EXPECT_EQ(choose_capability("AVX2", Capability::avx2), Capability::avx2);
  EXPECT_EQ(choose_capability("AVX2", Capability::avx512), Capability::avx2);
  EXPECT_EQ(choose_capability("AVX512", Capability::avx512), Capability::avx512);
}

TEST(Capability, IsNeverOneThatTheProcessorLacks) {
  EXPECT_EQ(choose_capability("AVX512", Capability::avx2), Capability::avx2);
  EXPECT_EQ(choose_capability("AVX512", Capability::portable), Capability::portable);
  EXPECT_EQ(choose_capability("AVX2", Capability::portable), Capability::portable);
}

#if defined(__x86_64__) && defined(__linux__)
/// Linux lists the flags of instruction sets that the processor has and the operating system enables.
TEST(Capability, OfTheProcessorAgreesWithProcCpuinfo) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line) && line.rfind("flags", 0) != 0) {
  }
  if (line.rfind("flags", 0) != 0) {
    GTEST_SKIP() << "/proc/cpuinfo lists no flags here";
  }
  line += ' ';
  const auto has = [&](const std::string& flag) {
    return line.find(' ' + flag + ' ') != std::string::npos;
  };
  const bool avx2 = has("avx2") && has("fma");
  const bool avx512 = avx2 && has("avx512f") && has("avx512bw") && has("avx512vl") && has("avx512dq");
  EXPECT_EQ(
      kernels::simd::processor_capability(),
      avx512     ? Capability::avx512
          : avx2 ? Capability::avx2
                 : Capability::portable);
}
#endif

} // namespace
} // namespace spectralgrad::testing
