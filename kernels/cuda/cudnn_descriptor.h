// cuDNN's backend descriptors as owned values. Enumerators and their types are those of cudnn_graph.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "kernels/cuda/check.h"

namespace nepenthe::kernels {

/// The type that an attribute of C++ type T has for cuDNN.
template <class T>
constexpr cudnnBackendAttributeType_t cudnn_type() {
  if constexpr (std::is_same_v<T, std::int64_t>) {
    return CUDNN_TYPE_INT64;
  } else if constexpr (std::is_same_v<T, float>) {
    return CUDNN_TYPE_FLOAT;
  } else if constexpr (std::is_same_v<T, cudnnHandle_t>) {
    return CUDNN_TYPE_HANDLE;
  } else if constexpr (std::is_same_v<T, cudnnDataType_t>) {
    return CUDNN_TYPE_DATA_TYPE;
  } else if constexpr (std::is_same_v<T, cudnnConvolutionMode_t>) {
    return CUDNN_TYPE_CONVOLUTION_MODE;
  } else if constexpr (std::is_same_v<T, cudnnBackendHeurMode_t>) {
    return CUDNN_TYPE_HEUR_MODE;
  } else if constexpr (std::is_same_v<T, cudnnBackendKnobType_t>) {
    return CUDNN_TYPE_KNOB_TYPE;
  } else {
    static_assert(std::is_same_v<T, cudnnBackendNumericalNote_t>, "no attribute is of this type");
    return CUDNN_TYPE_NUMERICAL_NOTE;
  }
}

/// A descriptor; created, given its attributes, then finalised. Setters and getters throw as NEPENTHE_CHECK does.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t created = nullptr;
    NEPENTHE_CHECK(cudnnBackendCreateDescriptor(type, &created));
    descriptor_.reset(created);
  }

  cudnnBackendDescriptor_t get() const { return descriptor_.get(); }

  template <class T>
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    return set(name, cudnn_type<T>(), static_cast<std::int64_t>(values.size()), values.data());
  }
  template <class T>
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, T value) {
    return set(name, cudnn_type<T>(), 1, &value);
  }
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
    const cudnnBackendDescriptor_t pointer = value.get();
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pointer);
  }
  CudnnDescriptor& set_descriptors(cudnnBackendAttributeName_t name, std::span<const cudnnBackendDescriptor_t> values) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(values.size()), values.data());
  }
  CudnnDescriptor& set_pointers(cudnnBackendAttributeName_t name, std::span<void* const> values) {
    return set(name, CUDNN_TYPE_VOID_PTR, static_cast<std::int64_t>(values.size()), values.data());
  }

  CudnnDescriptor& finalise() {
    NEPENTHE_CHECK(cudnnBackendFinalize(get()));
    return *this;
  }

  /// Writes up to values.size() elements; returns how many the attribute has.
  template <class T>
  std::int64_t get(cudnnBackendAttributeName_t name, std::span<T> values) const {
    return get(name, cudnn_type<T>(), static_cast<std::int64_t>(values.size()), values.data());
  }
  template <class T>
  T get(cudnnBackendAttributeName_t name) const {
    T value{};
    get(name, cudnn_type<T>(), 1, &value);
    return value;
  }
  /// Fills descriptors that the caller has created; returns how many the attribute has.
  std::int64_t get_descriptors(cudnnBackendAttributeName_t name, std::span<cudnnBackendDescriptor_t> values) const {
    return get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(values.size()), values.data());
  }

 private:
  struct Destroy {
    void operator()(cudnnBackendDescriptor_t descriptor) const { cudnnBackendDestroyDescriptor(descriptor); }
  };

  CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                       const void* values) {
    NEPENTHE_CHECK(cudnnBackendSetAttribute(get(), name, type, count, values));
    return *this;
  }
  std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t room,
                   void* values) const {
    std::int64_t count = 0;
    NEPENTHE_CHECK(cudnnBackendGetAttribute(get(), name, type, room, &count, room == 0 ? nullptr : values));
    return count;
  }

  std::unique_ptr<void, Destroy> descriptor_;
};

}  // namespace nepenthe::kernels
