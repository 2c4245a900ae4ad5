/*
 * What ranks say to one another: one struct per message, fixed size, little endian, no padding that is not named.
 *
 * A message is `struct msg_header`, then the body of its type, then (GRANT only) one page of guest memory. Whatever
 * comes from a peer goes through message_invalid() before anything looks at it: that function names what is wrong, and
 * a peer that sends such a message is fenced. It uses no state, so it can be fuzzed alone.
 *
 * Threads: pure functions, any thread. Specification: docs/protocol.md.
 */
#ifndef WEFT_MESSAGE_H
#define WEFT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "weft/config.h"

enum {
    MSG_MAGIC = 0x5457, /* "WT" */
    MSG_PROTOCOL = 4,   /* raised with every change of this file that a peer can see */
    MSG_PAGE_SIZE = 4096,
    MSG_LOCK_NAME = 32, /* with its terminator */
    MSG_POST_MAX = 256, /* bytes of a machine message */
    MSG_REASON_MAX = 160,
};

enum msg_type {
    MSG_NONE,
    /* Directory (weft/directory.h). */
    MSG_GET,
    MSG_FORWARD,
    MSG_INVALIDATE,
    MSG_GRANT,
    MSG_INVALIDATED,
    MSG_DONE,
    MSG_REFUSED,
    MSG_SERVED,
    MSG_OP,
    MSG_OP_REPLY,
    /* Lock service (weft/lockservice.h). */
    MSG_LOCK_REQUEST,
    MSG_LOCK_HINT,
    MSG_LOCK_RECALL,
    MSG_LOCK_GRANT,
    MSG_LOCK_RELEASED,
    MSG_LOCK_OWNED,
    MSG_LOCK_REPORT,
    MSG_LOCK_REPORT_END,
    /* Membership and machine (weft/cluster.h). */
    MSG_BEAT,
    MSG_BEAT_ECHO,
    MSG_POST,
    MSG_END,
    MSG_TIME,
    MSG_TYPES
};

struct msg_header {
    uint16_t magic;
    uint8_t protocol;
    uint8_t type;      /* enum msg_type */
    uint16_t src;      /* rank that sent it */
    uint16_t size;     /* bytes of header and body, without the page */
    uint32_t session;  /* drawn by rank 0 at start: a message of another run is refused */
    uint32_t sequence; /* per sender, receiver and traffic class; see struct peer_link */
};

/* What a rank may do with a page; also the values of the array behind page_source_right(). */
enum page_right { PAGE_NONE = 0, PAGE_READ = 1, PAGE_WRITE = 2 };

/* How the users of a page leave it. */
enum {
    TAKEN_DIRTY =
        1,          /* unless it is known not to have been written by local users since this rank got the write right */
    TAKEN_USED = 2, /* it was used since it came */
};

enum {
    GET_PREFETCH = 1, /* nobody waits for it yet */
    GET_WHOLE = 2,    /* remote access will not do (fetch, walk, DMA) */
    GET_FOLLOW = 4,   /* of a prefetch: foretold by what followed the last time, so it may take a page that moves */
};

/* A read ahead of a stream, as opposed to what was foretold or is waited for: it and its GRANT travel as bulk. */
static inline bool get_is_stream(unsigned flags)
{
    return (flags & (GET_PREFETCH | GET_FOLLOW)) == GET_PREFETCH;
}

/* In place of a version: the requester is a sharer, so it has what everyone has. */
#define HAVE_CURRENT UINT64_MAX

/* Requester to home: give me this right. `have` is the version of the bytes the requester still keeps (0: none). */
struct msg_get {
    uint64_t page, have;
    uint32_t ticket; /* the requester's name for the request; comes back in every answer */
    uint8_t right, flags;
    uint16_t zero;
};

/* Home to the rank that holds the bytes: grant `right` to `requester`, and come down to what that allows. */
struct msg_forward {
    uint64_t page, have;
    uint32_t ticket;
    uint16_t requester;
    uint8_t right;
    uint8_t acks; /* INVALIDATED messages the requester shall wait for */
};

/* Home to a sharer: drop the page, tell the requester. */
struct msg_invalidate {
    uint64_t page;
    uint32_t ticket;
    uint16_t requester, zero;
};

enum grant_data { GRANT_SAME, GRANT_ZEROES, GRANT_PAGE };

/* Holder (or home) to requester. */
struct msg_grant {
    uint64_t page, version;
    uint32_t ticket;
    uint8_t right, data; /* enum grant_data */
    uint8_t acks;
    uint8_t over; /* the home says so: it counts the requester among the holders from here on and wants no DONE */
};

/* Sharer to requester. */
struct msg_invalidated {
    uint64_t page;
    uint32_t ticket, zero;
};

/* Requester to home: the transaction is over, I hold the page. Not after a GRANT that says so itself. */
struct msg_done {
    uint64_t page;
    uint32_t ticket, zero;
};

/* Home to requester: no prefetch of this page now. */
struct msg_refused {
    uint64_t page;
    uint32_t ticket, zero;
};

/* Home to requester: the page is hot and stays here; send OPs. */
struct msg_served {
    uint64_t page;
    uint32_t ticket, zero;
};

