/* SiFive test finisher: the guest's power-off and reboot register. */
#include "weft/devices.h"

#include "weft/log.h"
#include "weft/machine.h"

enum { FINISHER_FAIL = 0x3333, FINISHER_PASS = 0x5555, FINISHER_RESET = 0x7777 };

static uint64_t syscon_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void syscon_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct machine *m = opaque;
    if (offset != 0) {
        return;
    }
    switch (value & 0xffff) {
    case FINISHER_FAIL:
        machine_request_shutdown(m, (int)(value >> 16 & 0xff));
        break;
    case FINISHER_PASS:
        machine_request_shutdown(m, 0);
        break;
    case FINISHER_RESET:
        machine_request_reset(m);
        break;
    default:
        if (log_on(LOG_GUEST_ERROR)) {
            log_write("syscon: value 0x%llx means nothing\n", (unsigned long long)value);
        }
    }
}

const struct mmio_ops syscon_ops = {.read = syscon_read, .write = syscon_write, .min_size = 2, .max_size = 4};
