import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { type AttachmentForm, AttachmentForms, inCouchForm } from "../../src/archive/attachment_forms.ts";
import { FramingError } from "../../src/json/scan.ts";

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

const BUFFER = '{"type":"Buffer","data":[104,0,255,7]}';
const BUFFERS: [text: string, expected: string][] = [
  [
    `{"_attachments":{"f":{"data":${BUFFER},"digest":"d"},"g":{"content_type":"a","data":{"type":"Buffer","data":[]}}},"n":1}`,
    '{"_attachments":{"f":{"data":"aAD/Bw==","digest":"d"},"g":{"content_type":"a","data":""}},"n":1}',
  ],
  [`{"data":${BUFFER},"x":{"_attachments":{"f":{"data":${BUFFER}}}},"_attachments":{"data":${BUFFER}}}`, ""],
  ['{"_attachments":{"f":{"data":{"type":"Buffers","data":[1]},"dat":1,"datas":[2]},"g":{"data":"aGVsbG8="}}}', ""],
  ['{"_attachments":{"f":{"data":{"type":"Buffer","date":[1]},"content_type":"data"}},"data":"\\""}', ""],
];
const ALL: [AttachmentForm, [string, string][]][] = [["contentType", CASES], ["Buffer", BUFFERS]];

for (const [form, cases] of ALL) {
  Deno.test(`AttachmentForms rewrites ${form} in a document's attachments and nowhere else, wherever it is cut`, () => {
    for (const [text, changed] of cases) {
      const expected = changed === "" ? text : changed;
      const bytes = encoder.encode(text);
      for (let cut = 0; cut <= bytes.length; cut++) {
        for (const second of [cut, Math.min(cut + 1, bytes.length), Math.min(cut + 5, bytes.length)]) {
          const forms = new AttachmentForms(form);
          const decoder = new TextDecoder();
          const pieces = [bytes.subarray(0, cut), bytes.subarray(cut, second), bytes.subarray(second)];
          const found = pieces.map((piece) => decoder.decode(forms.push(piece), { stream: true })).join("");
          assertEquals(found, expected, `${text} cut at ${cut} and ${second}`);
        }
      }
      assertEquals(new TextDecoder().decode(inCouchForm(bytes, form)), expected);
    }
  });
}

Deno.test("AttachmentForms makes base64 of as many bytes as there are", () => {
  for (const length of [1, 2, 3, 3071, 3072, 3073, 9999]) {
    const content = Array.from({ length }, (_, number) => number % 256);
    const text = JSON.stringify({ _attachments: { f: { data: { type: "Buffer", data: content } } } });
    const { _attachments } = JSON.parse(new TextDecoder().decode(inCouchForm(encoder.encode(text), "Buffer")));
    assertEquals([...Uint8Array.from(atob(_attachments.f.data), (char) => char.charCodeAt(0))], content);
  }
});

Deno.test("AttachmentForms refuses numbers that are no bytes", () => {
  for (const numbers of ["256]}", "1,]}", ",1]}", "1,,2]}", "-1]}", "1.5]}", "1]]", '"a"]}']) {
    const bytes = encoder.encode(`{"_attachments":{"f":{"data":{"type":"Buffer","data":[${numbers}}}}`);
    assertThrows(() => inCouchForm(bytes, "Buffer"), FramingError, "no list of bytes");
  }
});

Deno.test("inCouchForm() gives back the bytes it got where there are no attachments", () => {
  const bytes = encoder.encode('{"_id":"a","_rev":"1-a","attachments":{"f":{"contentType":"text/plain"}}}');
  for (const [form] of ALL) assertStrictEquals(inCouchForm(bytes, form), bytes);
});
