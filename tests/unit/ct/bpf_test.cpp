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

TEST_CASE("what nothing leads to is left out of a BPF program, for the kernel refuses it") {
    Code code;
    auto first = code.label(), second = code.label();
    code.jumpIfWord(BPF_JEQ, r1, 0x80000000, first);
    code.exit(1);
    code.place(second); // nothing jumps here
    code.set(r0, 5);
    code.jump(second);
    code.place(first);
    code.exit(0);
    code.exit(2);
    auto program = code.finish();
    REQUIRE(program);
    REQUIRE(program->size() == 5);
    CHECK((*program)[0].code == (BPF_JMP32 | BPF_JEQ | BPF_K));
    CHECK((*program)[0].off == 2);
    CHECK((*program)[3].imm == 0);
}
