/* The table of options that describe a machine, and what QEMU has besides. */
#include "cli/options.h"

#include <string.h>

#define FIELD(f) .offset = offsetof(struct machine_config, f), .size = sizeof(((struct machine_config *)0)->f)

const struct option options[] = {
    {"machine", "M", "virt[,KEY=VALUE...]", "dumpdtb=FILE, aia=none|aplic|aplic-imsic, aclint=on|off, hmat=on|off",
     opt_machine, .list = list_machine, .section = "Machine"},
    {"cpu", NULL, "rv64[,EXT=on|off...]", "the harts' extensions; -cpu help lists them", opt_cpu, .list = list_cpu},
    {"accel", NULL, "tcg[,KEY=VALUE...]", "thread=multi|single, tier=auto|interp|t1, tb-size=MIB", opt_accel,
     .list = list_accel},
    {"icount", NULL, "[shift=]N|auto[,sleep=on|off]", "an instruction takes 2^N ns; same run every time", opt_icount},
    {"time-dilation", NULL, "N", "a guest second is N host seconds, 1 to 1000: the guest finds all N times faster",
     opt_dilation, .own = true},
    {"smp", NULL, "[cpus=]N[,maxcpus=N][,LEVEL=N...]",
     "levels: drawers books sockets dies clusters modules cores threads", opt_smp},
    {"m", NULL, "[size=]SIZE", "guest memory, in MiB or with K, M, G, T (default 128M)", opt_memory},
    {"name", NULL, "NAME", "what the guest is called in reports", opt_name},

    {"numa", NULL, "node[,nodeid=N][,cpus=LIST][,mem=SIZE|memdev=ID][,rank=N]", "a guest node", opt_numa,
     .all_phases = true,
     .section = "NUMA (also: -numa cpu,node-id=N,socket-id=..., -numa dist,src=N,dst=N,val=N, hmat-lb, hmat-cache)"},
    {"object", NULL, "memory-backend-ram,id=ID,size=SIZE[,...]", "memory of a node: host-nodes=LIST, policy=bind, ...",
     opt_object, .list = list_object},
    {"ranks", NULL, "N", "run over N ranks on this host (also: mpirun -n N weft run ...)", opt_ranks, .own = true},
    {"idle-poll", NULL, "US", "over ranks: processors stay awake so long after page traffic (default 20000)",
     opt_idle_poll, .own = true},
    {"place", NULL, "POLICY|FILE", "where threads and memory go: match, pack, spread, interleave, none, ...", NULL,
     FIELD(place), .own = true},
    {"strict", NULL, NULL, "fail when reality is not what was asked for", NULL, FIELD(place_strict), .own = true},
    {"verify", NULL, "start|every=10s[,exact]", "read back where threads and pages are, at start or periodically", NULL,
     FIELD(place_verify), .own = true},
    {"proof", NULL, "FILE", "write what was read back as JSON", NULL, FIELD(proof_file), .check = FILE_WRITE,
     .own = true},
    {"control", NULL, "FILE", "a socket for weft placement, weft info and weft top", NULL, FIELD(place_control),
     .own = true},

    {"kernel", NULL, "FILE", "a Linux Image or an ELF file", NULL, FIELD(kernel), .check = FILE_READ,
     .section = "Boot"},
    {"initrd", NULL, "FILE", "its initial RAM disk", NULL, FIELD(initrd), .check = FILE_READ},
    {"append", NULL, "TEXT", "its command line", NULL, FIELD(append)},
    {"dtb", NULL, "FILE", "a device tree of your own", NULL, FIELD(dtb), .check = FILE_READ},
    {"bios", NULL, "builtin|FILE|none", "SBI in weft itself (the default), or firmware in M mode", opt_bios},

    {"serial", NULL, "stdio|file:FILE|unix:FILE[,server=on]|pty|null|chardev:ID",
     "the serial port (default stdio: Ctrl-A x ends the guest)", opt_serial, .section = "Devices"},
    {"chardev", NULL, "stdio|file|socket|pty|null,id=ID[,path=FILE]", "a back end for -serial or virtconsole",
     opt_chardev},
    {"device", NULL, "NAME[,KEY=VALUE...]", "a virtio device; -device help lists them", opt_device,
     .list = list_device},
    {"nographic", NULL, NULL, "accepted: there is no display to leave out", NULL, FIELD(nographic)},

    {"no-reboot", NULL, NULL, "end when the guest reboots", NULL, FIELD(no_reboot), .section = "Running"},
    {"S", NULL, NULL, "do not start the harts: weft placement FILE cont does", NULL, FIELD(start_paused)},
    {"pidfile", NULL, "FILE", "holds the process id while the guest runs", NULL, FIELD(pidfile), .check = FILE_WRITE},
    {"d", NULL, "ITEM[,ITEM...]", "what to log; -d help lists the items", opt_log, .list = list_log},
    {"D", NULL, "FILE", "where to log (default: standard error)", NULL, FIELD(log_file), .check = FILE_WRITE},
    {"access-matrix", NULL, "off|sampled|exact", "count memory accesses node by node (default sampled)", opt_matrix,
     .own = true},
    {"stats", NULL, "FILE", "write the closing report as JSON", NULL, FIELD(stats_json), .check = FILE_WRITE,
     .own = true},
    {"system-map", NULL, "FILE", "names for hot pages: a System.map or kallsyms of the guest's kernel", NULL,
     FIELD(system_map), .check = FILE_READ, .own = true},
    {"report", NULL, NULL, "print the closing report (default on a terminal)", NULL, FIELD(report), .own = true},
    {"dry-run", NULL, NULL, "print the machine that this describes, and end", NULL, FIELD(dry_run), .own = true},
    {"json", NULL, NULL, "print in JSON", NULL, FIELD(json), .own = true},
    {"help", "h", NULL, "this page", opt_ignored, .own = true},
    {"version", NULL, NULL, "the version", opt_ignored, .own = true},

    {"display", NULL, "none", NULL, opt_none, .section = "Accepted from QEMU's users, without effect"},
    {"monitor", NULL, "none", NULL, opt_none},
    {"vga", NULL, "none", NULL, opt_none},
    {"parallel", NULL, "none", NULL, opt_none},
    {"net", NULL, "none", NULL, opt_none},
    {"nic", NULL, "none", NULL, opt_none},
    {"rtc", NULL, "base=utc", NULL, opt_rtc},
    {"nodefaults", NULL, NULL, NULL, opt_ignored},
    {"no-user-config", NULL, NULL, NULL, opt_ignored},
    {NULL},
};

