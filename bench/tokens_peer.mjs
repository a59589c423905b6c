// The npm package tiktoken as the peer of bench_tokens: node tokens_peer.mjs FOLDER_OF_tiktoken TEXT_FILE.
// Each line on stdin is "ENCODING OFFSET LENGTH OFFSET LENGTH ..."; the answer is "TOKENS NANOSECONDS" for encoding
// those stretches of the file one by one, in CPU time of this thread (collector and compiler threads left out, in the
// peer's favour). Reading, decoding and building the tokeniser are not timed.
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";

const root = path.resolve(process.argv[2]);
const require = createRequire(path.join(root, "package.json"));
const { Tiktoken } = require(path.join(root, "tiktoken.cjs"));
const file = fs.readFileSync(process.argv[3]);
const encoders = {};

const cpuNs = () => Number(fs.readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[0]);

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
	const start = cpuNs();
	for (const text of texts) tokens += tokenizer.encode_ordinary(text).length;
	const end = cpuNs();
	process.stdout.write(`${tokens} ${end - start}\n`);
}
