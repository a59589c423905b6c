/* Which value of a cell is the newest that no delete hides, in SQL: for the warm start, which wants all cells, and for questions
 * about some. The tables are arguments: the whole ones, or what was picked of them. */
#pragma once
#include "store/offline/offline_private.h"

/* The rule by which values apply: (event time with its nanoseconds, LSN). An LSN has less than 56 bits. */
#define OFFLINE_NEWNESS(t)                                                                                             \
	"(CAST(epoch_us(" t ".event_time) AS HUGEINT) * 1000 + coalesce(" t                                            \
	".event_time_ns, 0)) * 72057594037927936 + " t ".lsn"
/* standing: the tombstones that stand. The delete of a row takes those of its features that were written before it, also where
 * their events lay ahead. */
#define OFFLINE_STANDING(deletes)                                                                                      \
	"standing AS (SELECT d.* FROM " deletes                                                                        \
	" d LEFT JOIN (SELECT entity, entity_id, max(lsn) AS lsn FROM " deletes                                        \
	" WHERE feature IS NULL GROUP BY entity, entity_id) r ON d.entity = r.entity AND d.entity_id = r.entity_id "   \
	"WHERE d.feature IS NULL OR r.lsn IS NULL OR d.lsn > r.lsn)"
/* gone_rows, gone_cells: a tombstone hides what was written before it, and what was true before it: whichever of several is the
 * latest in each respect. */
#define OFFLINE_GONE                                                                                                   \
	"gone_rows AS (SELECT entity, entity_id, max(event_time) AS event_time, max(lsn) AS lsn FROM standing WHERE "  \
	"feature IS NULL GROUP BY entity, entity_id), gone_cells AS (SELECT entity, entity_id, feature, "              \
	"max(event_time) AS event_time, max(lsn) AS lsn FROM standing WHERE feature IS NOT NULL GROUP BY entity, "     \
	"entity_id, feature)"
#define OFFLINE_NOT_GONE(t) "(" t ".lsn IS NULL OR (h.lsn > " t ".lsn AND h.event_time >= " t ".event_time))"
/* The values of a table that are not gone; it is called h. */
#define OFFLINE_ALIVE(history)                                                                                                           \
	"FROM " history " h LEFT JOIN gone_rows r ON h.entity = r.entity AND h.entity_id = r.entity_id "                                 \
	"LEFT JOIN gone_cells c ON h.entity = c.entity AND h.entity_id = c.entity_id AND h.feature = c.feature WHERE " OFFLINE_NOT_GONE( \
	    "r") " AND " OFFLINE_NOT_GONE("c")
/* The columns of struct offline_value: of h, and of standing by (entity, entity_id, feature), where the source is 0. */
#define OFFLINE_VALUE_COLUMNS                                                                                          \
	"h.entity, h.entity_id, h.feature, h.value, epoch_us(h.event_time), epoch_us(h.written_at), h.ttl_ms, h.lsn, " \
	"coalesce(h.version, ''), coalesce(h.event_time_ns, 0)::USMALLINT, h.source"
#define OFFLINE_TOMBSTONES                                                                                             \
	"SELECT entity, entity_id, coalesce(feature, ''), '', epoch_us(max(event_time)), epoch_us(max(written_at)), "  \
	"0::BIGINT, max(lsn), '', 0::USMALLINT, 0::UTINYINT FROM standing GROUP BY entity, entity_id, feature"
