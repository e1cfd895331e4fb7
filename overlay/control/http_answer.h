// SPDX-License-Identifier: BSD-3-Clause
//
// Answers of HTTP/1.1, after each of which the connection ends.
#ifndef UNIONFS_OVERLAY_CONTROL_HTTP_ANSWER_H
#define UNIONFS_OVERLAY_CONTROL_HTTP_ANSWER_H

#include <string>
#include <string_view>

namespace unionfs {

constexpr std::string_view kJsonType = "application/json";
constexpr std::string_view kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

// The bytes of an answer.  `more_headers` are whole lines.
std::string http_answer(int status, std::string_view type, std::string_view body,
                        std::string_view more_headers = {});
// {"error": message}
std::string http_error(int status, std::string_view message, std::string_view more_headers = {});

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_HTTP_ANSWER_H
