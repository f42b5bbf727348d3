// Descriptors of the fake cuDNN: attributes by name, checked as cudnn_graph.h says.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace nepenthe::tests {

/// What went wrong, with cuDNN's status for it.
struct Failure {
  cudnnStatus_t status;
  std::string text;
};

[[noreturn]] inline void fail(cudnnStatus_t status, std::string text) { throw Failure{status, std::move(text)}; }

inline void require(bool holds, cudnnStatus_t status, const char* text) {
  if (!holds) fail(status, text);
}

struct FakeDescriptor;
using SharedDescriptor = std::shared_ptr<FakeDescriptor>;

struct FakeValue {
  cudnnBackendAttributeType_t type;
  std::int64_t count;
  std::vector<std::byte> bytes;
  std::vector<SharedDescriptor> descriptors;
};

struct FakeDescriptor {
  cudnnBackendDescriptorType_t type;
  bool finalised = false;
  std::map<int, FakeValue> values;

  /// Throws Failure for an attribute that is not set.
  const FakeValue& value(cudnnBackendAttributeName_t name) const;
  template <class T>
  std::vector<T> all(cudnnBackendAttributeName_t name) const {
    const FakeValue& found = value(name);
    std::vector<T> elements(static_cast<std::size_t>(found.count));
    std::memcpy(elements.data(), found.bytes.data(), found.bytes.size());
    return elements;
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name) const {
    return all<T>(name)[0];
  }
  const FakeDescriptor& child(cudnnBackendAttributeName_t name) const { return *value(name).descriptors[0]; }
  template <class T>
  void put(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t value_type, const std::vector<T>& elements) {
    FakeValue stored{value_type, static_cast<std::int64_t>(elements.size()), {}, {}};
    stored.bytes.resize(elements.size() * sizeof(T));
    if (!elements.empty()) std::memcpy(stored.bytes.data(), elements.data(), stored.bytes.size());
    values[name] = std::move(stored);
  }
  void put(cudnnBackendAttributeName_t name, std::vector<SharedDescriptor> children) {
    values[name] = {CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(children.size()), {}, std::move(children)};
  }
};

/// What callers hold is a pointer to one of these.
SharedDescriptor create_descriptor(cudnnBackendDescriptorType_t type);
SharedDescriptor& held(cudnnBackendDescriptor_t pointer);
void destroy_descriptor(cudnnBackendDescriptor_t pointer);

/// As cudnnBackendSetAttribute and cudnnBackendGetAttribute; throw Failure.
void set_attribute(FakeDescriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   std::int64_t count, const void* elements);
void get_attribute(const FakeDescriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   std::int64_t room, std::int64_t* count, void* elements);

/// Throws Failure where an attribute is missing that finalising needs.
void check_complete(const FakeDescriptor& d);

}  // namespace nepenthe::tests
