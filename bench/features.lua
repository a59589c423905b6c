-- One pushed feature, for bench/features.py.
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "score", entity = User }
