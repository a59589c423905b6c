/* What the server's API key may be: it arrives in a header, so that not every text can. */
#pragma once

enum { API_KEY_BYTES_MAX = 512 };

/* NULL: the key can be sent and will arrive as it is. Otherwise what is wrong, as in "FABRA_API_KEY <text>"; static, and never
 * with a part of the key. Any thread. */
const char *api_key_fault(const char *key);
