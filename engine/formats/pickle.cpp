#include "engine/formats/pickle.h"

#include <fmt/format.h>

#include <array>
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
  pop = '0',
  pop_mark = '1',
  none = 'N',
  bin_float = 'G',
  bin_int = 'J',
  bin_int1 = 'K',
  bin_int2 = 'M',
  long1 = 0x8a,
  long4 = 0x8b,
  new_true = 0x88,
  new_false = 0x89,
  bin_string = 'T',
  short_bin_string = 'U',
  bin_unicode = 'X',
  short_bin_unicode = 0x8c,
  bin_unicode8 = 0x8d,
  bin_bytes = 'B',
  short_bin_bytes = 'C',
  bin_bytes8 = 0x8e,
  byte_array8 = 0x96,
  bin_persistent_id = 'Q',
  reduce = 'R',
  build = 'b',
  global = 'c',
  stack_global = 0x93,
  instance = 'i',
  object = 'o',
  new_object = 0x81,
  new_object_ex = 0x92,
  append = 'a',
  appends = 'e',
  set_item = 's',
  set_items = 'u',
  add_items = 0x90,
  bin_put = 'q',
  long_bin_put = 'r',
  memoize = 0x94,
  bin_get = 'h',
  long_bin_get = 'j',
  tuple = 't',
  empty_tuple = ')',
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  empty_list = ']',
  empty_dict = '}',
  empty_set = 0x8f,
  frozen_set = 0x91,
  protocol = 0x80,
  frame = 0x95
};

/// The global names with a meaning; all but the storages make something.
enum class Function : std::uint8_t { ordered_dict, rebuild_tensor, parameter, from_type, storage };

