#include "support.h"

#include <spectralgrad/spectralgrad.h>

#include <numeric>
#include <vector>

// Tests the round robin of the spectral map (math/pairs/cluster_pairs.h), which is internal, through the operators that
// use it.
namespace spectralgrad::testing {
namespace {

using at::Tensor;

int64_t rounds_of_largest_cluster(const Tensor& eigenvalues) {
  static const auto op = find_operator<Tensor(const Tensor&)>("spectralgrad::cluster_rounds");
  return op.call(eigenvalues).item<int64_t>();
}

/// Without cotangents, `judge_rotations` returns the partners of all pairs.
Tensor partners(const Tensor& eigenvalues, int64_t rounds) {
  static const auto op = find_operator<Tensor(
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const OptionalTensor&,
      const Tensor&,
      const Tensor&,
      int64_t)>("spectralgrad::judge_rotations");
  return op.call({}, {}, {}, {}, eigenvalues, at::diag_embed(at::ones_like(eigenvalues)), rounds);
}

struct RotatedEigenpairs {
  Tensor values;
  Tensor vectors;
};

RotatedEigenpairs rotated(const Tensor& eigenvalues, const Tensor& V, int64_t rounds) {
  static const auto op =
      find_operator<std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, int64_t)>(
          "spectralgrad::rotated_eigenpairs");
  const auto result = op.call(V, eigenvalues, V, rounds);
  EXPECT_TRUE(std::get<0>(result).equal(eigenvalues));
  EXPECT_TRUE(std::get<1>(result).equal(V));
  return {std::get<2>(result), std::get<3>(result)};
}

/// Returns eigenvalues 1, 2, ... with multiplicities `sizes`. The copies of an eigenvalue are `gap` apart.
Tensor with_clusters(const std::vector<int64_t>& sizes, double gap = 0) {
  std::vector<Tensor> parts;
  for (size_t i = 0; i < sizes.size(); ++i) {
    parts.push_back(static_cast<double>(i + 1) + gap * at::arange(sizes[i], at::kDouble));
  }
  return at::cat(parts);
}

/// The expected `meetings`: 1 at (i, j) if i and j are different eigenvalues of one cluster.
Tensor pairs_of(const std::vector<int64_t>& sizes) {
  std::vector<Tensor> blocks;
  for (const auto size : sizes) {
    blocks.push_back(at::ones({size, size}, at::kLong) - at::eye(size, at::kLong));
  }
  return at::block_diag(blocks);
}

/// Counts how often each pair meets, given partners (rounds, n).
Tensor meetings(const Tensor& partners) {
  const auto n = partners.size(-1);
  auto count = at::zeros({n, n}, at::kLong);
  for (int64_t round = 0; round < partners.size(0); ++round) {
    EXPECT_TRUE(partners[round].gather(0, partners[round]).equal(at::arange(n))) << "partners of each other";
    count += at::eye(n, at::kLong).index_select(0, partners[round]);
  }
  return count.fill_diagonal_(0);
}

TEST(ClusterPairs, EachPairOfAClusterMeetsOnce) {
  for (int64_t size = 1; size <= 7; ++size) {
    const auto eigenvalues = with_clusters({size});
    const auto rounds = rounds_of_largest_cluster(eigenvalues);
    EXPECT_EQ(rounds, size == 1 ? 0 : size % 2 == 0 ? size - 1 : size);
    EXPECT_EQ(partners(eigenvalues, rounds).sizes(), at::IntArrayRef({rounds, size}));
    EXPECT_TRUE(meetings(partners(eigenvalues, rounds)).equal(pairs_of({size}))) << size;
  }
}

TEST(ClusterPairs, ClustersMeetAtTheSameTime) {
  for (const auto& sizes :
       std::vector<std::vector<int64_t>>{{1, 2, 1}, {3, 1, 4, 2}, {5, 6, 7}, {1, 1, 1}, {2, 7, 1, 3}}) {
    const auto eigenvalues = with_clusters(sizes);
    const auto rounds = rounds_of_largest_cluster(eigenvalues);
    const auto largest = *std::max_element(sizes.begin(), sizes.end());
    EXPECT_EQ(rounds, largest == 1 ? 0 : largest % 2 == 0 ? largest - 1 : largest);
    EXPECT_TRUE(meetings(partners(eigenvalues, rounds)).equal(pairs_of(sizes))) << at::IntArrayRef(sizes);
    // Rounds beyond the necessary ones add no meetings.
    EXPECT_TRUE(meetings(partners(eigenvalues, rounds + 3)).equal(pairs_of(sizes))) << at::IntArrayRef(sizes);
  }
}

TEST(ClusterPairs, TheLargestClusterOfABatchDecidesTheNumberOfRounds) {
  const std::vector<std::vector<int64_t>> sizes{{1, 1, 1, 1, 1, 1}, {2, 4}, {5, 1}, {1, 2, 3}, {6}, {3, 3}};
  std::vector<Tensor> spectra;
  for (const auto& each : sizes) {
    spectra.push_back(with_clusters(each));
  }
  const auto batch = at::stack(spectra).view({2, 3, 6});
  EXPECT_EQ(rounds_of_largest_cluster(batch), 5);
  const auto all = partners(batch, 5);
  EXPECT_EQ(all.sizes(), at::IntArrayRef({2, 3, 5, 6}));
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto own = all.view({6, 5, 6})[static_cast<int64_t>(i)];
    EXPECT_TRUE(meetings(own).equal(pairs_of(sizes[i]))) << at::IntArrayRef(sizes[i]);
  }
}

