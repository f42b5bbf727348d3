// What a person may have given in place of a data set's folder.
#pragma once

#include <filesystem>
#include <string>

namespace nepenthe {

/// For a path at which no data set lies, or nothing at all: what is there or beside it that explains it, and what would
/// be right: the folder one level lower or higher, the Python version of CIFAR, an archive that is still packed, data
/// in another form. A part of a sentence; empty where nothing is recognised. Throws nothing.
std::string recognise_wrong_folder(const std::filesystem::path& given);

}  // namespace nepenthe
