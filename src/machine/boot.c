/*
 * What lies in guest RAM when the first instruction runs, and where that is.
 *
 * builtin: the kernel at DRAM + 2 MiB (or where its ELF says), entered in S mode with a0 = hart, a1 = FDT.
 * FILE:    firmware at DRAM (or where its ELF says), entered in M mode through the reset ROM, which passes a1 = FDT and
 *          a2 = struct fw_dynamic_info as OpenSBI defines it; the kernel at DRAM + 2 MiB is the next stage.
 * none:    the kernel at DRAM (or where its ELF says), entered in M mode.
 */
#include "virt.h"

#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weft/log.h"

#define KERNEL_OFFSET 0x200000ull
#define MIB (1ull << 20)
#define FDT_ALIGN (2 * MIB)
#define INITRD_MAX_OFFSET (128 * MIB)
#define DRAM_LOW_END (3072 * MIB) /* firmware may be 32-bit minded: the FDT stays below */

static bool load_file(struct boot_image *img, const char *option, const char *path, struct error *err)
{
    struct stat st;
    if (!path[0]) {
        return true;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_set_errno(err, errno, "%s %s: cannot be opened; name a readable file", option, path);
    } else if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        error_set(err, "%s %s: is empty or not a file; name the image itself", option, path);
    } else {
        img->size = (uint64_t)st.st_size;
        img->data = mmap(NULL, img->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (img->data == MAP_FAILED) {
            img->data = NULL;
            error_set_errno(err, errno, "%s %s: cannot be mapped", option, path);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return !err->set;
}

void boot_free(struct boot *b)
{
    struct boot_image *img[] = {&b->kernel, &b->initrd, &b->bios};
    for (unsigned i = 0; i < 3; i++) {
        if (img[i]->data) {
            munmap(img[i]->data, img[i]->size);
            img[i]->data = NULL;
        }
    }
}

/* ---- images ---- */

struct placed {
    gpa_t entry, end;
};

static bool put(struct machine *m, gpa_t at, const void *data, uint64_t size, const char *option, const char *path,
                struct error *err)
{
    if (size > 0 && !ram_dma_write(&m->ram, at, data, size)) {
        const char *way_out =
            at < m->ram.base ? "link it to lie at 0x80000000 or above" : "give the guest more with -m";
        return error_set(err, "%s %s: needs guest memory from 0x%llx to 0x%llx, and the guest has 0x%llx to 0x%llx; %s",
                         option, path, (unsigned long long)at, (unsigned long long)(at + size),
                         (unsigned long long)m->ram.base, (unsigned long long)(m->ram.base + m->ram.size), way_out);
    }
    return true;
}

static void clear(struct machine *m, gpa_t at, uint64_t size)
{
    static const uint8_t zeroes[GUEST_PAGE_SIZE];
    for (uint64_t done = 0; done < size; done += sizeof(zeroes)) {
        ram_dma_write(&m->ram, at + done, zeroes, size - done < sizeof(zeroes) ? size - done : sizeof(zeroes));
    }
}

static bool is_elf(const struct boot_image *img)
{
    return img->size >= sizeof(Elf64_Ehdr) && memcmp(img->data, ELFMAG, SELFMAG) == 0;
}

/* Loads the PT_LOAD segments at their physical addresses. The entry is virtual: it is moved along with its segment. */
static bool place_elf(struct machine *m, const struct boot_image *img, const char *option, const char *path,
                      struct placed *out, struct error *err)
{
    const uint8_t *file = img->data;
    Elf64_Ehdr eh;
    memcpy(&eh, file, sizeof(eh));
    if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_RISCV || eh.e_phentsize != sizeof(Elf64_Phdr) ||
        eh.e_phoff > img->size || (img->size - eh.e_phoff) / sizeof(Elf64_Phdr) < eh.e_phnum) {
        return error_set(err, "%s %s: is not a sound 64-bit RISC-V ELF file; build it for riscv64", option, path);
    }
    out->entry = eh.e_entry;
    out->end = 0;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        Elf64_Phdr ph;
        memcpy(&ph, file + eh.e_phoff + i * sizeof(ph), sizeof(ph));
        if (ph.p_type != PT_LOAD || ph.p_memsz == 0) {
            continue;
        }
        if (ph.p_offset > img->size || ph.p_filesz > img->size - ph.p_offset || ph.p_filesz > ph.p_memsz) {
            return error_set(err, "%s %s: is cut short; copy it again", option, path);
        }
        if (!ram_contains(&m->ram, ph.p_paddr, ph.p_memsz)) {
            return put(m, ph.p_paddr, file, ph.p_memsz, option, path, err);
        }
        ram_dma_write(&m->ram, ph.p_paddr, file + ph.p_offset, ph.p_filesz);
        clear(m, ph.p_paddr + ph.p_filesz, ph.p_memsz - ph.p_filesz);
        if (eh.e_entry >= ph.p_vaddr && eh.e_entry - ph.p_vaddr < ph.p_memsz) {
            out->entry = eh.e_entry - ph.p_vaddr + ph.p_paddr;
        }
        out->end = ph.p_paddr + ph.p_memsz > out->end ? ph.p_paddr + ph.p_memsz : out->end;
    }
    if (out->end == 0) {
        return error_set(err, "%s %s: has nothing to load; name the linked program", option, path);
    }
    return true;
}

