// The arena's promises: alignment, best fit, joining, reuse, and its accounts.
#include "engine/arena.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

namespace nepenthe::tests {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

/// Hands out chunks side by side, and counts what an arena takes and gives back.
struct Backend {
  static constexpr std::size_t slab_bytes = 512 * mebibyte;  // of which the system gives pages as they are touched
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> slab{static_cast<std::byte*>(std::aligned_alloc(4096, slab_bytes))};
  std::size_t end = 0;
  std::vector<std::size_t> taken;
  int released = 0;
  bool full = false;

  Arena arena() {
    return Arena(
        [this](std::size_t bytes) -> void* {
          if (full) throw std::bad_alloc();
          REQUIRE(end + bytes <= slab_bytes);
          taken.push_back(bytes);
          end += bytes;
          return slab.get() + end - bytes;
        },
        [this](void*) { ++released; });
  }
};

TEST_CASE("arena: blocks are aligned, apart, counted, and reused") {
  Backend backend;
  {
    Arena arena = backend.arena();
    CHECK(arena.reserved_bytes() == 0);
    auto a = arena.allocate(1), b = arena.allocate(513), none = arena.allocate(0);
    CHECK(reinterpret_cast<std::uintptr_t>(a.get()) % 512 == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(b.get()) % 512 == 0);
    CHECK(none.get() != nullptr);
    CHECK(none.get() != a.get());
    CHECK(none.get() != b.get());
    CHECK(arena.used_bytes() == 512 + 1024 + 512);
    CHECK(arena.chunk_count() == 1);
    CHECK(arena.reserved_bytes() == backend.taken.at(0));

    void* const first = a.get();
    const std::shared_ptr<void> second_owner = a;
    a.reset();
    CHECK(arena.used_bytes() == 2048);  // still owned
    auto c = arena.allocate(512);
    CHECK(c.get() != first);
    b.reset(), c.reset(), none.reset();
    CHECK(arena.used_bytes() == 512);
    CHECK(arena.peak_bytes() == 2560);
    CHECK(backend.released == 0);
  }
  CHECK(backend.released == 1);
}

TEST_CASE("arena: the smallest hole that fits is taken, neighbours join, chunks do not") {
  Backend backend;
  Arena arena = backend.arena();
  auto big = arena.allocate(4096), wall1 = arena.allocate(512), small = arena.allocate(1024),
       wall2 = arena.allocate(512);
  void* const big_place = big.get();
  void* const small_place = small.get();
  big.reset(), small.reset();
  auto fits = arena.allocate(700);
  CHECK(fits.get() == small_place);
  fits.reset();
  wall1.reset();  // big, wall1 and small are one hole now, in whichever order they came back
  auto joined = arena.allocate(4096 + 512 + 1024);
  CHECK(joined.get() == big_place);
  joined.reset(), wall2.reset();

  // All is free: one block as large as the chunk fits without another chunk; two of them need another one.
  const std::size_t chunk = arena.reserved_bytes();
  auto whole = arena.allocate(chunk);
  CHECK(arena.chunk_count() == 1);
  auto other = arena.allocate(chunk);
  CHECK(arena.chunk_count() == 2);
  // They lie side by side in memory and must not be taken for one, whichever comes back first.
  REQUIRE(static_cast<std::byte*>(whole.get()) + chunk == other.get());
  whole.reset(), other.reset();
  CHECK(arena.allocate(chunk + 512) != nullptr);
  CHECK(arena.chunk_count() == 3);
  whole = arena.allocate(chunk), other = arena.allocate(chunk);
  CHECK(arena.chunk_count() == 3);
  REQUIRE(static_cast<std::byte*>(whole.get()) + chunk == other.get());
  other.reset(), whole.reset();
  const auto third = arena.allocate(chunk + 512), fourth = arena.allocate(2 * chunk);
  CHECK(arena.chunk_count() == 4);
  CHECK(arena.reserved_bytes() == 6 * chunk);
}

TEST_CASE("arena: a failing backend changes nothing") {
  Backend backend;
  Arena arena = backend.arena();
  auto kept = arena.allocate(100);
  backend.full = true;
  CHECK_THROWS_AS(arena.allocate(1024 * mebibyte), std::bad_alloc);
  CHECK(arena.used_bytes() == 512);
  CHECK(arena.chunk_count() == 1);
  CHECK(arena.allocate(100).get() != kept.get());
}

TEST_CASE("arena: thousands of random blocks never overlap, and leave nothing behind") {
  Backend backend;
  Arena arena = backend.arena();
  struct Held {
    std::shared_ptr<void> memory;
    std::size_t bytes;
    unsigned char mark;
  };
  std::vector<Held> held;
  std::mt19937 random(5);
  bool intact = true;
  const auto check_and_drop = [&](std::size_t i) {
    const auto* bytes = static_cast<const unsigned char*>(held[i].memory.get());
    for (std::size_t j = 0; j < held[i].bytes; ++j) intact &= bytes[j] == held[i].mark;
    std::swap(held[i], held.back());
    held.pop_back();
  };
  for (int turn = 0; turn < 4000; ++turn) {
    if (held.size() < 50 || random() % 2 == 0) {
      const std::size_t bytes = random() % (random() % 20 == 0 ? 2 * mebibyte : 3000);
      held.push_back({arena.allocate(bytes), bytes, static_cast<unsigned char>(random())});
      std::memset(held.back().memory.get(), held.back().mark, bytes);
    } else {
      check_and_drop(random() % held.size());
    }
  }
  while (!held.empty()) check_and_drop(held.size() - 1);
  CHECK(intact);
  CHECK(arena.used_bytes() == 0);
  // Everything has joined again: each chunk can be had whole.
  const int chunks = arena.chunk_count();
  std::vector<std::shared_ptr<void>> whole;
  for (const std::size_t bytes : backend.taken) whole.push_back(arena.allocate(bytes));
  CHECK(arena.chunk_count() == chunks);
}

TEST_CASE("arena: the same sequence of a step takes no more memory the second time") {
  Backend backend;
  Arena arena = backend.arena();
  std::size_t reserved = 0;
  for (int step = 0; step < 5; ++step) {
    std::vector<std::shared_ptr<void>> kept;
    for (std::size_t i = 0; i < 60; ++i) {
      kept.push_back(arena.allocate((i * 7919 % 13 + 1) * 200000));
      const auto scratch = arena.allocate(5 * mebibyte);
      if (i % 3 == 0) kept.erase(kept.begin());
    }
    if (step == 0) reserved = arena.reserved_bytes();
    CHECK(arena.reserved_bytes() == reserved);
  }
  CHECK(arena.used_bytes() == 0);
}

}  // namespace
}  // namespace nepenthe::tests