struct KnownName {
  std::string_view module, name;
  Function function;
  DType dtype;  // of storages
};
constexpr std::array<KnownName, 17> known_names = {{
    {"collections", "OrderedDict", Function::ordered_dict, DType::f32},
    {"torch._utils", "_rebuild_tensor", Function::rebuild_tensor, DType::f32},
    {"torch._utils", "_rebuild_tensor_v2", Function::rebuild_tensor, DType::f32},
    {"torch._utils", "_rebuild_parameter", Function::parameter, DType::f32},
    {"torch._utils", "_rebuild_parameter_with_state", Function::parameter, DType::f32},
    {"torch.nn.parameter", "Parameter", Function::parameter, DType::f32},
    {"torch._tensor", "_rebuild_from_type_v2", Function::from_type, DType::f32},
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
constexpr std::size_t longest_key = 256;  // of a storage: PyTorch's are numbers

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> bytes, std::string_view source) : bytes_(bytes), source_(source) {}

  Pickle run() {
    if (bytes_.size() > longest_pickle) fail("has {} bytes; at most {} are read", bytes_.size(), longest_pickle);
    if (u8() != static_cast<std::uint8_t>(Op::protocol))
      fail("is no pickle of protocol 2 to 5, as torch.save writes it");
    if (const unsigned version = u8(); version < 2 || version > 5) {
      fail("has pickle protocol {}; 2 (the default of torch.save) to 5 are read", version);
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
  std::span<const std::byte> take(std::uint64_t count) {
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
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::uint64_t u64() { return number<std::uint64_t>(); }
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
    if (list.kind == Kind::opaque) return;
    if (list.kind != Kind::list) fail("appends to {}; it is damaged", out_.describe(list));
    auto& items = out_.sequences[list.index()];
    items.insert(items.end(), values.begin(), values.end());
  }
  void set_in_dict(std::span<const PickleValue> values) {
    const PickleValue dict = top();
    if (values.size() % 2 != 0) fail("sets a key without a value; it is damaged");
    if (dict.kind == Kind::opaque) return;
    if (dict.kind != Kind::dict) fail("sets items of {}; it is damaged", out_.describe(dict));
    for (std::size_t i = 0; i < values.size(); i += 2) out_.dicts[dict.index()].emplace_back(values[i], values[i + 1]);
  }
  void add_to_set() {
    pop_to_mark();
    if (top().kind != Kind::opaque) fail("adds to {}; it is damaged", out_.describe(top()));
  }
  void push_text(std::string_view text) {
    out_.texts.emplace_back(text);
    push(Kind::text, out_.texts.size() - 1);
  }

  void push_named(Kind kind, std::string_view module, std::string_view name) {
    out_.globals.push_back({module, name});
    push(kind, out_.globals.size() - 1);
  }
  void push_opaque(std::string_view type) { push_named(Kind::opaque, "builtins", type); }

  // Fields of the arguments of the known functions.
  const std::vector<PickleValue>& tuple(PickleValue value) const {
    if (value.kind != Kind::tuple) fail("has {} where a tuple belongs; it is damaged", out_.describe(value));
    return out_.sequences[value.index()];
  }
  std::int64_t integer(PickleValue value) const {
    if (value.kind != Kind::integer) fail("has {} where a whole number belongs; it is damaged", out_.describe(value));
    return value.integer;
  }
  std::string_view text(PickleValue value) const {
    if (value.kind != Kind::text) fail("has {} where a text belongs; it is damaged", out_.describe(value));
    return out_.texts[value.index()];
  }
  std::vector<std::int64_t> sizes(PickleValue value) {
    const auto& items = tuple(value);
    if (items.size() > highest_rank) fail("has a tensor of {} dimensions; {} are allowed", items.size(), highest_rank);
    // One tuple may serve many tensors, each of which has a copy; in PyTorch's pickles each has its own.
    dimensions_ += items.size();
    if (dimensions_ > bytes_.size()) fail("has tensors of more dimensions than bytes; no checkpoint does");
    std::vector<std::int64_t> numbers;
    numbers.reserve(items.size());
    for (const PickleValue& item : items) numbers.push_back(integer(item));
    return numbers;
  }
  /// Null where the name has no meaning or `value` is none.
  const KnownName* known(PickleValue value) const {
    if (value.kind != Kind::global) return nullptr;
    const auto [module, name] = out_.globals[value.index()];
    for (const KnownName& candidate : known_names) {
      if (candidate.module == module && candidate.name == name) return &candidate;
    }
    return nullptr;
  }

  void push_long(std::uint64_t size);
  void push_storage(PickleValue id);
  void push_tensor(std::span<const PickleValue> arguments);
  void make(PickleValue callee, std::span<const PickleValue> arguments);
  bool step();

  std::span<const std::byte> bytes_;
  std::string_view source_;
  std::size_t position_ = 0;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, PickleValue> memo_;
  std::map<std::tuple<std::string_view, DType, std::int64_t>, std::size_t> storage_index_;
  std::size_t dimensions_ = 0;  // of all tensors
  Pickle out_;
};

void Unpickler::push_long(std::uint64_t size) {
  const auto digits = take(size);
  if (digits.size() > sizeof(std::int64_t)) return push_opaque("int");
  const bool negative = !digits.empty() && (digits.back() & std::byte{0x80}) != std::byte{0};
  std::int64_t value = negative ? -1 : 0;
  if (!digits.empty()) std::memcpy(&value, digits.data(), digits.size());
  push({.kind = Kind::integer, .integer = value});
}

/// ('storage', torch.FloatStorage, key, device, number of elements)
void Unpickler::push_storage(PickleValue id) {
  const auto& fields = tuple(id);
  if (fields.size() != 5 || text(fields[0]) != "storage" || fields[1].kind != Kind::global) {
    fail("refers to something that is no tensor's storage");
  }
  const KnownName* type = known(fields[1]);
  if (type == nullptr || type->function != Function::storage) return push(Kind::opaque, fields[1].index());
  const PickledStorage storage{text(fields[2]), type->dtype, integer(fields[4])};
  if (storage.key.size() > longest_key) fail("has a storage of a name of {} bytes", storage.key.size());
  if (storage.count < 0) fail("has a storage of {} elements", storage.count);
  const auto [found, added] =
      storage_index_.emplace(std::tuple(storage.key, storage.dtype, storage.count), out_.storages.size());
  if (added) out_.storages.push_back(storage);
  push(Kind::storage, found->second);
}

/// (storage, offset, shape, strides [, requires_grad, backward hooks [, metadata]])
void Unpickler::push_tensor(std::span<const PickleValue> arguments) {
  if (!arguments.empty() && arguments[0].kind == Kind::opaque) return push(arguments[0]);
  if (arguments.size() < 4 || arguments.size() > 7 || arguments[0].kind != Kind::storage) {
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

/// What Python would make by calling `callee`.
void Unpickler::make(PickleValue callee, std::span<const PickleValue> arguments) {
  if (callee.kind == Kind::opaque) return push(callee);
  if (callee.kind != Kind::global) fail("calls {}; it is damaged", out_.describe(callee));
  if (const KnownName* function = known(callee)) {
    switch (function->function) {
      case Function::ordered_dict:
        if (arguments.empty()) return push_dict();
        break;
      case Function::rebuild_tensor: return push_tensor(arguments);
      case Function::parameter:  // (tensor, requires_grad, backward hooks [, attributes])
        if (arguments.empty() || (arguments[0].kind != Kind::tensor && arguments[0].kind != Kind::opaque)) {
          fail("has a parameter without a tensor");
        }
        return push(arguments[0]);
      case Function::from_type:  // (function, type, its arguments, attributes)
        if (arguments.size() != 4) fail("builds a tensor from {} values; it is damaged", arguments.size());
        if (const KnownName* inner = known(arguments[0]); inner != nullptr && inner->function != Function::from_type) {
          return make(arguments[0], tuple(arguments[2]));
        }
        break;
      case Function::storage: break;
    }
  }
  push(Kind::opaque, callee.index());
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
    case Op::long1: push_long(u8()); break;
    case Op::long4: push_long(u32()); break;
    case Op::bin_float:
      take(sizeof(double));
      push({.kind = Kind::real});
      break;
    case Op::short_bin_string:
    case Op::short_bin_unicode: push_text(as_text(take(u8()))); break;
    case Op::bin_string:
    case Op::bin_unicode: push_text(as_text(take(u32()))); break;
    case Op::bin_unicode8: push_text(as_text(take(u64()))); break;
    case Op::short_bin_bytes:
      take(u8());
      push_opaque("bytes");
      break;
    case Op::bin_bytes:
      take(u32());
      push_opaque("bytes");
      break;
    case Op::bin_bytes8:
      take(u64());
      push_opaque("bytes");
      break;
    case Op::byte_array8:
      take(u64());
      push_opaque("bytearray");
      break;
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
    case Op::empty_set: push_opaque("set"); break;
    case Op::add_items: add_to_set(); break;
    case Op::frozen_set:
      pop_to_mark();
      push_opaque("frozenset");
      break;
    case Op::pop: pop(); break;
    case Op::pop_mark: pop_to_mark(); break;
    case Op::bin_put: memo_[u8()] = top(); break;
    case Op::long_bin_put: memo_[u32()] = top(); break;
    case Op::memoize: memo_[static_cast<std::uint32_t>(memo_.size())] = top(); break;
    case Op::bin_get: get(u8()); break;
    case Op::long_bin_get: get(u32()); break;
    case Op::global: {
      const std::string_view module = line();
      push_named(Kind::global, module, line());
      break;
    }
    case Op::stack_global: {
      const std::string_view name = text(pop());
      push_named(Kind::global, text(pop()), name);
      break;
    }
    case Op::bin_persistent_id: push_storage(pop()); break;
    case Op::reduce:
    case Op::new_object: {
      const std::vector<PickleValue>& arguments = tuple(pop());
      make(pop(), arguments);
      break;
    }
    case Op::new_object_ex: {
      pop();  // arguments with names
      const std::vector<PickleValue>& arguments = tuple(pop());
      make(pop(), arguments);
      break;
    }
    case Op::object: {
      const std::vector<PickleValue> values = pop_to_mark();
      if (values.empty()) fail("makes an object of nothing; it is damaged");
      make(values.front(), std::span(values).subspan(1));
      break;
    }
    case Op::instance: {
      const std::vector<PickleValue> arguments = pop_to_mark();
      const std::string_view module = line();
      push_named(Kind::global, module, line());
      make(pop(), arguments);
      break;
    }
    case Op::build:  // attributes (a state dict's _metadata: module versions) carry no weights
      pop();
      if (const Kind kind = top().kind; kind != Kind::dict && kind != Kind::tensor && kind != Kind::opaque) {
        fail("sets attributes of {}; it is damaged", out_.describe(top()));
      }
      break;
    case Op::frame: u64(); break;  // how many bytes are worth reading at once
    default: fail("has operation 0x{:02x}, which torch.save does not emit; it is damaged", code);
  }
  return true;
}

}  // namespace

std::string Pickle::describe(PickleValue value) const {
  constexpr std::array<std::string_view, 10> names = {"None",    "a boolean", "a number", "a number",  "a text",
                                                      "a tuple", "a list",    "a dict",   "a storage", "a tensor"};
  if (value.kind != Kind::global && value.kind != Kind::opaque) {
    return std::string(names.at(static_cast<std::size_t>(value.kind)));
  }
  const PickledGlobal& global = globals[value.index()];
  return fmt::format("{}{}.{}", value.kind == Kind::global ? "the name " : "an object of ", printable(global.module),
                     printable(global.name));
}

Pickle parse_pickle(std::span<const std::byte> bytes, std::string_view source) {
  return Unpickler(bytes, source).run();
}

}  // namespace nepenthe
