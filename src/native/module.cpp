// The Python module gridless._native.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "convolution/bindings.hpp"
#include "instruction_sets.hpp"
#include "interpolation/bindings.hpp"
#include "parallel.hpp"
#include "search/bindings.hpp"
#include "subsample/bindings.hpp"

namespace nb = nanobind;
using namespace gridless;

NB_MODULE(_native, module) {
  bind_convolution(module);
  bind_interpolation(module);
  bind_search(module);
  bind_subsample(module);
  module.def("borrow_openmp_threads", &borrow_openmp_threads, nb::arg("preferred_directory"));
  module.def("openmp_runtime", &openmp_runtime);
  module.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (InstructionSet usable : usable_instruction_sets()) names.push_back(name_of(usable));
    return names;
  });
}
