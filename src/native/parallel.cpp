#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#endif

namespace gridless {
namespace {

// The entry point that GCC's compiled code calls; LLVM's and Intel's runtimes have it too on Linux.
using GompParallel = void (*)(void (*function)(void*), void* data, unsigned num_threads, unsigned flags);

GompParallel gomp_parallel = nullptr;
std::string gomp_path;

struct Loop {
  const std::function<void(int64_t, int)>& body;
  const int64_t num_tasks;
  std::atomic<int64_t> next_task{0};
  std::atomic<int> next_thread{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure{};  // the first one, written by whoever sets `failed`

  // Exceptions stay in here: one that left a thread's function would end the process.
  void work() noexcept {
    const int thread = next_thread.fetch_add(1, std::memory_order_relaxed);
    try {
      for (;;) {
        const int64_t task = next_task.fetch_add(1, std::memory_order_relaxed);
        if (task >= num_tasks || failed.load(std::memory_order_relaxed)) return;
        body(task, thread);
      }
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }
};

#if defined(__linux__)
int collect_openmp_runtime(dl_phdr_info* info, size_t, void* paths) {
  const char* slash = std::strrchr(info->dlpi_name, '/');
  const char* name = slash ? slash + 1 : info->dlpi_name;
  for (const char* prefix : {"libgomp", "libiomp5", "libomp"}) {
    if (std::strncmp(name, prefix, std::strlen(prefix)) == 0) {
      static_cast<std::vector<std::string>*>(paths)->push_back(info->dlpi_name);
      break;
    }
  }
  return 0;
}
#endif

}  // namespace

bool borrow_openmp_threads(const std::string& preferred_directory) {
#if defined(__linux__)
  std::vector<std::string> paths;
  dl_iterate_phdr(collect_openmp_runtime, &paths);
  std::stable_partition(paths.begin(), paths.end(),
                        [&](const std::string& path) { return path.rfind(preferred_directory, 0) == 0; });
  for (const std::string& path : paths) {
    void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (!library) continue;
    if (void* symbol = dlsym(library, "GOMP_parallel")) {
      gomp_parallel = reinterpret_cast<GompParallel>(symbol);
      gomp_path = path;
      return true;
    }
  }
#else
  (void)preferred_directory;
#endif
  return false;
}

std::string openmp_runtime() { return gomp_path; }

void parallel_for(int num_threads, int64_t num_tasks, const std::function<void(int64_t, int)>& body) {
  num_threads = static_cast<int>(std::min<int64_t>(num_threads, num_tasks));
  Loop loop{body, num_tasks};
  if (num_threads <= 1) {
    loop.work();
  } else if (gomp_parallel) {
    gomp_parallel([](void* data) { static_cast<Loop*>(data)->work(); }, &loop, static_cast<unsigned>(num_threads), 0);
  } else {
    std::vector<std::thread> helpers;
    helpers.reserve(static_cast<size_t>(num_threads) - 1);
    try {
      for (int helper = 1; helper < num_threads; ++helper) helpers.emplace_back([&loop] { loop.work(); });
    } catch (const std::exception&) {
      // Out of threads or of memory for one more: those that there are do all tasks.
    }
    loop.work();
    for (std::thread& helper : helpers) helper.join();
  }
  if (loop.failure) std::rethrow_exception(loop.failure);
}

}  // namespace gridless
