// Tables of kernels: for each instruction set one for float and one for double, in the namespace of the set.
#pragma once

#define GRIDLESS_DECLARE_KERNELS(Table, name)                  \
  namespace baseline { GRIDLESS_DECLARE_BOTH(Table, name) }    \
  namespace avx2 { GRIDLESS_DECLARE_BOTH(Table, name) }        \
  namespace avx512 { GRIDLESS_DECLARE_BOTH(Table, name) }
#define GRIDLESS_DECLARE_BOTH(Table, name)    \
  extern const Table<float> name##_float;     \
  extern const Table<double> name##_double;

// Defines kernels_for<T>(InstructionSet): the table of a set (instruction_sets.hpp) that is compiled in.
#define GRIDLESS_DEFINE_KERNELS_FOR(Table, name)                             \
  template <class T>                                                         \
  const Table<T>& kernels_for(InstructionSet instruction_set) {              \
    if constexpr (sizeof(T) == sizeof(float)) {                              \
      GRIDLESS_RETURN_KERNELS(name##_float)                                  \
    } else {                                                                 \
      GRIDLESS_RETURN_KERNELS(name##_double)                                 \
    }                                                                        \
  }
#define GRIDLESS_RETURN_KERNELS(name)                                        \
  switch (instruction_set) {                                                 \
    GRIDLESS_IF_AVX512(case InstructionSet::avx512: return avx512::name;)    \
    GRIDLESS_IF_AVX2(case InstructionSet::avx2: return avx2::name;)          \
    default: return baseline::name;                                          \
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
