// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/attribute_collector.h"

#include <algorithm>
#include <tuple>

#include "overlay/tree/attribute_names.h"

namespace unionfs {
namespace {

// The most names of attributes without a place that are remembered, to be told of.
constexpr size_t kMostLeftOut = 20;
// Of a name, in messages.
constexpr size_t kShownBytes = 40;

}  // namespace

Result<void> AttributeCollector::put(FileState& state, std::string_view name, ConstByteSpan value,
                                     std::string_view where) {
  const SourceLimits& limits = context_.limits;
  if (name.size() > limits.name_bytes || value.size() > limits.attribute_value_bytes) {
    return unsupported(
        "{}: the attribute {} has {} bytes in its name and {} in its value; the limits are {} "
        "and {}",
        where, quoted_name(name.substr(0, kShownBytes)), name.size(), value.size(),
        limits.name_bytes, limits.attribute_value_bytes);
  }
  context_.used.attribute_bytes += name.size() + value.size();
  if (context_.used.attribute_bytes > limits.attribute_bytes) {
    return unsupported("{}: more than {} bytes of attributes in all, which is the limit", where,
                       limits.attribute_bytes);
  }
  auto stored = stored_attribute(name, value);
  if (!stored) {
    return invalid("{}: {}: {}", where, printable(name), stored.error().message);
  }
  if (!*stored) {
    if (left_out_.size() < kMostLeftOut) {
      left_out_.emplace(name);
    }
    return {};
  }
  Attribute& attribute = **stored;
  auto& present = state.attributes;
  const auto place = std::lower_bound(
      present.begin(), present.end(), attribute, [](const Attribute& one, const Attribute& other) {
        return std::tie(one.name_index, one.name) < std::tie(other.name_index, other.name);
      });
  if (place != present.end() && place->name_index == attribute.name_index &&
      place->name == attribute.name) {
    place->value = std::move(attribute.value);
    return {};
  }
  if (present.size() >= limits.file_attributes) {
    return unsupported("{}: more than {} attributes, which is the limit", where,
                       limits.file_attributes);
  }
  present.insert(place, std::move(attribute));
  return {};
}

Result<void> AttributeCollector::check(const FileState& state, std::string_view where) const {
  size_t bytes = 0;
  for (const Attribute& attribute : state.attributes) {
    bytes += attribute.name.size() + attribute.value.size();
  }
  if (bytes > context_.limits.file_attribute_bytes) {
    return unsupported("{}: has {} bytes of attributes; the limit is {}", where, bytes,
                       context_.limits.file_attribute_bytes);
  }
  return {};
}

void AttributeCollector::tell_left_out(std::string_view where) const {
  if (!context_.warn) {
    return;
  }
  for (const std::string& name : left_out_) {
    context_.warn(fmt::format("{}: left out extended attributes {}, for which ext2 has no place",
                              where, quoted_name(name)));
  }
}

}  // namespace unionfs
