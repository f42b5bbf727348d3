// The bits of trainings, as they are recorded under kernels/revision.h's number: whoever compiled them.
#include <numeric>

#include "device.h"
#include "engine/base/file.h"
#include "engine/formats/safetensors.h"
#include "engine/image_set.h"
#include "engine/model_state.h"
#include "engine/training.h"
#include "kernels/revision.h"
#include "models/registry.h"

namespace nepenthe::tests {
namespace {

using kernels::Isa;

/// Trains a network on a few random pictures; the digest of its weights and statistics.
std::string digest_after(const DeviceSettings& settings, const std::string& name, int image_size, OptimizerKind kind) {
  constexpr int count = 10, classes = 5;
  Device device(settings);
  std::vector<std::uint8_t> pixels(std::size_t{count} * 3 * 32 * 32);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random_bits({.seed = 11}, static_cast<std::uint32_t>(i)).x >> 24);
  }
  const ImageSet images(device, pixels, {3, 1, 4, 1, 0, 2, 2, 4, 3, 0},
                        {{.mean = {0.5f, 0.4f, 0.6f}, .std = {0.25f, 0.3f, 0.2f}}, image_size});
  ModelState model(device, make_architecture(name, classes));
  model.initialize({.seed = 7});
  std::vector<std::int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  CrossEntropy objective(images, ids, 4);  // two whole batches and a smaller one
  const bool adam = kind == OptimizerKind::adam;
  const TrainingJob job{.recipe = {.epochs = 2, .batch = 4, .optimizer = kind, .lr = adam ? 1e-3 : 0.05},
                        .stream = {.seed = 5},
                        .what = "the revision's network",
                        .state_file = {},
                        .identity = "revision"};
  Observer silent;
  Trainer(model).run(objective, job, silent);
  return sha256_hex(serialize_safetensors(model.state_dict()));
}

struct Recorded {
  Isa isa;
  Precision precision;
  std::string resnet20, resnet18;
};

TEST_CASE("revision: trainings have the recorded bits" * doctest::skip(test_device().kind != "cpu")) {
  // Where one of them is another one, what is computed has changed: it wants a new number in kernels/revision.h, and
  // what the test says belongs here.
  REQUIRE(kernels::cpu_revision == "CPU kernels 2");
  const std::vector<Recorded> all = {
      {Isa::v2, Precision::fp32, "c302d444daf5742e736a240687a122f4886c390303ec2b89d1c90acf524c6401",
       "5dd35b0afcadcaf4b8799b788c7ddb48f1676c4b639956c7faf9ee174e3c6d97"},
      {Isa::v2, Precision::bf16, "c5c29c3d86223af8b9be4dc6c335bbae1bf9b4c8bf54932d0231356205e586e7",
       "e52c803a10381ec3ce1dad5d689682e61d93e5d2e2c55cf0d5f26fb1c53e2669"},
      {Isa::v3, Precision::fp32, "6ba2ded98f4e8e55683c151c6b67abea4aa82f388a8b970936847444530a3fa4",
       "4582bdfc399750b060f5b74330fbafb16ee95ac24c72b3dab6a67901f87b354a"},
      {Isa::v3, Precision::bf16, "fa9db75b2b608eb7c6b49c240a9b22edd5f9d09685fcbb6b9bf508d1cacad802",
       "30902d018ab4ada4f8c7a428aae7ac3ff5572cb651abd8b8e7edb3314e0686ce"},
      {Isa::v4, Precision::fp32, "fa16bbe1b5e68563731fa94f7f8c338278def5f04bbd9697227f97c7a87c8c07",
       "6d04560abc6c380bfdf3468cebfcdf43aa64328815f8f4e2f7fdcd357099c11c"},
      {Isa::v4, Precision::bf16, "cd726ae7121099d4eed06a4c1046509ff4787eff9cc8ff6cdaa497915c3b2de4",
       "5839c783d31fa8fad0f2304fbeb87ebe77beaf29101e7558cab57fd5c8307c3c"},
  };
  for (const Recorded& recorded : all) {
    if (!kernels::has(recorded.isa, recorded.precision)) continue;
    const DeviceSettings settings{.kind = "cpu", .precision = recorded.precision, .threads = 2, .isa = recorded.isa};
    CAPTURE(kernels::name(recorded.isa));
    CAPTURE(kernels::name(recorded.precision));
    CHECK(digest_after(settings, "resnet20", 32, OptimizerKind::sgd) == recorded.resnet20);
    CHECK(digest_after(settings, "resnet18", 64, OptimizerKind::adam) == recorded.resnet18);
  }
}

}  // namespace
}  // namespace nepenthe::tests
