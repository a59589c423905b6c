// Writes actors/tokens/tokens_unicode.c: the character classes that the split rules need, asked from the reference tokeniser
// itself, so that the version of Unicode is the reference's and not that of this machine.
//
//     node tools/ranks/make_unicode.mjs FOLDER_OF_THE_NPM_PACKAGE_tiktoken > actors/tokens/tokens_unicode.c
//
// A vocabulary of the 256 single bytes and a pattern of one class give back exactly the characters of that class.
import { createRequire } from "node:module";
import path from "node:path";

const folder = path.resolve(process.argv[2] ?? ".");
const require = createRequire(path.join(folder, "package.json"));
const { Tiktoken } = require(path.join(folder, "tiktoken.cjs"));
const { version } = require(path.join(folder, "package.json"));

let ranks = "! 0";
for (let byte = 0; byte < 256; byte++) ranks += " " + Buffer.from([byte]).toString("base64");

const classes = new Uint8Array(0x110000);
function mark(pattern, value) {
	const tokenizer = new Tiktoken(ranks, {}, pattern);
	for (let base = 0; base < 0x110000; base += 0x1000) {
		let text = "";
		for (let c = base; c < base + 0x1000; c++) if (c < 0xd800 || c > 0xdfff) text += String.fromCodePoint(c);
		for (const c of Buffer.from(tokenizer.encode_ordinary(text)).toString("utf8")) classes[c.codePointAt(0)] = value;
	}
	tokenizer.free();
}
mark("[\\p{Lu}\\p{Lt}]", 0x01);
mark("\\p{Ll}", 0x02);
mark("[\\p{Lm}\\p{Lo}]", 0x04);
mark("\\p{M}", 0x08);
mark("\\p{N}", 0x10);
mark("\\s", 0x20);
mark("[\\r\\n]", 0x40);

const runs = [];
for (let c = 0; c < classes.length; c++)
	if (c === 0 || classes[c] !== classes[c - 1])
		runs.push("0x" + ((c << 8) | classes[c]).toString(16));

let out = `/* Made by tools/ranks/make_unicode.mjs from the npm package tiktoken ${version}; do not edit. */
#include "actors/tokens/tokens_unicode.h"

const uint32_t tokens_unicode_runs[] = {\n`;
for (let i = 0; i < runs.length; ) {
	let line = "\t";
	while (i < runs.length && line.length + runs[i].length + 2 <= 102) line += (line === "\t" ? "" : " ") + runs[i++] + ",";
	out += line + "\n";
}
out += `};
const size_t tokens_unicode_run_count = sizeof tokens_unicode_runs / sizeof tokens_unicode_runs[0];\n`;
process.stdout.write(out);
