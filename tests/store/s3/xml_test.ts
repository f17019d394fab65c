import { assertEquals } from "@std/assert";
import {
  completeBody,
  isCompleted,
  isCutListing,
  isErrorBody,
  parseError,
  parseListing,
  parseUploadId,
} from "../../../src/store/s3/xml.ts";

const page = (content: string) => `<?xml version="1.0"?>\n<ListBucketResult xmlns="x">${content}</ListBucketResult>`;
const listing = (content: string) => page(`<IsTruncated>false</IsTruncated>${content}`);
const contents = (key: string) =>
  `<Contents><Key>${key}</Key><LastModified>2026-01-03T18:00:00.000Z</LastModified><Size>5</Size></Contents>`;

Deno.test("parseListing() reads names as text: no numbers, no trimming, entities decoded", () => {
  const found = parseListing(
    listing(
      `${contents("p/0010")}${contents("p/ a ")}${contents("p/&lt;&amp;&quot;&#233;&#x4e2d;")}` +
        `<CommonPrefixes><Prefix>p/1e3/</Prefix></CommonPrefixes>`,
    ),
    "p/",
  );
  assertEquals(found?.entries.map((entry) => [entry.kind, entry.name]), [
    ["object", "0010"],
    ["object", " a "],
    ["object", '<&"\u00e9\u4e2d'],
    ["folder", "1e3"],
  ]);
  const first = found?.entries[0];
  assertEquals(first?.kind === "object" && [first.sizeBytes, first.modified.getTime()], [5, Date.UTC(2026, 0, 3, 18)]);
});

Deno.test("isCutListing() knows every beginning of a page, and nothing else", () => {
  const whole = listing(contents("a"));
  for (let end = 0; end < whole.length; end++) assertEquals(isCutListing(whole.slice(0, end)), true, `${end}`);
  const others = [
    whole,
    `${whole}\n`,
    "<html><body>Log in</body></html>",
    '<?xml version="1.0"?><html>',
    "{}",
    "<Error>",
  ];
  assertEquals(others.map(isCutListing), others.map(() => false));
});

Deno.test("parseListing() decodes names exactly where the answer says that they are encoded", () => {
  const names = (content: string) => parseListing(listing(content), "")?.entries.map((entry) => entry.name);
  assertEquals(names(`<EncodingType>url</EncodingType>${contents("a%252Fb+c%2Bd")}`), ["a%2Fb c+d"]);
  assertEquals(names(contents("a%2Fb+c")), ["a%2Fb+c"]);
});

Deno.test("parseListing() leaves out the marker of an empty folder", () => {
  const found = parseListing(listing(`${contents("p/")}${contents("p/a")}`), "p/");
  assertEquals(found?.entries.map((entry) => entry.name), ["a"]);
});

Deno.test("parseListing() tells how to go on behind a page that is not the last", () => {
  const goOn = (content: string) => {
    const { entries: _, ...rest } = parseListing(page(content), "p/")!;
    return rest;
  };
  const nothing = { continuationToken: undefined, nextMarker: undefined };
  assertEquals(goOn("<IsTruncated>false</IsTruncated>"), { isTruncated: false, ...nothing });
  assertEquals(goOn("<IsTruncated>true</IsTruncated>"), { isTruncated: true, ...nothing });
  assertEquals(goOn("<IsTruncated>true</IsTruncated><NextContinuationToken>1/+=</NextContinuationToken>"), {
    isTruncated: true,
    ...nothing,
    continuationToken: "1/+=",
  });
  assertEquals(
    goOn("<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextMarker>p/a+b%2Bc/</NextMarker>"),
    { isTruncated: true, ...nothing, nextMarker: "p/a b+c/" },
  );
});

