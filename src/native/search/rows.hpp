// The rows of a packet's queries while a tree is searched: candidates by (squared distance, index).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "search/packets.hpp"

namespace gridless {

struct Candidate {
  double squared;
  int64_t index;

  bool operator<(const Candidate& other) const {
    return squared < other.squared || (squared == other.squared && index < other.index);
  }
};

// Behind every candidate with a squared distance of at most `limit`. Distances that overflow are never found.
inline Candidate behind_all(double limit) {
  return {std::min(limit, std::numeric_limits<double>::max()), std::numeric_limits<int64_t>::max()};
}

inline void start_limits(int num_queries, const Candidate& limit, Limits& limits) {
  for (int query = 0; query < kPacketQueries; ++query) {
    limits.squared[query] = query < num_queries ? limit.squared : -1;
    limits.indices[query] = limit.index;
  }
}

inline int64_t width_of_sorted_row(int64_t k) {
  int64_t width = kShortestSortedRow;
  while (width < k) width *= 2;
  return width;
}

// Few nearest, sorted by the kernels.
class NearestRows {
 public:
  NearestRows(int64_t k, TakePoints take) : k_(k), width_(width_of_sorted_row(k)), take_(take) {
    squared_.resize(static_cast<size_t>(kPacketQueries * width_ / kShortestSortedRow));
    indices_.resize(squared_.size());
    rows_ = {squared_.front().numbers, indices_.front().numbers, k};
  }
  NearestRows(const NearestRows&) = delete;

  void* data() { return &rows_; }
  TakePoints take() const { return take_; }
  void start(int num_queries, const Candidate& limit, Limits& limits) {
    start_limits(num_queries, limit, limits);
    std::fill(rows_.squared, rows_.squared + num_queries * width_, limit.squared);
    std::fill(rows_.indices, rows_.indices + num_queries * width_, limit.index);
  }
  template <class Pass>
  void pass(int query, const Pass& pass) {
    const int64_t* const row = rows_.indices + query * width_;
    pass(row, std::find(row, row + k_, std::numeric_limits<int64_t>::max()) - row);
  }

 private:
  template <class T>
  struct alignas(64) Line {
    T numbers[kShortestSortedRow];
  };

  int64_t k_, width_;
  TakePoints take_;
  std::vector<Line<double>> squared_;
  std::vector<Line<int64_t>> indices_;
  SortedRows rows_;
};

// Few nearest, by insertion; the last entry is the limit.
class SortedRow {
 public:
  explicit SortedRow(int64_t width) : entries_(static_cast<size_t>(width)) {}

  void start(const Candidate& limit) { std::fill(entries_.begin(), entries_.end(), limit); }
  const Candidate& last() const { return entries_.back(); }
  void offer(const Candidate& candidate) {
    if (!(candidate < last())) return;
    Candidate* place = &entries_.back();
    for (; place != entries_.data() && candidate < place[-1]; --place) *place = place[-1];
    *place = candidate;
  }
  const std::vector<Candidate>& finish() { return entries_; }

 private:
  std::vector<Candidate> entries_;
};

// Many nearest: twice as many candidates as wanted, from time to time cut down to the nearest half.
class HalvedRow {
 public:
  explicit HalvedRow(int64_t width) : width_(static_cast<size_t>(width)) {}

  void start(const Candidate& limit) {
    entries_.clear();
    last_ = limit;
  }
  const Candidate& last() const { return last_; }
  void offer(const Candidate& candidate) {
    if (!(candidate < last_)) return;
    entries_.push_back(candidate);
    if (entries_.size() == 2 * width_) cut();
  }
  const std::vector<Candidate>& finish() {
    if (entries_.size() > width_) cut();
    std::sort(entries_.begin(), entries_.end());
    return entries_;
  }

 private:
  void cut() {
    std::nth_element(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(width_) - 1, entries_.end());
    entries_.resize(width_);
    last_ = entries_.back();
  }

  size_t width_;
  Candidate last_{};
  std::vector<Candidate> entries_;
};

// All within the limit.
class OpenRow {
 public:
  void start(const Candidate& limit) {
    entries_.clear();
    last_ = limit;
  }
  const Candidate& last() const { return last_; }
  void offer(const Candidate& candidate) { entries_.push_back(candidate); }
  const std::vector<Candidate>& finish() {
    std::sort(entries_.begin(), entries_.end());
    return entries_;
  }

 private:
  Candidate last_{};
  std::vector<Candidate> entries_;
};

// Rows of one of the three kinds above, one a query.
template <class Row>
class KeptRows {
 public:
  explicit KeptRows(const Row& empty) : rows_(kPacketQueries, empty) {}

  void* data() { return rows_.data(); }
  TakePoints take() const {
    return [](Packet& packet, int query, const double* squared, const int64_t* indices, uint32_t entering) {
      Row& row = static_cast<Row*>(packet.rows)[query];
      for (int place = 0; place < kLeafPoints; ++place)
        if (entering >> place & 1) row.offer({squared[place], indices[place]});
      packet.limits.squared[query] = row.last().squared;
      packet.limits.indices[query] = row.last().index;
    };
  }
  void start(int num_queries, const Candidate& limit, Limits& limits) {
    start_limits(num_queries, limit, limits);
    for (int query = 0; query < num_queries; ++query) rows_[static_cast<size_t>(query)].start(limit);
  }
  template <class Pass>
  void pass(int query, const Pass& pass) {
    sources_.clear();
    for (const Candidate& found : rows_[static_cast<size_t>(query)].finish()) {
      if (found.index == std::numeric_limits<int64_t>::max()) break;
      sources_.push_back(found.index);
    }
    pass(sources_.data(), static_cast<int64_t>(sources_.size()));
  }

 private:
  std::vector<Row> rows_;
  std::vector<int64_t> sources_;
};

}  // namespace gridless
