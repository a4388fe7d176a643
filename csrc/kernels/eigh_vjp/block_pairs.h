#pragma once

#include <cstdint>

namespace spectralgrad::kernels {

/// Blocks of a matrix, above its diagonal or on it, and those across: rows and columns up to an end.
struct BlockPair {
  int64_t row;
  int64_t row_end;
  int64_t column;
  int64_t column_end;
};

/// Those of an n x n matrix, `block` rows and columns each: each block row with its half of the others, those that follow it in a
/// circle, so that what a block row touches is mostly its own.
class BlockPairs {
 public:
  BlockPairs(int64_t n, int64_t block) : n_(n), block_(block), blocks_((n + block - 1) / block) {}

  /// All block rows, the first with the last, and so on, so that as many are as much work: the first half of an even number have one
  /// pair more, as two blocks are opposite each other.
  int64_t rows() const {
    return blocks_;
  }
  /// Calls f(pair) for the pairs of a block row, in one piece as far as they are adjacent.
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

} // namespace spectralgrad::kernels
