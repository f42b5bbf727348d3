// The report's figures, each made from a study's records alone.
#pragma once

#include <string>
#include <vector>

#include "unlearning/study/report/view.h"

namespace nepenthe {

/// One or several drawings under one caption.
struct Figure {
  std::string name;            // "sharding": its anchor is figure-sharding
  std::string title, caption;  // what it is; how it is read
  /// SVG drawings in rows: what belongs together stands in one row where the page is wide enough.
  std::vector<std::vector<std::string>> rows;
  std::string missing;  // what the preset leaves out, in a sentence; empty: nothing

  std::string html() const;
};

/// Each method's attack with its interval, beside its ceiling.
Figure attack_figure(const StudyView& view);
/// Train and test top-1 of shard 0 of 2, 4 and 10 over epochs: the source report's Figures 2 and 3.
Figure sharding_figure(const StudyView& view);
/// Shard 0 after each stage, from scratch and with transfer: Figure 4.
Figure transfer_figure(const StudyView& view);
/// What a request touched: Figure 1, of the real run.
Figure request_figure(const StudyView& view);
/// Losses of F and of the test set, as the attack sees them.
Figure losses_figure(const StudyView& view);
/// ROC of the attack, both axes logarithmic.
Figure roc_figure(const StudyView& view);
/// Accuracy on each slice, from the one seen longest to the one seen least, before and after.
Figure exposure_figure(const StudyView& view);
/// Cost of a request over slices, and shards touched over requests, with the formulas.
Figure cost_figure(const StudyView& view);

}  // namespace nepenthe
