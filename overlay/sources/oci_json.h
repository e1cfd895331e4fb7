// SPDX-License-Identifier: BSD-3-Clause
//
// JSON that comes from anywhere: nothing is taken for granted, and nothing throws.
#ifndef UNIONFS_OVERLAY_SOURCES_OCI_JSON_H
#define UNIONFS_OVERLAY_SOURCES_OCI_JSON_H

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fsparse/result.h"

namespace unionfs {

// `where` begins messages.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view where);

// Nothing, if `value` is no object or has no such member.
const nlohmann::json* json_member(const nlohmann::json& value, const char* name);
// kCorrupt where there is no such member, or it is of another kind.
Result<std::string> json_text(const nlohmann::json& value, const char* name,
                              std::string_view where);
Result<uint64_t> json_number(const nlohmann::json& value, const char* name, std::string_view where);
Result<const nlohmann::json*> json_list(const nlohmann::json& value, const char* name,
                                        std::string_view where);
// Empty, where there is no such text.
std::string json_text_or_none(const nlohmann::json& value, const char* name);

// Whether a media type is that of an index of images.
bool is_index_type(std::string_view media_type);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_OCI_JSON_H
