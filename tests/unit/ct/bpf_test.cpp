// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/bpf.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ct::bpf;

TEST_CASE("jumps of a BPF program lead to where their labels are") {
    Code code;
    auto first = code.label(), second = code.label();
    code.jumpIf(BPF_JEQ, r1, 7, second);
    code.jump(first);
    code.place(first);
    code.exit(1);
    code.place(second);
    code.exit(0);
    auto program = code.finish();
    REQUIRE(program);
    REQUIRE(program->size() == 6);
    CHECK((*program)[0].off == 3);
    CHECK((*program)[1].off == 0);
    CHECK((*program)[2].imm == 1);
}

TEST_CASE("a BPF program with a label that is nowhere, or behind, is not finished") {
    Code lost;
    lost.jump(lost.label());
    lost.exit(0);
    CHECK_FALSE(lost.finish());
    Code back;
    auto start = back.label();
    back.place(start);
    back.jump(start);
    CHECK_FALSE(back.finish());
}
