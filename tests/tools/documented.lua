-- A little of everything that /openapi.json describes by name: for openapi.test.sh and the fuzzers.
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id", description = "who asks" }
local Item = fabra.entity { name = "Item", id = "sku" }
fabra.feature { name = "city", entity = User, dtype = "string", description = "where they live" }
fabra.feature { name = "age", entity = User, dtype = "integer", ttl = "1h" }
fabra.feature { name = "any", entity = User }
fabra.feature { name = "plan", entity = User, default = "free" }
fabra.feature { name = "length", entity = User, compute = function(id) return #id end }
fabra.feature { name = "down", entity = User, compute = function() error("down") end }
fabra.feature { name = "clicks", entity = User, trigger = "click", default = 0, compute = function(id, event, previous) return (previous or 0) + 1 end }
fabra.feature { name = "rows", entity = User, sql = "SELECT user_id, 7 AS rows FROM (VALUES ('1'), ('2')) t(user_id)" }
fabra.feature { name = "stock", entity = Item, dtype = "number" }
fabra.feature { name = "twice", entity = Item, compute = function(id) return id .. id end }
fabra.retriever { name = "docs", run = function(args) return { { content = "about " .. tostring(args.q), chunk_id = "c1" } } end }
fabra.context { name = "greeting", model = "gpt-4o", max_tokens = 100, description = "hello & <welcome>",
  params = { user_id = "string", n = { type = "integer", default = 3 }, flag = { type = "boolean", required = false }, x = "any", f = "number" },
  items = { { text = "Hello {feature:plan} of {user_id}", entity_id = "{user_id}", priority = 0, required = true }, { text = "n is {n}", priority = 1 } } }
fabra.context { name = "free", model = "gpt-4o", cache_ttl = "1s", build = function(args) return "text " .. tostring(args.q) end }
fabra.context { name = "chunks", params = { q = "string" }, build = function(args) local c = fabra.await(fabra.retrieve("docs", { q = args.q })) return c[1].content end }
