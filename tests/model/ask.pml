/* How an ask ends, as in runtime/ask.c: the reply, the deadline, the callee's death and the cancel token's death race for
 * one entry, and the asker may forget the ask at any time.
 *
 *     each ending is a message in the asker's mailbox; the runtime sends at most one of its own (ending_sent)
 *     delivery: the entry's generation matches -> hand it to the actor and close the entry (generation + 1); else drop it
 *
 * Claim: the asker sees exactly one ending of each of its asks, or none of one that it has forgotten, although entries are
 * reused. With -DNO_LATE_CHECK the generation is not looked at, and Spin finds an ask that ends twice or in the wrong life. */

#define ASKS 2 /* one after the other, in the same entry */

chan mailbox = [6] of { byte };  /* generation in the op of each ending */
byte generation = 0;             /* of the entry; each ask takes the next */
bool is_open = false;
bool ending_sent = false;
byte endings[3] = 0;             /* by generation */
bool forgotten[3] = false;
bool must_reply[3] = false;      /* the callee has the request */

/* The callee answers each request once, sooner or later. */
active proctype callee()
{
	byte replied = 0;
	do
	:: replied < ASKS && must_reply[replied + 1] -> replied++; mailbox ! replied
	:: replied == ASKS -> break
	od
}

/* Deadline, down and cancelled: the runtime's own endings of what is open now. */
active proctype runtime()
{
	do
	:: atomic { is_open && !ending_sent -> ending_sent = true; mailbox ! generation }
	:: generation == ASKS && !is_open -> break
	od
}

active proctype asker()
{
	byte g;
	byte asks = 0;
	do
	:: !is_open && asks < ASKS ->
		atomic { asks++; generation++; is_open = true; ending_sent = false; must_reply[generation] = true }
	:: atomic { is_open && asks == ASKS -> forgotten[generation] = true; is_open = false }
	:: mailbox ? g ->
		atomic {
			if
#ifdef NO_LATE_CHECK
			:: is_open -> endings[generation]++; endings[g] = endings[g] + (g != generation -> 1 : 0); is_open = false
#else
			:: is_open && g == generation -> endings[g]++; is_open = false
#endif
			:: else -> skip
			fi
		}
		assert(endings[1] <= 1 && endings[2] <= 1)
	:: timeout -> break
	od;
	assert(!is_open);
	assert(endings[1] + forgotten[1] == 1 && endings[2] + forgotten[2] == 1)
}
