import { assertEquals } from "@std/assert";
import { RequestBody, singleDocumentBody } from "../../src/couchdb/request_body.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function textsOf(body: RequestBody): string[] {
  return body.documents().map(({ bytes }) => decoder.decode(bytes));
}

Deno.test("RequestBody puts documents together as they are, and gives each back", () => {
  const documents = ['{"n":1.0}', '{"text":"😀"}', "null", "{}"];
  const body = new RequestBody("kept", documents.map((text) => ({ bytes: encoder.encode(text) })));
  const json = '{"new_edits":false,"docs":[{"n":1.0},{"text":"😀"},null,{}]}';
  assertEquals(decoder.decode(body.json()), json);
  assertEquals(decoder.decode(body.json()), json, "a second time");
  assertEquals(textsOf(body), documents);
  assertEquals([body.count, body.documentBytes], [4, encoder.encode(documents.join("")).length]);
});

Deno.test("RequestBody is used again without a trace of what it held, and grows with what it is given", () => {
  const body = new RequestBody("kept");
  const large = `{"text":"${"x".repeat(5_000_000)}"}`;
  body.add({ bytes: encoder.encode(large) });
  body.add({ bytes: encoder.encode("{}") });
  assertEquals(textsOf(body), [large, "{}"]);
  body.clear("new");
  assertEquals([decoder.decode(body.json()), body.count, body.documentBytes], ['{"docs":[]}', 0, 0]);
  body.add({ bytes: encoder.encode('{"_id":"a"}'), id: "a" });
  assertEquals(body.documents().map(({ id }) => id), ["a"]);
  assertEquals(decoder.decode(body.json()), '{"docs":[{"_id":"a"}]}');
});

Deno.test("RequestBody keeps copies: what a document was cut from may change", () => {
  const bytes = encoder.encode('{"n":1}');
  const body = new RequestBody("kept", [{ bytes }]);
  bytes.fill(0x20);
  assertEquals(textsOf(body), ['{"n":1}']);
});

Deno.test("singleDocumentBody() makes the request of one document that streams", async () => {
  const pieces = async function* () {
    for (const piece of ['{"_id":', '"a"}']) yield await Promise.resolve(encoder.encode(piece));
  };
  for (
    const [revisions, json] of [["kept", '{"new_edits":false,"docs":[{"_id":"a"}]}'], ["new", '{"docs":[{"_id":"a"}]}']]
  ) {
    const body = ReadableStream.from(singleDocumentBody(pieces(), revisions as "kept" | "new"));
    assertEquals(await new Response(body).text(), json);
  }
});

Deno.test("RequestBody holds no more memory for few documents than they need: many small databases have one each", () => {
  const body = new RequestBody("kept", Array.from({ length: 10 }, () => ({ bytes: encoder.encode("{}") })));
  assertEquals(body.json().buffer.byteLength <= 16_384, true, `${body.json().buffer.byteLength} bytes`);
});
