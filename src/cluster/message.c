#include "weft/message.h"

#include <string.h>

/* Rank numbers are masks of 64 bits in the directory and the lock service. */
_Static_assert(WEFT_MAX_RANKS <= 64, "rank sets are one word");
_Static_assert(sizeof(struct msg_header) == 16, "header has no padding");
_Static_assert(sizeof(struct msg_get) == 24 && sizeof(struct msg_forward) == 24 &&
                   sizeof(struct msg_invalidate) == 16 && sizeof(struct msg_grant) == 24 &&
                   sizeof(struct msg_done) == 16 && sizeof(struct msg_op) == 32 && sizeof(struct msg_op_reply) == 24 &&
                   sizeof(struct msg_lock) == 56 && sizeof(struct msg_beat) == 32 && sizeof(struct msg_time) == 8,
               "bodies have no padding");

static const struct {
    const char *name;
    size_t size;
} types[MSG_TYPES] = {
    [MSG_GET] = {"GET", sizeof(struct msg_get)},
    [MSG_FORWARD] = {"FORWARD", sizeof(struct msg_forward)},
    [MSG_INVALIDATE] = {"INVALIDATE", sizeof(struct msg_invalidate)},
    [MSG_GRANT] = {"GRANT", sizeof(struct msg_grant)},
    [MSG_INVALIDATED] = {"INVALIDATED", sizeof(struct msg_invalidated)},
    [MSG_DONE] = {"DONE", sizeof(struct msg_done)},
    [MSG_REFUSED] = {"REFUSED", sizeof(struct msg_refused)},
    [MSG_SERVED] = {"SERVED", sizeof(struct msg_served)},
    [MSG_OP] = {"OP", sizeof(struct msg_op)},
    [MSG_OP_REPLY] = {"OP_REPLY", sizeof(struct msg_op_reply)},
    [MSG_LOCK_REQUEST] = {"LOCK_REQUEST", sizeof(struct msg_lock)},
    [MSG_LOCK_HINT] = {"LOCK_HINT", sizeof(struct msg_lock)},
    [MSG_LOCK_RECALL] = {"LOCK_RECALL", sizeof(struct msg_lock)},
    [MSG_LOCK_GRANT] = {"LOCK_GRANT", sizeof(struct msg_lock)},
    [MSG_LOCK_RELEASED] = {"LOCK_RELEASED", sizeof(struct msg_lock)},
    [MSG_LOCK_OWNED] = {"LOCK_OWNED", sizeof(struct msg_lock)},
    [MSG_LOCK_REPORT] = {"LOCK_REPORT", sizeof(struct msg_lock)},
    [MSG_LOCK_REPORT_END] = {"LOCK_REPORT_END", sizeof(struct msg_lock)},
    [MSG_BEAT] = {"BEAT", sizeof(struct msg_beat)},
    [MSG_BEAT_ECHO] = {"BEAT_ECHO", sizeof(struct msg_beat)},
    [MSG_POST] = {"POST", sizeof(struct msg_post)},
    [MSG_END] = {"END", sizeof(struct msg_end)},
    [MSG_TIME] = {"TIME", sizeof(struct msg_time)},
};

const char *message_name(enum msg_type type)
{
    return type > MSG_NONE && type < MSG_TYPES ? types[type].name : "?";
}

struct msg_header message_header(enum msg_type type, unsigned src, size_t post_length)
{
    size_t size = type == MSG_POST ? offsetof(struct msg_post, bytes) + post_length : types[type].size;
    return (struct msg_header){
        .magic = MSG_MAGIC,
        .protocol = MSG_PROTOCOL,
        .type = (uint8_t)type,
        .src = (uint16_t)src,
        .size = (uint16_t)(sizeof(struct msg_header) + size),
    };
}

bool message_urgent(const struct message *message)
{
    switch (message->header.type) {
    case MSG_GRANT:
        /* What the home sends next may presuppose a GRANT that ended the transaction: it stays in front. */
        return message->body.page.grant.data != GRANT_PAGE || message->body.page.grant.over;
    case MSG_GET:
        return !get_is_stream(message->body.page.get.flags);
    default:
        return true;
    }
}

