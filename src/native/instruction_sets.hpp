// Which compiled copies of the kernels this machine can run.
#pragma once

#include <string>
#include <vector>

namespace gridless {

enum class InstructionSet { baseline, avx2, avx512 };

// Compiled in and supported by this machine, the best one last.
std::vector<InstructionSet> usable_instruction_sets();

const char* name_of(InstructionSet instruction_set);

// Raises std::invalid_argument for a name that is not usable here.
InstructionSet instruction_set_named(const std::string& name);

}  // namespace gridless
