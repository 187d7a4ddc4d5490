// Tables of kernels: one of a name in the namespace of each instruction set.
#pragma once

#define GRIDLESS_DECLARE_KERNELS(Type, name)     \
  namespace baseline { extern const Type name; } \
  namespace avx2 { extern const Type name; }     \
  namespace avx512 { extern const Type name; }

// Returns the table of an InstructionSet (instruction_sets.hpp) that is compiled in.
#define GRIDLESS_RETURN_KERNELS(instruction_set, name)                     \
  switch (instruction_set) {                                               \
    GRIDLESS_IF_AVX512(case InstructionSet::avx512: return avx512::name;)  \
    GRIDLESS_IF_AVX2(case InstructionSet::avx2: return avx2::name;)        \
    default: return baseline::name;                                        \
  }

#if defined(GRIDLESS_HAS_avx2)
#define GRIDLESS_IF_AVX2(...) __VA_ARGS__
#else
#define GRIDLESS_IF_AVX2(...)
#endif
#if defined(GRIDLESS_HAS_avx512)
#define GRIDLESS_IF_AVX512(...) __VA_ARGS__
#else
#define GRIDLESS_IF_AVX512(...)
#endif
