/* The decoder against an encoder written apart from it, and the compressed expansions against known ones. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "encode.h"
#include "weft/config.h"

#define ALL_EXT (~0ull)

START_TEST(every_row_decodes_to_itself)
{
    for (int op = OP_ILLEGAL + 1; op < OP_COUNT; op++) {
        for (int k = 0; k < 500; k++) {
            uint32_t raw = random_word((enum op)op);
            struct insn in;
            insn_decode(raw, ALL_EXT, &in);
            if (op == OP_FENCE && in.op == OP_PAUSE) {
                continue;
            }
            ck_assert_msg(in.op == op, "%08x: %s, not %s", raw, insn_rows[in.op].text, insn_rows[op].text);
            ck_assert_uint_eq(in.len, 4);
            ck_assert_uint_eq(in.raw, raw);
            /* fence.i has ignored fields: it comes back with zeros there. */
            uint32_t kept = op == OP_FENCE_I ? insn_rows[op].mask : 0xffffffff;
            ck_assert_msg(((encode(&in) ^ raw) & kept) == 0, "%s: %08x came back as %08x", insn_rows[op].text, raw,
                          encode(&in));
        }
    }
}
END_TEST

START_TEST(no_word_matches_two_rows)
{
    /* Only pause lies inside another row. */
    for (int a = OP_ILLEGAL + 1; a < OP_COUNT; a++) {
        for (int b = a + 1; b < OP_COUNT; b++) {
            const struct insn_row *x = &insn_rows[a], *y = &insn_rows[b];
            bool overlap = ((x->match ^ y->match) & x->mask & y->mask) == 0;
            ck_assert_msg(!overlap || (a == OP_PAUSE && b == OP_FENCE), "%s and %s", x->text, y->text);
            ck_assert_uint_eq(x->match & ~x->mask, 0);
        }
    }
}
END_TEST

START_TEST(extension_off_means_illegal)
{
    struct insn in;
    for (int op = OP_ILLEGAL + 1; op < OP_COUNT; op++) {
        insn_decode(random_word((enum op)op), ALL_EXT & ~insn_rows[op].ext, &in);
        int want = insn_rows[op].ext == 0 ? op : op == OP_PAUSE ? OP_FENCE : OP_ILLEGAL;
        ck_assert_msg(in.op == want || (op == OP_FENCE && in.op == OP_PAUSE), "%s", insn_rows[op].text);
    }
}
END_TEST

START_TEST(reserved_words)
{
    static const uint32_t words[] = {
        0xffffffff, /* all ones */
        0x0000707f,
        0x00007003,
        0x00004023, /* widths that do not exist */
        0x00002063,
        0x00003063,            /* branches */
        0x02001013 | 1u << 27, /* slli with a high bit */
        0x0200501b,
        0x0200101b,              /* slliw, srliw by 32 */
        0x0200d053 ^ 0x02000000, /* fadd.s with rounding mode 5 */
        0x0000e053,              /* ... and 6 */
        0x04007053,
        0x06007053, /* fadd.h, fadd.q */
        0x1010202f, /* lr.w with rs2 != 0 */
        0x0000402f,
        0x0000002f, /* AMO widths */
        0x00004073, /* SYSTEM, funct3 4 */
        0x10200173,
        0x00200073, /* sret with rd, uret */
        0x0050200f,
        0x0030200f, /* cbo that do not exist */
        0x00001067, /* jalr, funct3 1 */
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct insn in;
        insn_decode(words[i], ALL_EXT, &in);
        ck_assert_msg(in.op == OP_ILLEGAL, "%08x is %s", words[i], insn_rows[in.op].text);
        ck_assert_uint_eq(in.raw, words[i]);
        ck_assert_uint_eq(in.len, 4);
    }
}
END_TEST

