// The emulator itself. Built once for each mode; every test runs in all of them.

#include <cuda_emulator_host.h>
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "broken_kernels.h"

namespace {

using namespace cuda_emulator;
using broken::Experiment;

enum Mode { plain, asan, race };
#if defined(__SANITIZE_ADDRESS__)
constexpr Mode mode = asan;
#elif defined(NEPENTHE_EMULATOR_RACE)
constexpr Mode mode = race;
#else
constexpr Mode mode = plain;
#endif

/// An environment variable's value for a while.
class Setting {
 public:
  Setting(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~Setting() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// How a child process ended.
struct End {
  int status;          // of waitpid
  std::string result;  // what `run` returned, or "threw " and the message
  std::string errors;  // what it wrote to stderr

  bool died() const { return !WIFEXITED(status) || WEXITSTATUS(status) != 0; }
};

std::string contents(FILE* file) {
  std::string text;
  std::rewind(file);
  char buffer[4096];
  while (const std::size_t bytes = std::fread(buffer, 1, sizeof(buffer), file)) text.append(buffer, bytes);
  std::fclose(file);
  return text;
}

End in_child(const std::function<std::string()>& run) {
  FILE *result = std::tmpfile(), *errors = std::tmpfile();
  const pid_t child = fork();
  if (child == 0) {
    dup2(fileno(errors), STDERR_FILENO);
    for (const int signal : {SIGSEGV, SIGABRT, SIGILL, SIGBUS}) std::signal(signal, SIG_DFL);  // not the test program's
    std::string text;
    try {
      text = run();
    } catch (const std::exception& error) {
      text = std::string("threw ") + error.what();
    }
    std::fwrite(text.data(), 1, text.size(), result);
    std::fflush(result);
    _exit(0);
  }
  End end{};
  waitpid(child, &end.status, 0);
  end.result = contents(result);
  end.errors = contents(errors);
  return end;
}

End in_child(Experiment experiment, bool mistake, const char* order) {
  return in_child([=] {
    const Setting setting("NEPENTHE_EMULATOR_ORDER", order);
    const std::vector<float> values = experiment(mistake);
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  });
}

template <class T>
T* device_array(std::size_t count) {
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, count * sizeof(T)) == cudaSuccess);
  return static_cast<T*>(memory);
}

std::vector<float> on_host(const float* device, std::size_t count) {
  std::vector<float> values(count);
  REQUIRE(cudaMemcpy(values.data(), device, count * sizeof(float), cudaMemcpyDeviceToHost) == cudaSuccess);
  return values;
}

cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  return stream;
}

/// Which modes catch a mistake, and what their message says; by a wrong or order-dependent result where it is "".
struct Mistake {
  const char* name;
  Experiment experiment;
  const char* message[3];  // plain, asan, race; nullptr where the mode does not see it
};

constexpr const char* by_result = "";
constexpr const char* unseen = nullptr;

