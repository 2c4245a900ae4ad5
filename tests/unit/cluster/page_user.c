#include "page_user.h"

#include <errno.h>
#include <string.h>

#include "weft/remote_access.h"

/* Returns the pages that nobody has more of now. They are told without the mutex: telling may end in done(). */
static uint64_t drop_locked(struct page_user *u, struct user_vcpu *v)
{
    uint64_t taken = 0;
    for (unsigned p = 0; p < USER_PAGES; p++) {
        if (v->drop[p]) {
            v->drop[p] = false;
            if (v->tlb[p] > u->right[p]) {
                v->tlb[p] = u->right[p];
            }
            if (--u->pending[p] == 0) {
                taken |= 1ull << p;
            }
        }
    }
    return taken;
}

static void tell_taken(struct page_user *u, uint64_t taken)
{
    for (; taken; taken &= taken - 1) {
        page_source_taken(u->source, (uint64_t)__builtin_ctzll(taken), true);
    }
}

static void safe_point(struct user_vcpu *v)
{
    if (atomic_load_explicit(&v->kick, memory_order_acquire)) {
        pthread_mutex_lock(&v->user->mutex);
        atomic_store(&v->kick, false);
        uint64_t taken = drop_locked(v->user, v);
        pthread_mutex_unlock(&v->user->mutex);
        tell_taken(v->user, taken);
    }
}

static void take(void *opaque, uint64_t page, enum page_right right)
{
    struct page_user *u = opaque;
    pthread_mutex_lock(&u->mutex);
    u->right[page] = (uint8_t)right;
    u->pending[page] = 0;
    for (unsigned i = 0; i < u->num_vcpus; i++) {
        struct user_vcpu *v = &u->vcpu[i];
        if (v->parked) {
            v->tlb[page] = v->tlb[page] > right ? (uint8_t)right : v->tlb[page];
        } else {
            /* Its rights are its own to read: it is asked in any case. */
            v->drop[page] = true;
            u->pending[page]++;
            atomic_store(&v->kick, true);
        }
    }
    bool now = u->pending[page] == 0;
    pthread_mutex_unlock(&u->mutex);
    if (now) {
        page_source_taken(u->source, page, true);
    }
}

static void done(struct page_request *request, enum page_status status)
{
    struct user_vcpu *v = (struct user_vcpu *)request;
    pthread_mutex_lock(&v->user->mutex);
    v->parked = false;
    v->status = status;
    if (status == PAGE_GRANTED && !request->is_op) {
        /* Now, not when the thread gets to run: a take that follows must wait for this vCPU's access. */
        v->tlb[request->page] = (uint8_t)page_source_right(v->user->source, request->page);
    }
    pthread_mutex_unlock(&v->user->mutex);
    sem_post(&v->woken);
}

const struct page_user_ops page_user_ops = {.take = take};

/* Parks: what was asked of this vCPU so far is done first, later takes do it for the vCPU. */
static void park(struct user_vcpu *v)
{
    pthread_mutex_lock(&v->user->mutex);
    atomic_store(&v->kick, false);
    uint64_t taken = drop_locked(v->user, v);
    v->parked = true;
    pthread_mutex_unlock(&v->user->mutex);
    tell_taken(v->user, taken);
}

static enum page_status wait_woken(struct user_vcpu *v)
{
    page_source_wait(v->user->source, &v->request);
    while (sem_wait(&v->woken) && errno == EINTR) {
    }
    return v->status;
}

/* Gets the right, or learns that the page is served elsewhere. Returns GRANTED, REMOTE or RANK_LOST. */
static enum page_status fault(struct user_vcpu *v, uint64_t page, enum page_right want, bool whole)
{
    struct page_source *ps = v->user->source;
    for (;;) {
        enum page_right right = page_source_right(ps, page);
        if (right >= want) {
            v->tlb[page] = (uint8_t)right;
            return PAGE_GRANTED;
        }
        if (!whole && page_source_served(ps, page)) {
            return PAGE_REMOTE;
        }
        v->faults++;
        park(v);
        page_source_acquire(ps, &v->request, page, want, whole);
        enum page_status status = wait_woken(v);
        if (status != PAGE_TRY_AGAIN) {
            return status;
        }
    }
}

static bool access_page(struct user_vcpu *v, uint64_t page, enum page_right want, struct msg_op *op, uint64_t *value)
{
    for (;;) {
        if (v->tlb[page] < want) {
            enum page_status status = fault(v, page, want, false);
            if (status == PAGE_RANK_LOST) {
                return false;
            }
            if (status == PAGE_REMOTE) {
                v->remote++;
                park(v);
                page_source_operate(v->user->source, &v->request, page, op);
                status = wait_woken(v);
                if (status == PAGE_RANK_LOST) {
                    return false;
                }
                if (status != PAGE_GRANTED) {
                    continue;
                }
                *value = v->request.value;
                safe_point(v);
                return true;
            }
        }
        *value = remote_access(v->user->ram + page * MSG_PAGE_SIZE, op);
        safe_point(v);
        return true;
    }
}

bool page_user_load(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t *value)
{
    struct msg_op op = {.op = REMOTE_LOAD, .size = 8, .offset = (uint16_t)offset};
    return access_page(v, page, PAGE_READ, &op, value);
}

bool page_user_store(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t value)
{
    struct msg_op op = {.op = REMOTE_STORE, .size = 8, .offset = (uint16_t)offset, .value = value};
    uint64_t old;
    return access_page(v, page, PAGE_WRITE, &op, &old);
}

bool page_user_add(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t value, uint64_t *old)
{
    struct msg_op op = {.op = REMOTE_ADD, .size = 8, .offset = (uint16_t)offset, .value = value};
    return access_page(v, page, PAGE_WRITE, &op, old);
}

bool page_user_cas(struct user_vcpu *v, uint64_t page, unsigned offset, uint64_t expected, uint64_t value,
                   uint64_t *old)
{
    struct msg_op op = {.op = REMOTE_CAS, .size = 8, .offset = (uint16_t)offset, .value = value, .expected = expected};
    return access_page(v, page, PAGE_WRITE, &op, old);
}

bool page_user_fetch(struct user_vcpu *v, uint64_t page)
{
    bool ok = v->tlb[page] >= PAGE_READ || fault(v, page, PAGE_READ, true) == PAGE_GRANTED;
    safe_point(v);
    return ok;
}

void page_user_init(struct page_user *u, unsigned num_vcpus, uint8_t *ram)
{
    memset(u, 0, sizeof(*u));
    u->num_vcpus = num_vcpus;
    u->ram = ram;
    pthread_mutex_init(&u->mutex, NULL);
    for (unsigned i = 0; i < num_vcpus; i++) {
        u->vcpu[i].user = u;
        u->vcpu[i].request.done = done;
        u->vcpu[i].parked = true; /* until its thread runs */
        sem_init(&u->vcpu[i].woken, 0, 0);
    }
}

void page_user_run(struct user_vcpu *v)
{
    pthread_mutex_lock(&v->user->mutex);
    v->parked = false;
    pthread_mutex_unlock(&v->user->mutex);
}

void page_user_rest(struct user_vcpu *v)
{
    park(v);
}

void page_user_fini(struct page_user *u)
{
    for (unsigned i = 0; i < u->num_vcpus; i++) {
        sem_destroy(&u->vcpu[i].woken);
    }
    pthread_mutex_destroy(&u->mutex);
}
