#pragma once

#include <nanobind/nanobind.h>

namespace gridless {

void bind_interpolation(nanobind::module_& module);

}  // namespace gridless
