// JSON objects that prove their own contents: their last member is a digest of the others.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace nepenthe {

/// Adds the member "digest": SHA-256 of `before` (for a chain of objects, the digest of the one before) and of the
/// object's compact text. Bytes that are no UTF-8 are replaced first, so that the object can be written.
void seal(nlohmann::ordered_json& object, std::string_view before = {});

/// Whether `object` has a digest and fits it.
bool is_sealed(const nlohmann::ordered_json& object, std::string_view before = {});

}  // namespace nepenthe
