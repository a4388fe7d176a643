#pragma once

#include "kernels/eigh/flush_underflow.h"
#include "kernels/eigh/implicit_ql.h"
#include "kernels/eigh/lane_findings.h"
#include "kernels/eigh/lane_order.h"
#include "kernels/eigh/lane_sort.h"
#include "kernels/eigh/rotations.h"
#include "kernels/eigh/sturm.h"
#include "kernels/eigh/tridiagonal.h"
#include "kernels/simd/memory.h"

// The decomposition of matrices with n > 4, by reduction to tridiagonal form.
namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY {

/// The workspace for `groups` groups of matrices, taken from one piece of memory.
template <typename T, bool is_complex, int groups>
class LaneWorkspace {
 public:
  using G = Group<T, is_complex>;

  static int row(int n) {
    // An odd number of entries, so that columns spread over the cache.
    return (n | 1) * G::entry;
  }

  static int64_t workspace_size(int n, bool vectors) {
    constexpr int64_t W = lane_count<T>;
    const auto size = static_cast<int64_t>(n);
    const int64_t matrix = size * row(n);
    const int64_t each = matrix * (vectors ? 2 : 1) + 2 * size * W + 3 * size * G::entry +
        (vectors ? Rotations<T>::workspace_size(n) : 0);
    return groups * (each + 2 * size * W + SturmSequence<T>::workspace_size(n));
  }

  LaneWorkspace(Memory<T> memory, int n, bool vectors) {
    constexpr int64_t W = lane_count<T>;
    const auto size = static_cast<int64_t>(n);
    const int64_t matrix = size * row(n);
    for (int g = 0; g < groups; ++g) {
      group[g] = {
          n,
          row(n),
          memory.take(matrix),
          vectors ? memory.take(matrix) : nullptr,
          memory.take(2 * size * W),
          memory.take(size * G::entry),
          memory.take(2 * size * G::entry)};
      rotations[g] = {vectors ? memory.take(Rotations<T>::workspace_size(n)) : nullptr, n};
      columns[g] = {group[g].Q, group[g].row, n * G::parts};
      sequence[g] = {n, memory.take(SturmSequence<T>::workspace_size(n))};
    }
    d = memory.take(groups * size * W);
    e = memory.take(groups * size * W);
  }

  G group[groups];
  Rotations<T> rotations[groups];
  Columns<T, G::parts> columns[groups];
  SturmSequence<T> sequence[groups];
  T* d;
  T* e;
};

/// From this n on, the eigenvalues of QL are corrected by Sturm counts, because their errors grow with n.
/// Measurements are in docs/measurements.md.
constexpr int corrected_from = 12;

template <typename T, bool is_complex, int groups>
__attribute__((noinline)) bool solve(
    const LaneWorkspace<T, is_complex, groups>& workspace,
    int n,
    bool vectors,
    const Vec<T> (&size)[groups]) {
  constexpr int W = lane_count<T>;
  for (int g = 0; g < groups; ++g) {
    tridiagonalize<T, is_complex>(workspace.group[g], workspace.d + g * W, workspace.e + g * W, groups * W);
    if (n >= corrected_from) {
      workspace.sequence[g].copy(workspace.d + g * W, workspace.e + g * W, groups * W);
    }
    if (vectors) {
      form_q<T, is_complex>(workspace.group[g]);
    }
  }
  return implicit_ql<T, LaneWorkspace<T, is_complex, groups>::G::parts, groups>(
      n,
      workspace.d,
      workspace.e,
      vectors ? workspace.columns : nullptr,
      workspace.rotations,
      size);
}

/// Corrects the eigenvalues of group `g`, which must be ascending in `workspace.d`. Not inlined because of
/// `FlushUnderflow`, as above.
template <typename T, bool is_complex, int groups>
__attribute__((noinline)) void correct(
    const LaneWorkspace<T, is_complex, groups>& workspace,
    int g,
    const Vec<T>& center) {
  constexpr int W = lane_count<T>;
  correct_by_counting<T>(workspace.sequence[g], workspace.d + g * W, groups * W, center);
}

/// Subtracts the mean of the smallest and the largest diagonal entry from the diagonal and returns it, so that
/// round-off is relative to the differences only. Returns zero in lanes whose entries differ in sign or by more than
/// a factor of 2: within that factor all subtractions are exact.
template <typename T, bool is_complex>
SPECTRALGRAD_INLINE Vec<T> center_of_diagonal(const Group<T, is_complex>& group) {
  auto low = load(group.at(group.A, 0, 0));
  auto high = low;
  for (int i = 1; i < group.n; ++i) {
    const auto entry = load(group.at(group.A, i, i));
    low = smaller(low, entry);
    high = larger(high, entry);
  }
  const Vec<T> zero(T(0));
  const Vec<T> half(T(0.5));
  const auto alike = ((zero < low) & (half * high <= low)) | ((high < zero) & (high <= half * low));
  const auto center = where(alike, half * low + half * high);
  for (int i = 0; i < group.n; ++i) {
    T* entry = group.at(group.A, i, i);
    store(entry, load(entry) - center);
  }
  return center;
}

template <typename T, bool is_complex, int groups>
void decompose_at_once(const EighBatch<T>& batch, int64_t first, int64_t end, T* memory, EighFindings& findings) {
  using G = Group<T, is_complex>;
  constexpr int W = lane_count<T>;
  const int n = batch.n;
  const bool vectors = batch.eigenvectors != nullptr;
  const Vec<T> zero(T(0));
  const LaneWorkspace<T, is_complex, groups> workspace(Memory<T>(memory), n, vectors);
  Members members[groups];
  Vec<T> size[groups];
  Vec<T> from[groups];
  Vec<T> center[groups];
  Vec<T> nan_or_zero[groups];
  LaneOrder<T> row_order[groups];
  for (int g = 0; g < groups; ++g) {
    const auto& group = workspace.group[g];
    // A group beyond the end repeats the last matrix.
    const auto own = first + static_cast<int64_t>(g) * W;
    const auto start = own < end ? own : end - 1;
    members[g] = {start, static_cast<int>(end - start < W ? end - start : W)};
    load_triangle<T, is_complex>(batch.matrices, n, batch.upper, members[g], [&](int i, int j) {
      return group.at(group.A, i, j);
    });
    Extent<T> extent;
    Descent<T> descent; // uses the entries left of the diagonal and on it
    for (int i = 0; i < n; ++i) {
      Extent<T> row_extent;
      for (int j = 0; j <= i; ++j) {
        row_extent.add(load_entry<T, is_complex>(group.at(group.A, i, j)));
      }
      descent.add(row_extent.largest);
      extent.largest = larger(extent.largest, row_extent.largest);
      extent.zeros = extent.zeros + row_extent.zeros;
    }
    const auto finite = extent.finite();
    auto graded = descent.found() & finite;
    if (any<T>(graded)) {
      T* norms = group.scratch;
      graded = graded & find_norms<T, is_complex>(group, norms);
      const int unset = graded.zero_mask();
      alignas(64) T order[largest_n * W];
      sort_lanes(n, norms, W, order);
      for (int lane = 0; lane < W; ++lane) {
        if ((unset >> lane & 1) == 0) {
          row_order[g].sort_lane(n, order, lane);
          load_in_order<T, is_complex>(batch, members[g].matrix_in_lane(lane), group, lane, row_order[g]);
        }
      }
    }
    const Scale<T> units(where(finite, extent.largest));
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j <= i; ++j) {
        T* entry = group.at(group.A, i, j);
        store_entry(entry, where_entry(finite, scale(load_entry<T, is_complex>(entry), units.to)));
      }
    }
    size[g] = units.size;
    from[g] = units.from;
    center[g] = center_of_diagonal(group);
    // NaN in lanes with non-finite matrices, zero in the others.
    nan_or_zero[g] = extent.zeros * zero;
    note<T>(negation<T>(finite), members[g], findings.not_finite);
  }
  bool converged = false;
  {
    const FlushUnderflow flush;
    converged = solve<T, is_complex, groups>(workspace, n, vectors, size);
  }
  if (!converged) {
    lower(findings.not_converged, first);
  }
  for (int g = 0; g < groups && first + static_cast<int64_t>(g) * W < end; ++g) {
    const auto& group = workspace.group[g];
    const auto finish = [&] {
      for (int i = 0; i < n; ++i) {
        T* d = workspace.d + (i * groups + g) * W;
        store(d, fma(load(d) + center[g], from[g], nan_or_zero[g]));
      }
    };
    const bool corrects = n >= corrected_from;
    if (!corrects) {
      finish();
    }
    alignas(64) T place[largest_n * W];
    sort_lanes(n, workspace.d + g * W, groups * W, place);
    if (corrects) {
      {
        const FlushUnderflow flush;
        correct<T, is_complex, groups>(workspace, g, center[g]);
      }
      finish();
    }
    int order[W][largest_n];
    for (int lane = 0; lane < members[g].count; ++lane) {
      T* to = batch.eigenvalues + (members[g].first + lane) * n;
      for (int i = 0; i < n; ++i) {
        to[i] = workspace.d[(i * groups + g) * W + lane];
        order[lane][i] = static_cast<int>(place[i * W + lane]);
      }
    }
    alignas(64) T lane_nan_or_zero[W];
    store(lane_nan_or_zero, nan_or_zero[g]);
    if (!vectors) {
      continue;
    }
    // A few rows at a time, which stay in the cache for all lanes.
    constexpr int rows_at_once = 16 / G::parts;
    for (int row = 0; row < n; row += rows_at_once) {
      const int rows = n - row < rows_at_once ? n - row : rows_at_once;
      for (int lane = 0; lane < members[g].count; ++lane) {
        T* to = batch.eigenvectors + (members[g].first + lane) * n * n * G::parts;
        const T added = lane_nan_or_zero[lane];
        const auto copy = [&](const auto& row_of_matrix) {
          for (int i = 0; i < n; ++i) {
            const T* column = group.at(group.Q, row, order[lane][i]) + lane;
            for (int r = 0; r < rows; ++r) {
              for (int part = 0; part < G::parts; ++part) {
                // The addition also turns -0 into 0.
                to[(i * n + row_of_matrix(row + r)) * G::parts + part] = column[r * group.row + part * W] + added;
              }
            }
          }
        };
        if (row_order[g].is_sorted(lane)) {
          copy([&](int r) { return row_order[g](lane, r); });
        } else {
          copy([](int r) { return r; });
        }
      }
    }
  }
}

template <typename T>
int groups_at_once(int n, bool vectors) {
  return vectors && n > 16 ? 2 : 4;
}

template <typename T, bool is_complex>
void decompose_large(const EighBatch<T>& batch, int64_t begin, int64_t end, T* memory, EighFindings& findings) {
  constexpr int W = lane_count<T>;
  const bool vectors = batch.eigenvectors != nullptr;
  while (begin < end) {
    const int64_t left = (end - begin + W - 1) / W;
    const int64_t groups = groups_at_once<T>(batch.n, vectors);
    if (left >= 4 && groups == 4) {
      decompose_at_once<T, is_complex, 4>(batch, begin, end, memory, findings);
      begin += static_cast<int64_t>(4) * W;
    } else if (left >= 2) {
      decompose_at_once<T, is_complex, 2>(batch, begin, end, memory, findings);
      begin += static_cast<int64_t>(2) * W;
    } else {
      decompose_at_once<T, is_complex, 1>(batch, begin, end, memory, findings);
      begin += W;
    }
  }
}

} // namespace spectralgrad::kernels::simd::inline CPU_CAPABILITY
