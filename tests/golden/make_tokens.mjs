// Writes token counts of many texts as the npm package tiktoken counts them, for tests/unit/test_tokens_golden.c.
//
//     node tests/golden/make_tokens.mjs FOLDER_OF_tiktoken SEED COUNT > tests/golden/tokens.txt
//
// One text per line: base64, then count and FNV-1a hash of the ids (32-bit little-endian) for o200k_base and for
// cl100k_base. Texts are real ones (below) and random mixes of stretches that split rules tend to get wrong.
import { createRequire } from "node:module";
import path from "node:path";

const [folder, seedText, countText] = process.argv.slice(2);
const root = path.resolve(folder ?? ".");
const require = createRequire(path.join(root, "package.json"));
const { Tiktoken } = require(path.join(root, "tiktoken.cjs"));
const encoders = ["o200k_base", "cl100k_base"].map((name) => {
	const json = require(path.join(root, "encoders", name + ".json"));
	return new Tiktoken(json.bpe_ranks, json.special_tokens, json.pat_str);
});

let state = BigInt(seedText ?? 1) * 0x9e3779b97f4a7c15n + 1n;
function random(n) {
	state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
	return Number((state >> 33n) % BigInt(n));
}
const pick = (list) => list[random(list.length)];
const times = (n, make) => Array.from({ length: n }, make).join("");
const from = (low, high) => String.fromCodePoint(low + random(high - low + 1));

const real = [
	"", "a", " ", "\n", "\r\n", "Hello, world!", "The quick brown fox jumps over the lazy dog.\n",
	"It's what they'd've said: WE'RE here, I'LL go, he'D, she'S; y'all'll o'clock 'tis 'em.",
	"I'M YOU'VE 'S 's 'RE'Re'rE x'\u017f X'\u017f a\u017f '\u017ft \u212a'\u212a K'k don't DON'T Don'T",
	"<|endoftext|> and <|fim_prefix|><|endofprompt|> are ordinary text",
	"int main(int argc, char **argv)\n{\n\tfor (int i = 0; i < argc; i++)\n\t\tprintf(\"%s\\n\", argv[i]);\n\treturn 0;\n}\n",
	"# Title\n\n* item one\n* item `two`\n\n```js\nconst x = {a: 1, \"b\": [1, 2.5e-10, null]};\n```\n\n| a | b |\n|---|---|\n",
	"{\"user_id\":\"u_123\",\"amount\":1999.95,\"tags\":[\"a\",\"b\"],\"nested\":{\"ok\":true,\"when\":\"2025-01-02T03:04:05Z\"}}",
	"https://example.org/a/b?c=d&e=%20f#g //// /\n/\r\n/ \\\\ path/to\\file.txt C:\\Users\\x",
	"我们在北京大学学习中文，今天天气很好。你好，世界！", "東京都は日本の首都です。カタカナとひらがな、漢字ー", "대한민국의 수도는 서울이다. 안녕하세요?",
	"مرحبا بالعالم، هذا نص عربي. كَتَبَ ١٢٣٤٥", "שלום עולם בְּרֵאשִׁית", "नमस्ते दुनिया, यह हिन्दी है। १२३४", "ภาษาไทยไม่มีช่องว่าง ๑๒๓",
	"Привет, мир! Съешь ещё этих мягких французских булок. ПРИВЕТ Привет", "Ελληνικά ΓΛΏΣΣΑ γλώσσα", "Ünïcödé ÀÉÎÕÜ straße ǅungla ǈ ǋ ŉ",
	"👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 😀😀😀 ❤️ ☃︎ 1️⃣2️⃣", "e\u0301 a\u0308b \u0301\u0302x !\u0301a  \u0301 Z\u0335\u0336A\u0337LGO",
	"ªABC ºDEF ʰXY AʰB Aʰb ʰ ⁿ x² ½ Ⅷ ① 𝟘𝟙𝟚𝟛 ๑ 〇 一二三", "0 12 123 1234 12345678901 3.14159 1,000,000 0x1F ٣٤٥٦",
	"   leading and   inner   and trailing   ", "\t\tx\n \n  \n\n   y \r\n\r\n z\u00a0\u00a0a\u3000b\u2028c\u2029\u0085d\u1680e\u180ef\u200bg",
	"a\n ", "a \n", " \n \n ", "\n\n\n   \t", "\r\r\n\n", "x\u000b\u000cy\u001cz\u0000\u0001\u007f", "...\n...\n!!!\r\n/// ?!\n\n/",
	"a".repeat(1500), " ".repeat(1500), "ab".repeat(900), "😀".repeat(400), "=".repeat(700), "\n".repeat(300), "\u0301".repeat(300),
	"QEZHQNJVNWKCyxrkJEWNVLFrpkknbpdxCGRRCDSDFOPTESeyssoptrorer".repeat(20), "WYDQVUWXBVKHVGYEKKTYNLBGTMRYPGEPNTSCSDSPIFlskoihrupptrorer".repeat(20),
];