enum link_verdict peer_link_accept(struct peer_link *link, unsigned traffic_class, uint32_t sequence)
{
    int32_t ahead = (int32_t)(sequence - link->next_in[traffic_class]);
    if (ahead < 0) {
        link->repeats++;
        return LINK_REPEAT;
    }
    if (ahead > 0) {
        return LINK_HOLE;
    }
    link->next_in[traffic_class]++;
    return LINK_ACCEPT;
}

static const char *get_invalid(const struct msg_get *m)
{
    if (m->right != PAGE_READ && m->right != PAGE_WRITE) {
        return "GET asks for a right that does not exist";
    }
    if (m->flags & ~(GET_PREFETCH | GET_WHOLE | GET_FOLLOW)) {
        return "GET has unknown flags";
    }
    if ((m->flags & GET_PREFETCH && m->flags & GET_WHOLE) || (m->flags & GET_FOLLOW && !(m->flags & GET_PREFETCH))) {
        return "GET has flags that exclude one another";
    }
    return NULL;
}

static const char *forward_invalid(const struct msg_forward *m, const struct msg_context *c)
{
    if (m->right != PAGE_READ && m->right != PAGE_WRITE) {
        return "FORWARD names a right that does not exist";
    }
    if (m->requester >= c->ranks || m->requester == c->self) {
        return "FORWARD names no other rank as requester";
    }
    if (m->acks >= c->ranks || (m->right == PAGE_READ && m->acks)) {
        return "FORWARD counts impossible acknowledgements";
    }
    return NULL;
}

static const char *grant_invalid(const struct msg_grant *m, const struct msg_context *c, size_t extra)
{
    if (m->right != PAGE_READ && m->right != PAGE_WRITE) {
        return "GRANT names a right that does not exist";
    }
    if (m->data > GRANT_PAGE) {
        return "GRANT has an unknown kind of data";
    }
    if (m->acks >= c->ranks || (m->right == PAGE_READ && m->acks)) {
        return "GRANT counts impossible acknowledgements";
    }
    if (m->over > 1 || (m->over && m->acks)) {
        return "GRANT is over and is not";
    }
    if (extra != (m->data == GRANT_PAGE ? (size_t)MSG_PAGE_SIZE : 0)) {
        return "GRANT and its page differ in length";
    }
    return NULL;
}

static const char *op_invalid(const struct msg_op *m)
{
    if (m->op >= REMOTE_OPS) {
        return "OP is unknown";
    }
    if (m->size != 1 && m->size != 2 && m->size != 4 && m->size != 8) {
        return "OP has an impossible size";
    }
    if (m->op > REMOTE_STORE && m->op != REMOTE_CAS && m->size < 4) {
        return "OP is an AMO of less than 4 bytes";
    }
    if (m->offset >= MSG_PAGE_SIZE || m->offset % m->size) {
        return "OP is not aligned or outside the page";
    }
    return NULL;
}

static const char *lock_invalid(const struct msg_lock *m, enum msg_type type, const struct msg_context *c)
{
    if (!memchr(m->name, '\0', sizeof(m->name))) {
        return "lock name has no end";
    }
    if ((m->name[0] == '\0') != (type == MSG_LOCK_REPORT_END)) {
        return "lock name is empty";
    }
    if (m->mode > LOCK_EXCLUSIVE || m->wants > LOCK_EXCLUSIVE) {
        return "lock mode does not exist";
    }
    if (m->mode == LOCK_NONE && type != MSG_LOCK_REPORT && type != MSG_LOCK_REPORT_END) {
        return "lock message has no mode";
    }
    if (type == MSG_LOCK_HINT && m->mode != LOCK_EXCLUSIVE) {
        return "LOCK_HINT is for an exclusive token";
    }
    if (m->early > (type == MSG_LOCK_RECALL || type == MSG_LOCK_GRANT || type == MSG_LOCK_RELEASED)) {
        return "lock message cannot be early";
    }
    if (m->to >= c->ranks || m->acks >= c->ranks) {
        return "lock message names a rank that does not exist";
    }
    if (c->ranks < 64 && m->dead >> c->ranks) {
        return "dead ranks that do not exist";
    }
    return NULL;
}