const Mistake mistakes[] = {
    {"missing barrier", broken::missing_barrier, {by_result, by_result, "uninitialised read|race of a read"}},
    {"missing barrier before reuse",
     broken::missing_barrier_before_reuse,
     {by_result, by_result, "race of a write with a read|race of a read with a write"}},
    {"missing __syncwarp", broken::missing_syncwarp, {by_result, by_result, "uninitialised read"}},
    {"shuffle in place of __syncwarp",
     broken::shuffle_in_place_of_syncwarp,
     {unseen, unseen, "race of a read with a write"}},
    {"divergent barrier", broken::divergent_barrier, {"but thread", "but thread", "but thread"}},
    {"return before a barrier",
     broken::return_before_barrier,
     {"28 threads of the block have returned", "28 threads of the block have returned",
      "28 threads of the block have returned"}},
    {"shuffle from an absent lane",
     broken::shuffle_from_absent_lane,
     {"which takes no part", "which takes no part", "which takes no part"}},
    {"lane outside its own mask",
     broken::lane_outside_its_mask,
     {"not in its own mask", "not in its own mask", "not in its own mask"}},
    {"lane that never comes",
     broken::lane_that_never_comes,
     {"for lanes 0x00000080", "for lanes 0x00000080", "for lanes 0x00000080"}},
    {"global write out of bounds",
     broken::global_write_out_of_bounds,
     {unseen, "use-after-poison", "access out of bounds"}},
    {"misaligned vector load", broken::misaligned_vector_load, {unseen, "misaligned address", unseen}},
    {"shared write out of bounds",
     broken::shared_write_out_of_bounds,
     {"outside shared memory, beside tile", "use-after-poison", "outside shared memory, beside tile"}},
    {"too much shared memory",
     broken::too_much_shared_memory,
     {"more than 48 KiB", "more than 48 KiB", "more than 48 KiB"}},
    {"uninitialised shared read", broken::uninitialised_shared_read, {by_result, by_result, "uninitialised read"}},
    {"bank conflict", broken::bank_conflict, {unseen, unseen, "2 wavefronts where 1 would do"}},
    {"bank conflict of doubles", broken::bank_conflict_of_doubles, {unseen, unseen, "4 wavefronts where 2 would do"}},
    {"add without an atomic", broken::add_without_atomic, {unseen, unseen, "race of"}},
    {"read of another block's result", broken::read_of_another_block, {unseen, unseen, "race of"}},
    {"missing __threadfence", broken::missing_threadfence, {unseen, unseen, "race of a read with a write"}},
    {"__threadfence of one thread alone",
     broken::threadfence_of_one_thread,
     {unseen, unseen, "race of a read with a write"}},
    {"__threadfence before the write",
     broken::threadfence_before_the_write,
     {unseen, unseen, "race of a read with a write"}},
    {"access before earlier kernels have ended",
     broken::early_access,
     {unseen, unseen, "access before earlier kernels have ended"}},
    {"result by the order of threads", broken::result_by_order_of_threads, {by_result, by_result, by_result}},
};

