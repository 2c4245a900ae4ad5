/*
 * The directory as a Promela model: what directory.c and directory_home.c do for one page, over and over, by every rank.
 *
 * Left out, because the simulator drives the real code through them: hold time, loss of a rank. With SERVE the home may
 * serve a page that is at home (and end that at any moment) and refuse prefetches, and ranks send single accesses to it.
 * Kept: the queue at the home, reads side by side, invalidations with gathered acknowledgements, versions and upgrades without
 * bytes, users that come down late, GETs that cross a FORWARD or an INVALIDATE, GRANTs of the home itself that end the
 * transaction (or not, where they travel as bulk). Each pair of ranks has two channels (urgent and bulk); nothing is known
 * about the order between channels.
 *
 * Checked in every reachable state: one writer; readers see the last write; and in every final state (LIMIT > 0):
 * no request is left. tests/sim/models runs it: `spin -run -DLIMIT=0 -DWRITES=3 directory.pml`. Page p is homed on rank p.
 */
#ifndef RANKS
#define RANKS 3
#endif
#ifndef PAGES
#define PAGES 1
#endif
#ifndef LIMIT
#define LIMIT 2 /* requests of each rank for each page; 0 = no end */
#endif
#ifndef WRITES
#define WRITES 3 /* writes to each page: versions and bytes are counted */
#endif
#ifndef TOTAL
#define TOTAL 0 /* requests of all ranks for all pages together; 0 = no such limit */
#endif
#ifndef READ_AHEAD
#define READ_AHEAD 1 /* 0: each GRANT of the home that can end its transaction does */
#endif
#define HOME RANKS /* the home's entry is an endpoint of its own; rank p holds page p at the start */
#define CURRENT 255

#ifndef SERVE
#define SERVE 0 /* 1: pages served at their home, and prefetches that are refused */
#endif

mtype = { GET, FORWARD, INVALIDATE, GRANT, INVALIDATED, DONE, SERVED, REFUSED, OP, OP_DONE, OP_REFUSED };

/* type, requester (GRANT: over), right, acks, version or have, bytes */
chan net[PAGES * (RANKS + 1) * (RANKS + 1) * 2] = [2] of { mtype, byte, byte, byte, byte, byte };
#define CH(p, s, d, c) net[(((p) * (RANKS + 1) + (s)) * (RANKS + 1) + (d)) * 2 + (c)]
chan queue[PAGES] = [RANKS + 1] of { byte, byte, byte }; /* requester, right, have */

/* Per page and rank: the line, what users may still do, the request. */
byte line[PAGES * RANKS];
byte users[PAGES * RANKS];
byte version[PAGES * RANKS];
byte bytes[PAGES * RANKS];
byte asked[PAGES * RANKS];
#if SERVE
byte served[PAGES * RANKS]; /* the home said so: 1; an access is under way: 2 */
#endif
/* Per page: the last bytes written. */
byte last[PAGES];
byte writes[PAGES];
/* Per page, the home's entry: ranks whose read is under way, requester + 1 of the write (or of the read of an exclusive
 * page) under way, and whether that is a write. */
byte holders[PAGES];
byte reads[PAGES];
byte writer[PAGES];
bool write[PAGES];
bool exclusive[PAGES];
byte spent; /* of TOTAL */

#define I (p * RANKS + r)
#if SERVE
#define NO_OP (served[I] != 2) /* one thread of each rank */
#else
#define NO_OP true
#endif

/* The requester `w` of page p holds it now. */
inline end_transaction(p, w)
{
    if
    :: writer[p] == w + 1 ->
        writer[p] = 0;
        if
        :: write[p] -> holders[p] = 1 << w; exclusive[p] = true
        :: else -> holders[p] = holders[p] | (1 << w); exclusive[p] = false
        fi;
        write[p] = false
    :: else ->
        assert((reads[p] >> w) & 1);
        reads[p] = reads[p] & ~(1 << w);
        holders[p] = holders[p] | (1 << w)
    fi
}

