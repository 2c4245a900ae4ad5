/*
 * How soon the host runs a thread that wakes. Messages are handed from thread to thread; each of them works for a few
 * microseconds only, but would wait for the end of a running hart's time slice (milliseconds) if the scheduler held the
 * two for equals. Nothing here can starve the host: the thread keeps the ordinary policy.
 */
#ifndef WEFT_TRANSPORT_URGENCY_H
#define WEFT_TRANSPORT_URGENCY_H

struct urgency {
    int nice; /* before */
};

/* The calling thread, and the threads that it makes, run soon after they wake: a time slice of 0.1 ms (kernels from
 * 6.12 on let short slices run first; no privilege needed), and 5 less nice where that is permitted. */
void urgency_begin(struct urgency *before);
/* The calling thread handles no messages, but waits for some: a slice of 0.4 ms, as nice as before. */
void urgency_end(const struct urgency *before);

#endif
