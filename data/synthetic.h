// A made data set in CIFAR-100's binary layout, for tests and for trying the study where no download is possible.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace nepenthe {

inline constexpr int most_synthetic_classes = 250;  // 10 shapes × 5 textures × 5 colours

inline constexpr std::array<std::string_view, 4> synthetic_file_names{"train.bin", "test.bin", "fine_label_names.txt",
                                                                      "coarse_label_names.txt"};

/// Draws `train` and `test` pictures of `classes` classes and writes train.bin, test.bin, fine_label_names.txt and
/// coarse_label_names.txt into `folder`, which is made where it is missing: all of them or, where writing fails, none.
/// The same bytes for the same arguments on any machine (whole numbers only); picture i of a split depends on (seed,
/// split, i, classes) alone.
///
/// A class is a shape with a texture in a colour ("red striped triangle"); five classes that differ only in colour
/// share a coarse class ("striped triangle"). The object is drawn at a random place, size, angle and proportion, over a
/// gradient and smaller distracting objects of any kind, sometimes partly covered, under a coloured light and pixel
/// noise. The colours of neighbouring classes overlap, and a small share of the pictures in both splits (3 %) carries
/// another class's label: these can only be learned by heart, which is what membership inference needs. Label i is i
/// mod classes. Measured (ResNet20 with the study's augmentation, 10 classes, 500 training pictures, batch 32, SGD 0.1
/// cosine): 30 epochs give 70 % on them and 60 % on test pictures, 60 epochs 95 % and 70 % (AUC of the losses 0.69).
///
/// Throws UsageError for counts below 1, classes outside [2, most_synthetic_classes], or where one of the files exists
/// already (nothing is ever overwritten); Error where writing fails.
void write_synthetic(const std::filesystem::path& folder, int train, int test, int classes, std::uint64_t seed);

}  // namespace nepenthe
