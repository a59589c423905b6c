/* The wake-up protocol of runtime/inbox.c: two loops send to one that sleeps when it finds nothing.
 *
 *     sender:   push; if sleeping was set and we cleared it: write the eventfd
 *     receiver: take all; set sleeping; look at the inbox again; only if it is empty wait for the eventfd; clear sleeping
 *
 * Claim: every message is received, and no run ends with the receiver asleep beside a message (Spin reports that as an
 * invalid end state). With -DNO_RECHECK the second look is left out, and Spin finds the lost wake-up.
 *
 * The model is sequentially consistent, as the four accesses are in C (memory_order_seq_cst). */

#define SENDERS  2
#define MESSAGES 3 /* of each sender */

byte inbox = 0;      /* messages that wait */
bool sleeping = false;
bool eventfd = false; /* only whether the kernel's counter is 0 matters */
byte received = 0;

active [SENDERS] proctype sender()
{
	byte sent = 0;
	bool was_sleeping;
	do
	:: sent < MESSAGES ->
		atomic { inbox++; sent++ }                         /* compare-and-swap */
		if
		:: sleeping ->                                     /* load */
			atomic { was_sleeping = sleeping; sleeping = false } /* exchange */
			if
			:: was_sleeping -> eventfd = true
			:: else
			fi
		:: else
		fi
	:: else -> break
	od
}

active proctype receiver()
{
	do
	:: received == SENDERS * MESSAGES -> break
	:: else ->
		atomic { received = received + inbox; inbox = 0 }  /* exchange */
		if
		:: received == SENDERS * MESSAGES -> break
		:: else
		fi;
		sleeping = true;
#ifndef NO_RECHECK
		if
		:: inbox > 0 -> sleeping = false
		:: else ->
#endif
			atomic { eventfd -> eventfd = false }      /* poll, then read */
			sleeping = false
#ifndef NO_RECHECK
		fi
#endif
	od;
	assert(received == SENDERS * MESSAGES && inbox == 0)
}
