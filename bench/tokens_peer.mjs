// The npm package tiktoken as the peer of bench_tokens: node tokens_peer.mjs FOLDER_OF_tiktoken TEXT_FILE.
// Each line on stdin is "ENCODING OFFSET LENGTH OFFSET LENGTH ..."; the answer is "TOKENS NANOSECONDS" for encoding
// those stretches of the file one by one. Reading, decoding and building the tokeniser are not timed.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";

const root = path.resolve(process.argv[2]);
const require = createRequire(path.join(root, "package.json"));
const { Tiktoken } = require(path.join(root, "tiktoken.cjs"));
const file = fs.readFileSync(process.argv[3]);
const encoders = {};

function encoder(name) {
	if (!encoders[name]) {
		const json = require(path.join(root, "encoders", name + ".json"));
		encoders[name] = new Tiktoken(json.bpe_ranks, json.special_tokens, json.pat_str);
	}
	return encoders[name];
}

for await (const line of readline.createInterface({ input: process.stdin })) {
	const [name, ...numbers] = line.split(" ");
	const texts = [];
	for (let i = 0; i + 1 < numbers.length; i += 2)
		texts.push(file.toString("utf8", Number(numbers[i]), Number(numbers[i]) + Number(numbers[i + 1])));
	const tokenizer = encoder(name);
	let tokens = 0;
	const start = process.hrtime.bigint();
	for (const text of texts) tokens += tokenizer.encode_ordinary(text).length;
	const end = process.hrtime.bigint();
	process.stdout.write(`${tokens} ${end - start}\n`);
}