const words = "the of and to in Kubernetes antidisestablishmentarianism naïve résumé fooBarBaz HTTPServer snake_case_name XMLHttpRequest iPhone eBay McDonald GmbH zzyzx qwrtpsdf lorem ipsum tokenization".split(" ");
const stretches = [
	() => pick(words), () => " " + pick(words), () => " " + pick(words).toUpperCase(), () => from(0x20, 0x7e), () => times(1 + random(12), () => from(0x20, 0x7e)),
	() => times(1 + random(9), () => from(0x61, 0x7a)), () => times(1 + random(9), () => from(0x41, 0x5a)), () => times(1 + random(7), () => from(0x30, 0x39)),
	() => pick(["'s", "'S", "'t", "'T", "'re", "'Re", "'rE", "'VE", "'m", "'M", "'ll", "'LL", "'lL", "'d", "'D", "'", "''", "'\u017f", "'r", "'l", "'v", "\u2019s"]),
	() => times(1 + random(5), () => pick([" ", " ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\u0085", "\v", "\f"])),
	() => " ".repeat(1 + random(40)), () => "\n".repeat(1 + random(5)), () => pick([".", ",", "/", "//", "/\n", "!\n\n", "?\r\n/", "()", "{}", "\"", "<|endoftext|>", "</", "=>", "--", "_", "$", "\\"]),
	() => from(0xc0, 0x24f), () => times(1 + random(4), () => from(0x300, 0x36f)), () => from(0x370, 0x5ff), () => from(0x600, 0x9ff), () => from(0xa00, 0x1fff), () => from(0x2000, 0x2fff),
	() => times(1 + random(8), () => from(0x4e00, 0x9fff)), () => times(1 + random(6), () => from(0x3040, 0x30ff)), () => times(1 + random(4), () => from(0xac00, 0xd7a3)),
	() => from(0xa640, 0xabff), () => from(0xf900, 0xffff), () => from(0x10000, 0x1ffff), () => from(0x1d400, 0x1d7ff), () => pick(["😀", "👍🏽", "👩‍👧", "🇩🇪", "❤️"]), () => from(0x1f300, 0x1faff),
	() => from(0x20000, 0x323af), () => from(0xe0000, 0xe01ff), () => pick(["ª", "º", "ʰ", "ǅ", "ſ", "\u212a", "ß", "İ", "ı", "ΐ", "Ⅷ", "²", "½", "٣", "०", "𝟘", "\u180e", "\u200b", "\u200d", "\ufeff", "\ufffd"]),
	() => from(0x00, 0x1f), () => from(0x7f, 0xbf), () => pick("aAsStT ".split("")).repeat(1 + random(60)), () => String.fromCodePoint(random(0xd800)),
];

function fnv(ids) {
	let hash = 0xcbf29ce484222325n;
	for (const byte of new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength))
		hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
	return hash.toString(16).padStart(16, "0");
}
function line(text) {
	const fields = [Buffer.from(text).toString("base64") || "-"];
	for (const encoder of encoders) {
		const ids = encoder.encode_ordinary(text);
		fields.push(ids.length, fnv(ids));
	}
	process.stdout.write(fields.join(" ") + "\n");
}
real.forEach(line);
for (let i = 0; i < Number(countText ?? 1000); i++) line(times(1 + random(i % 50 === 0 ? 120 : 12), () => pick(stretches)()));
