#include "kernels/eigh/method_choice.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <ostream>
#include <vector>

namespace spectralgrad::kernels {

// For the messages of EXPECT_EQ.
void PrintTo(EighMethod method, std::ostream* out) {
  constexpr std::array names = {"lanes", "single", "lapack", "torch"};
  *out << names.at(static_cast<size_t>(method));
}

} // namespace spectralgrad::kernels

namespace spectralgrad::testing {
namespace {

using kernels::BatchTraits;
using kernels::EighMethod;
using kernels::simd::Capability;

/// `count` float64 matrices on a machine with AVX-512, two threads and LAPACK.
BatchTraits doubles(int64_t n, int64_t count) {
  return {
      .n = n,
      .count = count,
      .is_double = true,
      .capability = Capability::avx512,
      .lanes = 8,
      .threads = 2,
      .has_lapack = true};
}

EighMethod method(const BatchTraits& batch, bool compute_eigenvectors = true, bool is_diagonal = false) {
  return kernels::eigh_method(batch, compute_eigenvectors, is_diagonal);
}

TEST(MethodChoice, FollowsTheSizeAndTheNumberOfMatrices) {
  struct Case {
    int64_t n;
    int64_t count;
    EighMethod with_vectors;
    EighMethod without_vectors;
  };
  constexpr auto lanes = EighMethod::lanes;
  constexpr auto single = EighMethod::single;
  constexpr auto lapack = EighMethod::lapack;
  constexpr auto torch = EighMethod::torch;
  const std::vector<Case> cases = {
      {1, 1, lanes, lanes},      {8, 1, lanes, lanes},       {8, 1000, lanes, lanes},  {9, 1, lanes, lapack},
      {9, 4, lanes, lanes},      {16, 2, single, lapack},    {16, 4, lanes, lanes},    {32, 4, single, lanes},
      {32, 8, lanes, lanes},     {64, 1, single, lapack},    {64, 2, single, lapack},  {64, 8, single, lanes},
      {64, 16, lanes, lanes},    {64, 17, single, lanes},    {64, 1000, lanes, lanes}, {65, 1, single, lapack},
      {65, 2, single, lapack},   {65, 1000, single, lapack}, {256, 1, single, lapack}, {512, 1, single, torch},
      {512, 2, single, lapack},  {700, 1, single, torch},    {700, 2, single, lapack}, {2500, 1, torch, torch},
      {2500, 2, lapack, lapack},
  };
  for (const auto& [n, count, with_vectors, without_vectors] : cases) {
    EXPECT_EQ(method(doubles(n, count)), with_vectors) << n << " " << count;
    EXPECT_EQ(method(doubles(n, count), /*compute_eigenvectors=*/false), without_vectors) << n << " " << count;
  }
}

TEST(MethodChoice, IsTorchForOtherDevicesAndEmptyBatches) {
  auto on_gpu = doubles(3, 100);
  on_gpu.is_on_cpu = false;
  EXPECT_EQ(method(on_gpu), EighMethod::torch);
  EXPECT_EQ(method(doubles(0, 100)), EighMethod::torch);
  EXPECT_EQ(method(doubles(3, 0)), EighMethod::torch);
}

TEST(MethodChoice, IsNeverLapackIfLibTorchLacksIt) {
  for (const bool deterministic : {false, true}) {
    for (const int64_t n : {1, 8, 9, 32, 64, 65, 300}) {
      for (const int64_t count : {1, 2, 9, 1000}) {
        auto batch = doubles(n, count);
        batch.has_lapack = false;
        batch.deterministic = deterministic;
        EXPECT_NE(method(batch), EighMethod::lapack) << n << " " << count;
        EXPECT_NE(method(batch, true, /*is_diagonal=*/true), EighMethod::lapack) << n << " " << count;
      }
    }
  }
}

TEST(MethodChoice, DependsOnNAloneUnderDeterministicAlgorithms) {
  for (const int64_t n : {1, 8, 9, 32, 64, 65, 300}) {
    for (const int64_t count : {1, 2, 9, 1000}) {
      auto batch = doubles(n, count);
      batch.deterministic = true;
      EXPECT_EQ(method(batch), n <= 64 ? EighMethod::lanes : EighMethod::single) << n << " " << count;
      EXPECT_EQ(kernels::vjp_in_lanes(batch), n <= 48) << n << " " << count;
      EXPECT_EQ(kernels::pass_in_lanes(batch), n <= 64) << n << " " << count;
    }
  }
}

TEST(MethodChoice, DependsOnThreadsForLargeMatricesOnly) {
  auto small = doubles(64, 8);
  auto large = doubles(2500, 1);
  const auto chosen = method(small);
  for (const int64_t threads : {1, 2, 64}) {
    small.threads = large.threads = threads;
    EXPECT_EQ(method(small), chosen);
    EXPECT_EQ(method(large), threads == 1 ? EighMethod::lapack : EighMethod::torch) << threads;
  }
}

TEST(MethodChoice, SharesMatricesThatAreFewAndLarge) {
  EXPECT_FALSE(kernels::threads_share_matrices(127, 1, 64));
  EXPECT_TRUE(kernels::threads_share_matrices(128, 1, 2));
  EXPECT_FALSE(kernels::threads_share_matrices(128, 1, 1));
  EXPECT_FALSE(kernels::threads_share_matrices(128, 2, 2));
  EXPECT_TRUE(kernels::threads_share_matrices(128, 32, 64));
}

TEST(MethodChoice, IsLapackForASingleLargeDiagonalMatrix) {
  EXPECT_EQ(method(doubles(2500, 1)), EighMethod::torch);
  EXPECT_EQ(method(doubles(2500, 1), true, /*is_diagonal=*/true), EighMethod::lapack);
  EXPECT_EQ(method(doubles(8, 1), true, /*is_diagonal=*/true), EighMethod::lanes);
}

TEST(MethodChoice, PrefersLanesLongerForWiderOrFasterRegisters) {
  // The least number of matrices for which `lanes` is chosen.
  const auto least = [](BatchTraits batch) {
    for (batch.count = 1; batch.count < 1000; ++batch.count) {
      if (method(batch) == EighMethod::lanes) {
        break;
      }
    }
    return batch.count;
  };
  auto batch = doubles(32, 1);
  EXPECT_EQ(least(batch), 7);
  batch.lanes = 4;
  EXPECT_EQ(least(batch), 7);
  batch.capability = Capability::avx2; // less time for a register
  EXPECT_EQ(least(batch), 5);
  batch = doubles(32, 1);
  batch.is_complex = true; // more time
  EXPECT_EQ(least(batch), 5);
  batch = doubles(64, 1);
  EXPECT_EQ(least(batch), 15);
}

TEST(MethodChoice, OfTheVjpFollowsTheEstimatedTimes) {
  EXPECT_TRUE(kernels::vjp_in_lanes(doubles(8, 1)));
  EXPECT_FALSE(kernels::vjp_in_lanes(doubles(49, 1000)));
  auto matrices = doubles(16, 1);
  EXPECT_TRUE(kernels::vjp_in_lanes(matrices)); // 1.3 (2 + 1.25e-3 * 16^3) = 9.3 us, less than 12 us and the products
  matrices.n = 32;
  EXPECT_FALSE(kernels::vjp_in_lanes(matrices)); // 56 us against 25 us
  matrices.count = 10;
  EXPECT_TRUE(kernels::vjp_in_lanes(matrices)); // one register on each thread, against 12 + 5 * 13.3 us
  matrices.is_complex = true;
  EXPECT_TRUE(kernels::vjp_in_lanes(matrices)); // 167 us against 12 + 5 * 44 us
  matrices.count = 4;
  EXPECT_FALSE(kernels::vjp_in_lanes(matrices)); // against 12 + 2 * 44 us
  auto large = doubles(48, 200);
  large.capability = Capability::avx2;
  large.lanes = 4;
  EXPECT_FALSE(kernels::vjp_in_lanes(large)); // 25 * 140 us against 12 + 100 * 28.6 us
  large.count = 1000; // so many do not stay in the cache
  EXPECT_TRUE(kernels::vjp_in_lanes(large)); // 125 * 140 us against 12 + 500 * 48.7 us
}

TEST(MethodChoice, OfSingularValuesFollowsTheEstimatedTimes) {
  using kernels::SvdMethod;
  const auto method = [](const BatchTraits& batch, bool vectors, bool fits_lanes = true) {
    return kernels::svd_method(batch, {batch.n, vectors, fits_lanes, batch.has_lapack});
  };
  EXPECT_EQ(method(doubles(8, 1), true), SvdMethod::lanes);
  EXPECT_EQ(method(doubles(8, 1), false), SvdMethod::lanes);
  EXPECT_EQ(method(doubles(32, 1), true), SvdMethod::lapack);
  EXPECT_EQ(method(doubles(32, 2), true), SvdMethod::lapack);
  EXPECT_EQ(method(doubles(32, 4), true), SvdMethod::lanes);
  EXPECT_EQ(method(doubles(32, 2), false), SvdMethod::lapack);
  EXPECT_EQ(method(doubles(32, 8), false), SvdMethod::lanes);
  EXPECT_EQ(method(doubles(100, 8), true, false), SvdMethod::lapack);
  EXPECT_EQ(method(doubles(100, 1), true, false), SvdMethod::torch);
  EXPECT_EQ(method(doubles(65, 1), false, false), SvdMethod::lapack);
  EXPECT_EQ(method(doubles(512, 1), true, false), SvdMethod::torch);
  EXPECT_EQ(method(doubles(512, 2), true, false), SvdMethod::lapack);
  auto batch = doubles(48, 1);
  EXPECT_EQ(method(batch, true), SvdMethod::lapack);
  batch.deterministic = true;
  EXPECT_EQ(method(batch, true), SvdMethod::lanes);
  EXPECT_EQ(method(batch, true, false), SvdMethod::lapack);
  batch.has_lapack = false;
  EXPECT_EQ(method(batch, true, false), SvdMethod::torch);
  batch.is_on_cpu = false;
  EXPECT_EQ(method(batch, true), SvdMethod::torch);
  EXPECT_EQ(method(doubles(0, 5), true), SvdMethod::torch);
  EXPECT_EQ(method(doubles(5, 0), true), SvdMethod::torch);
}

TEST(MethodChoice, OfTheVjpOfSvd) {
  EXPECT_TRUE(kernels::svd_vjp_in_lanes_is_faster(doubles(8, 1), 8));
  EXPECT_TRUE(kernels::svd_vjp_in_lanes_is_faster(doubles(3, 1), 64));
  EXPECT_FALSE(kernels::svd_vjp_in_lanes_is_faster(doubles(3, 1), 5000));
  EXPECT_FALSE(kernels::svd_vjp_in_lanes_is_faster(doubles(65, 100), 65));
  auto batch = doubles(3, 1);
  batch.is_on_cpu = false;
  EXPECT_FALSE(kernels::svd_vjp_in_lanes_is_faster(batch, 3));
}

TEST(MethodChoice, OfAPassAsksForHalfARegister) {
  EXPECT_TRUE(kernels::pass_in_lanes(doubles(24, 1)));
  EXPECT_FALSE(kernels::pass_in_lanes(doubles(25, 3)));
  EXPECT_TRUE(kernels::pass_in_lanes(doubles(25, 4)));
  EXPECT_TRUE(kernels::pass_in_lanes(doubles(64, 4)));
  EXPECT_FALSE(kernels::pass_in_lanes(doubles(65, 1000)));
}

} // namespace
} // namespace spectralgrad::testing
