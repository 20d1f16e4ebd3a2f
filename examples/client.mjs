// A stash client that needs no more than protocol/PROTOCOL.md, no packages:   node client.mjs OP '{"field": …}' < payload
// The payload of the reply goes to stdout, its envelope to stderr; the socket is $STASH_SOCKET or $STASH_HOME's.
import { connect } from "node:net";
import { fileURLToPath } from "node:url";

// ── MessagePack, as much of it as envelopes use ──
const number = (code, bytes, write) => {
  const out = Buffer.alloc(1 + bytes, code);
  write(out);
  return out;
};
const length = (n, short, most, code) => n <= most ? Buffer.from([short | n]) : number(code, 4, (out) => out.writeUInt32BE(n, 1));

export function encode(value) {
  if (value === null) return Buffer.from([0xc0]);
  if (typeof value === "boolean") return Buffer.from([value ? 0xc3 : 0xc2]);
  if (Number.isSafeInteger(value)) return number(0xd3, 8, (out) => out.writeBigInt64BE(BigInt(value), 1));
  if (typeof value === "number") return number(0xcb, 8, (out) => out.writeDoubleBE(value, 1));
  if (typeof value === "string") return Buffer.concat([length(Buffer.byteLength(value), 0xa0, 31, 0xdb), Buffer.from(value)]);
  if (Array.isArray(value)) return Buffer.concat([length(value.length, 0x90, 15, 0xdd), ...value.map(encode)]);
  const pairs = Object.entries(value);
  return Buffer.concat([length(pairs.length, 0x80, 15, 0xdf), ...pairs.flat().map(encode)]);
}

export function decode(bytes) {
  let at = 0;
  const unsigned = (n) => n === 8 ? Number(bytes.readBigUInt64BE((at += 8) - 8)) : bytes.readUIntBE((at += n) - n, n);
  const signed = (n) => n === 8 ? Number(bytes.readBigInt64BE((at += 8) - 8)) : bytes.readIntBE((at += n) - n, n);
  const binary = (n) => bytes.subarray(at, (at += n));
  const text = (n) => binary(n).toString();
  const array = (n) => Array.from({ length: n }, next);
  const map = (n) => Object.fromEntries(Array.from({ length: n }, () => [next(), next()]));
  const next = () => {
    const code = bytes[at++];
    if (code < 0x80) return code;
    if (code < 0x90) return map(code & 15);
    if (code < 0xa0) return array(code & 15);
    if (code < 0xc0) return text(code & 31);
    if (code >= 0xe0) return code - 256;
    if (code >= 0xcc && code <= 0xcf) return unsigned(2 ** (code - 0xcc));
    if (code >= 0xd0 && code <= 0xd3) return signed(2 ** (code - 0xd0));
    if (code >= 0xd9 && code <= 0xdb) return text(unsigned(2 ** (code - 0xd9)));
    if (code >= 0xc4 && code <= 0xc6) return binary(unsigned(2 ** (code - 0xc4)));
    if (code === 0xdc || code === 0xdd) return array(unsigned(code === 0xdc ? 2 : 4));
    if (code === 0xde || code === 0xdf) return map(unsigned(code === 0xde ? 2 : 4));
    if (code === 0xcb) return bytes.readDoubleBE((at += 8) - 8);
    return { 0xc0: null, 0xc2: false, 0xc3: true }[code];
  };
  return next();
}

// ── frames, and calls that find their answers by id ──
export class Client {
  #socket; #calls = new Map(); #id = 0; #kept = Buffer.alloc(0);

  constructor(path, apiKey) {
    this.#socket = connect(path).on("data", (data) => this.#receive(data));
    const lost = (error) => this.#calls.forEach((call) => call.reject(error));
    this.#socket.on("error", lost).on("close", () => lost(new Error("the connection was closed")));
    this.welcome = this.call("hello", { version: 1, api_key: apiKey ?? null, client: "client.mjs" });
  }
  call(op, fields = {}, payload = Buffer.alloc(0), push = () => {}) {
    const id = ++this.#id, envelope = encode({ op, id, ...fields }), head = Buffer.alloc(8);
    head.writeUInt32BE(envelope.length, 0);
    head.writeUInt32BE(payload.length, 4);
    this.#socket.write(Buffer.concat([head, envelope, payload]));
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject, push }));
  }
  close() { this.#socket.end(); }

  #receive(data) {
    this.#kept = Buffer.concat([this.#kept, data]);
    while (this.#kept.length >= 8) {
      const middle = 8 + this.#kept.readUInt32BE(0), end = middle + this.#kept.readUInt32BE(4);
      if (this.#kept.length < end) return;
      const answer = decode(this.#kept.subarray(8, middle)), payload = this.#kept.subarray(middle, end);
      this.#kept = this.#kept.subarray(end);
      const call = this.#calls.get(answer.id);
      if (answer.push) call?.push(answer.push);
      else if (answer.error) call?.reject(Object.assign(new Error(), answer.error));
      else call?.resolve({ ...answer, payload });
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const client = new Client(process.env.STASH_SOCKET ?? `${process.env.STASH_HOME}/stash.sock`, process.env.STASH_API_KEY);
  const input = await process.stdin.toArray();
  try {
    await client.welcome;
    const { reply, payload } = await client.call(process.argv[2], JSON.parse(process.argv[3] ?? "{}"), Buffer.concat(input));
    console.error(JSON.stringify(reply));
    process.stdout.write(payload);
  } catch (error) {
    console.error(JSON.stringify({ error: { code: error.code, message: error.message } }));
    process.exitCode = 1;
  }
  client.close();
}
