// The program's side of the table: finds and loads the module when the first CudaExec is made, and calls through it.
// Builds that have the backend's own objects link those instead of this one.
#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include <fmt/core.h>

#include "kernels/cuda_module/module.h"

namespace nepenthe::kernels {
namespace {

constexpr const char* file_name = "nepenthe_cuda.so";

/// Beside the program's folder, as in the build and where both are installed; or in it.
std::filesystem::path find_module() {
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::array places{folder.parent_path() / "lib" / file_name, folder / file_name};
  for (const std::filesystem::path& place : places) {
    if (std::filesystem::exists(place)) return place;
  }
  throw std::runtime_error(fmt::format("this build has no CUDA backend ({} is not there)", places[0].string()));
}

/// Never closed: CUDA's libraries do not bear it.
const CudaModule& load_module() {
  const std::filesystem::path file = find_module();
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(fmt::format("the CUDA backend cannot be loaded: {}", dlerror()));
  const auto table = reinterpret_cast<decltype(&nepenthe_cuda_module)>(dlsym(library, "nepenthe_cuda_module"));
  if (table == nullptr || std::string_view(table()->stamp) != NEPENTHE_MODULE_STAMP) {
    throw std::runtime_error(fmt::format("the CUDA backend {} is of another build", file.string()));
  }
  return *table();
}

const CudaModule& backend() {
  static const CudaModule& loaded = load_module();
  return loaded;
}

}  // namespace

CudaExec::CudaExec(Precision precision) : CudaExec(backend().open(precision)) {}

#define NEPENTHE_OPERATION(name, Operands) \
  void name(CudaExec& exec, const Operands& operands) { backend().name(exec, operands); }
#define NEPENTHE_TYPED_OPERATION(name, Operands)                  \
  template <class T>                                              \
  void name(CudaExec& exec, const Operands<T>& operands) {        \
    if constexpr (std::is_same_v<T, float>) {                     \
      backend().name##_float(exec, operands);                     \
    } else {                                                      \
      backend().name##_bf16(exec, operands);                      \
    }                                                             \
  }                                                               \
  template void name(CudaExec&, const Operands<float>& operands); \
  template void name(CudaExec&, const Operands<bf16>& operands);
#define NEPENTHE_FUNCTION(entry, Result, name, parameters, arguments) \
  Result name parameters { return backend().entry arguments; }
#include "kernels/cuda_module/operations.inc"

}  // namespace nepenthe::kernels
