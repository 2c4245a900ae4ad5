/* Guest RAM: layout, backends, what the operator is told, DMA. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct machine_config *cfg;
static char dir[] = "/tmp/weft-test-XXXXXX";

static void setup(void)
{
    fixture_setup();
    cfg = calloc(1, sizeof(*cfg));
    cfg->num_nodes = 1;
    cfg->node[0].mem = 8 << 20;
    cfg->node[0].backend = 0;
    cfg->num_backends = 1;
    cfg->backend[0] = (struct mem_backend){.id = "m0", .size = 8 << 20, .dump = true, .reserve = true};
    strcpy(dir, "/tmp/weft-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    char cmd[64];
    snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
    ck_assert_int_eq(system(cmd), 0);
    free(cfg);
    fixture_teardown();
}

START_TEST(nodes)
{
    struct ram ram;
    struct error err = {0};
    cfg->num_nodes = 4;
    for (unsigned n = 0; n < 4; n++) {
        cfg->node[n].backend = -1;
    }
    cfg->node[0].mem = (3 << 20) + 0x1000; /* a chunk of 2 MiB lies across two nodes */
    cfg->node[1].mem = 0;
    cfg->node[2].mem = 6 << 20;
    cfg->node[3].mem = 0x3000;
    ck_assert_msg(ram_create(&ram, cfg, 0x80000000, &err), "%s", err.text);
    ck_assert_uint_eq(ram.num_ranges, 3);
    ck_assert_uint_eq(ram.size, (9 << 20) + 0x4000);
    ck_assert_uint_eq((uintptr_t)ram.host & ((2 << 20) - 1), 0);
    static const struct {
        uint64_t off;
        unsigned node;
    } t[] = {{0, 0},
             {(3 << 20) + 0xfff, 0},
             {(3 << 20) + 0x1000, 2},
             {(9 << 20) + 0xfff, 2},
             {(9 << 20) + 0x1000, 3},
             {(9 << 20) + 0x3fff, 3}};
    for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        ck_assert_uint_eq(ram_node_of(&ram, 0x80000000 + t[i].off), t[i].node);
    }
    ck_assert(ram_contains(&ram, 0x80000000, ram.size));
    ck_assert(!ram_contains(&ram, 0x80000000, ram.size + 1));
    ck_assert(!ram_contains(&ram, 0x7fffffff, 1));
    ck_assert(!ram_contains(&ram, 0x80000000 + ram.size, 1));
    ck_assert(!ram_contains(&ram, 0x80000008, ~0ull));
    for (uint64_t off = 0; off < ram.size; off += 4096) {
        ck_assert_uint_eq(*(uint8_t *)ram_ptr(&ram, 0x80000000 + off), 0);
        ck_assert_uint_eq(ram.page_flags[off >> 12], 0);
    }
    ram_destroy(&ram);
}
END_TEST