enum remote_op {
    REMOTE_LOAD,
    REMOTE_STORE,
    REMOTE_SWAP,
    REMOTE_ADD,
    REMOTE_XOR,
    REMOTE_AND,
    REMOTE_OR,
    REMOTE_MIN,
    REMOTE_MAX,
    REMOTE_MINU,
    REMOTE_MAXU,
    REMOTE_CAS, /* store `value` if the old value equals `expected`: also what SC becomes */
    REMOTE_OPS
};

/* Requester to home: do this on the page there. Naturally aligned, 1, 2, 4 or 8 bytes (AMOs 4 or 8). */
struct msg_op {
    uint64_t page, value, expected;
    uint32_t ticket;
    uint16_t offset; /* bytes in the page */
    uint8_t op, size;
};

enum op_status { OP_DONE, OP_NOT_SERVED };

struct msg_op_reply {
    uint64_t page, value; /* the old value, zero-extended */
    uint32_t ticket;
    uint8_t status, zero[3];
};

enum lock_mode { LOCK_NONE = 0, LOCK_SHARED = 1, LOCK_EXCLUSIVE = 2 };

/* All lock messages: `dead` is the set of ranks the sender knows to be dead, which is also the epoch. */
struct msg_lock {
    uint64_t dead;
    /* Of the token that moves; HINT and its RELEASED: of the token that is there; REQUEST: as its HINT */
    uint64_t fence;
    char name[MSG_LOCK_NAME];
    uint16_t to;   /* RECALL: the rank to hand the token to */
    uint8_t mode;  /* enum lock_mode */
    uint8_t wants; /* REPORT: the mode this rank is waiting for */
    uint8_t acks;  /* GRANT: RELEASED messages to wait for */
    uint8_t early; /* RELEASED: for a HINT. GRANT: such a one counts. RECALL: it counts if it is sent already */
    uint8_t zero[2];
};

/* Heartbeat: every field in the sender's nanoseconds. An echo carries the other's `sent` back with both own times. */
struct msg_beat {
    uint64_t dead, sent, received, echoed;
};

/* A message of the machine to a handler on another rank: IPI, fence, MMIO, ... */
struct msg_post {
    uint32_t kind, length;
    uint8_t bytes[MSG_POST_MAX]; /* only `length` bytes travel */
};

/* The machine ends: exit status for mpirun, and why. */
struct msg_end {
    int32_t status;
    uint32_t lost; /* rank that was lost + 1, or 0 */
    char reason[MSG_REASON_MAX];
};

/* First in each frame if the ranks are on several hosts: the sender's clock when the frame left. What stands behind it
 * happened before that, so the receiver's clock does not stay behind it (clock_sync.h). 0: it is not known there yet.
 */
struct msg_time {
    uint64_t ns;
};

/* The directory's messages: all start with the page. */
union page_body {
    uint64_t page;
    struct msg_get get;
    struct msg_forward forward;
    struct msg_invalidate invalidate;
    struct msg_grant grant;
    struct msg_invalidated invalidated;
    struct msg_done done;
    struct msg_refused refused;
    struct msg_served served;
    struct msg_op op;
    struct msg_op_reply op_reply;
};

struct page_message {
    struct msg_header header;
    union page_body body;
};

struct lock_message {
    struct msg_header header;
    struct msg_lock body;
};

union msg_body {
    union page_body page;
    struct msg_lock lock;
    struct msg_beat beat;
    struct msg_post post;
    struct msg_end end;
    struct msg_time time;
};

struct message {
    struct msg_header header;
    union msg_body body;
};

/* What a receiver knows when it judges a message. */
struct msg_context {
    unsigned self, ranks;
    uint32_t session;
    uint64_t pages; /* pages of guest memory */
};

/*
 * Judges `length` bytes as one message. Returns NULL if it may be used (then *out holds header and body, zero-extended,
 * and *page_data points into `bytes` at the page, or is NULL), else a constant sentence that says what is wrong with
 * it.
 */
const char *message_invalid(const void *bytes, size_t length, const struct msg_context *context, struct message *out,
                            const uint8_t **page_data);

/* A frame holds one message after the other, each followed by its page. Bytes of the first one in `length` bytes: at
 * least 1 and at most `length`; what makes no sense is left to message_invalid(). */
size_t message_extent(const void *bytes, size_t length);

/* The header of a message of this type; session and sequence are left to the sender. `post_length` counts for POST. */
struct msg_header message_header(enum msg_type type, unsigned src, size_t post_length);

/* "GET", "FORWARD", ... for statistics and logs. */
const char *message_name(enum msg_type type);

/* True if the message should overtake pages: everything but a GRANT that carries one and a prefetch. */
bool message_urgent(const struct message *message);

/*
 * Order and completeness of the traffic with one peer, per class. Connections deliver in order or break; a second
 * connection of the same peer may deliver a message twice. A repeat is dropped, a hole means the peer must be fenced.
 */
struct peer_link {
    uint32_t next_out[2], next_in[2];
    uint64_t repeats;
};

enum link_verdict { LINK_ACCEPT, LINK_REPEAT, LINK_HOLE };
enum link_verdict peer_link_accept(struct peer_link *link, unsigned traffic_class, uint32_t sequence);

#endif
