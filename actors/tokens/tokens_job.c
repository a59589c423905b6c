/* Counting in slices: a loop's turn never spends more on a text than one step's worth.
 *
 *     PIECES --long piece--> SPLIT --its end found--> MERGE --all windows--> PIECES
 *        ^                     '------short after all------------------------'
 *
 * Short pieces are counted where they are found. A piece may turn out short in SPLIT because white space ends at its
 * last line end, and capitals at their last caseless letter, however far the search went. */
#include "actors/tokens/tokens.h"

/* A byte of a window costs about as much as this many bytes of short pieces; a byte of a search far less than one. */
#define WINDOW_COST 4
#define SCAN_GAIN   8

void tokens_job_begin(struct tokens_job *job, const struct tokens *t, struct str text)
{
	const uint8_t *p = (const uint8_t *)(text.n ? text.p : "");
	*job = (struct tokens_job){ .t = t, .at = p, .end = p + text.n };
}

/* The end of the piece at job->at is known: counts it, or begins to. Returns the cost. */
static size_t take_piece(struct tokens_job *job)
{
	size_t n = (size_t)(job->split.at - job->at);
	if (n > TOKENS_WINDOW_BYTES) {
		tokens_bpe_begin(&job->bpe, &job->t->table, job->at, n, TOKENS_WINDOW_BYTES);
		job->state = TOKENS_JOB_MERGE;
		return 1;
	}
	size_t tokens = tokens_piece(job->t, job->at, n, job->end, NULL);
	job->count += tokens;
	job->at = job->split.at;
	job->state = TOKENS_JOB_PIECES;
	return tokens == 1 ? n : n * WINDOW_COST;
}

static size_t in_pieces(struct tokens_job *job)
{
	tokens_split_begin(&job->split, job->t->rules, job->at, job->end);
	if (tokens_split_step(&job->split, job->t->rules, job->end, TOKENS_WINDOW_BYTES))
		return take_piece(job);
	job->state = TOKENS_JOB_SPLIT;
	return TOKENS_WINDOW_BYTES / SCAN_GAIN;
}

static size_t in_split(struct tokens_job *job, size_t room)
{
	const uint8_t *before = job->split.at;
	if (tokens_split_step(&job->split, job->t->rules, job->end, room * SCAN_GAIN))
		return take_piece(job);
	return (size_t)(job->split.at - before) / SCAN_GAIN + 1;
}

static size_t in_merge(struct tokens_job *job)
{
	size_t cost = job->bpe.window_bytes * WINDOW_COST;
	if (tokens_bpe_step(&job->bpe, NULL)) {
		job->count += job->bpe.count;
		job->at = job->split.at;
		job->state = TOKENS_JOB_PIECES;
	}
	return cost;
}

bool tokens_job_step(struct tokens_job *job, size_t max_bytes)
{
	for (size_t spent = 0, cost = 0; spent < max_bytes && job->at < job->end; spent += cost)
		switch (job->state) {
		case TOKENS_JOB_PIECES:
			cost = in_pieces(job);
			break;
		case TOKENS_JOB_SPLIT:
			cost = in_split(job, max_bytes - spent);
			break;
		case TOKENS_JOB_MERGE:
			cost = in_merge(job);
			break;
		}
	return job->at == job->end;
}
