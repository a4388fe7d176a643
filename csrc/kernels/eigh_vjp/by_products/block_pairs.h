#pragma once

#include <algorithm>
#include <cstdint>

namespace spectralgrad::kernels {

/// The rows row <= i < row_end and columns column <= j < column_end of a matrix, above the diagonal or on it, together
/// with the transposed range.
struct BlockPair {
  int64_t row;
  int64_t row_end;
  int64_t column;
  int64_t column_end;
};

/// Divides an n x n matrix into blocks of `block` rows and columns, and assigns each unordered pair of blocks to one
/// block row. A block row gets the pairs with the next half of the block rows, cyclically. So all rows have about the
/// same work, and what one row touches is mostly its own.
class BlockPairs {
 public:
  BlockPairs(int64_t n, int64_t block) : n_(n), block_(block), blocks_((n + block - 1) / block) {}

  /// The number of block rows. `for_row` visits them in the order first, last, second, second to last, ...: then any
  /// equal number of consecutive ones is about equal work, although with an even number of blocks the first half have
  /// one pair more.
  int64_t rows() const {
    return blocks_;
  }
  /// Calls f(pair) for the pairs of the i-th block row in that order. Adjacent blocks are merged into one pair.
  template <typename F>
  void for_row(int64_t i, const F& f) const {
    const auto one = i % 2 == 0 ? i / 2 : blocks_ - 1 - i / 2;
    const auto last = one + blocks_ / 2 - (blocks_ % 2 == 0 && one >= blocks_ / 2 ? 1 : 0);
    const auto row = one * block_;
    f(BlockPair{row, end(row), row, last < blocks_ ? end(last * block_) : n_});
    if (last >= blocks_) {
      f(BlockPair{0, end((last - blocks_) * block_), row, end(row)});
    }
  }

 private:
  int64_t end(int64_t begin) const {
    return begin + block_ < n_ ? begin + block_ : n_;
  }

  int64_t n_;
  int64_t block_;
  int64_t blocks_;
};

/// The blocks for one pass over an n x n matrix. They are small enough that a few threads share even a small matrix.
inline BlockPairs pairs_of_pass(int64_t n) {
  return {n, std::clamp<int64_t>(n / 8, 16, 128) / 16 * 16};
}

} // namespace spectralgrad::kernels
