// Unlearns by fine-tuning on the retain set (STUDY §3).
#include "tools/common/options.h"
#include "tools/common/program.h"
#include "tools/common/single_model.h"

int main(int argc, char** argv) {
  using namespace nepenthe;
  Program program("unlearn_finetune", "Fine-tunes a network on everything but the forget set");
  SingleModelOptions options{.training = {.model = "resnet32", .recipe = {.epochs = 20, .nesterov = false}},
                             .keeps_head = true};
  add_single_model_options(program, options);
  program.app()
      .add_option("--weights", options.training.weights, "The network to fine-tune")
      ->check(existing_file())

      ->type_name("FILE")
      ->required();
  program.app().add_option("--forget", options.left_out, "The samples to unlearn")->type_name("SPEC")->required();
  return program.run(argc, argv, [&] { run_single_model(program, options); });
}
