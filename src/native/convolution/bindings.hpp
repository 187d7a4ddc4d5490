#pragma once

#include <nanobind/nanobind.h>

namespace gridless {

void bind_convolution(nanobind::module_& module);

}  // namespace gridless
