#include "math/near_defective_clusters.h"

#include "core/tolerances.h"

#include <ATen/ops/matmul.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace spectralgrad::math {

template <typename real_t>
std::vector<Cluster> near_defective_clusters(const NearDefectiveProblem<real_t>& problem) {
  const auto n = problem.n;
  const auto products = at::matmul(problem.V.mH(), problem.V).contiguous();
  const auto* cosines = products.template const_data_ptr<c10::complex<double>>();
  std::vector<int64_t> leader(n);
  std::vector<bool> parallel(n);
  std::iota(leader.begin(), leader.end(), 0);
  const auto join = [&](int64_t i, int64_t j) {
    const auto from = leader[j];
    std::replace(leader.begin(), leader.end(), from, int64_t{leader[i]});
  };
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      const auto cosine = std::abs(cosines[i * n + j]);
      const bool is_parallel = 1 - cosine * cosine <= tolerances::parallel * tolerances::parallel &&
          problem.pair(i, j).gap <= tolerances::defective_reach * problem.largest;
      if (is_parallel) {
        parallel[i] = parallel[j] = true;
        join(i, j);
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      if (leader[i] != leader[j] && (parallel[i] || parallel[j]) && problem.pair(i, j).is_degenerate()) {
        join(i, j);
      }
    }
  }
  std::vector<Cluster> result;
  for (int64_t first = 0; first < n; ++first) {
    Cluster members;
    bool found = false;
    for (auto i = first; i < n; ++i) {
      if (leader[i] == leader[first]) {
        members.push_back(i);
        found = found || parallel[i];
      }
    }
    const bool is_first = std::find(leader.begin(), leader.begin() + first, leader[first]) == leader.begin() + first;
    if (is_first && found) {
      result.push_back(std::move(members));
    }
  }
  return result;
}

template std::vector<Cluster> near_defective_clusters(const NearDefectiveProblem<float>&);
template std::vector<Cluster> near_defective_clusters(const NearDefectiveProblem<double>&);

} // namespace spectralgrad::math
