#pragma once

#include <nanobind/nanobind.h>

namespace gridless {

void bind_subsample(nanobind::module_& module);

}  // namespace gridless
