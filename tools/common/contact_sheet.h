// What a model sees in pictures, as one picture for people.
#pragma once

#include <string>
#include <vector>

#include "engine/formats/pictures.h"

namespace nepenthe {

struct SheetEntry {
  std::string title;
  Picture picture;  // a square of `sheet_picture_side`
  struct Guess {
    std::string name;
    double probability;
  };
  std::vector<Guess> guesses;  // the likeliest first; of all entries the same number
};

inline constexpr int sheet_picture_side = 192;

/// The entries in rows, each with its picture, and its guesses with bars of their probabilities. Of text ASCII alone is
/// shown; what is too long is cut. Throws UsageError, naming --out, where the sheet would have more than `most_pixels`.
Picture contact_sheet(const std::string& title, const std::vector<SheetEntry>& entries);

}  // namespace nepenthe
