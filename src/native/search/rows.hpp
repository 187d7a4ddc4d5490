// The row of one query while it is searched: candidates by (squared distance, index).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

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

// Few nearest: insertion into a sorted row, whose last entry is the limit that the search prunes by.
class SortedRow {
 public:
  explicit SortedRow(int64_t width) : entries_(static_cast<size_t>(width) + 1), width_(width) {}

  void start(double limit) {
    std::fill(entries_.begin(), entries_.end(), behind_all(limit));
    count_ = 0;
  }
  const Candidate& last() const { return entries_[static_cast<size_t>(width_) - 1]; }
  void offer(const Candidate& candidate) {
    Candidate* place = entries_.data() + width_ - 1;
    while (place != entries_.data() && candidate < place[-1]) {
      *place = place[-1];
      --place;
    }
    *place = candidate;
    if (count_ < width_) ++count_;
  }
  void finish() {}
  const Candidate* begin() const { return entries_.data(); }
  int64_t count() const { return count_; }

 private:
  std::vector<Candidate> entries_;
  int64_t width_;
  int64_t count_ = 0;
};

// Many nearest: twice as many candidates as wanted, from time to time cut down to the nearest half.
class HalvedRow {
 public:
  explicit HalvedRow(int64_t width) : width_(static_cast<size_t>(width)) {}

  void start(double limit) {
    entries_.clear();
    last_ = behind_all(limit);
  }
  const Candidate& last() const { return last_; }
  void offer(const Candidate& candidate) {
    entries_.push_back(candidate);
    if (entries_.size() == 2 * width_) cut();
  }
  void finish() {
    if (entries_.size() > width_) cut();
    std::sort(entries_.begin(), entries_.end());
  }
  const Candidate* begin() const { return entries_.data(); }
  int64_t count() const { return static_cast<int64_t>(entries_.size()); }

 private:
  void cut() {
    std::nth_element(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(width_) - 1, entries_.end());
    entries_.resize(width_);
    last_ = entries_.back();
  }

  std::vector<Candidate> entries_;
  Candidate last_{};
  size_t width_;
};

// All within the limit.
class OpenRow {
 public:
  void start(double limit) {
    entries_.clear();
    last_ = behind_all(limit);
  }
  const Candidate& last() const { return last_; }
  void offer(const Candidate& candidate) { entries_.push_back(candidate); }
  void finish() { std::sort(entries_.begin(), entries_.end()); }
  const Candidate* begin() const { return entries_.data(); }
  int64_t count() const { return static_cast<int64_t>(entries_.size()); }

 private:
  std::vector<Candidate> entries_;
  Candidate last_{};
};

}  // namespace gridless
