#include "kernels/elementwise.h"

#include <bit>

#include "backends.h"
#include "bf16_cases.h"

namespace nepenthe::tests {
namespace {

using kernels::to_bf16;
using kernels::to_float;

// Of one thread, of one block of them and of several, whole and with a rest.
const std::size_t counts[] = {1, 3, 4, 5, 1023, 1024, 1025, 10007};

TEST_CASE("elementwise: add is exact") {
  on_cuda<float>(Precision::fp32, [](const auto& backend) {
    for (const std::size_t count : counts) {
      CAPTURE(count);
      const auto x = random_floats(count, 1), y = random_floats(count, 2);
      const Outputs out = deterministic(backend, [&](const auto& run) {
        auto sum = run.upload(y);
        add(run.exec, count, sum.data(), run.upload(x).data());
        return Outputs{sum.host()};
      });
      bool right = true;
      for (std::size_t i = 0; i < count; ++i) right &= out[0][i] == y[i] + x[i];
      CHECK(right);
    }
  });
}

TEST_CASE("elementwise: add of bf16 rounds once") {
  on_cuda<bf16>(Precision::bf16, [](const auto& backend) {
    for (const std::size_t count : counts) {
      CAPTURE(count);
      const auto x = backend.rounded(random_floats(count, 1)), y = backend.rounded(random_floats(count, 2));
      const Outputs out = deterministic(backend, [&](const auto& run) {
        auto sum = run.stored(y);
        add(run.exec, count, sum.data(), run.stored(x).data());
        return Outputs{floats_of(sum.host())};
      });
      bool right = true;
      for (std::size_t i = 0; i < count; ++i) right &= out[0][i] == to_float(to_bf16(y[i] + x[i]));
      CHECK(right);
    }
  });
}

TEST_CASE("elementwise: cast to bf16 rounds as the host does") {
  on_cuda<bf16>(Precision::bf16, [](const auto& backend) {
    for (const std::size_t count : counts) {
      CAPTURE(count);
      const auto x = random_floats(count, 1);
      const Outputs out = deterministic(backend, [&](const auto& run) {
        auto narrow = run.stored(poisoned(count));
        cast(run.exec, count, narrow.data(), run.upload(x).data());
        return Outputs{floats_of(narrow.host())};
      });
      CHECK(same_bits(out[0], backend.rounded(x)));
    }
    std::vector<float> special;
    for (const Bf16Case& c : bf16_cases) special.push_back(std::bit_cast<float>(c.from));
    for (const std::uint32_t bits : nan_cases) special.push_back(std::bit_cast<float>(bits));
    const auto run = backend.run();
    auto narrow = run.stored(poisoned(special.size()));
    cast(run.exec, special.size(), narrow.data(), run.upload(special).data());
    const std::vector<bf16> result = narrow.host();
    std::size_t i = 0;
    for (const Bf16Case& c : bf16_cases) {
      CAPTURE(c.from);
      CHECK(result[i++].bits == c.to);
    }
    for (const std::uint32_t bits : nan_cases) {
      CAPTURE(bits);
      CHECK(std::isnan(to_float(result[i++])));
    }
  });
}

TEST_CASE("elementwise: cast from bf16, assigned or added") {
  on_cuda<bf16>(Precision::bf16, [](const auto& backend) {
    for (const std::size_t count : counts) {
      CAPTURE(count);
      const auto x = backend.rounded(random_floats(count, 1));
      for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
        const auto start = before(accumulate, count, 2);
        const Outputs out = deterministic(backend, [&](const auto& run) {
          auto wide = run.upload(start);
          cast(run.exec, count, wide.data(), accumulate, run.stored(x).data());
          return Outputs{wide.host()};
        });
        bool right = true;
        for (std::size_t i = 0; i < count; ++i) {
          right &= out[0][i] == (accumulate == Accumulate::add ? start[i] + x[i] : x[i]);
        }
        CHECK(right);
      }
    }
    std::vector<bf16> all(0x10000);
    for (std::size_t bits = 0; bits < all.size(); ++bits) all[bits].bits = static_cast<std::uint16_t>(bits);
    const auto run = backend.run();
    auto wide = run.upload(poisoned(all.size()));
    cast(run.exec, all.size(), wide.data(), Accumulate::assign, run.upload(all).data());
    CHECK(same_bits(wide.host(), floats_of(all)));
  });
}

TEST_CASE("elementwise: nothing happens to nothing") {
  on_cuda<bf16>(Precision::bf16, [](const auto& backend) {
    const auto run = backend.run();
    auto narrow = run.stored({1, 2});
    auto wide = run.upload(std::vector<float>{3, 4});
    add(run.exec, 0, wide.data(), wide.data());
    cast(run.exec, 0, narrow.data(), wide.data());
    cast(run.exec, 0, wide.data(), Accumulate::assign, narrow.data());
    CHECK(floats_of(narrow.host()) == std::vector<float>{1, 2});
    CHECK(wide.host() == std::vector<float>{3, 4});
  });
}

}  // namespace
}  // namespace nepenthe::tests
