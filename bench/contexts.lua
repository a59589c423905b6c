-- The context that bench/contexts.py measures: three features, ten items of about 100 tokens, of which the budget drops
-- two. The retriever's answer is kept for an hour, so that the load is on the request path and not on Lua.
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "plan", entity = User }
fabra.feature { name = "score", entity = User }
fabra.feature { name = "city", entity = User }

local sentences = {
  "The harbour master wrote that the tide had risen faster than anyone remembered, and the boats were moved before noon.",
  "A long survey of the eastern bridge found rust in two of the nine cables, which the council agreed to replace in spring.",
  "When the library reopened, the first hundred visitors received a printed map of the old town and a short history of it.",
  "Engineers compared the two pumps for a week, and the smaller one used a third less power at the same rate of flow.",
  "The orchard gave fewer apples this year, but the late pears made up for it, and the market was full until November.",
}
local chunks = {}
for i = 1, 10 do
  local text = "Note " .. i .. "."
  for k = 1, 4 do text = text .. " " .. sentences[(i + k) % #sentences + 1] end
  chunks[i] = { chunk_id = "note_" .. i, document_id = "notes", content = text, score = 1 - i / 100 }
end

fabra.retriever { name = "notes", cache_ttl = "1h", top_k = 10, run = function(args) return chunks end }

fabra.context { name = "bench", max_tokens = 880, freshness_sla = "1h", model = "gpt-4o",
  params = { user_id = "string", query = "string" },
  items = {
    { text = "You are a helpful assistant.", priority = 0, required = true },
    { text = "Plan {feature:plan}, score {feature:score}, city {feature:city}.", entity_id = "{user_id}", priority = 1 },
    { retriever = "notes", args = { query = "{query}" }, priority = 2 },
  } }