/* Options of QEMU that weft does not have, and what to do instead. */
static const struct {
    const char *names, *instead;
} qemu_only[] = {
    {" enable-kvm accel-kvm ", "a riscv64 guest runs under -accel tcg here; leave it out"},
    {" drive blockdev hda hdb hdc hdd cdrom sd mtdblock pflash fda fdb snapshot ",
     "there are no disks yet; put the guest's files into the -initrd"},
    {" netdev tftp smb redir ", "there is no network device yet; leave it out or say -nic none"},
    {" vnc spice gtk sdl full-screen g k curses alt-grab ctrl-grab no-quit no-frame ",
     "there is no display; the guest's console is -serial"},
    {" audio audiodev audio-help soundhw ", "there is no sound device; leave it out"},
    {" gdb s semihosting semihosting-config ",
     "there is no debugger's port yet; -d int,exec shows what the guest does"},
    {" qmp qmp-pretty mon ", "there is no monitor yet; leave it out"},
    {" mem-path ", "use -object memory-backend-file,id=m0,size=SIZE,mem-path=FILE and memdev=m0"},
    {" mem-prealloc ", "use -object memory-backend-ram,id=m0,size=SIZE,prealloc=on and memdev=m0"},
    {" overcommit ", "memory is locked or preallocated per backend; use prealloc=on of -object"},
    {" tb-size ", "use -accel tcg,tb-size=MIB"},
    {" singlestep one-insn-per-tb ", "use -accel tcg,tier=interp"},
    {" loadvm incoming only-migratable preconfig ", "a machine's state cannot be saved or loaded yet; leave it out"},
    {" daemonize runas run-with chroot sandbox ", "start weft from a service manager, which does this; leave it out"},
    {" usb usbdevice ", "there is no USB; leave it out"},
    {" boot fw_cfg acpitable smbios no-acpi no-hpet tpmdev option-rom shim ",
     "the machine boots what -kernel or -bios names; leave it out"},
    {" fsdev virtfs ", "there are no shared folders yet; put the guest's files into the -initrd"},
    {" no-shutdown action watchdog watchdog-action ", "weft ends when the guest powers off; leave it out"},
    {" trace plugin strace jitdump perfmap msg dump-vmstate ", "use -d and -D for logs and --stats FILE for figures"},
    {" global set readconfig writeconfig L uuid seed compat add-fd set ", "weft has no such setting; leave it out"},
};