/* Each row of the tables of the C chapter: the lowest, the highest and a mixed immediate. */
static const struct {
    uint16_t raw;
    const char *text;
} compressed[] = {
    {0x0020, "addi    s0,sp,8"},
    {0x1fe8, "addi    a0,sp,1020"},
    {0x2528, "fld     fa0,72(a0)"},
    {0x3ffc, "fld     fa5,248(a5)"},
    {0x4508, "lw      a0,8(a0)"},
    {0x5ffc, "lw      a5,124(a5)"},
    {0x6508, "ld      a0,8(a0)"},
    {0x7ffc, "ld      a5,248(a5)"},
    {0xa528, "fsd     fa0,72(a0)"},
    {0xc508, "sw      a0,8(a0)"},
    {0xfffc, "sd      a5,248(a5)"},
    {0x0001, "addi    zero,zero,0"},
    {0x1141, "addi    sp,sp,-16"},
    {0x057d, "addi    a0,a0,31"},
    {0x357d, "addiw   a0,a0,-1"},
    {0x2501, "addiw   a0,a0,0"},
    {0x557d, "addi    a0,zero,-1"},
    {0x7179, "addi    sp,sp,-48"},
    {0x617d, "addi    sp,sp,496"},
    {0x757d, "lui     a0,0xfffff"},
    {0x6505, "lui     a0,0x1"},
    {0x8105, "srli    a0,a0,0x1"},
    {0x957d, "srai    a0,a0,0x3f"},
    {0x897d, "andi    a0,a0,31"},
    {0x8d0d, "sub     a0,a0,a1"},
    {0x8d2d, "xor     a0,a0,a1"},
    {0x8d4d, "or      a0,a0,a1"},
    {0x8d6d, "and     a0,a0,a1"},
    {0x9d0d, "subw    a0,a0,a1"},
    {0x9d2d, "addw    a0,a0,a1"},
    {0xbffd, "jal     zero,0xffe"},
    {0xa001, "jal     zero,0x1000"},
    {0xaffd, "jal     zero,0x17fe"},
    {0xb001, "jal     zero,0x800"},
    {0xdd7d, "beq     a0,zero,0xffe"},
    {0xed7d, "bne     a0,zero,0x10fe"},
    {0xf101, "bne     a0,zero,0xf00"},
    {0x157e, "slli    a0,a0,0x3f"},
    {0x3fdc, "fld     fa5,184(a5)"},
    {0x257e, "fld     fa0,472(sp)"},
    {0x557e, "lw      a0,252(sp)"},
    {0x757e, "ld      a0,504(sp)"},
    {0x8082, "jalr    zero,0(ra)"},
    {0x9502, "jalr    ra,0(a0)"},
    {0x852e, "add     a0,zero,a1"},
    {0x952e, "add     a0,a0,a1"},
    {0x9002, "ebreak"},
    {0xbfaa, "fsd     fa0,504(sp)"},
    {0xdfaa, "sw      a0,252(sp)"},
    {0xffaa, "sd      a0,504(sp)"},
};

START_TEST(compressed_expansions)
{
    for (size_t i = 0; i < sizeof(compressed) / sizeof(compressed[0]); i++) {
        struct insn in;
        char text[96];
        insn_decode(compressed[i].raw | 0xdead0000, 0, &in);
        insn_format(&in, 0x1000, text, sizeof(text));
        ck_assert_str_eq(text, compressed[i].text);
        ck_assert_uint_eq(in.len, 2);
        ck_assert_uint_eq(in.raw, compressed[i].raw);
    }
}
END_TEST

START_TEST(compressed_reserved)
{
    static const uint16_t words[] = {
        0x0000, 0x001c, /* addi4spn with no immediate */
        0x8000, 0x9ffc, /* quadrant 0, funct3 4 */
        0x2001, 0x307d, /* addiw to x0 */
        0x6101,         /* addi16sp by nothing */
        0x6501, 0x6001, /* lui of nothing */
        0x9d41, 0x9d61, /* the holes beside subw and addw */
        0x4002, 0x6002, /* lwsp, ldsp to x0 */
        0x8002,         /* jr x0 */
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct insn in;
        insn_decode(words[i], ALL_EXT, &in);
        ck_assert_msg(in.op == OP_ILLEGAL, "%04x is %s", words[i], insn_rows[in.op].text);
        ck_assert_uint_eq(in.raw, words[i]);
        ck_assert_uint_eq(in.len, 2);
    }
}
END_TEST

START_TEST(formats)
{
    static const struct {
        uint32_t raw;
        const char *text;
    } cases[] = {
        {0xfff50513, "addi    a0,a0,-1"},
        {0x00b50533, "add     a0,a0,a1"},
        {0xfe000ee3, "beq     zero,zero,0xffc"},
        {0x12345537, "lui     a0,0x12345"},
        {0x41f5d513, "srai    a0,a1,0x1f"},
        {0x0020f053, "fadd.s  ft0,ft1,ft2"},
        {0x0020c053, "fadd.s  ft0,ft1,ft2,rmm"},
        {0x1820f143, "fmadd.s ft2,ft1,ft2,ft3"},
        {0x42008053, "fcvt.d.s ft0,ft1"},
        {0x160522af, "lr.w.aqrl t0,(a0)"},
        {0x00c5b52f, "amoadd.d a0,a2,(a1)"},
        {0x0ff0000f, "fence   iorw,iorw"},
        {0x8330000f, "fence.tso"},
        {0x0100000f, "pause"},
        {0xc0002573, "csrrs   a0,cycle,zero"},
        {0x3a2fd073, "csrrwi  zero,pmpcfg2,31"},
        {0x3b551073, "csrrw   zero,pmpaddr5,a0"},
        {0xb1f02573, "csrrs   a0,mhpmcounter31,zero"},
        {0x12b50073, "sfence.vma a0,a1"},
        {0x0042a00f, "cbo.zero (t0)"},
        {0xffffffff, ".4byte  0xffffffff"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct insn in;
        char text[96];
        insn_decode(cases[i].raw, ALL_EXT, &in);
        insn_format(&in, 0x1000, text, sizeof(text));
        ck_assert_str_eq(text, cases[i].text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("decode");
    TCase *t = tcase_create("decode");
    tcase_add_test(t, every_row_decodes_to_itself);
    tcase_add_test(t, no_word_matches_two_rows);
    tcase_add_test(t, extension_off_means_illegal);
    tcase_add_test(t, reserved_words);
    tcase_add_test(t, compressed_expansions);
    tcase_add_test(t, compressed_reserved);
    tcase_add_test(t, formats);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
