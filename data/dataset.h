// A data set in host memory, as read from the CIFAR binary files.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/preprocessing.h"

namespace nepenthe {

/// The data sets' own means and deviations, of values in [0, 1] (STUDY §1).
inline constexpr Normalization cifar100_normalization = {.mean = {0.5070F, 0.4865F, 0.4409F},
                                                         .std = {0.2673F, 0.2564F, 0.2761F}};
inline constexpr Normalization cifar10_normalization = {.mean = {0.4914F, 0.4822F, 0.4465F},
                                                        .std = {0.2470F, 0.2435F, 0.2616F}};

/// Of ImageNet, with which torchvision's networks were trained.
inline constexpr Normalization imagenet_normalization = {.mean = {0.485F, 0.456F, 0.406F},
                                                         .std = {0.229F, 0.224F, 0.225F}};

/// One split: `count` pictures of 3×32×32 bytes, planar (R, G, B planes, row major), with their labels.
struct Split {
  std::vector<std::uint8_t> pixels;         // (count, 3, 32, 32)
  std::vector<std::int32_t> labels;         // (count), fine labels
  std::vector<std::int32_t> coarse_labels;  // (count); empty for CIFAR-10
  std::string digest;                       // SHA-256 (hex) over the bytes of its files, in order
  int count() const { return static_cast<int>(labels.size()); }
};

/// Names of a data set's files.
inline constexpr std::array<std::string_view, 4> dataset_file_names{"*.bin", "fine_label_names.txt",
                                                                    "coarse_label_names.txt", "batches.meta.txt"};

struct Dataset {
  std::string name;  // "CIFAR-100" or "CIFAR-10" by its class names, else "data in CIFAR-100's layout"
  std::filesystem::path folder;
  int classes = 0;
  std::vector<std::string> class_names;         // (classes); "0", "1", … without a names file
  std::vector<std::string> coarse_class_names;  // empty for CIFAR-10
  Split train, test;
  Normalization normalization;  // STUDY: the data set's own constants
};

/// Reads a folder of CIFAR-100 binary files (train.bin, test.bin, fine_label_names.txt, coarse_label_names.txt; the
/// name files optional: 100 and 20 classes) or CIFAR-10 binary files (data_batch_1.bin, data_batch_2.bin, … as many as
/// there are, test_batch.bin, batches.meta.txt optional: 10 classes), recognised by the files' names. Throws UsageError
/// where the folder is missing or holds neither, saying what it seems to be instead, and where a data_batch_N.bin is
/// missing before the last or another copy of one lies beside; Error for damaged files (size no multiple of 3074 or
/// 3073 bytes, empty, label out of range), each naming the file, what was found and what is expected.
Dataset read_dataset(const std::filesystem::path& folder);

}  // namespace nepenthe
