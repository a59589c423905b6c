/* Exact token counts for o200k_base and cl100k_base.
 *
 * Text is any bytes; markers such as <|endoftext|> are ordinary text; a byte outside valid UTF-8 counts as the tokens of
 * that byte. A vocabulary is opened once, is immutable and may be used by any thread. Counting allocates nothing.
 * Method, proofs and figures: docs/tokens.md. */
#pragma once
#include "actors/tokens/tokens_bpe.h"
#include "actors/tokens/tokens_split.h"

enum tokens_encoding { TOKENS_O200K, TOKENS_CL100K };

struct tokens {
	struct tokens_table table;
	enum tokens_rules rules;
	enum tokens_encoding encoding;
};

/* By the model table of tiktoken; a model that it does not know counts as o200k_base. */
enum tokens_encoding tokens_encoding_of(struct str model);
const char *tokens_encoding_name(enum tokens_encoding encoding);

/* Maps the encoding's table from `folder` (NULL: FABRA_DATA_DIR, else what belongs to the running program: the build's
 * tables for a program in the build tree, what was installed with it for any other). 0, or a negative errno and one line in *errors
 * (borrowed) with cause and cure; *t is then not to be closed. */
int tokens_open(struct tokens *t, enum tokens_encoding encoding, const char *folder, struct buf *errors);
void tokens_close(struct tokens *t);

size_t tokens_count(const struct tokens *t, struct str text);
/* Writes at most `max` ids; returns how many the text has. */
size_t tokens_encode(const struct tokens *t, struct str text, uint32_t *ids, size_t max);

/* The tokens of one piece p[0..n) of the split, n >= 1; `end` is the end of the text, ids may be NULL. */
size_t tokens_piece(const struct tokens *t, const uint8_t *p, size_t n, const uint8_t *end, struct tokens_ids *ids);

/* ---- Totals of joined texts ------------------------------------------------------------------------------------- */

/* A cut is a place in a text where the split has a border whatever stands before or behind the text. Counts of texts
 * that are put one behind the other then add up, but for the stretch between the last cut of one and the first of the
 * next. For a text without a cut (head_bytes and tail_bytes are its length, middle is 0) that stretch is all of it. */
struct tokens_span {
	uint32_t total;      /* tokens of the text alone */
	uint32_t middle;     /* tokens between the first and the last cut */
	uint32_t head_bytes; /* before the first cut */
	uint32_t tail_bytes; /* behind the last cut */
	bool has_cut;
};

/* Texts of 4 GiB and more have no span: text.n <= UINT32_MAX. */
struct tokens_span tokens_span(const struct tokens *t, struct str text);
/* The same when the total is known already (it was counted in slices). */
struct tokens_span tokens_span_of(const struct tokens *t, struct str text, size_t total);

/* Most bytes of one stretch between cuts that tokens_joined counts. */
#define TOKENS_SEAM_BYTES 4096u

struct tokens_item {
	struct str text; /* borrows */
	struct tokens_span span;
};

/* The exact count of the items' texts with `separator` between each two; only the stretches between cuts are counted
 * anew. false when one of them is longer than TOKENS_SEAM_BYTES: join the text and count that, in slices. */
bool tokens_joined(const struct tokens *t, const struct tokens_item *items, size_t n, struct str separator,
		   size_t *ret_count);

/* ---- Counting in slices ------------------------------------------------------------------------------------------ */

/* A loop counts this much of a text per turn: 0.2 ms at worst on the reference machine. */
#define TOKENS_SLICE_BYTES 4096u

struct tokens_job {
	const struct tokens *t;  /* borrows */
	const uint8_t *at, *end; /* the text not yet counted; borrows */
	size_t count;
	enum { TOKENS_JOB_PIECES, TOKENS_JOB_SPLIT, TOKENS_JOB_MERGE } state;
	struct tokens_split split; /* SPLIT: a long piece whose end is being looked for */
	struct tokens_bpe bpe;     /* MERGE: a long piece that is being merged */
};

/* The text must stay until the job is done or dropped; a job holds nothing that needs to be freed. */
void tokens_job_begin(struct tokens_job *job, const struct tokens *t, struct str text);
/* Does about max_bytes' worth of work; true when all is counted: job->count is the total. */
bool tokens_job_step(struct tokens_job *job, size_t max_bytes);
