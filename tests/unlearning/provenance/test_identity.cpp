// Identities: what is written, that writing and reading are inverse, and what is refused.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "unlearning/provenance/identity.h"

using namespace nepenthe;
using Json = nlohmann::ordered_json;

TEST_CASE("identity: defaults are not written, and what is written is read") {
  TrainingConfig config{.model = "resnet20", .classes = 4, .samples = 48, .shards = 2, .epochs = {2, 1}};
  config.data_digest = "d";
  CHECK(to_json(config).dump() ==
        R"({"model":"resnet20","classes":4,"samples":48,"shards":2,"epochs":[2,1],"data_digest":"d"})");
  CHECK(to_json(config_from_json(to_json(config))) == to_json(config));

  config.recipe = {.batch = 64, .optimizer = OptimizerKind::adam, .lr = 0.002, .fc_lr = 0.1, .augment = false};
  config.transfer = {.image_size = 64, .normalization = NormalizationKind::imagenet, .freeze_backbone = true};
  config.isa = kernels::Isa::v3;
  config.seed = 7;
  config.precision = "bf16";
  config.class_names_digest = "n";
  config.left_out_digest = "l";
  config.weights_digest = "w";
  config.conv_algorithms_digest = "c";
  const Json json = to_json(config);
  CHECK(json.at("recipe").dump() == R"({"batch":64,"optimizer":"adam","lr":0.002,"fc_lr":0.1,"augment":false})");
  CHECK(json.at("image_size") == 64);
  CHECK(json.at("normalization") == "imagenet");
  CHECK(json.at("freeze") == "backbone");
  CHECK(json.at("instruction_set") == "x86-64-v3");
  CHECK(to_json(config_from_json(json)) == json);
}

TEST_CASE("identity: a field of a newer version is refused, wherever it stands") {
  TrainingConfig config{.model = "resnet20", .classes = 4, .samples = 48};
  Json json = to_json(config);
  json["distill"] = true;
  CHECK_THROWS_WITH_AS(config_from_json(json), doctest::Contains("distill"), Error);
  json = to_json(config);
  json["freeze"] = "head";
  CHECK_THROWS_WITH_AS(config_from_json(json), doctest::Contains("head"), Error);
  json = to_json(config);
  json["normalization"] = "mnist";
  CHECK_THROWS_WITH_AS(config_from_json(json), doctest::Contains("mnist"), Error);
  json = to_json(config);
  json["image_size"] = 33;
  CHECK_THROWS_WITH_AS(config_from_json(json), doctest::Contains("33"), Error);
  json = to_json(config);
  json["recipe"]["label_smoothing"] = 0.1;
  CHECK_THROWS_WITH_AS(config_from_json(json), doctest::Contains("label_smoothing"), Error);
  json = to_json(config);
  json["constants"]["adam_eps"] = 1e-7;
  CHECK_THROWS_WITH_AS(config_from_json(json), doctest::Contains("adam_eps"), Error);
}

TEST_CASE("identity: a normalisation is the data's own by whatever name it is asked for") {
  Device device({.kind = "cpu"});
  Dataset dataset;
  dataset.normalization = cifar10_normalization;
  for (const NormalizationKind kind : {NormalizationKind::own, NormalizationKind::cifar10}) {
    TrainingConfig config{.transfer = {.normalization = kind}};
    complete_config(config, dataset, {}, device);
    CHECK(config.transfer.normalization == NormalizationKind::own);
    CHECK(preprocessing(config.transfer, dataset).normalization == cifar10_normalization);
  }
  TrainingConfig config{.transfer = {.normalization = NormalizationKind::imagenet}};
  complete_config(config, dataset, {}, device);
  CHECK(config.transfer.normalization == NormalizationKind::imagenet);
  CHECK(preprocessing(config.transfer, dataset).normalization == imagenet_normalization);
  CHECK_THROWS_AS(check({.freeze_backbone = true}, {.augment = true}), UsageError);
  CHECK_THROWS_AS(check({.image_size = 48}, {}), UsageError);
}

TEST_CASE("identity: the instruction set of a device's description") {
  CHECK(isa_in("CPU (AMD EPYC, x86-64-v4)") == kernels::Isa::v4);
  CHECK(isa_in("CPU (Some (R) CPU, x86-64-v2)") == kernels::Isa::v2);
  CHECK_FALSE(isa_in("CUDA (NVIDIA H200, sm_90, cuDNN 9.13.0, cuBLASLt 13.0.2)"));
}