/* The header of a RISC-V Linux Image (Linux Documentation/riscv/boot-image-header). Its text_offset is 2 MiB, which is
 * where the kernel goes anyway; its size in memory is larger than the file. */
struct linux_image_header {
    uint32_t code[2];
    uint64_t text_offset, image_size, flags;
    uint32_t version, res1;
    uint64_t res2, magic;
    uint32_t magic2, res3;
};
#define LINUX_IMAGE_MAGIC2 0x05435352u /* "RSC\x05" */

static bool is_linux_image(const struct boot_image *img)
{
    struct linux_image_header h;
    if (img->size < sizeof(h)) {
        return false;
    }
    memcpy(&h, img->data, sizeof(h));
    return h.magic2 == LINUX_IMAGE_MAGIC2;
}

/* What cannot run here is told before anything is allocated. A flat binary has no mark: it may be anything. */
static bool check_image(const struct boot_image *img, const char *option, const char *path, struct error *err)
{
    if (!img->data || is_elf(img) || is_linux_image(img)) {
        return true;
    }
    if (img->size >= 2 && memcmp(img->data, "\x1f\x8b", 2) == 0) {
        return error_set(err, "%s %s: is compressed; unpack it first (gzip -dc)", option, path);
    }
    if (img->size >= 2 && memcmp(img->data, "MZ", 2) == 0) {
        return error_set(err,
                         "%s %s: is an EFI program and no riscv64 Linux Image: a compressed kernel, or one of another "
                         "architecture; name the uncompressed Image",
                         option, path);
    }
    if (strcmp(option, "-kernel") == 0) {
        log_warn("%s %s: neither an ELF file nor a Linux Image; it is run as the flat binary that it may be", option,
                 path);
    }
    return true;
}

bool boot_load_files(struct boot *b, const struct machine_config *cfg, struct error *err)
{
    memset(b, 0, sizeof(*b));
    return load_file(&b->kernel, "-kernel", cfg->kernel, err) && load_file(&b->initrd, "-initrd", cfg->initrd, err) &&
           (cfg->bios_kind != BIOS_FILE || load_file(&b->bios, "-bios", cfg->bios, err)) &&
           check_image(&b->kernel, "-kernel", cfg->kernel, err) && check_image(&b->bios, "-bios", cfg->bios, err);
}

static bool place_image(struct machine *m, const struct boot_image *img, gpa_t raw_base, const char *option,
                        const char *path, struct placed *out, struct error *err)
{
    struct linux_image_header h;
    uint64_t size = img->size;
    if (is_elf(img)) {
        return place_elf(m, img, option, path, out, err);
    }
    out->entry = raw_base;
    if (is_linux_image(img)) {
        memcpy(&h, img->data, sizeof(h));
        size = h.image_size > size && h.image_size < m->ram.size ? h.image_size : size;
    }
    out->end = out->entry + size;
    if (!ram_contains(&m->ram, out->entry, size)) {
        return put(m, out->entry, img->data, size, option, path, err);
    }
    return put(m, out->entry, img->data, img->size, option, path, err);
}

/* ---- the reset ROM (as QEMU's and spike's: auipc, addi, csrr, ld, ld, jr; then the addresses) ---- */

enum { ROM_INFO_OFFSET = 40 };

static void make_rom(struct boot_start *s, gpa_t next)
{
    struct {
        uint32_t code[6];
        uint64_t start, fdt;
        /* struct fw_dynamic_info of OpenSBI, version 2 */
        uint64_t magic, version, next_addr, next_mode, options, boot_hart;
    } __attribute__((packed)) rom = {
        .code =
            {
                0x00000297, /* auipc t0, 0 */
                0x02828613, /* addi  a2, t0, 40 */
                0xf1402573, /* csrr  a0, mhartid */
                0x0202b583, /* ld    a1, 32(t0) */
                0x0182b283, /* ld    t0, 24(t0) */
                0x00028067, /* jr    t0 */
            },
        .start = s->entry,
        .fdt = s->fdt_addr,
        .magic = 0x4942534f, /* "OSBI" */
        .version = 2,
        .next_addr = next,
        .next_mode = 1, /* S */
    };
    _Static_assert(sizeof(rom) <= sizeof(s->rom), "the ROM fits");
    memcpy(s->rom, &rom, sizeof(rom));
}

