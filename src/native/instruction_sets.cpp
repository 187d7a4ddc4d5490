#include "instruction_sets.hpp"

#include <stdexcept>

namespace gridless {

std::vector<InstructionSet> usable_instruction_sets() {
  std::vector<InstructionSet> usable{InstructionSet::baseline};
#if defined(GRIDLESS_HAS_avx2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) usable.push_back(InstructionSet::avx2);
#endif
#if defined(GRIDLESS_HAS_avx512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    usable.push_back(InstructionSet::avx512);
#endif
  return usable;
}

const char* name_of(InstructionSet instruction_set) {
  switch (instruction_set) {
    case InstructionSet::baseline: return "baseline";
    case InstructionSet::avx2: return "avx2";
    case InstructionSet::avx512: return "avx512";
  }
  return "unknown";
}

InstructionSet instruction_set_named(const std::string& name) {
  std::string names;
  for (InstructionSet usable : usable_instruction_sets()) {
    if (name == name_of(usable)) return usable;
    names += (names.empty() ? "" : ", ") + std::string(name_of(usable));
  }
  throw std::invalid_argument("instruction set must be one of " + names + " on this machine, got " + name);
}

}  // namespace gridless
