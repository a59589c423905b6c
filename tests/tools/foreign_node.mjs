// Node's HTTP/2 client: 120 requests on one session, their headers against those of HTTP/1.1.
//     foreign_node.mjs PORT [CERTIFICATE]
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';

const [port, certificate] = process.argv.slice(2);
const ca = certificate && readFileSync(certificate);
const paths = ['/health', '/v1/features/plain?entity_id=u', '/nothing', '/docs', '/openapi.json', '/v1/features/%zz'];

const overHttp1 = path => new Promise((resolve, reject) =>
  (ca ? https : http).get({ host: 'localhost', family: 4, port, path, ca }, res => {
    res.resume();
    res.on('end', () => resolve({ status: res.statusCode, headers: res.headers }));
  }).on('error', reject));

const overHttp2 = (session, path) => new Promise((resolve, reject) => {
  let answer;
  const stream = session.request({ ':path': path });
  stream.on('response', headers => (answer = { status: headers[':status'], headers: Object.fromEntries(Object.entries(headers)) }));
  stream.on('error', reject);
  stream.on('data', () => {});
  stream.on('end', () => resolve(answer));
});

const session = http2.connect(`${ca ? 'https' : 'http'}://127.0.0.1:${port}`, { ca, servername: 'localhost' });
session.on('error', e => { throw e; });
const ids = new Set();
for (let i = 0; i < 120; i++) {
  const path = paths[i % paths.length];
  const [one, two] = [await overHttp1(path), await overHttp2(session, path)];
  assert.strictEqual(two.status, one.status, path);
  assert.match(two.headers['x-request-id'], /^[0-9a-f]{16}$/);
  ids.add(two.headers['x-request-id']);
  assert.ok(Math.abs(Date.now() - Date.parse(two.headers.date)) < 5000, `the date of ${path}: ${two.headers.date}`);
  for (const { headers } of [one, two])
    for (const name of ['connection', 'keep-alive', 'transfer-encoding', 'date', 'x-request-id', ':status']) delete headers[name];
  assert.deepStrictEqual(two.headers, one.headers, path);
}
assert.strictEqual(ids.size, 120);
session.close();
