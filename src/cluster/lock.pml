/*
 * The lock service as a Promela model: one lock, its master, every rank with up to THREADS local users.
 *
 * Left out, because the simulator drives the real code through them: leases, deaths, new masters.
 * Kept: token caching, the fair queue at the master, recall and direct hand-off, gathered releases, downgrade of an exclusive
 * token to a shared one, the budget of local grants (here: one, if a user waits that the token serves; then any number).
 *
 * Checked in every reachable state: exclusion over all ranks, fences that grow; in every final state: nobody waits.
 */
#ifndef RANKS
#define RANKS 3
#endif
#ifndef LIMIT
#define LIMIT 2 /* acquires of each rank; 0 = no end (then fences are not counted) */
#endif
#define MASTER RANKS

mtype = { REQUEST, RECALL, GRANT, RELEASED, OWNED };

/* type, to or requester, mode, acks, fence */
chan net[(RANKS + 1) * (RANKS + 1)] = [3] of { mtype, byte, byte, byte, byte };
#define CH(s, d) net[(s) * (RANKS + 1) + (d)]

byte token[RANKS], shared[RANKS], waiting[RANKS];
bool exclusive[RANKS];
byte top; /* the greatest fence of an exclusive grant */

inline check()
{
    byte a, b;
    a = 0;
    do
    :: a < RANKS ->
        b = 0;
        do
        :: b < RANKS ->
            assert(a == b || !exclusive[a] || (!exclusive[b] && shared[b] == 0));
            assert(a == b || token[a] != 2 || token[b] == 0);
            b++
        :: else -> break
        od;
        assert(!exclusive[a] || (token[a] == 2 && shared[a] == 0));
        a++
    :: else -> break
    od;
    a = 0;
    b = 0
}

proctype Rank(byte r)
{
    byte asked, fence, done, mode, who, acks, number;
    byte incoming, need, got, incoming_fence;
    bool recalled, served;
    byte recall_mode, recall_to, recall_fence;

end:
    do
    /* A local user queues (one waits at a time: the local queue is first in, first out). */
    :: atomic {
        waiting[r] == 0 && (LIMIT == 0 || done < LIMIT) ->
            if
            :: waiting[r] = 1
            :: waiting[r] = 2
            fi;
            if
            :: LIMIT > 0 -> done++
            :: else -> skip
            fi
       }
    /* The head is granted under the token that is here. */
    :: atomic {
        waiting[r] != 0 && token[r] >= waiting[r] && !exclusive[r] && (waiting[r] == 1 || shared[r] == 0) &&
        shared[r] < 2 ->
            if
            :: waiting[r] == 2 ->
                exclusive[r] = true;
                assert(LIMIT == 0 || fence >= top);
                top = (LIMIT == 0 -> 0 : fence)
            :: else ->
                assert(LIMIT == 0 || fence >= top);
                shared[r]++
            fi;
            waiting[r] = 0;
            served = recalled;
            check()
       }
    :: atomic { exclusive[r] -> exclusive[r] = false }
    :: atomic { shared[r] > 0 -> shared[r]-- }
    /* The head needs a token that is not here. */
    :: atomic {
        waiting[r] > token[r] && asked == 0 && !recalled ->
            asked = waiting[r];
            CH(r, MASTER)!REQUEST, r, asked, 0, 0
       }
    /* Handing off may come at any moment that local holders allow, after one grant at least. */
    :: atomic {
        recalled && !exclusive[r] && (recall_mode == 1 || shared[r] == 0) &&
        (served || waiting[r] == 0 || token[r] < waiting[r]) ->
            if
            :: token[r] == 2 -> CH(r, recall_to)!GRANT, 0, recall_mode, 0, recall_fence
            :: else -> CH(r, recall_to)!RELEASED, 0, 0, 0, 0
            fi;
            token[r] = (recall_mode == 2 -> 0 : 1);
            recalled = false; served = false; recall_mode = 0; recall_to = 0; recall_fence = 0
       }
    :: atomic {
        CH(MASTER, r)?RECALL, who, mode, _, number ->
            assert(token[r] != 0 && !recalled && who != r && (mode == 2 || token[r] == 2));
            recalled = true; recall_mode = mode; recall_to = who; recall_fence = number;
            who = 0; mode = 0; number = 0
       }
#define RECEIVE(s)                                                                                                     \
    :: atomic { CH(s, r)?GRANT, _, mode, acks, number -> goto grant }                                                 \
    :: atomic { CH(s, r)?RELEASED, _, _, _, _ -> assert(asked == 2); got++; goto settle }
    RECEIVE(0)
    RECEIVE(1)
#if RANKS > 2
    RECEIVE(2)
#endif
    :: atomic { CH(MASTER, r)?GRANT, _, mode, acks, number -> goto grant }
    od;

grant:
    atomic {
        assert(asked == mode && incoming == 0);
        incoming = mode; need = acks; incoming_fence = number;
        mode = 0; acks = 0; number = 0;
        goto settle
    }
settle:
    atomic {
        if
        :: incoming != 0 && need == got ->
            token[r] = incoming;
            assert(LIMIT == 0 || incoming_fence > fence);
            fence = incoming_fence;
            incoming = 0; need = 0; got = 0; incoming_fence = 0; asked = 0;
            check();
            CH(r, MASTER)!OWNED, r, token[r], 0, fence
        :: else -> skip
        fi;
        goto end
    }
}

chan queue = [RANKS] of { byte, byte };

proctype Master()
{
    byte holders, who, mode, fence, moving, others, t, count;
    bool single;

end:
    do
#define LISTEN(s)                                                                                                      \
    :: atomic { CH(s, MASTER)?REQUEST, who, mode, _, _ -> queue!who, mode; who = 0; mode = 0 }                         \
    :: atomic { CH(s, MASTER)?OWNED, who, mode, _, _ ->                                                                \
            assert(moving == who + 1);                                                                                 \
            holders = (mode == 2 -> 1 << who : holders | (1 << who));                                                  \
            single = (mode == 2);                                                                                      \
            moving = 0; who = 0; mode = 0 }
    LISTEN(0)
    LISTEN(1)
#if RANKS > 2
    LISTEN(2)
#endif
    :: atomic {
        moving == 0 && nempty(queue) ->
            queue?who, mode;
            moving = who + 1;
            if
            :: LIMIT > 0 -> fence++
            :: else -> skip
            fi;
            others = holders & ~(1 << who);
            count = 0;
            if
            :: others != 0 && (mode == 2 || single) ->
                t = 0;
                do
                :: t < RANKS ->
                    if
                    :: (others >> t) & 1 -> count++; CH(MASTER, t)!RECALL, who, mode, 0, fence
                    :: else -> skip
                    fi;
                    t++
                :: else -> break
                od
            :: else -> skip
            fi;
            if
            :: count == 0 || !single -> CH(MASTER, who)!GRANT, 0, mode, count, fence
            :: else -> skip
            fi;
            who = 0; mode = 0; others = 0; t = 0; count = 0
       }
    od
}

init
{
    byte r;
    atomic {
        r = 0;
        do
        :: r < RANKS -> run Rank(r); r++
        :: else -> break
        od;
        run Master();
        r = 0
    }
    timeout;
    do
    :: r < RANKS -> assert(waiting[r] == 0 && !exclusive[r] && shared[r] == 0); r++
    :: else -> break
    od;
    assert(empty(queue))
}
