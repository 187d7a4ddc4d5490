#pragma once

#include <nanobind/nanobind.h>

namespace gridless {

void bind_pair_loop(nanobind::module_& module);

}  // namespace gridless
