/* Heads and chunked bodies of HTTP/1 requests: read at once and in two pieces, with the same outcome. The first byte says
 * which of the two, the second where the pieces meet. */
#include "http/request_syntax.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_head(const char *text, size_t n, size_t cut)
{
	struct phr_header headers[HEADERS_MAX];
	const char *method, *path;
	size_t method_len, path_len, len = HEADERS_MAX;
	int minor, before = n > 0 && cut > 0 ? phr_parse_request(text, cut, &method, &method_len, &path, &path_len,
								 &minor, headers, &len, 0)
					     : PARSE_INCOMPLETE;
	len = HEADERS_MAX;
	int result = n > 0 ? phr_parse_request(text, n, &method, &method_len, &path, &path_len, &minor, headers, &len,
					       cut)
			   : PARSE_INCOMPLETE;
	CHECK(result <= (int)n && result >= PARSE_INCOMPLETE);
	if (result == PARSE_INCOMPLETE)
		CHECK(before == PARSE_INCOMPLETE);
	if (result <= 0 || syntax_fault_of(path) != SYNTAX_SOUND)
		return;
	CHECK(before == PARSE_INCOMPLETE || before == result);
	CHECK(memcmp(text + result - 4, "\r\n\r\n", 4) == 0 && path_len > 0 && method_len > 0);
	for (size_t i = 0; i < len; i++)
		CHECK(headers[i].name_len > 0 && headers[i].value + headers[i].value_len <= text + result);
}

static void fuzz_chunks(const char *text, size_t n, size_t cut)
{
	struct phr_chunked_decoder one = { 0 }, two = { 0 };
	char *whole = malloc(n + 1), *pieces = malloc(n + 1);
	size_t decoded = n, first = cut, second = n - cut;
	memcpy(whole, text, n);
	memcpy(pieces, text, n);
	ssize_t result = phr_decode_chunked(&one, whole, &decoded);
	ssize_t at_cut = phr_decode_chunked(&two, pieces, &first);
	CHECK(decoded <= n && first <= cut);
	if (at_cut >= 0) {
		CHECK(result == at_cut + (ssize_t)(n - cut) && first == decoded);
	} else if (at_cut == PARSE_INCOMPLETE) {
		memmove(pieces + first, text + cut, second);
		CHECK(phr_decode_chunked(&two, pieces + first, &second) == result);
		CHECK(first + second == decoded && memcmp(whole, pieces, decoded) == 0);
	} else {
		CHECK(result == PARSE_REFUSED);
	}
	free(whole);
	free(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t n = size - 2, cut = n > 0 ? data[1] % (n + 1) : 0;
	char *text = malloc(n + 1);
	memcpy(text, data + 2, n);
	if (data[0] % 2 == 0)
		fuzz_head(text, n, cut);
	else
		fuzz_chunks(text, n, cut);
	free(text);
	return 0;
}
