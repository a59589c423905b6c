#include "store/postgres/pg_schema.h"

/* Step 1. Records are kept as the bytes that were hashed, with columns beside them to search by; lz4 where the server has it, and
 * inline, so that a record is one read. Values have typed columns; one that is too large for an index stands in a column of its
 * own. A chain is one lane of one process in one epoch (fabra.lanes); it is stepped in the transaction of the batch that adds to it,
 * which is how a batch of unknown outcome is found to be there or not. */
static const char step_1[] =
    "CREATE TABLE fabra.lanes ("
    " id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " name text NOT NULL UNIQUE," /* <replica>/<loop>/<epoch> */
    " started_at timestamptz NOT NULL DEFAULT now(),"
    " stepped_at timestamptz,"
    " batch bigint NOT NULL DEFAULT 0,"   /* how many batches */
    " records bigint NOT NULL DEFAULT 0," /* of the chain, */
    " last_context_id uuid,"              /* its end, */
    " last_hash bytea,"                   /* and its record_hash */
    " position uuid,"                     /* of the newest entry */
    " published_up_to uuid"               /* what is behind it is in the online store */
    ") WITH (fillfactor = 50);\n"

    "CREATE TABLE fabra.chain_heads ("
    " id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " taken_at timestamptz NOT NULL,"
    " heads text NOT NULL," /* a line for each lane that was stepped since: name, records, last_hash in hex */
    " hash bytea NOT NULL"  /* sha256 of the hash before (none at first) and heads */
    ");\n"

    "CREATE TABLE fabra.records ("
    " context_id uuid NOT NULL,"
    " position uuid NOT NULL,"
    " lane bigint NOT NULL,"
    " seq bigint," /* in the chain, from 1 on; NULL: imported, outside of it */
    " previous_context_id uuid,"
    " created_at timestamptz NOT NULL,"
    " written_at timestamptz NOT NULL,"
    " environment text, schema_version text, context_function text,"
    " token_count bigint, freshness_status text, version text,"
    " record_hash bytea NOT NULL,"
    " signature text, signed_at timestamptz, signing_key_id text,"
    " imported boolean NOT NULL,"
    " canonical bytea NOT NULL," /* of an imported one: as it came */
    " extras bytea,"
    " PRIMARY KEY (context_id)"
    ") PARTITION BY RANGE (context_id);\n"
    "CREATE INDEX records_hash ON fabra.records (record_hash);\n"
    "CREATE INDEX records_created ON fabra.records (created_at DESC, context_id DESC);\n"

    "CREATE TABLE fabra.history ("
    " entity text NOT NULL, entity_id text NOT NULL, feature text NOT NULL,"
    " event_time timestamptz NOT NULL, event_ns smallint NOT NULL,"
    " written_at timestamptz NOT NULL,"
    " ttl_ms bigint NOT NULL,"
    " source smallint NOT NULL,"
    " position uuid NOT NULL,"
    " version text,"
    " value text,"      /* JSON, as it was given; */
    " value_large text" /* or here, when it has more than 1000 bytes */
    ") PARTITION BY RANGE (event_time);\n"
    "CREATE INDEX history_key ON fabra.history (entity_id, feature, event_time DESC) INCLUDE (value);\n"

    "CREATE TABLE fabra.deletes ("
    " entity text NOT NULL, entity_id text NOT NULL, feature text," /* NULL: all of them */
    " event_time timestamptz NOT NULL, written_at timestamptz NOT NULL,"
    " position uuid NOT NULL);\n"
    "CREATE INDEX deletes_key ON fabra.deletes (entity_id, entity);\n"

    "CREATE TABLE fabra.events ("
    " position uuid NOT NULL,"
    " event_id text NOT NULL, event_type text NOT NULL, entity_id text NOT NULL,"
    " payload bytea NOT NULL,"
    " event_time timestamptz NOT NULL, written_at timestamptz NOT NULL,"
    " idempotency bytea, received_at timestamptz,"
    " PRIMARY KEY (position)"
    ") PARTITION BY RANGE (position);\n"

    "CREATE TABLE fabra.events_applied ("
    " event_position bigint NOT NULL," /* the upper half of the event's position */
    " position uuid NOT NULL, written_at timestamptz NOT NULL);\n"
    "CREATE INDEX events_applied_event ON fabra.events_applied (event_position);\n"

    /* lz4 came with Postgres 14, and a server may be built without it. */
    "DO $$ BEGIN "
    " EXECUTE 'ALTER TABLE fabra.records ALTER COLUMN canonical SET COMPRESSION lz4';"
    " EXECUTE 'ALTER TABLE fabra.records ALTER COLUMN extras SET COMPRESSION lz4';"
    " EXECUTE 'ALTER TABLE fabra.history ALTER COLUMN value_large SET COMPRESSION lz4';"
    " EXCEPTION WHEN syntax_error OR feature_not_supported OR invalid_parameter_value THEN NULL; END $$;\n"

    "CREATE FUNCTION fabra.uuid_at(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$"
    " SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;\n"

    /* The next batch of a lane. FB001: this very one is there already. FB002: the lane is not where its owner thinks. */
    "CREATE FUNCTION fabra.lane_step(lane bigint, next bigint, count bigint, last_id uuid, hash bytea, at uuid) RETURNS void "
    "LANGUAGE plpgsql AS $$ BEGIN "
    " UPDATE fabra.lanes l SET batch = next, stepped_at = clock_timestamp(), records = count, last_context_id = last_id,"
    "  last_hash = hash, position = at WHERE l.id = lane AND l.batch = next - 1;"
    " IF NOT FOUND THEN"
    "  IF EXISTS (SELECT FROM fabra.lanes l WHERE l.id = lane AND l.batch = next AND l.position = at AND l.last_hash IS NOT DISTINCT "
    "FROM hash) THEN RAISE EXCEPTION 'the batch is there' USING ERRCODE = 'FB001';"
    "  ELSE RAISE EXCEPTION 'the lane has moved' USING ERRCODE = 'FB002'; END IF;"
    " END IF; END $$;\n"

    /* A partition that is made beside the table and then attached holds up no writer of the others. What stood in the default
     * one because its partition was late is moved. */
    "CREATE FUNCTION fabra.make_partition(parent text, part text, key text, low text, high text) RETURNS boolean "
    "LANGUAGE plpgsql AS $$ BEGIN "
    " IF to_regclass('fabra.' || quote_ident(part)) IS NOT NULL THEN RETURN false; END IF;"
    " EXECUTE format('CREATE TABLE fabra.%I (LIKE fabra.%I INCLUDING ALL)', part, parent);"
    " IF parent = 'records' THEN EXECUTE format('ALTER TABLE fabra.%I SET (toast_tuple_target = 8160)', part); END IF;"
    " EXECUTE format('ALTER TABLE fabra.%I ADD CONSTRAINT %I CHECK (%I >= %L AND %I < %L)', part, part || '_bounds', key, low, key, "
    "high);"
    " EXECUTE format('WITH moved AS (DELETE FROM fabra.%I WHERE %I >= %L AND %I < %L RETURNING *) INSERT INTO fabra.%I SELECT * FROM "
    "moved', parent || '_default', key, low, key, high, part);"
    " EXECUTE format('ALTER TABLE fabra.%I ATTACH PARTITION fabra.%I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);"
    " EXECUTE format('ALTER TABLE fabra.%I DROP CONSTRAINT %I', part, part || '_bounds');"
    " RETURN true; END $$;\n"

    /* Weeks of records and events, days of values: those of now, and some ahead. Whoever waits for a lock keeps others waiting
     * behind it: so not for long. */
    "CREATE FUNCTION fabra.make_partitions(at timestamptz) RETURNS integer LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$"
    " DECLARE made integer := 0; week timestamp; day timestamp; BEGIN"
    " IF NOT pg_try_advisory_xact_lock(1717658214) THEN RETURN 0; END IF;" /* another replica does it */
    " FOR i IN -1..3 LOOP"
    "  week := date_trunc('week', at AT TIME ZONE 'UTC') + i * interval '7 days';"
    "  made := made + fabra.make_partition('records', 'records_' || to_char(week, 'YYYYMMDD'), 'context_id',"
    "   fabra.uuid_at(week AT TIME ZONE 'UTC')::text, fabra.uuid_at((week + interval '7 days') AT TIME ZONE 'UTC')::text)::int;"
    "  made := made + fabra.make_partition('events', 'events_' || to_char(week, 'YYYYMMDD'), 'position',"
    "   fabra.uuid_at(week AT TIME ZONE 'UTC')::text, fabra.uuid_at((week + interval '7 days') AT TIME ZONE 'UTC')::text)::int;"
    " END LOOP;"
    " FOR i IN -7..8 LOOP"
    "  day := date_trunc('day', at AT TIME ZONE 'UTC') + i * interval '1 day';"
    "  made := made + fabra.make_partition('history', 'history_' || to_char(day, 'YYYYMMDD'), 'event_time',"
    "   to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + interval '1 day', 'YYYY-MM-DD') || ' 00:00:00+00')::int;"
    " END LOOP;"
    " RETURN made; END $$;\n"

    /* Retention: whole partitions, by the end that their name tells. Of values the newest of each key stays, in the default one. */
    "CREATE FUNCTION fabra.drop_partitions(parent text, days integer, before timestamptz) RETURNS integer LANGUAGE plpgsql "
    "SET lock_timeout = '500ms' AS $$"
    " DECLARE part record; dropped integer := 0; BEGIN"
    " IF NOT pg_try_advisory_xact_lock(1717658214) THEN RETURN 0; END IF;" /* another replica does it */
    " FOR part IN SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    "  WHERE i.inhparent = ('fabra.' || parent)::regclass AND c.relname ~ ('^' || parent || '_[0-9]{8}$') ORDER BY 1 LOOP"
    "  CONTINUE WHEN (to_date(right(part.name, 8), 'YYYYMMDD') + days)::timestamp AT TIME ZONE 'UTC' > before;"
    "  EXECUTE format('ALTER TABLE fabra.%I DETACH PARTITION fabra.%I', parent, part.name);"
    "  IF parent = 'history' THEN"
    "   EXECUTE format('INSERT INTO fabra.history_default SELECT DISTINCT ON (entity_id, feature, entity, version) o.* FROM fabra.%I o "
    "WHERE NOT EXISTS (SELECT FROM fabra.history h WHERE h.entity_id = o.entity_id AND h.feature = o.feature AND h.entity = o.entity "
    "AND h.version IS NOT DISTINCT FROM o.version AND h.event_time > o.event_time) ORDER BY entity_id, feature, entity, version, "
    "event_time DESC, event_ns DESC, position DESC', part.name);"
    "  END IF;"
    "  EXECUTE format('DROP TABLE fabra.%I', part.name);"
    "  dropped := dropped + 1;"
    " END LOOP; RETURN dropped; END $$;\n"

    /* The ends of all chains that have moved since the last time; each row's hash covers the row before, so that a chain that was
     * cut shows. */
    "CREATE FUNCTION fabra.take_chain_heads() RETURNS bigint LANGUAGE plpgsql AS $$"
    " DECLARE last fabra.chain_heads; text_ text; at timestamptz := clock_timestamp(); BEGIN"
    " PERFORM pg_advisory_xact_lock(1717658215);"
    " SELECT * INTO last FROM fabra.chain_heads ORDER BY id DESC LIMIT 1;"
    " SELECT string_agg(format('%s %s %s', name, records, encode(last_hash, 'hex')), E'\\n' ORDER BY name) INTO text_"
    "  FROM fabra.lanes WHERE records > 0 AND (last.id IS NULL OR stepped_at > last.taken_at - interval '1 minute');"
    " IF text_ IS NULL OR text_ = last.heads THEN RETURN NULL; END IF;"
    " INSERT INTO fabra.chain_heads (taken_at, heads, hash) VALUES (at, text_,"
    "  sha256(coalesce(last.hash, ''::bytea) || convert_to(text_, 'UTF8'))) RETURNING id INTO last.id;"
    " RETURN last.id; END $$;\n"

    /* A record's inputs, numbers as they are spelled; NULL where the record is none that Postgres can read. It reads no escaped NUL,
     * wherever in the record it is: then the text is read with another character in its place. */
    "CREATE FUNCTION fabra.record_inputs(canonical bytea) RETURNS json LANGUAGE plpgsql STABLE AS $$ BEGIN"
    " BEGIN RETURN convert_from(canonical, 'UTF8')::json -> 'inputs'; EXCEPTION WHEN data_exception THEN NULL; END;"
    " RETURN replace(convert_from(canonical, 'UTF8'), '\\u0000', '\\ufffd')::json -> 'inputs';"
    " EXCEPTION WHEN data_exception THEN RETURN NULL; END $$;\n"
    "CREATE FUNCTION fabra.record_input(canonical bytea, name text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN"
    " RETURN fabra.record_inputs(canonical) ->> name; EXCEPTION WHEN data_exception THEN RETURN NULL; END $$;\n"

    "CREATE TABLE fabra.records_default PARTITION OF fabra.records DEFAULT WITH (toast_tuple_target = 8160);\n"
    "CREATE TABLE fabra.history_default PARTITION OF fabra.history DEFAULT;\n"
    "CREATE TABLE fabra.events_default PARTITION OF fabra.events DEFAULT;\n"
    "SELECT fabra.make_partitions(now());\n";

