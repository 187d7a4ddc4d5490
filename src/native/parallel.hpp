// One parallel loop for all kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace gridless {

// Calls body(task, thread) once for every task in [0, num_tasks), on at most num_threads threads of which the caller
// is one, and returns when all are done. Tasks are handed out one by one, in order, so uneven ones balance.
// What a body throws ends the loop early and is thrown again by the caller.
void parallel_for(int num_threads, int64_t num_tasks, const std::function<void(int64_t task, int thread)>& body);

// Takes the threads of an OpenMP runtime that is already loaded, so that torch's threads and ours are the same and
// never wait for each other's spinning. Prefers a runtime in `preferred_directory`; returns false where there is none
// (then every loop starts threads of its own).
bool borrow_openmp_threads(const std::string& preferred_directory);

// Path of the borrowed runtime; empty for threads of our own.
std::string openmp_runtime();

}  // namespace gridless
