#include "engine/formats/pickle.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <tuple>
#include <unordered_map>

#include "engine/base/error.h"
#include "engine/base/file.h"

namespace nepenthe {

namespace {

using Kind = PickleValue::Kind;

/// Operations of the pickle virtual machine, as Python's pickletools names them.
enum class Op : std::uint8_t {
  mark = '(',
  stop = '.',
  none = 'N',
  bin_float = 'G',
  bin_int = 'J',
  bin_int1 = 'K',
  bin_int2 = 'M',
  bin_unicode = 'X',
  bin_persistent_id = 'Q',
  reduce = 'R',
  build = 'b',
  global = 'c',
  append = 'a',
  appends = 'e',
  set_item = 's',
  set_items = 'u',
  bin_put = 'q',
  long_bin_put = 'r',
  bin_get = 'h',
  long_bin_get = 'j',
  tuple = 't',
  empty_tuple = ')',
  empty_list = ']',
  empty_dict = '}',
  protocol = 0x80,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  new_true = 0x88,
  new_false = 0x89,
  long1 = 0x8a
};

/// The global names that tensors and containers need; all but the storages are "called" by Op::reduce.
enum class Function : std::uint8_t { ordered_dict, rebuild_tensor, rebuild_parameter, storage };

struct AllowedName {
  std::string_view module, name;
  Function function;
  DType dtype;  // of storages
};
constexpr std::array<AllowedName, 13> allowed = {{
    {"collections", "OrderedDict", Function::ordered_dict, DType::f32},
    {"torch._utils", "_rebuild_tensor_v2", Function::rebuild_tensor, DType::f32},
    {"torch._utils", "_rebuild_parameter", Function::rebuild_parameter, DType::f32},
    {"torch", "FloatStorage", Function::storage, DType::f32},
    {"torch", "DoubleStorage", Function::storage, DType::f64},
    {"torch", "HalfStorage", Function::storage, DType::f16},
    {"torch", "BFloat16Storage", Function::storage, DType::bf16},
    {"torch", "LongStorage", Function::storage, DType::i64},
    {"torch", "IntStorage", Function::storage, DType::i32},
    {"torch", "ShortStorage", Function::storage, DType::i16},
    {"torch", "CharStorage", Function::storage, DType::i8},
    {"torch", "ByteStorage", Function::storage, DType::u8},
    {"torch", "BoolStorage", Function::storage, DType::boolean},
}};

// Far beyond any checkpoint: they keep the memory that a made-up pickle can take within a small multiple of its size.
constexpr std::size_t longest_pickle = std::size_t{64} << 20;
constexpr std::size_t largest_stack = std::size_t{1} << 22;
constexpr std::size_t most_tensors = std::size_t{1} << 20;
constexpr std::size_t highest_rank = 64;  // as in PyTorch

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> bytes, std::string_view source) : bytes_(bytes), source_(source) {}

  Pickle run() {
    if (bytes_.size() > longest_pickle) fail("has {} bytes; at most {} are read", bytes_.size(), longest_pickle);
    if (u8() != static_cast<std::uint8_t>(Op::protocol)) fail("is no pickle of protocol 2, as torch.save writes it");
    if (const unsigned version = u8(); version != 2) {
      fail("has pickle protocol {}; protocol 2, the default of torch.save, is read", version);
    }
    while (step()) {
    }
    if (!stack_.empty() || !marks_.empty()) fail("ends with values left over; it is damaged");
    return std::move(out_);
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> what, Args&&... args) const {
    throw Error(fmt::format("{}: the pickle {}", source_, fmt::format(what, std::forward<Args>(args)...)));
  }

  // Bytes.
  std::span<const std::byte> take(std::size_t count) {
    if (count > bytes_.size() - position_) fail("ends in the middle of an operation; it is truncated or damaged");
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::uint8_t u8() { return number<std::uint8_t>(); }
  std::string_view line() {
    const std::string_view rest = as_text(bytes_.subspan(position_));
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) fail("ends in the middle of an operation; it is truncated or damaged");
    position_ += end + 1;
    return rest.substr(0, end);
  }