bool contains_one_of(const std::string& text, const std::string& alternatives) {
  for (std::size_t begin = 0; begin <= alternatives.size();) {
    const std::size_t end = std::min(alternatives.find('|', begin), alternatives.size());
    if (text.find(alternatives.substr(begin, end - begin)) != std::string::npos) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

TEST_CASE("each mode catches the mistakes it claims and passes the kernels without them") {
  for (const Mistake& mistake : mistakes) {
    CAPTURE(mistake.name);
    const End right = in_child(mistake.experiment, false, "natural"),
              reversed = in_child(mistake.experiment, false, "reverse");
    CHECK_FALSE(right.died());
    CHECK(right.errors == "");
    CHECK(right.result.size() == 129 * sizeof(float));
    CHECK(reversed.result == right.result);
    const char* message = mistake.message[mode];
    if (message == unseen) continue;
    bool caught = false;
    for (const char* order : {"natural", "reverse"}) {
      const End end = in_child(mistake.experiment, true, order);
      if (message == std::string(by_result)) {
        caught |= end.result != right.result && end.result.size() == right.result.size();
        continue;
      }
      const bool threw = end.result.starts_with("threw [cuda_emulator] ");
      if (!end.died() && !threw) continue;
      caught = true;
      const std::string said = threw ? end.result : end.errors;
      CAPTURE(said);
      CHECK(contains_one_of(said, message));
      if (threw) CHECK(said.find('\n') == std::string::npos);
    }
    CHECK(caught);
  }
}

TEST_CASE("an error names kernel, block, thread, operation, file and line, and later launches work") {
  const Setting setting("NEPENTHE_EMULATOR_ORDER", "natural");
  for (int i = 0; i < 2; ++i) {
    CHECK_THROWS_WITH_AS(broken::lane_outside_its_mask(true),
                         doctest::Contains("[cuda_emulator] lane_outside_its_mask block (0,0,0) thread (16,0,0): "
                                           "__shfl_xor_sync at broken_kernels.cu:"),
                         Error);
    CHECK(broken::lane_outside_its_mask(false)[3] == 2.0f);
  }
}

TEST_CASE("warp functions") {
  const std::vector<float> out = broken::warp_functions();
  for (int lane = 0; lane < 32; ++lane) {
    const auto i = static_cast<std::size_t>(lane);
    CHECK(out[i] == (lane ^ 3));
    CHECK(out[32 + i] == (lane % 8 < 6 ? lane + 2 : lane));
    CHECK(out[64 + i] == (lane == 0 ? 0 : lane - 1));
  }
  for (std::size_t i = 96; i < 112; ++i) CHECK(out[i] == 5);
  CHECK(std::vector<float>(out.begin() + 112, out.begin() + 118) == std::vector<float>{1, 1, 0, 176, -10, 21});
}

TEST_CASE("votes of a block and atomics") {
  const std::vector<float> out = broken::block_functions();
  CHECK(std::vector<float>(out.begin(), out.begin() + 8) == std::vector<float>{48, 0, 1, 5, 9, 3, 7, 0.5f});
  CHECK(out.back() == 96 % 11);
}

TEST_CASE("launches of impossible shapes") {
  float* values = device_array<float>(1);
  CHECK_THROWS_AS(broken::add(values, 0, 1, nullptr), Error);
  cudaFree(values);
}

TEST_CASE("device memory is out of the host's reach outside kernels and copies") {
  float* values = device_array<float>(1000);
  cudaMemset(values, 0, 1000 * sizeof(float));
  broken::add(values, 1000, 1.5f, nullptr);
  CHECK(on_host(values, 1000) == std::vector<float>(1000, 1.5f));
  for (const bool write : {false, true}) {
    const End end = in_child([=] {
      volatile float* host = values;
      if (write) *host = 1;
      return std::to_string(*host);
    });
    CHECK(end.died());
    CHECK(WTERMSIG(end.status) == SIGSEGV);
  }
  cudaFree(values);
}

TEST_CASE("freed device memory is out of a kernel's reach under AddressSanitizer and is NaN else") {
  float* kept = device_array<float>(1);
  float* values = device_array<float>(64);
  cudaMemset(values, 0, 64 * sizeof(float));
  cudaFree(values);
  const End end = in_child([=] {
    float first = 0;
    enqueue(nullptr, [&] { first = values[0]; });
    return std::string(std::isnan(first) ? "NaN" : "a number");
  });
  CHECK((mode == asan ? end.errors.find("use-after-poison") != std::string::npos : end.result == "NaN"));
  cudaFree(kept);
}

TEST_CASE("work of a library reaches device memory") {
  float* values = device_array<float>(4);
  cudaMemset(values, 0, 16);
  enqueue(nullptr, [=] { values[2] = 7; });
  CHECK(on_host(values, 4) == std::vector<float>{0, 0, 7, 0});
  cudaFree(values);
}

TEST_CASE("fresh device memory is NaN and copies stay in bounds") {
  float* values = device_array<float>(3);
  for (const float value : on_host(values, 3)) CHECK(std::isnan(value));
  float host[4] = {};
  CHECK(cudaMemcpy(host, values, 16, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host, values, 12, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemset(host, 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaPeekAtLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaFree(values) == cudaSuccess);
  CHECK(cudaFree(values) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("the limit of device memory") {
  const Setting setting("NEPENTHE_EMULATOR_MEMORY_MB", "8");
  std::size_t available = 0, total = 0;
  CHECK(cudaMemGetInfo(&available, &total) == cudaSuccess);
  CHECK(total == 8u << 20);
  CHECK(available == total);
  char* memory = device_array<char>(6 << 20);
  cudaMemGetInfo(&available, &total);
  CHECK(available == 2u << 20);
  void* more = memory;
  CHECK(cudaMalloc(&more, 3 << 20) == cudaErrorMemoryAllocation);
  CHECK(more == nullptr);
  CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorMemoryAllocation");
  cudaFree(memory);
  memory = device_array<char>(8 << 20);
  cudaFree(memory);
}

TEST_CASE("devices that cannot be used") {
  int count = 7;
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(std::string(properties.name) == "CUDA emulator");
  CHECK(properties.major * 10 + properties.minor == 90);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  {
    const Setting setting("NEPENTHE_EMULATOR_CAPABILITY", "70");
    int major = 0;
    CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess);
    CHECK(major == 7);
  }
  {
    const Setting setting("NEPENTHE_EMULATOR_DEVICE", "none");
    CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
    CHECK(count == 0);
  }
  {
    const Setting setting("NEPENTHE_EMULATOR_DEVICE", "old_driver");
    CHECK(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver);
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    CHECK(driver < runtime);
  }
  {
    const Setting setting("NEPENTHE_EMULATOR_DEVICE", "broken");
    void* memory = nullptr;
    cudaStream_t stream = nullptr;
    CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
    CHECK(cudaMalloc(&memory, 4) == cudaErrorUnknown);
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaErrorUnknown);
  }
  cudaGetLastError();
}

TEST_CASE("a graph replays kernels, copies and library work with the arguments of their capture") {
  cudaStream_t stream = new_stream();
  float* values = device_array<float>(2);
  float host[2] = {1, 2}, result[2] = {};
  float amount = 10;
  const std::uint64_t before = launches();

  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  cudaStreamCaptureStatus status{};
  cudaStreamIsCapturing(stream, &status);
  CHECK(status == cudaStreamCaptureStatusActive);
  CHECK(cudaMemsetAsync(values, 0, 8, stream) == cudaSuccess);
  CHECK(cudaMemcpyAsync(values, host, 8, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  broken::add(values, 2, amount, stream);
  enqueue(stream, [values] { values[0] *= 2; });
  CHECK(cudaMemcpyAsync(result, values, 8, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(launches() == before);
  CHECK(std::isnan(on_host(values, 2)[0]));

  std::size_t nodes = 0;
  CHECK(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess);
  CHECK(nodes == 5);
  cudaGraphExec_t executable = nullptr;
  CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  amount = 100;
  for (int i = 0; i < 2; ++i) {
    host[0] = static_cast<float>(i);
    CHECK(cudaGraphLaunch(executable, stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(result[0] == static_cast<float>(2 * (i + 10)));
    CHECK(result[1] == 12);
  }
  CHECK(launches() == before + 2);
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  cudaFree(values);
  cudaStreamDestroy(stream);
}

TEST_CASE("what a capture does not allow invalidates it") {
  cudaStream_t stream = new_stream();
  float* values = device_array<float>(2);
  float host[2] = {};
  void* memory = nullptr;
  cudaEvent_t event = nullptr;
  cudaEventCreate(&event);
  cudaEventRecord(event, stream);
  float milliseconds = 0;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaMalloc(&memory, 4); },
      [&] { return cudaFree(values); },
      [&] { return cudaStreamSynchronize(stream); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaMemcpy(host, values, 8, cudaMemcpyDeviceToHost); },
      [&] { return cudaMemset(values, 0, 8); },
      [&] { return cudaEventSynchronize(event); },
      [&] { return cudaEventQuery(event); },
      [&] { return cudaEventElapsedTime(&milliseconds, event, event); },
  };
  for (const auto& call : calls) {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(call() == cudaErrorStreamCaptureUnsupported);
    CHECK_THROWS_AS(broken::add(values, 2, 1, stream), Error);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
  }
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK_THROWS_WITH_AS(broken::add(values, 2, 1, nullptr), doctest::Contains("legacy stream"), Error);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
  CHECK(cudaMemset(values, 0, 8) == cudaSuccess);
  broken::add(values, 2, 1, stream);
  CHECK(on_host(values, 2) == std::vector<float>{1, 1});
  cudaEventDestroy(event);
  cudaFree(values);
  cudaStreamDestroy(stream);
}

TEST_CASE("an error of a kernel comes out of the replay") {
  cudaStream_t stream = new_stream();
  float* values = device_array<float>(2);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  cudaMemsetAsync(values, 0, 8, stream);
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  cudaGraphExec_t executable = nullptr;
  cudaGraphInstantiate(&executable, graph, 0);
  cudaFree(values);
  CHECK_THROWS_AS(cudaGraphLaunch(executable, stream), Error);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST_CASE("events") {
  cudaEvent_t start = nullptr, end = nullptr;
  CHECK(cudaEventCreate(&start) == cudaSuccess);
  CHECK(cudaEventCreateWithFlags(&end, cudaEventDefault) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventRecord(start, nullptr) == cudaSuccess);
  usleep(2000);
  CHECK(cudaEventRecord(end, nullptr) == cudaSuccess);
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventQuery(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess);
  CHECK(milliseconds >= 2);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  cudaGetLastError();
}
