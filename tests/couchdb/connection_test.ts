import { assertEquals, assertRejects } from "@std/assert";
import { CouchConnection } from "../../src/couchdb/connection.ts";
import { CouchError } from "../../src/errors.ts";
import { RecordedLog } from "../fakes/log.ts";

/** A server that sends `size` times `letter`, in pieces with pauses between. */
function letters(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { searchParams } = new URL(request.url);
    const bytes = new Uint8Array(Number(searchParams.get("size"))).fill(Number(searchParams.get("letter")));
    const pieceBytes = Math.ceil(bytes.length / 7);
    let at = 0;
    const body = new ReadableStream({
      async pull(to) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        to.enqueue(bytes.slice(at, at += pieceBytes));
        if (at >= bytes.length) to.close();
      },
    });
    return new Response(body, { headers: { "content-type": "application/json" } });
  });
}

Deno.test("CouchConnection holds several answers whole at once, each in memory of its own", async () => {
  await using server = letters();
  const connection = new CouchConnection({ url: `http://127.0.0.1:${server.addr.port}`, log: new RecordedLog() });
  const ask = async (place: number, parse: (isRight: boolean) => boolean) => {
    const letter = 97 + place;
    const size = [10, 300, 200_000, 300_000, 1_100_000][place % 5]!;
    return await connection.parsed(
      `/?size=${size}&letter=${letter}`,
      { action: "ask", attempts: 1 },
      (bytes) => parse(bytes.length === size && bytes.every((byte) => byte === letter)),
    );
  };
  // The later rounds go on in what the first has left, and what fails between takes nothing from anybody.
  for (let round = 0; round < 3; round++) {
    const answers = Array.from({ length: 12 }, (_, place) => ask(place, (isRight) => isRight));
    const failing = ask(12, () => {
      throw new SyntaxError("no JSON");
    });
    await assertRejects(() => failing, CouchError, "what answers is not CouchDB (mmmm");
    assertEquals(await Promise.all(answers), Array.from({ length: 12 }, () => true), `round ${round}`);
  }
});
