/*
 * How soon the host runs a thread that wakes. Messages are handed from thread to thread; each of them works for a few
 * microseconds only, but would wait for the end of a running hart's time slice (milliseconds) if the scheduler held the
 * two for equals. A short slice helps only a thread that has used less than its share so far: beside a hart that never
 * sleeps one wake-up in ten still waited for the scheduler's tick, 3.6 ms. The real-time policy keeps no such accounts;
 * but where harts share a processor they lose more by being interrupted each time than the messages gain.
 */
#ifndef WEFT_TRANSPORT_URGENCY_H
#define WEFT_TRANSPORT_URGENCY_H

struct urgency {
    int nice; /* before */
};

/* The calling thread, and the threads that it makes, run soon after they wake: a time slice of 0.1 ms (kernels from
 * 6.12 on let short slices run first; no privilege needed), and 5 less nice where that is permitted; or SCHED_FIFO,
 * see transport_threads_realtime(). */
void urgency_begin(struct urgency *before);
/* The calling thread handles no messages, but waits for some: a slice of 0.4 ms, as nice as before. */
void urgency_end(const struct urgency *before);

#endif