START_TEST(backends)
{
    struct ram ram;
    struct error err = {0};
    struct mem_backend *b = &cfg->backend[0];
    char path[64];
    struct stat st;
    snprintf(path, sizeof(path), "%s/ram", dir);
    /* A file: made, grown, written through when shared, left alone when private. */
    b->kind = BACKEND_FILE;
    b->share = true;
    strcpy(b->mem_path, path);
    ck_assert_msg(ram_create(&ram, cfg, 0, &err), "%s", err.text);
    ck_assert(ram_dma_write(&ram, 0x1234, "hello", 5));
    ram_destroy(&ram);
    ck_assert(stat(path, &st) == 0 && st.st_size == 8 << 20);
    b->share = false;
    ck_assert_msg(ram_create(&ram, cfg, 0, &err), "%s", err.text);
    char buf[8] = {0};
    ck_assert(ram_dma_read(&ram, 0x1234, buf, 5));
    ck_assert_str_eq(buf, "hello");
    ck_assert(ram_dma_write(&ram, 0x1234, "hullo", 5));
    ram_destroy(&ram);
    b->share = true;
    ck_assert(ram_create(&ram, cfg, 0, &err));
    ck_assert(ram_dma_read(&ram, 0x1234, buf, 5));
    ck_assert_str_eq(buf, "hello");
    ram_destroy(&ram);
    /* A folder: nothing is left in it. */
    strcpy(b->mem_path, dir);
    ck_assert_msg(ram_create(&ram, cfg, 0, &err), "%s", err.text);
    ck_assert(ram_dma_write(&ram, 0, "x", 1));
    ram_destroy(&ram);
    ck_assert(unlink(path) == 0);
    ck_assert_msg(rmdir(dir) == 0, "the folder is not empty");
    ck_assert(mkdir(dir, 0700) == 0);
    /* memfd, anonymous, not reserved, merge and dump. */
    for (unsigned i = 0; i < 16; i++) {
        b->kind = i & 1 ? BACKEND_MEMFD : BACKEND_RAM;
        b->share = i & 2;
        b->merge = i & 4;
        b->dump = b->reserve = i & 8;
        ck_assert_msg(ram_create(&ram, cfg, 0x1000000, &err), "%s", err.text);
        ck_assert(ram_dma_write(&ram, 0x1000000 + (8 << 20) - 5, "world", 5));
        ck_assert(!ram_dma_write(&ram, 0x1000000 + (8 << 20) - 4, "world", 5));
        ram_destroy(&ram);
    }
}
END_TEST

static void refused(const char *option, const char *why)
{
    struct ram ram;
    struct error err = {0};
    ck_assert(!ram_create(&ram, cfg, 0x80000000, &err));
    ck_assert(err.set);
    ck_assert_msg(strstr(err.text, option) != NULL, "'%s' does not name %s", err.text, option);
    ck_assert_msg(strstr(err.text, why) != NULL, "'%s' does not tell %s", err.text, why);
    ck_assert_ptr_null(ram.host);
}

START_TEST(mistakes)
{
    struct mem_backend *b = &cfg->backend[0];
    b->kind = BACKEND_FILE;
    strcpy(b->mem_path, "/nonexistent/folder/file");
    refused("memory-backend-file 'm0'", "/nonexistent/folder/file");
    snprintf(b->mem_path, sizeof(b->mem_path), "%s/short", dir);
    FILE *f = fopen(b->mem_path, "w");
    fputs("short", f);
    fclose(f);
    refused("memory-backend-file 'm0'", "holds 5 bytes");
    cfg->node[0].backend = -1;
    cfg->node[0].mem = 0x1800;
    refused("-numa node,nodeid=0", "pages of 4 KiB");
    cfg->node[0].mem = 0;
    refused("-m", "no memory");
    cfg->node[0].mem = 1ull << 60;
    refused("-m", "cannot reserve");
}
END_TEST

START_TEST(dma_marks_code)
{
    gpa_t page = RAM_BASE + 0x3000;
    atomic_fetch_or(&fx.ram.page_flags[3], PAGE_CODE);
    char buf[0x3000] = {0};
    ck_assert(ram_dma_write(&fx.ram, RAM_BASE, buf, 0x3000));
    ck_assert(ram_dma_read(&fx.ram, RAM_BASE + 0x2800, buf, 0x1000));
    ck_assert_uint_eq(code_writes, 0);
    ck_assert(ram_dma_write(&fx.ram, RAM_BASE + 0x2fff, buf, 2));
    ck_assert_uint_eq(code_writes, 1);
    ck_assert_uint_eq(code_written_page, page);
    ck_assert(ram_dma_write(&fx.ram, page, buf, 2)); /* known already */
    ck_assert_uint_eq(code_writes, 1);
    ck_assert(ram_dma_write(&fx.ram, page, buf, 0));
    ck_assert(!ram_dma_read(&fx.ram, RAM_BASE + RAM_SIZE - 1, buf, 2));
    ck_assert(!ram_dma_read(&fx.ram, RAM_BASE - 1, buf, 2));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory-ram");
    TCase *t = tcase_create("ram");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nodes);
    tcase_add_test(t, backends);
    tcase_add_test(t, mistakes);
    tcase_add_test(t, dma_marks_code);
    suite_add_tcase(s, t);
    return run_suite(s);
}
