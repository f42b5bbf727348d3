// What a study asks and what it finds, as typed records. study.json is a StudyRecord as JSON: every table and figure of
// the report is made from one.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "unlearning/attacks/mia.h"
#include "unlearning/metrics.h"
#include "unlearning/provenance/identity.h"

namespace nepenthe {

/// Three sources of randomness apart: what is trained, how it is unlearned (fine-tuning alone; a SISA run's redone
/// stages keep the training's, so that they give a retraining's bits), and the attack's cut, splits and bootstrap.
struct Seeds {
  std::uint64_t training = 1, unlearning = 1, evaluation = 1;
  bool operator==(const Seeds&) const = default;
};

enum class Method {
  weights,      // a file of weights, as it is
  training,     // one network trained: the baseline, or the golden standard without F
  fine_tuning,  // unlearning by fine-tuning on what is retained
  sisa,         // a SISA run trained
  unlearning    // a SISA run made to forget F
};
std::string name(Method method);

/// What is to be made and examined; with seeds, one row of a table.
struct Experiment {
  std::string name;   // unique in its study, of letters, digits and dashes: "sisa-unlearned"
  std::string title;  // for people: "SISA, F unlearned"
  Method method = Method::training;
  /// model, shards, epochs, recipe, transfer; what the data, seeds and device decide is filled in by the runner. For
  /// one network `shards` above 1 means that it is trained on shard 0 of so many (the report's Figures 2 and 3).
  TrainingConfig config;
  std::filesystem::path weights;  // to start from; empty: freshly initialised
  std::string from;               // the experiment whose network or run this one goes on with; empty: none
  std::string forget;             // F, a specification by the training seed's permutation
  bool without_forget = false;    // trained without F from the start
  bool curve = false;             // accuracy is taken after every epoch (one network) or stage (shard 0 of a run)
  std::string ceiling;  // the experiment, retrained without F, whose attack is what this one's is laid beside; or empty
  std::string remark;   // what is smaller or other than in the report's setting; empty: nothing
};

/// A network, a run's shard, or its ensemble, on the study's sets.
struct Examined {
  std::string who;                      // "network", "shard 2", "mean posterior", "majority vote"
  std::map<std::string, Metrics> sets;  // test, train, forget, retain
  MiaOutcome attack;                    // F against the test set; none for the majority vote, which has no loss
  MiaOutcome own;                       // of a shard: its part of F
};

struct StudyCost {
  std::int64_t sample_passes = 0, multiply_adds = 0;  // training; three forward passes' worth a sample
  /// Of training alone, device synchronised; none where it was interrupted and so not timed as a whole.
  std::optional<double> train_seconds;
  double eval_seconds = 0, attack_seconds = 0;
};

/// After an epoch of one network, or a stage of shard 0.
struct CurvePoint {
  int epoch = 0;                                                        // done so far, from 1 on
  std::int64_t sample_passes = 0;                                       // so far
  double train_top1 = 0, train_top5 = 0, test_top1 = 0, test_top5 = 0;  // in evaluation mode; of the data trained on
};

/// What the attack sees: losses of F and of the test set, of the network or the mean posterior.
struct LossView {
  /// Bins' edges, equally wide in log10 of the loss in nats; the first and the last bin take all that lies beyond.
  std::vector<double> edges;
  std::vector<std::int64_t> forget, test;  // counts, one fewer than edges
  std::vector<double> fpr, tpr;            // ROC with score = −loss, both ascending, thinned where it is dense
};

/// What a request touches (the report's Figure 1, of the real run).
struct RequestMap {
  struct Shard {
    std::vector<int> samples, forgotten;  // by slice
    int first_stage = 0;                  // m, the first stage made again; 0: nothing to do
    std::vector<int> trained, skipped;    // stages made again; those whose newest slice is wholly forgotten
  };
  std::vector<Shard> shards;
};

/// One experiment under one triple of seeds.
struct Record {
  std::string row;  // "sisa-unlearned", or with several seeds "sisa-unlearned@2.1.1" (training, unlearning, evaluation)
  Experiment experiment;
  Seeds seeds;
  std::string key;                             // SHA-256 of everything that decides it
  std::vector<std::string> commands;           // programs that make and examine the same by hand, in order
  std::map<std::string, std::string> digests;  // of what was made: file, SHA-256
  std::int64_t forgotten = 0;                  // samples of F
  Examined whole;                              // the network, or the mean posterior
  std::optional<Examined> vote;                // of a run
  std::vector<Examined> shards;                // of a run, live ones
  std::vector<Metrics> slices;                 // of a run: slice t of all shards, each by its own shard's network
  std::optional<RequestMap> map;               // of an unlearned run
  std::vector<CurvePoint> curve;
  LossView losses;
  StudyCost cost;
};

/// What requests cost by SISA's plan, exactly, for a number of shards, slices and samples forgotten at random in one
/// request; with equal epochs 2e₀/(R+1) in every stage, rounded up, so that all settings train about as much.
struct CostEstimate {
  int shards = 0, slices = 0, epochs = 0, requests = 0;
  std::int64_t training_passes = 0;
  double request_passes = 0;  // mean of `draws` requests drawn at random
  int draws = 0;
  double shards_touched = 0, formula_shards = 0;  // measured over the draws; S·(1 − (1 − 1/S)^K)
  std::optional<double> formula_passes;           // for one sample: (1/R)·Σ_m Σ_{t≥m} e_t·n_t
};

struct StudyRecord {
  std::string preset, version, command;
  std::string data_name, train_digest, test_digest;
  int samples = 0, test_samples = 0, classes = 0;
  std::string device, precision, libraries;  // the last: versions, for people
  std::vector<Record> records;               // in the study's order
  std::vector<CostEstimate> costs;
  std::string rate_model;         // whose training gave the rate
  double samples_per_second = 0;  // of training, measured here; 0: not measured
};

nlohmann::ordered_json to_json(const Metrics& metrics);
/// {"mean", "standard_error", "interval", "scores", "auc", "tpr_at_fpr", "members", "nonmembers"}; null without attack.
nlohmann::ordered_json to_json(const MiaOutcome& outcome);
/// Of a file with one point a line.
nlohmann::ordered_json to_json(const CurvePoint& point);
/// {"sample_passes", "macs", "train_seconds", "eval_seconds", "attack_seconds"}
nlohmann::ordered_json to_json(const StudyCost& cost);
nlohmann::ordered_json to_json(const Record& record);
nlohmann::ordered_json to_json(const StudyRecord& study);
/// The inverses. Throw Error for what these do not write.
CurvePoint curve_point_from_json(const nlohmann::ordered_json& json);
StudyCost study_cost_from_json(const nlohmann::ordered_json& json);
Record record_from_json(const nlohmann::ordered_json& json);
StudyRecord study_from_json(const nlohmann::ordered_json& json);

}  // namespace nepenthe
