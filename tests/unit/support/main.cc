// SPDX-License-Identifier: BSD-3-Clause
//
// Catch's own main; alone, as it takes many seconds to compile.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