  // Stack and memo.
  void push(PickleValue value) {
    if (stack_.size() >= largest_stack) fail("holds more than {} values at once; no checkpoint does", largest_stack);
    stack_.push_back(value);
  }
  void push(Kind kind, std::size_t index) { push({.kind = kind, .integer = static_cast<std::int64_t>(index)}); }
  /// Values above the last mark cannot be reached past it.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleValue pop() {
    if (stack_.size() <= floor()) fail("takes a value from an empty stack; it is damaged");
    const PickleValue value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue& top() {
    if (stack_.size() <= floor()) fail("takes a value from an empty stack; it is damaged");
    return stack_.back();
  }
  std::vector<PickleValue> pop_to_mark() {
    if (marks_.empty()) fail("closes a group that it never opened; it is damaged");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleValue> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return values;
  }
  std::vector<PickleValue> pop_many(std::size_t count) {
    std::vector<PickleValue> values(count);
    for (std::size_t i = count; i > 0; --i) values[i - 1] = pop();
    return values;
  }
  void get(std::uint32_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) fail("refers to entry {} of its memo, which is empty; it is damaged", slot);
    push(found->second);
  }

  // Containers.
  void push_sequence(Kind kind, std::vector<PickleValue> values) {
    out_.sequences.push_back(std::move(values));
    push(kind, out_.sequences.size() - 1);
  }
  void push_dict() {
    out_.dicts.emplace_back();
    push(Kind::dict, out_.dicts.size() - 1);
  }
  void append_to_list(std::span<const PickleValue> values) {
    const PickleValue list = top();
    if (list.kind != Kind::list) fail("appends to {}; it is damaged", name(list.kind));
    auto& items = out_.sequences[list.index()];
    items.insert(items.end(), values.begin(), values.end());
  }
  void set_in_dict(std::span<const PickleValue> values) {
    const PickleValue dict = top();
    if (dict.kind != Kind::dict) fail("sets items of {}; it is damaged", name(dict.kind));
    if (values.size() % 2 != 0) fail("sets a key without a value; it is damaged");
    for (std::size_t i = 0; i < values.size(); i += 2) out_.dicts[dict.index()].emplace_back(values[i], values[i + 1]);
  }
  void push_text(std::string_view text) {
    out_.texts.emplace_back(text);
    push(Kind::text, out_.texts.size() - 1);
  }

  // Fields of the arguments of the allowed functions.
  const std::vector<PickleValue>& tuple(PickleValue value) const {
    if (value.kind != Kind::tuple) fail("has {} where a tuple belongs; it is damaged", name(value.kind));
    return out_.sequences[value.index()];
  }
  std::int64_t integer(PickleValue value) const {
    if (value.kind != Kind::integer) fail("has {} where a number belongs; it is damaged", name(value.kind));
    return value.integer;
  }
  const std::string& text(PickleValue value) const {
    if (value.kind != Kind::text) fail("has {} where a text belongs; it is damaged", name(value.kind));
    return out_.texts[value.index()];
  }
  std::vector<std::int64_t> sizes(PickleValue value) const {
    const auto& items = tuple(value);
    if (items.size() > highest_rank) fail("has a tensor of {} dimensions; {} are allowed", items.size(), highest_rank);
    std::vector<std::int64_t> numbers;
    numbers.reserve(items.size());
    for (const PickleValue& item : items) numbers.push_back(integer(item));
    return numbers;
  }

  void push_global();
  void push_long();
  void push_storage(PickleValue id);
  void push_tensor(const std::vector<PickleValue>& arguments);
  void call();
  bool step();

  std::span<const std::byte> bytes_;
  std::string_view source_;
  std::size_t position_ = 0;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, PickleValue> memo_;
  std::map<std::tuple<std::string, DType, std::int64_t>, std::size_t> storage_index_;
  Pickle out_;
};

void Unpickler::push_global() {
  const std::string_view module = line();
  const std::string_view global = line();
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    if (allowed[i].module == module && allowed[i].name == global) return push(Kind::function, i);
  }
  fail("names the function {}.{}; only tensors and containers are read", printable(module), printable(global));
}

void Unpickler::push_long() {
  const auto digits = take(u8());
  if (digits.size() > sizeof(std::int64_t)) fail("has a whole number of {} bytes; 8 are read", digits.size());
  const bool negative = !digits.empty() && (digits.back() & std::byte{0x80}) != std::byte{0};
  std::int64_t value = negative ? -1 : 0;
  if (!digits.empty()) std::memcpy(&value, digits.data(), digits.size());
  push({.kind = Kind::integer, .integer = value});
}

/// ('storage', torch.FloatStorage, key, device, number of elements)
void Unpickler::push_storage(PickleValue id) {
  const auto& fields = tuple(id);
  if (fields.size() != 5 || text(fields[0]) != "storage" || fields[1].kind != Kind::function ||
      allowed[fields[1].index()].function != Function::storage) {
    fail("refers to something that is no tensor's storage");
  }
  const PickledStorage storage{text(fields[2]), allowed[fields[1].index()].dtype, integer(fields[4])};
  if (storage.count < 0) fail("has a storage of {} elements", storage.count);
  const auto [known, added] =
      storage_index_.emplace(std::tuple(storage.key, storage.dtype, storage.count), out_.storages.size());
  if (added) out_.storages.push_back(storage);
  push(Kind::storage, known->second);
}