inline check(p)
{
    byte q, t;
    q = 0;
    do
    :: q < RANKS ->
        assert(users[p * RANKS + q] == 0 || bytes[p * RANKS + q] == last[p]);
        t = 0;
        do
        :: t < RANKS ->
            assert(t == q || users[p * RANKS + q] != 2 || users[p * RANKS + t] == 0);
            t++
        :: else -> break
        od;
        q++
    :: else -> break
    od;
    q = 0;
    t = 0
}

proctype Rank(byte p; byte r)
{
    byte who, right, acks, ver, val;
    byte granted, need, got, requests, over;
    byte taking, take_right, take_who, take_acks, take_have;
    bool take_invalidate, dirty;

end:
    do
    /* A user asks for a right that it has not, or that is just being taken. */
    :: atomic {
        asked[I] == 0 && NO_OP && (LIMIT == 0 || requests < LIMIT) && (TOTAL == 0 || spent < TOTAL) && (taking -> take_right : line[I]) < 2 ->
            if
            :: (taking -> take_right : line[I]) == 0 -> right = 1
            :: right = 2
            fi;
            asked[I] = right;
#if SERVE
            served[I] = 0;
#endif
            if
            :: LIMIT > 0 -> requests++
            :: else -> skip
            fi;
            if
            :: TOTAL > 0 -> spent++
            :: else -> skip
            fi;
            CH(p, r, HOME, 0)!GET, r, right, 0, version[I], 0;
            right = 0
       }
#if SERVE
    /* An access that the home shall perform. */
    :: atomic { served[I] == 1 && asked[I] == 0 && line[I] == 0 -> served[I] = 2; CH(p, r, HOME, 0)!OP, r, 0, 0, 0, 0 }
    :: atomic { CH(p, HOME, r, 0)?SERVED, _, _, _, _, _ -> assert(asked[I] && !granted && !got); asked[I] = 0; served[I] = 1 }
    :: atomic { CH(p, HOME, r, 0)?REFUSED, _, _, _, _, _ -> assert(asked[I] == 1 && !granted); asked[I] = 0 }
    :: atomic { CH(p, HOME, r, 0)?OP_DONE, _, _, _, _, _ -> served[I] = (served[I] == 2 -> 1 : 0) }
    :: atomic { CH(p, HOME, r, 0)?OP_REFUSED, _, _, _, _, _ -> served[I] = 0 }
#endif
    /* A user writes. */
    :: d_step {
        users[I] == 2 && writes[p] < WRITES ->
            writes[p]++;
            bytes[I] = writes[p];
            last[p] = writes[p];
            dirty = true
       }
    /* The users are at a safe point: they come down, and the answer goes out. */
    :: atomic {
        taking ->
            users[I] = take_right;
            if
            :: line[I] == 2 && dirty -> version[I]++; dirty = false
            :: else -> skip
            fi;
            line[I] = take_right;
            taking = 0;
answer:
            if
            :: take_invalidate -> CH(p, r, take_who, 0)!INVALIDATED, 0, 0, 0, 0, 0
            :: else ->
                /* The home's own rank answers (from the home's endpoint: what it says later comes behind), and not to
                 * a read ahead. */
                if
                :: r == p && take_who != p && take_acks == 0 ->
                    if
                    :: take_have == version[I] || take_have == CURRENT -> val = CURRENT
                    :: else -> val = bytes[I]
                    fi;
                    CH(p, HOME, take_who, 0)!GRANT, 1, (take_right == 0 -> 2 : 1), 0, version[I], val;
                    val = 0;
                    end_transaction(p, take_who)
                :: take_acks != 0 || r != p || take_who == p || READ_AHEAD ->
                    if
                    :: take_have == version[I] || take_have == CURRENT ->
                        CH(p, r, take_who, 0)!GRANT, 0, (take_right == 0 -> 2 : 1), take_acks, version[I], CURRENT
                    :: else ->
                        CH(p, r, take_who, 1)!GRANT, 0, (take_right == 0 -> 2 : 1), take_acks, version[I], bytes[I]
                    fi
                fi
            fi;
            take_who = 0; take_acks = 0; take_have = 0; take_right = 0; take_invalidate = false
       }
    :: atomic {
        CH(p, HOME, r, 0)?FORWARD, who, right, acks, ver, _ ->
            assert(line[I] != 0 && !taking);
            take_who = who; take_acks = acks; take_have = ver;
            take_right = (right == 2 -> 0 : 1);
            take_invalidate = false;
            who = 0; right = 0; acks = 0; ver = 0;
            if
            :: line[I] <= take_right -> goto answer
            :: else -> taking = 1
            fi
       }
    :: atomic {
        CH(p, HOME, r, 0)?INVALIDATE, who, _, _, _, _ ->
            assert(line[I] == 1 && !taking);
            take_who = who; take_right = 0; take_invalidate = true;
            taking = 1;
            who = 0
       }
#define RECEIVE(s)                                                                                                     \
    :: atomic { CH(p, s, r, 0)?GRANT, over, right, acks, ver, val -> goto grant }                                       \
    :: atomic { CH(p, s, r, 1)?GRANT, over, right, acks, ver, val -> goto grant }                                       \
    :: atomic { CH(p, s, r, 0)?INVALIDATED, _, _, _, _, _ -> assert(asked[I] == 2); got++; goto settle }
    RECEIVE(0)
    RECEIVE(1)
#if RANKS > 2
    RECEIVE(2)
#endif
    :: atomic { CH(p, HOME, r, 0)?GRANT, over, right, acks, ver, val -> goto grant }
    od;

grant:
    atomic {
        assert(asked[I] == right && !granted && !taking);
        if
        :: val == CURRENT ->
            assert(ver == CURRENT -> line[I] == 1 : ver == version[I])
        :: else ->
            assert(line[I] == 0);
            bytes[I] = val;
            version[I] = ver
        fi;
        granted = 1;
        need = acks;
        right = 0; acks = 0; ver = 0; val = 0;
        goto settle
    }
settle:
    atomic {
        if
        :: granted && need == got ->
            line[I] = asked[I];
            users[I] = asked[I];
            asked[I] = 0;
            granted = 0; need = 0; got = 0;
            check(p);
            if
            :: over -> over = 0
            :: else -> CH(p, r, HOME, 0)!DONE, r, 0, 0, 0, 0
            fi
        :: else -> skip
        fi;
        goto end
    }
}

