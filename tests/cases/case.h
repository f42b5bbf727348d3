// The cases of an op, which its test, the gradient check of its reference and the benchmark all run: a header an op.
//
// Odd shapes are tested as they are. Those of a network's layers stand for one picture; the benchmark runs them at its
// batch, tests with a few pictures where that is not too much for them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace nepenthe::cases {

template <class Shape>
struct Case {
  const char* name;
  Shape shape;
  bool network = false;
};

/// The layers' shapes at this batch; `with_batch` is of the op's header.
template <class Shape>
std::vector<Shape> of_network(std::span<const Case<Shape>> cases, int batch) {
  std::vector<Shape> shapes;
  for (const Case<Shape>& each : cases) {
    if (each.network) shapes.push_back(with_batch(each.shape, batch));
  }
  return shapes;
}

/// All cases whose cost is at most `most`, in the op's own measure; layers with two pictures.
template <class Shape, class Cost>
std::vector<Case<Shape>> up_to(std::span<const Case<Shape>> cases, double most, Cost&& cost) {
  std::vector<Case<Shape>> small;
  for (Case<Shape> each : cases) {
    if (each.network) each.shape = with_batch(each.shape, 2);
    if (cost(each.shape) <= most) small.push_back(each);
  }
  return small;
}

}  // namespace nepenthe::cases
