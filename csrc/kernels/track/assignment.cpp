#include "kernels/track/assignment.h"

#include <limits>

namespace spectralgrad::kernels {

std::vector<int64_t> assignment(const std::vector<double>& weights, int64_t n) {
  constexpr auto infinity = std::numeric_limits<double>::infinity();
  // Row and column n stand for "none". The reduced cost of a pair, -weight - row potential - column potential, is never
  // negative, and zero for assigned pairs.
  std::vector<double> of_row(n + 1, 0);
  std::vector<double> of_column(n + 1, 0);
  std::vector<int64_t> row_at(n + 1, n);
  std::vector<int64_t> previous(n + 1, n);
  for (int64_t row = 0; row < n; ++row) {
    // The shortest augmenting path from `row` to a free column, by Dijkstra's method.
    row_at[n] = row;
    int64_t column = n;
    std::vector<double> distance(n + 1, infinity);
    std::vector<char> visited(n + 1, 0);
    while (row_at[column] != n) {
      visited[column] = 1;
      const auto current = row_at[column];
      auto shortest = infinity;
      int64_t next = n;
      for (int64_t j = 0; j < n; ++j) {
        if (visited[j]) {
          continue;
        }
        const auto reduced = -weights[current * n + j] - of_row[current] - of_column[j];
        if (reduced < distance[j]) {
          distance[j] = reduced;
          previous[j] = column;
        }
        if (distance[j] < shortest) {
          shortest = distance[j];
          next = j;
        }
      }
      for (int64_t j = 0; j <= n; ++j) {
        if (visited[j]) {
          of_row[row_at[j]] += shortest;
          of_column[j] -= shortest;
        } else {
          distance[j] -= shortest;
        }
      }
      column = next;
    }
    for (; column != n; column = previous[column]) {
      row_at[column] = row_at[previous[column]];
    }
  }
  std::vector<int64_t> result(n);
  for (int64_t j = 0; j < n; ++j) {
    result[row_at[j]] = j;
  }
  return result;
}

} // namespace spectralgrad::kernels
