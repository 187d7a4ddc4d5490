// Positions as all kernels of points take them.
#pragma once

#include <cstdint>

namespace gridless {

// [count, D] contiguous coordinates of type float, or double where `wide`.
struct PointArray {
  const void* data;
  int64_t count;
  bool wide;
};

}  // namespace gridless
