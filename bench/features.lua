-- One feature that the first read computes and later ones find in memory; for bench_features.sh.
local fabra = require "fabra"
local User = fabra.entity { name = "User", id = "user_id" }
fabra.feature { name = "score", entity = User, ttl = "24h", compute = function(user_id) return #user_id * 1.5 end }
