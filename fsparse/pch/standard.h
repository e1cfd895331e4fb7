// SPDX-License-Identifier: BSD-3-Clause
//
// Precompiled for every target, because these headers cost more to read than
// most of our files.  No file relies on it: each includes what it uses, and
// `meson setup -Db_pch=false` builds the same.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <unordered_map>
#include <utility>
#include <vector>
