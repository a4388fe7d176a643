#pragma once

#include <cstdint>

namespace spectralgrad::kernels {

/// A block of a matrix, above its diagonal or on it, and the one across: rows and columns up to an end.
struct BlockPair {
  int64_t row;
  int64_t row_end;
  int64_t column;
  int64_t column_end;
};

/// Those of an n x n matrix, `block` rows and columns each: each block row with its half of the others, those that follow it in a
/// circle, so that parts of as many pairs are as much work and those of a part share most of what they touch.
class BlockPairs {
 public:
  BlockPairs(int64_t n, int64_t block) : n_(n), block_(block), blocks_((n + block - 1) / block) {}

  int64_t size() const {
    return blocks_ * (blocks_ + 1) / 2;
  }
  BlockPair operator[](int64_t i) const {
    // Of an even number of blocks, those of the first half have one pair more: two are opposite each other.
    const auto many = blocks_ / 2 + 1;
    const auto few = (blocks_ + 1) / 2;
    const auto first_half = blocks_ % 2 == 0 ? blocks_ / 2 : 0;
    const bool in_first = i < first_half * many;
    const auto rest = i - first_half * many;
    const auto one = in_first ? i / many : first_half + rest / few;
    const auto other = (one + (in_first ? i % many : rest % few)) % blocks_;
    const auto row = (one < other ? one : other) * block_;
    const auto column = (one < other ? other : one) * block_;
    return {row, end(row), column, end(column)};
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
