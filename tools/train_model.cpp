// Trains one network: the baseline, or with --exclude the golden standard.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "models/registry.h"
#include "tools/common/options.h"
#include "tools/common/program.h"
#include "tools/common/single_model.h"

int main(int argc, char** argv) {
  using namespace nepenthe;
  Program program("train_model", "Trains one network on a data set, or on what --exclude leaves of it");
  SingleModelOptions options{.training = {.model = "resnet32", .recipe = {.epochs = 200}}};
  add_single_model_options(program, options);
  program.app()
      .add_option("--weights", options.training.weights, "Start from these weights")
      ->check(existing_file())
      ->type_name("FILE");
  program.app().add_option("--exclude", options.left_out, "Leave these samples out")->type_name("SPEC");
  return program.run(argc, argv, [&] { run_single_model(program, options); });
}