Deno.test("parseListing() takes no part of a page, and no other page, for the one that was asked for", () => {
  const whole = listing(`${contents("p/a")}${contents("p/b")}<CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes>`);
  assertEquals(parseListing(whole, "p/")?.entries.length, 3);
  for (let length = 0; length < whole.length; length++) {
    assertEquals(parseListing(whole.slice(0, length), "p/"), undefined, whole.slice(0, length));
  }
  const others: Record<string, string> = {
    "no word on whether it is all": page(contents("p/a")),
    "a strange word on it": page("<IsTruncated>maybe</IsTruncated>"),
    "another prefix": listing(contents("q/a")),
    "another folder": listing("<CommonPrefixes><Prefix>q/c/</Prefix></CommonPrefixes>"),
    "no delimiter": listing(contents("p/a/b")),
    "no size": listing("<Contents><Key>p/a</Key><LastModified>2026-01-03T18:00:00.000Z</LastModified></Contents>"),
    "no time": listing("<Contents><Key>p/a</Key><Size>5</Size></Contents>"),
    "no key": listing("<Contents><LastModified>2026-01-03T18:00:00.000Z</LastModified><Size>5</Size></Contents>"),
    "nothing": "<ListBucketResult/>",
    "an encoding that is none": listing(`<EncodingType>url</EncodingType>${contents("p/%zz")}`),
  };
  for (const [what, text] of Object.entries(others)) assertEquals(parseListing(text, "p/"), undefined, what);
});

Deno.test("parseListing() takes no page that announces more than it has, or whose names are no encoding", () => {
  const counted = (count: string, rest = "") =>
    parseListing(listing(`<KeyCount>${count}</KeyCount>${contents("p/a")}${contents("p/b")}${rest}`), "p/")?.entries
      .length;
  assertEquals([counted("2"), counted("1"), counted("3"), counted("x")], [2, 2, undefined, undefined]);
  assertEquals(counted("3", "<CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes>"), 3);
  assertEquals(counted("3", contents("p/c").replaceAll("Contents", "Contentr")), undefined);
  for (const key of ["p/%", "p/%ff", "p/%2"]) {
    assertEquals(parseListing(listing(`<EncodingType>url</EncodingType>${contents(key)}`), "p/"), undefined, key);
  }
});

Deno.test("answers that are something else give undefined", () => {
  for (const text of ["", "Hello", "<html><body><p>x</body>", "{}", "<a", "<Error><Message>x</Message></Error>"]) {
    assertEquals([parseListing(text, ""), parseUploadId(text), parseError(text), isCompleted(text)], [
      undefined,
      undefined,
      undefined,
      false,
    ], text);
  }
});

Deno.test("parseUploadId() and isCompleted() find what they are for", () => {
  const begun = "<InitiateMultipartUploadResult><UploadId>a&amp;+/=1</UploadId></InitiateMultipartUploadResult>";
  assertEquals(parseUploadId(begun), "a&+/=1");
  const completed = "<CompleteMultipartUploadResult><ETag>&quot;x-2&quot;</ETag></CompleteMultipartUploadResult>";
  assertEquals([isCompleted(completed), isCompleted(begun)], [true, false]);
});

Deno.test("parseUploadId() and isCompleted() do not go by the root's name, which servers make up", () => {
  assertEquals(
    parseUploadId("<InitiateMultipartUpload><UploadId>a-b</UploadId></InitiateMultipartUpload>"),
    "a-b",
    "rclone serve s3",
  );
  assertEquals(isCompleted("<CompleteMultipartUploadResponse><ETag>x</ETag></CompleteMultipartUploadResponse>"), true);
});

Deno.test("isErrorBody() tells an error in an answer of status 200", () => {
  const cases: [text: string, expected: boolean][] = [
    ["<Error><Code>InternalError</Code></Error>", true],
    ['<?xml version="1.0" encoding="UTF-8"?>\n\n<Error>', true],
    ["   \n<Error><Code>x</Code></Error>", true],
    ["<ErrorPage/>", false],
    ["<ListBucketResult><Error/></ListBucketResult>", false],
    ["", false],
  ];
  for (const [text, expected] of cases) assertEquals(isErrorBody(text), expected, text);
});

Deno.test("completeBody() lists the parts in order, with checksums", () => {
  const parts = [{ number: 1, etag: '"a&<"', sha256: "AA==" }, { number: 2, etag: '"b"', sha256: "BB==" }];
  assertEquals(
    completeBody(parts),
    '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
      "<Part><ChecksumSHA256>AA==</ChecksumSHA256><ETag>&quot;a&amp;&lt;&quot;</ETag><PartNumber>1</PartNumber></Part>" +
      "<Part><ChecksumSHA256>BB==</ChecksumSHA256><ETag>&quot;b&quot;</ETag><PartNumber>2</PartNumber></Part>" +
      "</CompleteMultipartUpload>",
  );
});