/* Step 2. Views: the history as the embedded mode calls it, and records in the shape of Fabra's own tables, for who reads those. Where
 * Fabra's Python program has made its tables they stay what they are. JSON of Postgres cannot hold a NUL: another character stands for it. */
static const char step_2[] =
    "CREATE VIEW fabra.feature_history AS SELECT entity, entity_id, feature, coalesce(value, value_large) AS value, event_time, "
    "event_ns AS event_time_ns, written_at, ttl_ms, source, version, position FROM fabra.history;\n"

    "CREATE FUNCTION fabra.record_json(canonical bytea) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN"
    " BEGIN RETURN convert_from(canonical, 'UTF8')::jsonb; EXCEPTION WHEN data_exception THEN NULL; END;"
    " RETURN replace(convert_from(canonical, 'UTF8'), '\\u0000', '\\ufffd')::jsonb;"
    " EXCEPTION WHEN data_exception THEN RETURN NULL; END $$;\n"

    /* In `public`, never in schema fabra: to a user of that name it comes before, and would hide Python's tables. */
    "DO $$ BEGIN"
    " IF to_regclass('context_records') IS NULL THEN"
    " CREATE VIEW public.context_records AS SELECT 'ctx_' || r.context_id::text AS context_id, r.created_at, r.environment, "
    "r.schema_version, r.context_function, j -> 'inputs' AS inputs, j ->> 'content' AS content, r.token_count::integer AS token_count, "
    "j -> 'features' AS features, j -> 'retrieved_items' AS retrieved_items, j -> 'assembly' AS assembly, j -> 'lineage' AS lineage, "
    "CASE WHEN r.imported THEN j -> 'integrity' ELSE (j -> 'integrity') || jsonb_build_object('record_hash', 'sha256:' || "
    "encode(r.record_hash, 'hex'), 'signature', r.signature, 'signed_at', r.signed_at, 'signing_key_id', r.signing_key_id) END AS "
    "integrity, 'sha256:' || encode(r.record_hash, 'hex') AS record_hash FROM fabra.records r CROSS JOIN LATERAL (SELECT "
    "fabra.record_json(r.canonical) AS j OFFSET 0) AS parsed; END IF;"
    " IF to_regclass('context_log') IS NULL THEN"
    " CREATE VIEW public.context_log AS SELECT 'ctx_' || r.context_id::text AS context_id, r.created_at AS timestamp, j ->> 'content' AS "
    "content, NULL::jsonb AS lineage, jsonb_build_object('name', r.context_function, 'token_usage', r.token_count, 'freshness_status', "
    "r.freshness_status, 'cost_usd', j #> '{lineage,estimated_cost_usd}', 'record_hash', 'sha256:' || encode(r.record_hash, 'hex'), "
    "'content_hash', j #> '{integrity,content_hash}') AS meta, r.version FROM fabra.records r CROSS JOIN LATERAL (SELECT "
    "fabra.record_json(r.canonical) AS j OFFSET 0) AS parsed; END IF;"
    " EXCEPTION WHEN insufficient_privilege OR invalid_schema_name THEN NULL; END $$;\n";

const char *const pg_schema_steps[] = { step_1, step_2 };
const int pg_schema_version = sizeof pg_schema_steps / sizeof pg_schema_steps[0];
