// SPDX-License-Identifier: BSD-3-Clause
//
// The JSON of OCI layouts as input: bounded in size and depth, and without exceptions.
#ifndef UNIONFS_OVERLAY_SINKS_OCI_JSON_H
#define UNIONFS_OVERLAY_SINKS_OCI_JSON_H

#include <nlohmann/json.hpp>
#include <string>

#include "fsparse/result.h"

namespace unionfs {

// Keeps the order of members, so that what is not changed stays as it was.
using OciJson = nlohmann::ordered_json;

// Of a document; those that registries take are smaller, too.
constexpr uint64_t kMaxOciDocumentBytes = uint64_t{4} << 20;

// An object.  kInvalid names the file.
Result<OciJson> parse_oci_json(const std::string& file, const std::string& text);
// A member of that sort.  kInvalid names file and member.
Result<std::string> oci_text(const std::string& file, const OciJson& object, const char* name);
Result<OciJson> oci_object(const std::string& file, const OciJson& object, const char* name);
Result<OciJson> oci_array(const std::string& file, const OciJson& object, const char* name);

// What a descriptor says.
struct OciDescriptor {
  std::string media_type;
  std::string digest;  // of SHA-256: 64 hexadecimal digits
  uint64_t size_bytes = 0;
};
// kInvalid also where the digest is no SHA-256.
Result<OciDescriptor> oci_descriptor(const std::string& file, const OciJson& json);

// An annotation of a descriptor; empty if there is none.
std::string oci_annotation(const OciJson& descriptor, const char* name);

// "2001-02-03T04:05:06Z"
std::string oci_time(int64_t seconds);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_OCI_JSON_H