/// (storage, offset, shape, strides, requires_grad, backward hooks [, metadata])
void Unpickler::push_tensor(const std::vector<PickleValue>& arguments) {
  if (arguments.size() < 6 || arguments.size() > 7 || arguments[0].kind != Kind::storage) {
    fail("builds a tensor from something that is no storage; it is damaged");
  }
  PickledTensor tensor{arguments[0].index(), integer(arguments[1]), sizes(arguments[2]), sizes(arguments[3])};
  const auto count = element_count(tensor.shape);
  if (!count) fail("has a tensor of shape {}, which is no shape", to_string(tensor.shape));
  if (tensor.strides.size() != tensor.shape.size()) {
    fail("has a tensor of shape {} with {} strides", to_string(tensor.shape), tensor.strides.size());
  }
  // The stride of a dimension of size 1 means nothing and may be anything.
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == 1) tensor.strides[i] = 0;
  }
  std::int64_t last = tensor.offset;
  bool within = tensor.offset >= 0;
  for (std::size_t i = 0; within && *count > 0 && i < tensor.shape.size(); ++i) {
    std::int64_t reach = 0;
    within = tensor.strides[i] >= 0 && !__builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &reach) &&
             !__builtin_add_overflow(last, reach, &last);
  }
  const std::int64_t available = out_.storages[tensor.storage].count;
  if (!within || (*count > 0 && last >= available)) {
    fail("has a tensor of shape {}, strides {} and offset {} that leaves its storage of {} elements",
         to_string(tensor.shape), to_string(tensor.strides), tensor.offset, available);
  }
  if (out_.tensors.size() >= most_tensors) fail("has more than {} tensors; no checkpoint does", most_tensors);
  out_.tensors.push_back(std::move(tensor));
  push(Kind::tensor, out_.tensors.size() - 1);
}

void Unpickler::call() {
  const std::vector<PickleValue> arguments = tuple(pop());
  const PickleValue callee = pop();
  if (callee.kind != Kind::function) fail("calls {}; it is damaged", name(callee.kind));
  switch (allowed[callee.index()].function) {
    case Function::ordered_dict:
      if (!arguments.empty()) fail("builds an OrderedDict from arguments; torch.save never does");
      return push_dict();
    case Function::rebuild_tensor: return push_tensor(arguments);
    case Function::rebuild_parameter:  // (tensor, requires_grad, backward hooks)
      if (arguments.empty() || arguments[0].kind != Kind::tensor) fail("has a parameter without a tensor");
      return push(arguments[0]);
    case Function::storage: break;
  }
  fail("calls a storage type; torch.save never does");
}

/// Performs one operation; false after the last.
bool Unpickler::step() {
  const std::uint8_t code = u8();
  switch (static_cast<Op>(code)) {
    case Op::stop: out_.root = pop(); return false;
    case Op::mark:
      if (marks_.size() >= largest_stack) fail("opens more than {} groups; no checkpoint does", largest_stack);
      marks_.push_back(stack_.size());
      break;
    case Op::none: push({}); break;
    case Op::new_true: push({.kind = Kind::boolean, .integer = 1}); break;
    case Op::new_false: push({.kind = Kind::boolean, .integer = 0}); break;
    case Op::bin_int: push({.kind = Kind::integer, .integer = number<std::int32_t>()}); break;
    case Op::bin_int1: push({.kind = Kind::integer, .integer = u8()}); break;
    case Op::bin_int2: push({.kind = Kind::integer, .integer = number<std::uint16_t>()}); break;
    case Op::long1: push_long(); break;
    case Op::bin_float:  // the one big-endian number in a pickle
      push({.kind = Kind::real, .real = std::bit_cast<double>(__builtin_bswap64(number<std::uint64_t>()))});
      break;
    case Op::bin_unicode: push_text(as_text(take(number<std::uint32_t>()))); break;
    case Op::empty_tuple: push_sequence(Kind::tuple, {}); break;
    case Op::tuple1: push_sequence(Kind::tuple, pop_many(1)); break;
    case Op::tuple2: push_sequence(Kind::tuple, pop_many(2)); break;
    case Op::tuple3: push_sequence(Kind::tuple, pop_many(3)); break;
    case Op::tuple: push_sequence(Kind::tuple, pop_to_mark()); break;
    case Op::empty_list: push_sequence(Kind::list, {}); break;
    case Op::append: append_to_list(pop_many(1)); break;
    case Op::appends: append_to_list(pop_to_mark()); break;
    case Op::empty_dict: push_dict(); break;
    case Op::set_item: set_in_dict(pop_many(2)); break;
    case Op::set_items: set_in_dict(pop_to_mark()); break;
    case Op::bin_put: memo_[u8()] = top(); break;
    case Op::long_bin_put: memo_[number<std::uint32_t>()] = top(); break;
    case Op::bin_get: get(u8()); break;
    case Op::long_bin_get: get(number<std::uint32_t>()); break;
    case Op::global: push_global(); break;
    case Op::bin_persistent_id: push_storage(pop()); break;
    case Op::reduce: call(); break;
    case Op::build:  // the attributes of a state dict (_metadata: module versions) carry no tensors
      pop();
      if (top().kind != Kind::dict) fail("sets attributes of {}; only those of a dict are known", name(top().kind));
      break;
    default: fail("has operation 0x{:02x}, which torch.save does not emit; only tensors and containers are read", code);
  }
  return true;
}

}  // namespace

std::string_view name(PickleValue::Kind kind) {
  constexpr std::array<std::string_view, 11> names = {"None",       "a boolean", "a number", "a number",
                                                      "a text",     "a tuple",   "a list",   "a dict",
                                                      "a function", "a storage", "a tensor"};
  return names.at(static_cast<std::size_t>(kind));
}

Pickle parse_pickle(std::span<const std::byte> bytes, std::string_view source) {
  return Unpickler(bytes, source).run();
}

}  // namespace nepenthe
