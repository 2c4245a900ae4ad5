/*
 * The lock service as a Promela model: one lock, its master, every rank with up to THREADS local users.
 *
 * Left out, because the simulator drives the real code through them: leases, deaths, new masters.
 * Kept: token caching, the fair queue at the master, recall and direct hand-off, gathered releases, downgrade of an exclusive
 * token to a shared one, the budget of local grants (here: one, if a user waits that the token serves; then any number);
 * with LIMIT the hint to the probable holder, who releases early (it needs fences that are counted).
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

mtype = { REQUEST, HINT, RECALL, GRANT, RELEASED, OWNED };

/* type, to or requester, mode, acks, fence, early */
chan net[(RANKS + 1) * (RANKS + 1)] = [4] of { mtype, byte, byte, byte, byte, bit };
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
    byte hint, hint_fence, hinted, given; /* hint, given: rank plus one */
    bit early, offered, incoming_early, recall_hinted, recall_release;

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
            hinted = (asked == 2 -> hint_fence : 0);
            CH(r, MASTER)!REQUEST, r, asked, 0, hinted, 0;
            if
            :: hinted != 0 -> CH(r, hint - 1)!HINT, r, 2, 0, hinted, 0
            :: else -> skip
            fi
       }
    /* Handing off may come at any moment that local holders allow, after one grant at least. */
    :: atomic {
        recalled && !exclusive[r] && (recall_mode == 1 || shared[r] == 0) &&
        (served || waiting[r] == 0 || token[r] < waiting[r]) ->
            if
            :: recall_hinted -> CH(r, recall_to)!RELEASED, 0, 0, 0, fence, 1; given = recall_to + 1
            :: else ->
                if
                :: token[r] == 2 && !recall_release -> CH(r, recall_to)!GRANT, 0, recall_mode, 0, recall_fence, 0
                :: else -> CH(r, recall_to)!RELEASED, 0, 0, 0, 0, 0
                fi;
                hint = (LIMIT > 0 && recall_mode == 2 -> recall_to + 1 : 0);
                hint_fence = (hint != 0 -> recall_fence : 0)
            fi;
            token[r] = (recall_mode == 2 -> 0 : 1);
            recalled = false; served = false; recall_mode = 0; recall_to = 0; recall_fence = 0;
            recall_hinted = 0; recall_release = 0
       }
    :: atomic {
        CH(MASTER, r)?RECALL, who, mode, _, number, early ->
            if
            :: LIMIT > 0 && number < fence -> skip /* that token left early */
            :: else ->
                if
                :: given != 0 && early && given == who + 1 -> hint = given; hint_fence = number; given = 0
                :: else ->
                    if
                    :: given != 0 -> given = 0; token[r] = 2; check()
                    :: else -> skip
                    fi;
                    assert(token[r] != 0 && (!recalled || recall_hinted) && who != r && (mode == 2 || token[r] == 2));
                    recalled = true; recall_mode = mode; recall_to = who; recall_fence = number;
                    recall_hinted = 0; recall_release = early
                fi
            fi;
            who = 0; mode = 0; number = 0; early = 0
       }
#define RECEIVE(s)                                                                                                     \
    :: atomic { CH(s, r)?GRANT, _, mode, acks, number, early -> goto grant }                                          \
    :: atomic { CH(s, r)?RELEASED, _, _, _, number, early ->                                                          \
            if                                                                                                         \
            :: early -> offered = offered | (hinted != 0 && hinted == number)                                         \
            :: else -> assert(asked == 2); got++                                                                       \
            fi;                                                                                                        \
            number = 0; early = 0; goto settle }                                                                       \
    :: atomic { CH(s, r)?HINT, who, _, _, number, _ ->                                                                \
            if                                                                                                         \
            :: token[r] == 2 && fence == number && !recalled ->                                                       \
                recalled = true; recall_hinted = 1; recall_mode = 2; recall_to = who                                  \
            :: else -> skip                                                                                            \
            fi;                                                                                                        \
            who = 0; number = 0 }
    RECEIVE(0)
    RECEIVE(1)
#if RANKS > 2
    RECEIVE(2)
#endif
    :: atomic { CH(MASTER, r)?GRANT, _, mode, acks, number, early -> goto grant }
    od;

grant:
    atomic {
        assert(asked == mode && incoming == 0);
        incoming = mode; need = acks; incoming_fence = number; incoming_early = early;
        mode = 0; acks = 0; number = 0; early = 0;
        goto settle
    }
settle:
    atomic {
        if
        :: incoming != 0 && need == got + (incoming_early && offered) ->
            token[r] = incoming;
            assert(LIMIT == 0 || incoming_fence > fence);
            fence = incoming_fence;
            incoming = 0; need = 0; got = 0; incoming_fence = 0; asked = 0;
            hint = 0; hint_fence = 0; hinted = 0; offered = 0; incoming_early = 0; given = 0;
            check();
            CH(r, MASTER)!OWNED, r, token[r], 0, fence, 0
        :: else -> skip
        fi;
        goto end
    }
}

chan queue = [RANKS] of { byte, byte, byte };

proctype Master()
{
    byte holders, who, mode, fence, moving, others, t, count, hint, tenure;
    bool single, early;

end:
    do
#define LISTEN(s)                                                                                                      \
    :: atomic { CH(s, MASTER)?REQUEST, who, mode, _, hint, _ -> queue!who, mode, hint; who = 0; mode = 0; hint = 0 }  \
    :: atomic { CH(s, MASTER)?OWNED, who, mode, _, _, _ ->                                                             \
            assert(moving == who + 1);                                                                                 \
            holders = (mode == 2 -> 1 << who : holders | (1 << who));                                                  \
            single = (mode == 2);                                                                                      \
            tenure = (single -> fence : 0);                                                                            \
            moving = 0; who = 0; mode = 0 }
    LISTEN(0)
    LISTEN(1)
#if RANKS > 2
    LISTEN(2)
#endif
    :: atomic {
        moving == 0 && nempty(queue) ->
            queue?who, mode, hint;
            moving = who + 1;
            if
            :: LIMIT > 0 -> fence++
            :: else -> skip
            fi;
            others = holders & ~(1 << who);
            early = others != 0 && single && hint != 0 && hint == tenure;
            count = 0;
            if
            :: others != 0 && (mode == 2 || single) ->
                t = 0;
                do
                :: t < RANKS ->
                    if
                    :: (others >> t) & 1 -> count++; CH(MASTER, t)!RECALL, who, mode, 0, fence, early
                    :: else -> skip
                    fi;
                    t++
                :: else -> break
                od
            :: else -> skip
            fi;
            if
            :: count == 0 || !single || early -> CH(MASTER, who)!GRANT, 0, mode, count, fence, early
            :: else -> skip
            fi;
            who = 0; mode = 0; others = 0; t = 0; count = 0; hint = 0; early = 0
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
