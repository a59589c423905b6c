-- A small support chatbot: features of a user, documents by own code, and the context that its model sees. `fabra demo`
-- serves this file. Try:
--
--   fabra serve examples/support/store.lua
--   curl 'http://127.0.0.1:8000/v1/features/user_engagement?entity_id=user_123'
--   curl -d '{"user_id":"user_123","query":"how do features work?"}' http://127.0.0.1:8000/v1/context/chat_context
local fabra = require "fabra"

local User = fabra.entity { name = "User", id = "user_id", description = "somebody who asks for help" }

-- The same id always gives the same score: a stand-in for a model of yours.
local function score(user_id, modulus)
  local sum = 7
  for i = 1, #user_id do sum = (sum * 31 + user_id:byte(i)) % 1000003 end
  return sum % modulus
end

fabra.feature { name = "user_engagement", entity = User, refresh = "5m", ttl = "1h", default = 0.0,
  description = "how active the user is, from 0 to 100",
  compute = function(user_id) return score(user_id, 1000) / 10 end }

fabra.feature { name = "user_tier", entity = User, refresh = "1h", ttl = "24h", default = "free",
  description = "the plan the user pays for",
  compute = function(user_id) return score(user_id, 10) < 4 and "premium" or "free" end }

-- POST /v1/ingest/ticket_opened?entity_id=user_123 {"subject": "..."}
fabra.feature { name = "open_tickets", entity = User, trigger = "ticket_opened", default = 0,
  description = "support tickets opened so far",
  compute = function(user_id, event, previous) return (previous or 0) + 1 end }

local documents = {
  { id = "features", title = "How features work",
    text = "A feature is a value of an entity. It is computed on the first read, kept for its ttl and renewed in the " ..
      "background every refresh while it is being read. Pushed features are written with PUT; triggered ones follow events." },
  { id = "contexts", title = "How contexts work",
    text = "A context gathers features and retrieved documents into the text that a model sees. Items have priorities; " ..
      "when the text exceeds max_tokens, the items with the highest numbers are dropped first, and the record says which." },
  { id = "records", title = "How records work",
    text = "Every context leaves a Context Record: the text, the values and their age, the documents, what was dropped, " ..
      "and hashes that anybody can verify. A record is durable before the answer is sent." },
  { id = "freshness", title = "How freshness works",
    text = "Every value knows when it was made. A context with a freshness_sla counts values that are older and calls the " ..
      "context degraded; with freshness_strict it refuses to answer." },
  { id = "events", title = "How events work",
    text = "POST an event and the features it triggers are updated exactly once, in order, with the previous value at hand." },
}

-- Words in common: enough for five documents, and honest about it.
fabra.retriever { name = "demo_docs", top_k = 3, cache_ttl = "60s", max_age = "30d",
  run = function(args)
    local wanted = {}
    for word in tostring(args.query):lower():gmatch("%a+") do wanted[word] = true end
    local found = {}
    for _, d in ipairs(documents) do
      local hits, words = 0, 0
      for word in (d.title .. " " .. d.text):lower():gmatch("%a+") do
        words = words + 1
        if wanted[word] then hits = hits + 1 end
      end
      if hits > 0 then
        found[#found + 1] = { chunk_id = d.id, document_id = d.id, content = d.title .. ": " .. d.text, score = hits / words }
      end
    end
    table.sort(found, function(a, b) return a.score > b.score end)
    return found
  end }

fabra.context { name = "chat_context", max_tokens = 1000, freshness_sla = "2h", model = "gpt-4o",
  description = "what the support bot's model sees",
  params = { user_id = "string", query = "string" },
  build = function(args)
    local tier, engagement, tickets, docs = fabra.all(
      fabra.feature_value("user_tier", args.user_id),
      fabra.feature_value("user_engagement", args.user_id),
      fabra.feature_value("open_tickets", args.user_id),
      fabra.retrieve("demo_docs", { query = args.query }))
    local items = {
      fabra.item { content = "You are a helpful support assistant. Answer from the documents below.", priority = 0,
        required = true, source_id = "system" },
      fabra.item { content = "User tier: " .. tier .. ", engagement: " .. engagement .. ", open tickets: " .. tickets,
        priority = 1, source_id = "user_tier" },
    }
    for _, d in ipairs(docs) do
      items[#items + 1] = fabra.item { content = d.content, priority = 2, source_id = d.chunk_id }
    end
    items[#items + 1] = fabra.item { content = "Question: " .. args.query, priority = 0, required = true,
      source_id = "user_query" }
    return items
  end }
