#include "kernels/eigh/simd_eigh.h"
#include "kernels/eigh/implicit_ql.h"
#include "kernels/eigh/jacobi.h"
#include "kernels/eigh/sturm.h"
#include "kernels/eigh/tridiagonal.h"
#include "kernels/simd/arithmetic.h"
#include "kernels/simd/exchange.h"
#include "kernels/simd/memory.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// Compiled once for each instruction set.
namespace spectralgrad::kernels::simd {
inline namespace CPU_CAPABILITY {
namespace {

/// While it lives, results that underflow become zero. They are negligible, because the matrices are scaled to about 1,
/// and arithmetic with subnormal numbers is slow. Operands may still be subnormal.
class FlushUnderflow {
 public:
#if defined(__x86_64__)
  FlushUnderflow() : before_(_mm_getcsr()) {
    _mm_setcsr(before_ | _MM_FLUSH_ZERO_ON);
  }
  ~FlushUnderflow() {
    _mm_setcsr(before_);
  }
#else
  FlushUnderflow() : before_(0) {}
  ~FlushUnderflow() {
    static_cast<void>(before_);
  }
#endif
  FlushUnderflow(const FlushUnderflow&) = delete;
  FlushUnderflow& operator=(const FlushUnderflow&) = delete;

 private:
  unsigned before_;
};

void lower(int64_t& lowest, int64_t index) {
  lowest = index < lowest ? index : lowest;
}

/// Lowers `lowest` to the index of the first matrix whose lane is set in `mask`.
template <typename T>
void note(const Mask<T>& mask, const Members& members, int64_t& lowest) {
  const int unset = mask.zero_mask();
  for (int lane = 0; lane < members.count; ++lane) {
    if ((unset >> lane & 1) == 0) {
      lower(lowest, members.first + lane);
      return;
    }
  }
}

// --- n <= 4: in registers --------------------------------------------------------------------------------------------

template <typename T, bool is_complex, int n>
struct Small {
  Vec<T> diagonal[n];
  Entry<T, is_complex> off[n * (n - 1) / 2 + 1];
  Entry<T, is_complex> vectors[n][n];
};

// Not inlined, so that the compiler moves no arithmetic out of the scope of `FlushUnderflow`.
template <typename T, bool is_complex, int n, bool compute_vectors>
__attribute__((noinline)) bool solve(Small<T, is_complex, n>& small, const Vec<T>& size) {
  auto local = small;
  const bool converged = jacobi<T, is_complex, n, compute_vectors>(local.diagonal, local.off, local.vectors, size);
  small = local;
  return converged;
}

template <typename T, bool is_complex, int n, bool compute_vectors>
void decompose_small(const EighBatch<T>& batch, int64_t begin, int64_t end, EighFindings& findings) {
  constexpr int W = lane_count<T>;
  constexpr int parts = is_complex ? 2 : 1;
  const Vec<T> zero(T(0));
  alignas(64) T entries[n][n][parts][W];
  alignas(64) T values[n][W];
  for (auto first = begin; first < end; first += W) {
    const Members members{first, static_cast<int>(end - first < W ? end - first : W)};
    load_triangle<T, is_complex>(batch.matrices, n, batch.upper, members, [&](int i, int j) {
      return &entries[i][j][0][0];
    });
    Small<T, is_complex, n> small;
    Extent<T> extent;
    for (int i = 0; i < n; ++i) {
      small.diagonal[i] = load(&entries[i][i][0][0]);
      extent.add(small.diagonal[i]);
      for (int j = 0; j < i; ++j) {
        const auto entry = load_entry<T, is_complex>(&entries[i][j][0][0]);
        extent.add(entry);
        small.off[above<n>(j, i)] = conj(entry);
      }
    }
    const auto finite = extent.finite();
    const Scale<T> units(where(finite, extent.largest));
    for (int i = 0; i < n; ++i) {
      small.diagonal[i] = where(finite, small.diagonal[i] * units.to);
    }
    for (int i = 0; i < n * (n - 1) / 2; ++i) {
      small.off[i] = where_entry(finite, scale(small.off[i], units.to));
    }
    bool converged = false;
    {
      const FlushUnderflow flush;
      converged = solve<T, is_complex, n, compute_vectors>(small, units.size);
    }
    if (!converged) {
      lower(findings.not_converged, first);
    }
    const auto not_finite = negation<T>(finite);
    if (any<T>(not_finite)) {
      note<T>(not_finite, members, findings.not_finite);
    }
    // NaN in lanes with non-finite matrices, zero in the others. Adding it also turns -0 into 0.
    const auto nan_or_zero = extent.zeros * zero;
    for (int i = 0; i < n; ++i) {
      store(values[i], fma(small.diagonal[i], units.from, nan_or_zero));
      for (int j = 0; compute_vectors && j < n; ++j) {
        if constexpr (is_complex) {
          store(entries[j][i][0], small.vectors[i][j].re + nan_or_zero);
          store(entries[j][i][1], small.vectors[i][j].im + nan_or_zero);
        } else {
          store(entries[j][i][0], small.vectors[i][j] + nan_or_zero);
        }
      }
    }
    T* to_values = batch.eigenvalues + first * n;
    for (int lane = 0; lane < members.count; ++lane) {
      for (int i = 0; i < n; ++i) {
        *to_values++ = values[i][lane];
      }
    }
    if constexpr (compute_vectors) {
      T* to = batch.eigenvectors + first * n * n * parts;
      const T* from = &entries[0][0][0][0];
      for (int lane = 0; lane < members.count; ++lane) {
        for (int i = 0; i < n * n * parts; ++i) {
          *to++ = from[i * W + lane];
        }
      }
    }
  }
}

// --- n > 4: by reduction to tridiagonal form -------------------------------------------------------------------------

/// From this n on, the eigenvalues of QL are corrected by Sturm counts, because their errors grow with n.
/// Measurements are in docs/measurements.md.
constexpr int corrected_from = 12;

/// The workspace for `groups` groups of matrices, taken from one piece of memory.
template <typename T, bool is_complex, int groups>
class Workspace {
 public:
  using G = Group<T, is_complex>;

  static int row(int n) {
    // An odd number of entries, so that columns spread over the cache.
    return (n | 1) * G::entry;
  }

  static int64_t workspace_size(int n, bool vectors) {
    constexpr int64_t W = lane_count<T>;
    const int64_t matrix = static_cast<int64_t>(n) * row(n);
    const int64_t each = matrix * (vectors ? 2 : 1) + 2 * n * W + n * G::entry + 2 * n * G::entry +
        (vectors ? Rotations<T>::workspace_size(n) : 0);
    return groups * (each + 2 * n * W + SturmSequence<T>::workspace_size(n));
  }

  Workspace(Memory<T> memory, int n, bool vectors) {
    constexpr int64_t W = lane_count<T>;
    const int64_t matrix = static_cast<int64_t>(n) * row(n);
    for (int g = 0; g < groups; ++g) {
      group[g] = {
          n,
          row(n),
          memory.take(matrix),
          vectors ? memory.take(matrix) : nullptr,
          memory.take(2 * n * W),
          memory.take(n * G::entry),
          memory.take(2 * n * G::entry)};
      rotations[g] = {vectors ? memory.take(Rotations<T>::workspace_size(n)) : nullptr, n};
      columns[g] = {group[g].Q, group[g].row, n * G::parts};
      sequence[g] = {n, memory.take(SturmSequence<T>::workspace_size(n))};
    }
    d = memory.take(groups * n * W);
    e = memory.take(groups * n * W);
  }

  G group[groups];
  Rotations<T> rotations[groups];
  Columns<T, G::parts> columns[groups];
  SturmSequence<T> sequence[groups];
  T* d;
  T* e;
};

template <typename T, bool is_complex, int groups>
__attribute__((noinline)) bool solve(
    const Workspace<T, is_complex, groups>& workspace,
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
  return implicit_ql<T, Workspace<T, is_complex, groups>::G::parts, groups>(
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
__attribute__((noinline)) void correct(const Workspace<T, is_complex, groups>& workspace, int g, const Vec<T>& center) {
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

/// Sorts `values` in ascending order; order[i] is the previous index of values[i].
template <typename T>
void sort(int n, T* values, int* order) {
  for (int i = 0; i < n; ++i) {
    const T value = values[i];
    int at = i;
    for (; at > 0 && values[at - 1] > value; --at) {
      values[at] = values[at - 1];
      order[at] = order[at - 1];
    }
    values[at] = value;
    order[at] = i;
  }
}

// --- graded matrices: rows in ascending order ------------------------------------------------------------------------

/// Finds out whether a row is much smaller than one before it.
template <typename T>
class Descent {
 public:
  /// Adds the largest entry of the next row.
  SPECTRALGRAD_INLINE void add(const Vec<T>& row) {
    found_ = found_ | (row * Vec<T>(static_cast<T>(graded_rows)) < most_);
    most_ = larger(most_, row);
  }
  SPECTRALGRAD_INLINE Mask<T> found() const {
    return found_;
  }

 private:
  Mask<T> found_{T(0)};
  Vec<T> most_{T(0)};
};

/// Writes the largest entry of each row to `norms`, n registers. Returns in which lanes they descend.
template <typename T, bool is_complex>
__attribute__((noinline)) Mask<T> find_norms(const Group<T, is_complex>& group, T* norms) {
  constexpr int W = lane_count<T>;
  for (int i = 0; i < group.n; ++i) {
    Vec<T> norm(T(0));
    for (int j = 0; j <= i; ++j) {
      const auto size = abs_lower_bound(load_entry<T, is_complex>(group.at(group.A, i, j)));
      norm = larger(norm, size);
      if (j < i) {
        store(norms + j * W, larger(load(norms + j * W), size));
      }
    }
    store(norms + i * W, norm);
  }
  Descent<T> descent;
  for (int i = 0; i < group.n; ++i) {
    descent.add(load(norms + i * W));
  }
  return descent.found();
}

/// The order of the rows and columns of the matrix in each lane.
///
/// The reduction begins with the last row, and QL ends with the first one. So small eigenvalues of a graded matrix keep
/// their relative accuracy only if its large entries come last. R. S. Martin, C. Reinsch and J. H. Wilkinson,
/// Householder's tridiagonalization of a symmetric matrix, Numer. Math. 11, 181-195 (1968), section 4.
template <typename T>
class RowOrder {
 public:
  /// Sorts the rows of one lane by their norms. `norms` has those of all lanes.
  void sort_lane(int n, const T* norms, int lane) {
    T lane_norms[largest_n];
    for (int i = 0; i < n; ++i) {
      lane_norms[i] = norms[i * lane_count<T> + lane];
    }
    sort(n, lane_norms, rows_[lane]);
    is_sorted_[lane] = true;
  }
  bool is_sorted(int lane) const {
    return is_sorted_[lane];
  }
  /// The index in the matrix of row i of a sorted lane.
  int operator()(int lane, int i) const {
    return rows_[lane][i];
  }

 private:
  bool is_sorted_[lane_count<T>] = {};
  int rows_[lane_count<T>][largest_n];
};

/// Loads matrix `index` into one lane, with its rows and columns in `order`.
template <typename T, bool is_complex>
__attribute__((noinline)) void load_in_order(
    const EighBatch<T>& batch,
    int64_t index,
    const Group<T, is_complex>& group,
    int lane,
    const RowOrder<T>& order) {
  const int n = batch.n;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j <= i; ++j) {
      const int p = order(lane, i);
      const int q = order(lane, j);
      // Only one triangle is read; an entry of the other triangle is the conjugate.
      const bool reads = batch.upper ? p <= q : p >= q;
      const T* from = batch.matrices + (index * n * n + (reads ? p * n + q : q * n + p)) * group.parts;
      T* to = group.at(group.A, i, j) + lane;
      to[0] = from[0];
      if constexpr (is_complex) {
        to[lane_count<T>] = i == j ? T(0) : reads ? from[1] : -from[1];
      }
    }
  }
}

template <typename T, bool is_complex, int groups>
void decompose_at_once(const EighBatch<T>& batch, int64_t first, int64_t end, T* memory, EighFindings& findings) {
  using G = Group<T, is_complex>;
  constexpr int W = lane_count<T>;
  const int n = batch.n;
  const bool vectors = batch.eigenvectors != nullptr;
  const Vec<T> zero(T(0));
  const Workspace<T, is_complex, groups> workspace(Memory<T>(memory), n, vectors);
  Members members[groups];
  Vec<T> size[groups];
  Vec<T> from[groups];
  Vec<T> center[groups];
  Vec<T> nan_or_zero[groups];
  RowOrder<T> row_order[groups];
  for (int g = 0; g < groups; ++g) {
    const auto& group = workspace.group[g];
    // A group beyond the end repeats the last matrix.
    const auto start = first + g * W < end ? first + g * W : end - 1;
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
      for (int lane = 0; lane < W; ++lane) {
        if ((unset >> lane & 1) == 0) {
          row_order[g].sort_lane(n, norms, lane);
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
    const auto not_finite = negation<T>(finite);
    if (any<T>(not_finite)) {
      note<T>(not_finite, members[g], findings.not_finite);
    }
  }
  bool converged = false;
  {
    const FlushUnderflow flush;
    converged = solve<T, is_complex, groups>(workspace, n, vectors, size);
  }
  if (!converged) {
    lower(findings.not_converged, first);
  }
  for (int g = 0; g < groups && first + g * W < end; ++g) {
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
    int order[W][largest_n];
    for (int lane = 0; lane < members[g].count; ++lane) {
      T* to = batch.eigenvalues + (members[g].first + lane) * n;
      for (int i = 0; i < n; ++i) {
        to[i] = workspace.d[(i * groups + g) * W + lane];
      }
      sort(n, to, order[lane]);
      // Also writes to the lanes that repeat the last matrix.
      const int lanes_end = lane + 1 < members[g].count ? lane + 1 : W;
      for (int i = 0; corrects && i < n; ++i) {
        for (int same = lane; same < lanes_end; ++same) {
          workspace.d[(i * groups + g) * W + same] = to[i];
        }
      }
    }
    if (corrects) {
      {
        const FlushUnderflow flush;
        correct<T, is_complex, groups>(workspace, g, center[g]);
      }
      finish();
      for (int lane = 0; lane < members[g].count; ++lane) {
        T* to = batch.eigenvalues + (members[g].first + lane) * n;
        for (int i = 0; i < n; ++i) {
          to[i] = workspace.d[(i * groups + g) * W + lane];
        }
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

template <typename T, bool is_complex, int n>
void decompose_small(const EighBatch<T>& batch, int64_t begin, int64_t end, EighFindings& findings) {
  if (batch.eigenvectors != nullptr) {
    decompose_small<T, is_complex, n, true>(batch, begin, end, findings);
  } else {
    decompose_small<T, is_complex, n, false>(batch, begin, end, findings);
  }
}

template <typename T, bool is_complex>
void decompose(const EighBatch<T>& batch, int64_t begin, int64_t end, T* memory, EighFindings& findings) {
  switch (batch.n) {
    case 1:
      return decompose_small<T, is_complex, 1>(batch, begin, end, findings);
    case 2:
      return decompose_small<T, is_complex, 2>(batch, begin, end, findings);
    case 3:
      return decompose_small<T, is_complex, 3>(batch, begin, end, findings);
    case 4:
      return decompose_small<T, is_complex, 4>(batch, begin, end, findings);
    default:
      return decompose_large<T, is_complex>(batch, begin, end, memory, findings);
  }
}

template <typename T>
void decompose(const EighBatch<T>& batch, int64_t begin, int64_t end, T* memory, EighFindings& findings) {
  return batch.is_complex ? decompose<T, true>(batch, begin, end, memory, findings)
                          : decompose<T, false>(batch, begin, end, memory, findings);
}

template <typename T>
int64_t workspace(int n, bool is_complex, bool vectors) {
  if (n <= 4) {
    return 0;
  }
  if (groups_at_once<T>(n, vectors) == 4) {
    return is_complex ? Workspace<T, true, 4>::workspace_size(n, vectors)
                      : Workspace<T, false, 4>::workspace_size(n, vectors);
  }
  return is_complex ? Workspace<T, true, 2>::workspace_size(n, vectors)
                    : Workspace<T, false, 2>::workspace_size(n, vectors);
}

template <typename T>
constexpr EighKernel<T> kernel{lane_count<T>, workspace<T>, decompose<T>};

} // namespace
} // namespace CPU_CAPABILITY

SPECTRALGRAD_DEFINE_KERNEL(EighKernel)

} // namespace spectralgrad::kernels::simd