TEST(ClusterPairs, AreUpToEightRootsOfEpsApart) {
  EXPECT_EQ(rounds_of_largest_cluster(with_clusters({4}, 1e-9)), 3);
  EXPECT_EQ(rounds_of_largest_cluster(with_clusters({4}, 1e-5)), 0);
  EXPECT_EQ(rounds_of_largest_cluster(with_clusters({4}, 1e-4).to(at::kFloat)), 3);
  EXPECT_EQ(rounds_of_largest_cluster(with_clusters({4}, 1e-1).to(at::kFloat)), 0);
  // Gaps are relative to the largest absolute eigenvalue.
  EXPECT_EQ(rounds_of_largest_cluster(at::tensor({-1e3, 0., 1e-6}, at::kDouble)), 1);
  EXPECT_EQ(rounds_of_largest_cluster(at::tensor({0., 1e-6}, at::kDouble)), 0);
  EXPECT_EQ(rounds_of_largest_cluster(at::zeros({3}, at::kDouble)), 3);
}

TEST(ClusterPairs, EmptyMatricesAndNanHaveNoClusters) {
  EXPECT_EQ(rounds_of_largest_cluster(at::zeros({0}, at::kDouble)), 0);
  EXPECT_EQ(rounds_of_largest_cluster(at::zeros({0, 3}, at::kDouble)), 0);
  EXPECT_EQ(rounds_of_largest_cluster(at::full({3}, nan, at::kDouble)), 0);
  EXPECT_EQ(partners(at::zeros({2, 0}, at::kDouble), 3).sizes(), at::IntArrayRef({2, 3, 0}));
}

TEST(ClusterPairs, RotateByPiOverEightWithTheGapDividedByTheRootOfTwo) {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    const auto eigenvalues = with_clusters({1, 3, 2}, 1e-10);
    const auto V = at::eye(6, dtype);
    const auto angle = std::acos(-1.0) / 8;
    const auto rounds = rounds_of_largest_cluster(eigenvalues);
    const auto turns = c10::isComplexType(dtype) ? 4 : 2;
    const auto [values, vectors] = rotated(eigenvalues, V, rounds);
    EXPECT_EQ(values.sizes(), at::IntArrayRef({turns * rounds + 1, 6}));
    EXPECT_EQ(vectors.sizes(), at::IntArrayRef({turns * rounds + 1, 6, 6}));
    const auto partner = partners(eigenvalues, rounds);
    for (int64_t set = 0; set < turns * rounds; ++set) {
      EXPECT_LE(largest(at::matmul(vectors[set].mH(), vectors[set]) - V), 1e-15);
      const auto others = partner[set % rounds];
      const auto other = eigenvalues.index_select(0, others);
      const auto turned = (eigenvalues + other) / 2 + (eigenvalues - other) / 2 * std::sqrt(0.5);
      EXPECT_LE((values[set] - turned).abs().max().item<double>(), 1e-15);
      for (int64_t i = 0; i < 6; ++i) {
        const auto j = others[i].item<int64_t>();
        const auto expected = j == i ? V[i].abs() : V[i].abs() * std::cos(angle) + V[j].abs() * std::sin(angle);
        EXPECT_LE(largest(vectors[set].select(1, i).abs() - expected), 1e-15);
      }
    }
  }
}

TEST(ClusterPairs, TheLastSetExchangesEigenvectorsInTurn) {
  const auto eigenvalues = with_clusters({1, 3, 2});
  const auto [values, vectors] = rotated(eigenvalues, at::eye(6, at::kDouble), 3);
  EXPECT_TRUE(values[-1].equal(eigenvalues));
  EXPECT_TRUE(vectors[-1].argmax(0).equal(at::tensor({0, 2, 3, 1, 5, 4})));
}

} // namespace
} // namespace spectralgrad::testing
