#pragma once

#include <nanobind/nanobind.h>

namespace gridless {

void bind_search(nanobind::module_& module);

}  // namespace gridless
