// SPDX-License-Identifier: BSD-3-Clause
//
// As fsparse/pch/standard.h, for the unit tests.
#include <catch2/catch.hpp>

#include "../../../fsparse/pch/standard.h"
