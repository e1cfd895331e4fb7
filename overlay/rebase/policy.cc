// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/policy.h"

#include <fmt/format.h>

#include <vector>

namespace unionfs {
namespace {

// One step of a pattern: what it takes of a path.
struct PatternStep {
  enum class Kind { kByte, kAnyByte, kSet, kAnyInComponent, kAnything };
  Kind kind = Kind::kByte;
  char byte = 0;
  bool is_negated = false;
  std::vector<std::pair<unsigned char, unsigned char>> ranges = {};  // inclusive

  bool takes(char wanted) const {
    switch (kind) {
      case Kind::kByte:
        return wanted == byte;
      case Kind::kAnyByte:
      case Kind::kAnyInComponent:
        return wanted != '/';
      case Kind::kAnything:
        return true;
      case Kind::kSet:
        break;
    }
    const auto value = static_cast<unsigned char>(wanted);
    bool is_in = false;
    for (const auto& [first, last] : ranges) {
      is_in = is_in || (first <= value && value <= last);
    }
    return wanted != '/' && is_in != is_negated;
  }
  bool repeats() const { return kind == Kind::kAnyInComponent || kind == Kind::kAnything; }
};

// A set that begins behind `at`; nothing if it does not end.
bool parse_set(std::string_view pattern, size_t& at, PatternStep& step) {
  size_t next = at;
  step.kind = PatternStep::Kind::kSet;
  if (next < pattern.size() && (pattern[next] == '!' || pattern[next] == '^')) {
    step.is_negated = true;
    ++next;
  }
  for (bool is_first = true; next < pattern.size() && (is_first || pattern[next] != ']');
       is_first = false) {
    const auto first = static_cast<unsigned char>(pattern[next]);
    const bool is_range =
        next + 2 < pattern.size() && pattern[next + 1] == '-' && pattern[next + 2] != ']';
    step.ranges.emplace_back(first,
                             is_range ? static_cast<unsigned char>(pattern[next + 2]) : first);
    next += is_range ? 3 : 1;
  }
  at = next + 1;
  return next < pattern.size();
}

std::vector<PatternStep> parse_pattern(std::string_view pattern) {
  std::vector<PatternStep> steps;
  size_t at = 0;
  while (at < pattern.size()) {
    const char byte = pattern[at++];
    PatternStep step;
    step.byte = byte;
    if (byte == '*') {
      const bool is_double = at < pattern.size() && pattern[at] == '*';
      at += is_double ? 1 : 0;
      step.kind = is_double ? PatternStep::Kind::kAnything : PatternStep::Kind::kAnyInComponent;
    } else if (byte == '?') {
      step.kind = PatternStep::Kind::kAnyByte;
    } else if (byte == '\\' && at < pattern.size()) {
      step.byte = pattern[at++];
    } else if (size_t behind = at; byte == '[' && parse_set(pattern, behind, step)) {
      at = behind;
    } else {
      step.kind = PatternStep::Kind::kByte;
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace

// All places of the pattern that the path may have reached, byte for byte: no pattern takes
// more time than its length for each byte.
bool matches_path(std::string_view pattern, std::string_view path) {
  const bool is_anchored = pattern.starts_with('/');
  const std::vector<PatternStep> steps =
      parse_pattern(is_anchored ? std::string(pattern) : "**/" + std::string(pattern));
  std::vector<char> reached(steps.size() + 1, 0);
  const auto pass_empty = [&steps](std::vector<char>& places) {
    for (size_t i = 0; i < steps.size(); ++i) {
      if (places[i] != 0 && steps[i].repeats()) {
        places[i + 1] = 1;
      }
    }
  };
  reached[0] = 1;
  pass_empty(reached);
  for (const char byte : path) {
    std::vector<char> next(steps.size() + 1, 0);
    for (size_t i = 0; i < steps.size(); ++i) {
      if (reached[i] != 0 && steps[i].takes(byte)) {
        next[steps[i].repeats() ? i : i + 1] = 1;
      }
    }
    pass_empty(next);
    reached = std::move(next);
  }
  return reached[steps.size()] != 0;
}

Decision decide(const RebasePolicy& policy, std::string_view path, std::string_view from) {
  for (const PathDecision& decision : policy.patterns) {
    if (matches_path(decision.pattern, path) ||
        (!from.empty() && matches_path(decision.pattern, from))) {
      return {decision.resolution,
              fmt::format("--{} {}", name_of(decision.resolution), decision.pattern)};
    }
  }
  if (policy.conflicts == Resolution::kNone) {
    return path == "/etc/ld.so.cache"
               ? Decision{Resolution::kTheirs, "because ldconfig makes it anew"}
               : Decision();
  }
  return {policy.conflicts, fmt::format("--conflicts={}", name_of(policy.conflicts))};
}

}  // namespace unionfs
