/**
 * The least that a restore can cost: decompress each chunk in one call, cut the documents out of its rows by two
 * patterns that hold for the bench's documents only, and post them, four chunks at a time. Nothing is checked. In: the
 * URL of an empty database with credentials, and the folder of a backup in gzip. deno run --allow-net --allow-read
 * scripts/bench/restore_floor.ts http://admin:secret@127.0.0.1:5984/db /tmp/bucket/…/docs
 */
import { Buffer } from "node:buffer";
import { readdir, readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";

const [database = "", folder = ""] = Deno.args;
const url = new URL(database);
const authorization = `Basic ${btoa(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`)}`;
const headers = { authorization, "content-type": "application/json" };
const target = `${url.origin}${url.pathname}/_bulk_docs`;

const waiting = (await readdir(folder)).filter((name) => /^\d+\.json\.gz$/.test(name));
await Promise.all(Array.from({ length: 4 }, async () => {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const rows = gunzipSync(await readFile(`${folder}/${name}`)).toString("latin1");
    const documents = rows.slice(rows.indexOf("["))
      .replaceAll(/\{"id":"[^"]*","docs":\[\{"ok":/g, "")
      .replaceAll("}]}", "");
    const body = Buffer.from(`{"new_edits":false,"docs":${documents}`, "latin1");
    const response = await fetch(target, { method: "POST", headers, body });
    const answer = await response.text();
    if (response.status !== 201 || answer.trim() !== "[]") {
      throw new Error(`CouchDB answered ${response.status}: ${answer}`);
    }
  }
}));