/* ---- everything together ---- */

/* Where QEMU puts it, half the memory or 128 MiB behind the kernel; where it does not fit there, right behind. */
static bool place_initrd(struct boot *b, struct machine *m, const struct placed *kernel, struct virt_chosen *c,
                         struct error *err)
{
    if (!b->initrd.data) {
        return true;
    }
    uint64_t offset = m->ram.size / 2 < INITRD_MAX_OFFSET ? m->ram.size / 2 : INITRD_MAX_OFFSET;
    gpa_t at = (kernel->entry + offset) & GUEST_PAGE_MASK, top = (m->ram.base + m->ram.size) & ~(FDT_ALIGN - 1);
    if (at < kernel->end || at + b->initrd.size > top - FDT_ALIGN) {
        at = (kernel->end + FDT_ALIGN - 1) & ~(FDT_ALIGN - 1);
    }
    c->initrd_start = at;
    c->initrd_end = at + b->initrd.size;
    return put(m, at, b->initrd.data, b->initrd.size, "-initrd", m->cfg->initrd, err);
}

static bool place_fdt(struct boot *b, struct machine *m, struct virt_chosen *c, gpa_t used_end, struct error *err)
{
    void *blob;
    uint64_t size;
    c->have_seed = getrandom(c->rng_seed, sizeof(c->rng_seed), GRND_NONBLOCK) == (ssize_t)sizeof(c->rng_seed);
    if (m->cfg->icount) {
        c->have_seed = false; /* the same run every time */
    }
    if (!virt_fdt_build(m->cfg, c, &blob, &size, err)) {
        return false;
    }
    uint64_t top = m->ram.size < DRAM_LOW_END ? m->ram.size : DRAM_LOW_END;
    b->start.fdt_addr = size < top ? (m->ram.base + top - size) & ~(FDT_ALIGN - 1) : m->ram.base;
    bool done = true;
    if (b->start.fdt_addr < used_end) {
        done = error_set(err, "-m %lluM: the kernel and initrd leave no room for the device tree; give the guest more",
                         (unsigned long long)(m->ram.size / MIB));
    }
    done = done && put(m, b->start.fdt_addr, blob, size, "-dtb", m->cfg->dtb, err);
    free(blob);
    return done;
}

/* The files stay mapped for a reset, but take no memory until then. */
static void images_release(const struct boot *b)
{
    const struct boot_image *img[] = {&b->kernel, &b->initrd, &b->bios};
    for (unsigned i = 0; i < 3; i++) {
        if (img[i]->data) {
            madvise(img[i]->data, img[i]->size, MADV_DONTNEED);
        }
    }
}

bool boot_place(struct boot *b, struct machine *m, struct error *err)
{
    const struct machine_config *cfg = m->cfg;
    struct placed kernel = {.entry = VIRT_DRAM_BASE, .end = VIRT_DRAM_BASE}, bios = kernel;
    struct virt_chosen chosen = {0};
    if (b->bios.data && !place_image(m, &b->bios, VIRT_DRAM_BASE, "-bios", cfg->bios, &bios, err)) {
        return false;
    }
    gpa_t base = VIRT_DRAM_BASE + (cfg->bios_kind == BIOS_NONE ? 0 : KERNEL_OFFSET);
    if (b->kernel.data && !place_image(m, &b->kernel, base, "-kernel", cfg->kernel, &kernel, err)) {
        return false;
    }
    if (!place_initrd(b, m, &kernel, &chosen, err)) {
        return false;
    }
    gpa_t end = kernel.end > chosen.initrd_end ? kernel.end : chosen.initrd_end;
    if (!place_fdt(b, m, &chosen, end > bios.end ? end : bios.end, err)) {
        return false;
    }
    b->start.entry = cfg->bios_kind == BIOS_FILE ? bios.entry : kernel.entry;
    make_rom(&b->start, b->kernel.data ? kernel.entry : 0);
    images_release(b);
    return true;
}

void boot_harts(const struct boot *b, struct machine *m)
{
    const struct boot_start *s = &b->start;
    bool builtin = m->cfg->bios_kind == BIOS_BUILTIN;
    virt_rom_set(m, s->rom, sizeof(s->rom));
    for (unsigned h = 0; h < m->num_cpus; h++) {
        struct cpu *cpu = m->cpus[h];
        if (builtin) {
            cpu_reset(cpu, s->entry, h, s->fdt_addr, PRIV_S);
        } else {
            cpu_reset(cpu, VIRT_ROM_BASE, h, s->fdt_addr, PRIV_M);
        }
        atomic_store(&cpu->hart_state, builtin && h > 0 ? HART_STOPPED : HART_STARTED);
    }
}
