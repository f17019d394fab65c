import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CouchClient } from "../../src/couchdb/client.ts";
import { speaksPlainHttp, speaksTls } from "../../src/couchdb/wrong_scheme.ts";
import { CouchError } from "../../src/errors.ts";
import { RecordedLog } from "../fakes/log.ts";

/** A port that takes TLS's beginning for a line which is still to end, as CouchDB does, and answers plain HTTP. */
function startPlainServer(answer: string): { port: number; requests: string[] } & AsyncDisposable {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const requests: string[] = [];
  const open = new Set<Deno.Conn>();
  const serving = (async () => {
    for await (const connection of listener) {
      open.add(connection);
      const bytes = new Uint8Array(4096);
      const length = await connection.read(bytes) ?? 0;
      if (bytes[0] === 0x16) continue; // A handshake.
      requests.push(new TextDecoder().decode(bytes.subarray(0, length)));
      await connection.write(new TextEncoder().encode(`HTTP/1.1 ${answer}\r\nContent-Length: 0\r\n\r\n`));
    }
  })().catch(() => undefined); // The listener was closed.
  return {
    port: listener.addr.port,
    requests,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
      for (const connection of open) connection.close();
    },
  };
}

Deno.test("CouchClient says within some seconds that https:// leads to a CouchDB that speaks plain HTTP, and asks once", async () => {
  await using server = startPlainServer("401 Unauthorized\r\nServer: CouchDB/3.5.0 (Erlang OTP/25)");
  const url = `https://127.0.0.1:${server.port}`;
  const couch = new CouchClient({ url, login: "backup", log: new RecordedLog() });
  const beganMs = performance.now();
  const error = await assertRejects(() => couch.serverVersion({}), CouchError, `"${url}" does not speak TLS`);
  assert(performance.now() - beganMs < 15_000, "it waited for its time-out");
  assertEquals([error.facts.error, couch.retries], ["tls", 0]);
  assertStringIncludes(error.hint!, "Write http:// instead of https://");
  assertEquals(server.requests.length, 1);
  assert(!/authorization/i.test(server.requests[0]!), "the login was sent without TLS");
});

Deno.test("speaksPlainHttp() takes nobody's word but CouchDB's", async () => {
  for (
    const [answer, isPlain] of [
      ["200 OK\r\nServer: CouchDB/3.5.0", true],
      // What nginx, HAProxy and others say at a port of TLS, or a proxy in between.
      ["400 Bad Request\r\nServer: nginx", false],
      ["403 Forbidden", false],
      ["nonsense", false],
    ] as const
  ) {
    await using server = startPlainServer(answer);
    assertEquals(await speaksPlainHttp(`https://127.0.0.1:${server.port}`, fetch), isPlain, answer);
  }
});

/** What a TLS server says to a handshake that it does not like: alert 40, handshake_failure. */
const ALERT = new Uint8Array([0x15, 3, 3, 0, 2, 2, 40]);

/** A TLS server that closes a connection which does not begin with a handshake, and says nothing, as OpenSSL's do. */
function startSilentTls(): { port: number; firstBytes: number[] } & AsyncDisposable {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const firstBytes: number[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      const bytes = new Uint8Array(4096);
      await connection.read(bytes);
      firstBytes.push(bytes[0]!);
      if (bytes[0] === 0x16) await connection.write(ALERT);
      connection.close();
    }
  })().catch(() => undefined); // The listener was closed.
  return {
    port: listener.addr.port,
    firstBytes,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

Deno.test("CouchClient says at once that http:// leads to a port of TLS, where that closes the connection without a word", async () => {
  await using server = startSilentTls();
  const url = `http://127.0.0.1:${server.port}`;
  const couch = new CouchClient({ url, login: "backup", log: new RecordedLog() });
  const error = await assertRejects(() => couch.serverVersion({}), CouchError, `"${url}" does not speak plain HTTP`);
  assertEquals([error.facts.error, couch.retries], ["tls", 0]);
  assertStringIncludes(error.hint!, "Write https:// instead of http://");
  const [, handshake] = server.firstBytes;
  assertEquals([server.firstBytes.length, handshake], [2, 0x16], "it is asked once, and once by TLS");
});

Deno.test("speaksTls() is true of no server that speaks plain HTTP, or none", async () => {
  const plain = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response());
  assertEquals(await speaksTls(`http://127.0.0.1:${plain.addr.port}`, fetch), false);
  await plain.shutdown();
  const closing = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of closing) connection.close();
  })().catch(() => undefined);
  assertEquals(await speaksTls(`http://127.0.0.1:${closing.addr.port}`, fetch), false);
  closing.close();
  await serving;
});