const struct option *option_find(const char *name, size_t n)
{
    for (const struct option *o = options; o->name; o++) {
        if ((strlen(o->name) == n && memcmp(o->name, name, n) == 0) ||
            (o->alias && strlen(o->alias) == n && memcmp(o->alias, name, n) == 0)) {
            return o;
        }
    }
    return NULL;
}

/* The sentence about a word that is no option: known to QEMU only, misspelt, or unknown. */
static bool unknown(const char *word, struct error *err)
{
    const char *name = word + strspn(word, "-");
    char padded[64];
    snprintf(padded, sizeof(padded), " %.48s ", name);
    for (unsigned i = 0; i < sizeof(qemu_only) / sizeof(qemu_only[0]); i++) {
        if (*name && strstr(qemu_only[i].names, padded)) {
            return error_set(err, "%.64s: this option of QEMU is not in weft: %s", word, qemu_only[i].instead);
        }
    }
    const char *names[sizeof(options) / sizeof(options[0])];
    unsigned n = 0;
    for (const struct option *o = options; o->name; o++) {
        names[n++] = o->name;
    }
    names[n] = NULL;
    const char *near = kv_nearest(name, names);
    if (!near) {
        return error_set(err, "%.100s: there is no such option; weft run --help lists them", word);
    }
    return error_set(err, "%.64s: there is no such option; did you mean %s%s?", word,
                     option_find(near, strlen(near))->own ? "--" : "-", near);
}

bool option_next(int argc, char **argv, int *i, struct option_word *word, struct error *err)
{
    const char *text = argv[(*i)++];
    if (text[0] != '-' || text[1] == '\0') {
        return error_set(
            err, "'%.100s': that is no option, and there are no disks to name; a kernel goes behind -kernel", text);
    }
    const char *name = text + (text[1] == '-' ? 2 : 1);
    bool two_dashes = text[1] == '-';
    size_t n = two_dashes ? strcspn(name, "=") : strlen(name);
    const struct option *o = option_find(name, n);
    if (!o) {
        return unknown(text, err);
    }
    word->option = o;
    word->value = NULL;
    const char *joined = name[n] == '=' ? name + n + 1 : NULL;
    if (!o->arg) {
        return !joined || error_set(err, "%.100s: this option takes no value; write --%s", text, o->name);
    }
    if (!joined && *i >= argc) {
        return error_set(err, "%.64s: its value is missing; write %.64s %s", text, text, o->arg);
    }
    word->value = joined ? joined : argv[(*i)++];
    return true;
}

void option_help(FILE *out)
{
    fprintf(
        out,
        "Usage: weft run [options]\n\nRuns a riscv64 guest. Options have QEMU's names and meanings; - and -- are the "
        "same.\nSIZE is a number with K, M, G or T behind it; LIST is 0-3 or 8, and the key\nis repeated for more: "
        "cpus=0-3,cpus=8.\n");
    for (const struct option *o = options; o->name; o++) {
        if (o->section) {
            fprintf(out, "\n%s:\n", o->section);
        }
        char left[128];
        snprintf(left, sizeof(left), "%s%s%s%s", o->own ? "--" : "-", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        if (!o->help) {
            fprintf(out, "  %s\n", left);
        } else if (strlen(left) > 30) {
            fprintf(out, "  %s\n  %30s  %s\n", left, "", o->help);
        } else {
            fprintf(out, "  %-30s  %s\n", left, o->help);
        }
    }
    fprintf(out, "\nSee weft(1) for all keys and for what --dry-run --json prints.\n");
}
