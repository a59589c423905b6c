-- Three million real departures of 2001 (npm package vega-datasets), served as airport features and as a context that
-- explains an airport's delays. Try:
--
--   fabra serve examples/flights/store.lua
--   curl 'http://127.0.0.1:8000/v1/features/mean_delay?entity_id=ORD'
--   curl -d '{"airport":"ORD"}' http://127.0.0.1:8000/v1/context/explain_delays
local fabra = require "fabra"

local Airport = fabra.entity { name = "Airport", id = "airport", description = "an airport, by its IATA code" }

-- date TIMESTAMP, delay (minutes), distance (miles), origin, destination
fabra.table { name = "flights", file = "../../.deps/data/flights-3m.parquet" }

-- Materialised: SQL over the offline store, written to the online store at start and every `refresh`.
local function materialized(name, description, sql)
  fabra.feature { name = name, entity = Airport, description = description, refresh = "30m", materialize = true, sql = sql }
end

materialized("departures", "departures in the data",
  "SELECT origin AS airport, count(*) AS departures FROM flights GROUP BY origin")
materialized("mean_delay", "mean departure delay in minutes",
  "SELECT origin AS airport, round(avg(delay), 2) AS mean_delay FROM flights GROUP BY origin")
materialized("late_share", "share of departures more than 15 minutes late",
  "SELECT origin AS airport, round(avg(CASE WHEN delay > 15 THEN 1 ELSE 0 END), 4) AS late_share FROM flights GROUP BY origin")
materialized("busiest_destination", "where most departures go",
  "SELECT origin AS airport, arg_max(destination, n) AS busiest_destination FROM " ..
  "(SELECT origin, destination, count(*) AS n FROM flights GROUP BY ALL) GROUP BY origin")

-- Triggered: POST /v1/ingest/departure?entity_id=ORD {"delay": 42}
fabra.feature { name = "last_delay", entity = Airport, trigger = "departure", default = 0,
  description = "delay of the latest reported departure, in minutes",
  compute = function(airport, event, previous) return event.payload.delay end }

-- Pushed: PUT /v1/features/Airport/ORD {"values": {"notice": "thunderstorms until 18:00"}}
fabra.feature { name = "notice", entity = Airport, ttl = "6h", default = "none", description = "what the tower says" }

-- Own code instead of an index: rows of the data as chunks. A result is kept for cache_ttl.
fabra.retriever { name = "worst_days", cache_ttl = "10m", top_k = 5,
  run = function(args)
    local rows = fabra.await(fabra.sql([[
      SELECT strftime(date, '%Y-%m-%d') AS day, count(*) AS flights, round(avg(delay), 1) AS delay
      FROM flights WHERE origin = ? GROUP BY day HAVING count(*) >= 10 ORDER BY delay DESC, day LIMIT 5]], { args.airport }))
    local chunks = {}
    for i, row in ipairs(rows) do
      chunks[i] = {
        chunk_id = args.airport .. "_" .. row.day, document_id = "flights",
        content = row.day .. ": " .. row.flights .. " departures, " .. row.delay .. " minutes late on average",
        score = row.delay,
      }
    end
    return chunks
  end }

fabra.retriever { name = "late_routes", cache_ttl = "10m", top_k = 5,
  run = function(args)
    local rows = fabra.await(fabra.sql([[
      SELECT destination, count(*) AS flights, round(avg(delay), 1) AS delay, round(avg(distance)) AS miles
      FROM flights WHERE origin = ? GROUP BY destination HAVING count(*) >= 50 ORDER BY delay DESC, destination LIMIT 5]],
      { args.airport }))
    local chunks = {}
    for i, row in ipairs(rows) do
      chunks[i] = {
        chunk_id = args.airport .. "_" .. row.destination, document_id = "flights",
        content = "to " .. row.destination .. ": " .. row.flights .. " departures, " .. row.delay ..
          " minutes late on average",
        score = row.delay,
      }
    end
    return chunks
  end }

-- Declarative: no code of this file runs for a request but the retrievers' own.
fabra.context { name = "explain_delays", max_tokens = 400, freshness_sla = "1h", model = "gpt-4o",
  description = "what a model needs to explain the delays of an airport",
  params = { airport = "string" },
  items = {
    { text = "You explain flight delays to passengers. Use only the facts below; say so when they do not suffice.",
      priority = 0, required = true },
    { text = "Airport {airport}: {feature:departures} departures in the first half of 2001, {feature:mean_delay} minutes " ..
        "late on average, share more than 15 minutes late: {feature:late_share}. Most go to {feature:busiest_destination}.",
      entity_id = "{airport}", priority = 1, required = true },
    { text = "Latest reported delay: {feature:last_delay} minutes. Notice: {feature:notice}.", entity_id = "{airport}",
      priority = 2 },
    { text = "Worst days:", priority = 3 },
    { retriever = "worst_days", args = { airport = "{airport}" }, priority = 4 },
    { text = "Worst destinations:", priority = 5 },
    { retriever = "late_routes", args = { airport = "{airport}" }, priority = 6 },
  } }
