-- The file that docs/definitions.md explains.
local fabra = require "fabra"

local User = fabra.entity { name = "User", id = "user_id", description = "a customer" }

fabra.feature { name = "user_tier", entity = User, refresh = "1h", ttl = "24h", default = "free",
  compute = function(user_id) return user_id:sub(1, 1) == "p" and "premium" or "free" end }

fabra.feature { name = "open_tickets", entity = User, ttl = "30s",
  compute = function(user_id)
    return fabra.await(fabra.sql("SELECT count(*) AS n FROM tickets WHERE user_id = ?", { user_id }))[1].n
  end }

fabra.feature { name = "purchase_count", entity = User, refresh = "5m", materialize = true,
  sql = "SELECT user_id, count(*) AS purchase_count FROM purchases GROUP BY user_id" }

fabra.feature { name = "total_spent", entity = User, trigger = "purchase",
  compute = function(user_id, event, previous) return (previous or 0) + event.payload.amount end }

fabra.feature { name = "home_city", entity = User }

fabra.table { name = "purchases", file = "purchases.csv" }

fabra.retriever { name = "search_docs", cache_ttl = "60s", max_age = "30d",
  run = function(args) return { { content = "about " .. args.query, chunk_id = "c1", score = 0.5 }, "plain" } end }
fabra.retriever { name = "recent_orders", cache_ttl = "10s",
  run = function(args) return { { content = "order 7", metadata = { source_id = "o7" } } } end }

fabra.context { name = "chat_context", max_tokens = 4000, freshness_sla = "5m", model = "gpt-4o",
  params = { user_id = "string", query = "string" },
  items = {
    { text = "You are a helpful assistant.", priority = 0, required = true },
    { text = "User tier: {feature:user_tier}", entity_id = "{user_id}", priority = 1 },
    { retriever = "search_docs", args = { query = "{query}", limit = 3 }, priority = 2 },
  } }

fabra.context { name = "chat_context_code", max_tokens = 4000, freshness_sla = "5m", model = "gpt-4o", cache_ttl = "1m",
  build = function(args)
    local tier, docs = fabra.all(
      fabra.feature_value("user_tier", args.user_id),
      fabra.retrieve("search_docs", { query = args.query }))
    local items = {
      fabra.item { content = "You are a helpful assistant.", priority = 0, required = true },
      fabra.item { content = "User tier: " .. tostring(tier), priority = 1, source_id = "user_tier" },
    }
    for _, d in ipairs(docs) do
      items[#items + 1] = fabra.item { content = d.content, priority = 2, source_id = d.chunk_id }
    end
    return items
  end }
