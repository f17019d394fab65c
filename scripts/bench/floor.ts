/**
 * The least that a backup can cost: fetch whole answers, compress each in one call, hash and write it, four at a time.
 * Nothing is framed, counted or checked. In: a database's URL with credentials, a folder, `gzip` or `zstd`, and the
 * level. deno run --allow-net --allow-read --allow-write scripts/bench/floor.ts http://admin:secret@127.0.0.1:5984/db
 * /tmp/floor gzip 4
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";

const PAGE = 5000;
const CHUNK = 1000;

const [database = "", folder = "", codec = "gzip", level = "4"] = Deno.args;
const url = new URL(database);
const authorization = `Basic ${btoa(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`)}`;
const base = url.origin + url.pathname;

function compress(bytes: Uint8Array): Uint8Array {
  if (codec === "gzip") return gzipSync(bytes, { level: Number(level) });
  return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: Number(level) } });
}

async function ask(path: string, body?: string): Promise<ArrayBuffer> {
  const response = await fetch(base + path, {
    headers: { authorization, "content-type": "application/json" },
    ...(body === undefined ? {} : { method: "POST", body }),
  });
  if (!response.ok) throw new Error(`CouchDB answered ${response.status} to ${path}`);
  return await response.arrayBuffer();
}

async function* bodies(): AsyncGenerator<string> {
  for (let since = "0";;) {
    const path = `/_changes?style=all_docs&since=${encodeURIComponent(since)}&limit=${PAGE}&seq_interval=${PAGE}`;
    const { results, last_seq, pending } = JSON.parse(Buffer.from(await ask(path)).toString()) as {
      results: { id: string }[];
      last_seq: string;
      pending: number;
    };
    for (let at = 0; at < results.length; at += CHUNK) {
      yield JSON.stringify({ docs: results.slice(at, at + CHUNK).map(({ id }) => ({ id })) });
    }
    if (pending === 0) return;
    since = last_seq;
  }
}

await mkdir(folder, { recursive: true });
const waiting = bodies();
let number = 0;
await Promise.all(Array.from({ length: 4 }, async () => {
  for (;;) {
    const { value: body, done } = await waiting.next();
    if (done === true) return;
    const name = `${folder}/${number++}`;
    const compressed = compress(new Uint8Array(await ask("/_bulk_get?revs=true&attachments=true", body)));
    createHash("sha256").update(compressed).digest("hex");
    await writeFile(name, compressed);
  }
}));