/* The checks of one body; `extra` bytes follow it. */
static const char *body_invalid(const struct message *m, const struct msg_context *c, size_t extra)
{
    enum msg_type type = m->header.type;
    const union msg_body *b = &m->body;
    if (extra && type != MSG_GRANT) {
        return "bytes follow a message that carries no page";
    }
    if (type >= MSG_GET && type <= MSG_OP_REPLY && b->page.page >= c->pages) {
        return "page is outside guest memory";
    }
    switch (type) {
    case MSG_GET:
        return get_invalid(&b->page.get);
    case MSG_FORWARD:
        return forward_invalid(&b->page.forward, c);
    case MSG_INVALIDATE:
        return b->page.invalidate.requester >= c->ranks || b->page.invalidate.requester == c->self
                   ? "INVALIDATE names no other rank as requester"
                   : NULL;
    case MSG_GRANT:
        return grant_invalid(&b->page.grant, c, extra);
    case MSG_OP:
        return op_invalid(&b->page.op);
    case MSG_OP_REPLY:
        return b->page.op_reply.status > OP_NOT_SERVED ? "OP_REPLY has an unknown status" : NULL;
    case MSG_POST:
        return b->post.length > MSG_POST_MAX ? "POST is too long" : NULL;
    case MSG_BEAT:
    case MSG_BEAT_ECHO:
        return c->ranks < 64 && b->beat.dead >> c->ranks ? "dead ranks that do not exist" : NULL;
    case MSG_END:
        return !memchr(b->end.reason, '\0', sizeof(b->end.reason)) ? "END's reason has no end"
               : b->end.lost > c->ranks                            ? "END names a rank that does not exist"
                                                                   : NULL;
    case MSG_INVALIDATED:
    case MSG_DONE:
    case MSG_REFUSED:
    case MSG_SERVED:
    case MSG_TIME: /* how far ahead it may be only the receiver's clock can tell: clock_sync_hear */
        return NULL;
    default:
        return lock_invalid(&b->lock, type, c);
    }
}

size_t message_extent(const void *bytes, size_t length)
{
    struct msg_header h;
    struct msg_grant grant;
    if (length < sizeof(h)) {
        return length;
    }
    memcpy(&h, bytes, sizeof(h));
    size_t extent = h.size;
    if (h.type == MSG_GRANT && extent == sizeof(h) + sizeof(grant) && extent <= length) {
        memcpy(&grant, (const uint8_t *)bytes + sizeof(h), sizeof(grant));
        extent += grant.data == GRANT_PAGE ? MSG_PAGE_SIZE : 0;
    }
    return extent < sizeof(h) || extent > length ? length : extent;
}

const char *message_invalid(const void *bytes, size_t length, const struct msg_context *context, struct message *out,
                            const uint8_t **page_data)
{
    *page_data = NULL;
    if (length < sizeof(struct msg_header)) {
        return "message is shorter than a header";
    }
    memcpy(&out->header, bytes, sizeof(out->header));
    const struct msg_header *h = &out->header;
    if (h->magic != MSG_MAGIC) {
        return "message does not start with weft's mark";
    }
    if (h->protocol != MSG_PROTOCOL) {
        return "message is of another protocol version";
    }
    if (h->session != context->session) {
        return "message is of another run";
    }
    if (h->src >= context->ranks || h->src == context->self) {
        return "message comes from no other rank";
    }
    if (h->type <= MSG_NONE || h->type >= MSG_TYPES) {
        return "message type is unknown";
    }
    if (h->size > length || h->size < sizeof(*h)) {
        return "message is truncated";
    }
    size_t body = h->size - sizeof(*h);
    bool short_body = h->type == MSG_POST;
    if (short_body ? body < offsetof(struct msg_post, bytes) || body > types[h->type].size
                   : body != types[h->type].size) {
        return "message has the wrong length for its type";
    }
    memset(&out->body, 0, sizeof(out->body));
    memcpy(&out->body, (const uint8_t *)bytes + sizeof(*h), body);
    if (short_body && body != offsetof(struct msg_post, bytes) + (size_t)out->body.post.length) {
        return "POST and its bytes differ in length";
    }
    const char *why = body_invalid(out, context, length - h->size);
    if (!why && length > h->size) {
        *page_data = (const uint8_t *)bytes + h->size;
    }
    return why;
}
