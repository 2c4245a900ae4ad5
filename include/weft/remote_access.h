/* One access to a page that is served at its home, carried out there on host memory. */
#ifndef WEFT_REMOTE_ACCESS_H
#define WEFT_REMOTE_ACCESS_H

#include "weft/message.h"

/*
 * Performs the operation on the page at `page` (host address of its first byte) as one sequentially consistent host
 * atomic, so that it is atomic also against local vCPUs. Returns the old value, zero-extended (STORE: 0).
 * The operation must have passed message_invalid(). Any thread whose rank may write the page.
 */
uint64_t remote_access(void *page, const struct msg_op *op);

#endif
