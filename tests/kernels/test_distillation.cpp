#include "kernels/distillation.h"

#include <stdexcept>

#include "backends.h"
#include "reference/distillation.h"
#include "tests/cases/logits.h"

namespace nepenthe::tests {
namespace {

using kernels::LogitsShape;

constexpr float temperatures[] = {0.5f, 1.0f, 4.0f};

TEST_CASE("distillation: the reference's backward is the complex step of its forward") {
  for (const auto& [name, shape, network] : cases::up_to(cases::logits, 250, cases::elements)) {
    for (const double temperature : temperatures) {
      CAPTURE(name);
      CAPTURE(temperature);
      const LogitsShape& s = shape;
      const std::size_t size = std::size_t(s.rows) * s.classes;
      const auto student = widened(random_floats(size, 1, 2)), teacher = widened(random_floats(size, 2, 2));
      const auto expected = complex_step(
          student, [&](const auto& z) { return 0.3 * reference::distillation_forward(s, z, teacher, temperature); });
      CHECK(relative_error(reference::distillation_backward(s, student, teacher, temperature, 0.3), expected) <=
            reference_tolerance);
    }
  }
}

template <class Backend>
std::vector<float> gradient(const Backend& backend, const LogitsShape& s, const std::vector<float>& student,
                            const std::vector<float>& teacher, float temperature, float scale, Accumulate accumulate,
                            const std::vector<float>& start) {
  return deterministic(backend, [&](const auto& run) {
    const auto own = run.upload(student), given = run.upload(teacher);
    auto out = run.upload(start);
    distillation_backward(run.exec, {.shape = s,
                                     .dlogits = out.data(),
                                     .accumulate = accumulate,
                                     .student = own.data(),
                                     .teacher = given.data(),
                                     .temperature = temperature,
                                     .scale = scale});
    return Outputs{out.host()};
  })[0];
}

TEST_CASE("distillation: backward against the reference") {
  each_backend([](const auto& backend) {
    for (const auto& [name, shape, network] : cases::logits) {
      for (const float temperature : temperatures) {
        for (const Accumulate accumulate : {Accumulate::assign, Accumulate::add}) {
          CAPTURE(name);
          CAPTURE(temperature);
          const LogitsShape& s = shape;
          const std::size_t size = std::size_t(s.rows) * s.classes;
          const auto student = random_floats(size, 1, 3), teacher = random_floats(size, 2, 3, 1);
          const auto start = before(accumulate, size, 3);
          // Towards the teacher, and away.
          const float scale = (accumulate == Accumulate::add ? -2.0f : 1.0f) / static_cast<float>(s.rows);
          const auto out = gradient(backend, s, student, teacher, temperature, scale, accumulate, start);
          const auto expected =
              reference::distillation_backward(s, widened(student), widened(teacher), temperature, scale);
          CHECK(relative_error(out, after(accumulate, expected, start)) <= fp32_tolerance);
        }
      }
    }
  });
}

TEST_CASE("distillation: huge logits have finite gradients, and a teacher that agrees none") {
  each_backend([](const auto& backend) {
    const auto assigned = [&](const std::vector<float>& student, const std::vector<float>& teacher) {
      return gradient(backend, {1, static_cast<int>(student.size())}, student, teacher, 2, 1, Accumulate::assign,
                      poisoned(student.size()));
    };
    CHECK(assigned({1e30f, -1e30f, 5}, {-1e30f, 1e30f, 5}) == std::vector<float>{2, -2, 0});
    CHECK(assigned({1, 2, 3}, {1, 2, 3}) == std::vector<float>{0, 0, 0});
    CHECK(std::isnan(assigned({1, std::numeric_limits<float>::quiet_NaN()}, {1, 2})[0]));
  });
}

TEST_CASE("distillation: impossible operands are refused") {
  each_backend([](const auto& backend) {
    auto& exec = *backend.execs.front();
    CHECK_THROWS_AS(distillation_backward(exec, {.shape = {0, 10}, .temperature = 1}), std::invalid_argument);
    for (const float temperature : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN()}) {
      CHECK_THROWS_AS(distillation_backward(exec, {.shape = {1, 10}, .temperature = temperature}),
                      std::invalid_argument);
    }
  });
}

}  // namespace
}  // namespace nepenthe::tests
