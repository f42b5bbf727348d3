#include "kernels/memory.h"

#include <new>

#include "backends.h"

namespace nepenthe::tests {
namespace {

TEST_CASE("memory: aligned, and what was copied there comes back") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    for (const std::size_t bytes :
         {std::size_t{1}, std::size_t{511}, std::size_t{512}, std::size_t{100003}, (std::size_t{3} << 20) + 1}) {
      CAPTURE(bytes);
      auto* memory = static_cast<unsigned char*>(allocate(exec, bytes));
      CHECK(reinterpret_cast<std::uintptr_t>(memory) % 512 == 0);
      std::vector<unsigned char> sent(bytes), received(bytes);
      for (std::size_t i = 0; i < bytes; ++i) sent[i] = static_cast<unsigned char>(i * 37 + bytes);
      std::vector<unsigned char> changing = sent;
      copy_to_device(exec, memory, changing.data(), bytes);
      std::fill(changing.begin(), changing.end(), 0);
      copy_to_host(exec, received.data(), memory, bytes);
      CHECK(received == sent);
      // A part of it, from an odd place.
      const std::size_t first = bytes / 3, count = bytes / 2;
      copy_to_device(exec, memory + first, changing.data(), count);
      copy_to_device(exec, memory, changing.data(), 0);
      copy_to_host(exec, received.data(), memory, bytes);
      std::fill_n(sent.begin() + static_cast<std::ptrdiff_t>(first), count, 0);
      CHECK(received == sent);
      synchronize(exec);
      release(exec, memory);
    }
  });
}

TEST_CASE("memory: what a backend says of itself") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    CHECK(kernels::results_are_at_hand(exec) == backend.on_cpu);
    const kernels::MemoryUse use = kernels::memory_use(exec);
    CHECK((use.available > 0) == !backend.on_cpu);
    if (backend.on_cpu) CHECK(use.workspace == 0);
  });
}

TEST_CASE("memory: more than there is") {
  on_cuda<float>(Precision::fp32, [](const auto& backend) {
    auto& exec = *backend.execs.front();
    CHECK_THROWS_AS(allocate(exec, std::size_t{1} << 60), std::bad_alloc);
    release(exec, allocate(exec, 1));  // and goes on
  });
}

}  // namespace
}  // namespace nepenthe::tests
