// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/oci_json.h"

#include <algorithm>
#include <ctime>

namespace unionfs {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::string_view kDigestPrefix = "sha256:";
constexpr size_t kDigestDigits = 64;

Failure lacks(const std::string& file, const char* name, const char* what) {
  return invalid("{}: has no \"{}\" that is {}", file, name, what);
}

const OciJson* member(const OciJson& object, const char* name) {
  if (!object.is_object()) {
    return nullptr;
  }
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

bool is_hexadecimal(std::string_view text) {
  return std::ranges::all_of(text, [](char digit) {
    return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f');
  });
}

}  // namespace

Result<OciJson> parse_oci_json(const std::string& file, const std::string& text) {
  bool is_too_deep = false;
  const auto watch = [&](int depth, OciJson::parse_event_t /*event*/, OciJson& /*parsed*/) {
    is_too_deep = is_too_deep || depth > kMaxDepth;
    return depth <= kMaxDepth;
  };
  OciJson parsed = OciJson::parse(text, watch, false);
  if (is_too_deep || !parsed.is_object()) {
    return invalid("{}: is no JSON object{}", file, is_too_deep ? " of this kind" : "");
  }
  return parsed;
}

Result<std::string> oci_text(const std::string& file, const OciJson& object, const char* name) {
  const OciJson* found = member(object, name);
  return found != nullptr && found->is_string() ? Result<std::string>(found->get<std::string>())
                                                : lacks(file, name, "a string");
}

Result<OciJson> oci_object(const std::string& file, const OciJson& object, const char* name) {
  const OciJson* found = member(object, name);
  return found != nullptr && found->is_object() ? Result<OciJson>(*found)
                                                : lacks(file, name, "an object");
}

Result<OciJson> oci_array(const std::string& file, const OciJson& object, const char* name) {
  const OciJson* found = member(object, name);
  return found != nullptr && found->is_array() ? Result<OciJson>(*found)
                                               : lacks(file, name, "an array");
}

Result<OciDescriptor> oci_descriptor(const std::string& file, const OciJson& json) {
  OciDescriptor descriptor;
  UNIONFS_ASSIGN(descriptor.media_type, oci_text(file, json, "mediaType"));
  UNIONFS_ASSIGN(const std::string digest, oci_text(file, json, "digest"));
  if (digest.size() != kDigestPrefix.size() + kDigestDigits || !digest.starts_with(kDigestPrefix) ||
      !is_hexadecimal(std::string_view(digest).substr(kDigestPrefix.size()))) {
    return invalid("{}: the digest {} is no SHA-256", file, quoted_name(digest));
  }
  descriptor.digest = digest.substr(kDigestPrefix.size());
  const OciJson* size = member(json, "size");
  if (size == nullptr || !size->is_number_unsigned()) {
    return lacks(file, "size", "a number");
  }
  descriptor.size_bytes = size->get<uint64_t>();
  return descriptor;
}

std::string oci_annotation(const OciJson& descriptor, const char* name) {
  const OciJson* annotations = member(descriptor, "annotations");
  const OciJson* found = annotations != nullptr ? member(*annotations, name) : nullptr;
  return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
}

std::string oci_time(int64_t seconds) {
  const time_t when = static_cast<time_t>(seconds);
  std::tm parts = {};
  ::gmtime_r(&when, &parts);
  constexpr int kFirstYear = 1900;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", kFirstYear + parts.tm_year,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace unionfs