proctype Home(byte p)
{
    byte who, right, have, t, source, acks;
#if SERVE
    bool hot;
#endif

end:
    do
#define LISTEN(s)                                                                                                      \
    :: atomic { CH(p, s, HOME, 0)?GET, who, right, _, have, _ ->                                                     \
            queue[p]!who, right, have; who = 0; right = 0; have = 0 }                                                  \
    :: atomic { CH(p, s, HOME, 0)?DONE, who, _, _, _, _ -> goto done }
#if SERVE
#define LISTEN_MORE(s)                                                                                                 \
    :: atomic { CH(p, s, HOME, 0)?[GET, _, 1, _, _, _] -> CH(p, s, HOME, 0)?GET, _, _, _, _, _;                        \
            CH(p, HOME, s, 0)!REFUSED, 0, 0, 0, 0, 0 }                                                                 \
    :: atomic { CH(p, s, HOME, 0)?OP, who, _, _, _, _ -> goto op }
    LISTEN_MORE(0)
    LISTEN_MORE(1)
#if RANKS > 2
    LISTEN_MORE(2)
#endif
    :: hot -> hot = false /* the end of its term */
    /* Bounced often enough, and home now: it is served from here on, or still. */
    :: atomic {
        nempty(queue[p]) && writer[p] == 0 && reads[p] == 0 && exclusive[p] && holders[p] == (1 << p) ->
            queue[p]?who, right, have;
            if
            :: who != p -> hot = true; CH(p, HOME, who, 0)!SERVED, 0, 0, 0, 0, 0; who = 0; right = 0; have = 0
            :: else -> hot = false; goto start
            fi
       }
#endif
    LISTEN(0)
    LISTEN(1)
#if RANKS > 2
    LISTEN(2)
#endif
    :: atomic {
        nempty(queue[p]) && writer[p] == 0 && (reads[p] == 0 || queue[p]?[_, 1, _]) ->
            queue[p]?who, right, have;
            goto start
       }
    od;

#if SERVE
op:
    atomic {
        if
        :: hot ->
            assert(exclusive[p] && holders[p] == (1 << p) && writer[p] == 0 && reads[p] == 0);
            assert(users[p * RANKS + p] == 2 && bytes[p * RANKS + p] == last[p]);
            if
            :: writes[p] < WRITES ->
                writes[p]++;
                bytes[p * RANKS + p] = writes[p];
                last[p] = writes[p];
                version[p * RANKS + p]++
            :: true -> skip /* a load */
            fi;
            CH(p, HOME, who, 0)!OP_DONE, 0, 0, 0, 0, 0
        :: else -> CH(p, HOME, who, 0)!OP_REFUSED, 0, 0, 0, 0, 0
        fi;
        who = 0;
        goto end
    }
#endif

start:
    atomic {
#if SERVE
        hot = false;
#endif
        if
        :: right == 1 ->
            source = ((holders[p] >> p) & 1 -> p : 0);
            do
            :: (holders[p] >> source) & 1 -> break
            :: else -> source++
            od;
            if
            :: exclusive[p] -> writer[p] = who + 1; write[p] = false
            :: else -> reads[p] = reads[p] | (1 << who)
            fi;
            CH(p, HOME, source, 0)!FORWARD, who, 1, 0, ((holders[p] >> who) & 1 -> CURRENT : have), 0
        :: else ->
            writer[p] = who + 1;
            write[p] = true;
            /* The home's own copy (rank p) is the source if there is one; an upgrade needs none. */
            source = 255;
            if
            :: (holders[p] & ~(1 << who)) && ((((holders[p] >> p) & 1) && who != p) || !((holders[p] >> who) & 1)) ->
                source = (((holders[p] & ~(1 << who)) >> p) & 1 -> p : 0);
                do
                :: ((holders[p] & ~(1 << who)) >> source) & 1 -> break
                :: else -> source++
                od
            :: else -> skip
            fi;
            acks = 0;
            t = 0;
            do
            :: t < RANKS ->
                if
                :: ((holders[p] >> t) & 1) && t != who && t != source ->
                    acks++;
                    CH(p, HOME, t, 0)!INVALIDATE, who, 0, 0, 0, 0
                :: else -> skip
                fi;
                t++
            :: else -> break
            od;
            if
            :: source != 255 ->
                CH(p, HOME, source, 0)!FORWARD, who, 2, acks, ((holders[p] >> who) & 1 -> CURRENT : have), 0
            :: else ->
                if
                :: acks == 0 && who != p ->
                    CH(p, HOME, who, 0)!GRANT, 1, 2, 0, CURRENT, CURRENT;
                    end_transaction(p, who)
                :: acks != 0 || who == p || READ_AHEAD -> CH(p, HOME, who, 0)!GRANT, 0, 2, acks, CURRENT, CURRENT
                fi
            fi
        fi;
        who = 0; right = 0; have = 0; source = 0; acks = 0; t = 0;
        goto end
    }

done:
    atomic {
        end_transaction(p, who);
        who = 0;
        goto end
    }
}

init
{
    byte p, r;
    atomic {
        p = 0;
        do
        :: p < PAGES ->
            line[p * RANKS + p] = 2;
            users[p * RANKS + p] = 2;
            version[p * RANKS + p] = 1;
            holders[p] = 1 << p;
            exclusive[p] = true;
            r = 0;
            do
            :: r < RANKS -> run Rank(p, r); r++
            :: else -> break
            od;
            run Home(p);
            p++
        :: else -> break
        od;
        p = 0;
        r = 0
    }
    /* Nothing moves any more: then nothing may be left undone. */
    timeout;
    do
    :: p < PAGES ->
        assert(empty(queue[p]));
        r = 0;
        do
        :: r < RANKS ->
            assert(asked[p * RANKS + r] == 0 && NO_OP);
            r++
        :: else -> break
        od;
        p++
    :: else -> break
    od
}
