import { assertEquals, assertStrictEquals } from "@std/assert";
import { AttachmentTypes, withAttachmentTypes } from "../../src/archive/attachment_types.ts";

const encoder = new TextEncoder();

const NAMED = '"contentType":"text/plain"';
const CASES: [text: string, expected: string][] = [
  [
    `{"_id":"a","_attachments":{"f.txt":{${NAMED},"revpos":1,"data":"aGVsbG8="},"g":{"data":"","contentType" : "a/b"}}}`,
    '{"_id":"a","_attachments":{"f.txt":{"content_type":"text/plain","revpos":1,"data":"aGVsbG8="},' +
    '"g":{"data":"","content_type" : "a/b"}}}',
  ],
  // An attachment may be called so, and text may say so: these stay.
  [
    `{"_attachments":{"contentType":{${NAMED},"data":"contentType"},"b\\"\\\\":{"digest":"\\"contentType\\":",${NAMED}}}}`,
    '{"_attachments":{"contentType":{"content_type":"text/plain","data":"contentType"},' +
    '"b\\"\\\\":{"digest":"\\"contentType\\":","content_type":"text/plain"}}}',
  ],
  // Of a whole document nothing else is renamed.
  [`{${NAMED},"n":9007199254740993,"x":{"_attachments":{"f":{${NAMED}}}}}`, ""],
  [`{"_attachments":{"f":{"x":{${NAMED}},"y":[{${NAMED}}],"contentTypes":1,"contentTyp":2}}}`, ""],
  [`{"_attachment":{"f":{${NAMED}}},"_attachmentsX":{"f":{${NAMED}}},"a":["_attachments",{"f":{${NAMED}}}]}`, ""],
  [`{"_attachments":{},"meta":{"f":{${NAMED}}},"z":[[{${NAMED}}],"contentType"],"q":"${"x".repeat(40)}"}`, ""],
  [`[{"_attachments":{"f":{${NAMED}}}}]`, ""],
  ["7", ""],
];

Deno.test("AttachmentTypes renames contentType in a document's attachments and nowhere else, wherever it is cut", () => {
  for (const [text, changed] of CASES) {
    const expected = changed === "" ? text : changed;
    const bytes = encoder.encode(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      for (const second of [cut, Math.min(cut + 1, bytes.length), Math.min(cut + 5, bytes.length)]) {
        const types = new AttachmentTypes();
        const decoder = new TextDecoder();
        const pieces = [bytes.subarray(0, cut), bytes.subarray(cut, second), bytes.subarray(second)];
        const found = pieces.map((piece) => decoder.decode(types.push(piece), { stream: true })).join("");
        assertEquals(found, expected, `${text} cut at ${cut} and ${second}`);
      }
    }
    assertEquals(new TextDecoder().decode(withAttachmentTypes(bytes)), expected);
  }
});

Deno.test("withAttachmentTypes() gives back the bytes it got where nothing has that name", () => {
  const bytes = encoder.encode('{"_id":"a","_attachments":{"f":{"content_type":"text/plain"}}}');
  assertStrictEquals(withAttachmentTypes(bytes), bytes);
});
