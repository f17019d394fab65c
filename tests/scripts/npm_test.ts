import { assertEquals } from "@std/assert";
import { relink } from "../../scripts/npm/documents.ts";
import { findPackages, noticesOf } from "../../scripts/npm/notices.ts";

Deno.test("findPackages() finds the packages of a bundle, and takes the machine's folders out of it", () => {
  const cache = "../home/somebody/.cache/deno/npm/registry.example";
  const { code, packages } = findPackages(`// src/a.ts
var a = 1;

// ${cache}/zod/4.6.7/v4/core.js
var b = 2;
var init = __esm({
  "${cache}/@smithy/types/4.20.0/dist-es/http.js"() {},
});
  // ${cache}/zod/4.6.7/v4/api.js
`);
  assertEquals(
    code,
    `// src/a.ts
var a = 1;

// npm:zod@4.6.7/v4/core.js
var b = 2;
var init = __esm({
  "npm:@smithy/types@4.20.0/dist-es/http.js"() {},
});
  // npm:zod@4.6.7/v4/api.js
`,
  );
  assertEquals(packages, [
    { name: "zod", version: "4.6.7", folder: `${cache}/zod/4.6.7` },
    { name: "@smithy/types", version: "4.20.0", folder: `${cache}/@smithy/types/4.20.0` },
  ]);
});

Deno.test("noticesOf() gives each licence once, and names it where a package comes without its text", async () => {
  const root = await Deno.makeTempDir();
  const make = async (name: string, files: Record<string, string>) => {
    const folder = `${root}/${name}`;
    await Deno.mkdir(folder);
    for (const [file, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${file}`, text);
    return { name, version: "1.0.0", folder };
  };
  const text = await noticesOf([
    await make("c", { "package.json": '{"license":"MIT","author":"Somebody"}' }),
    await make("b", { "LICENSE": "Do what you want\n" }),
    await make("a", { "license.md": "Do what you want" }),
  ]);
  const line = "-".repeat(80);
  assertEquals(
    text,
    `The code of these packages is a part of this one.

${line}

a 1.0.0
b 1.0.0

Do what you want

${line}

c 1.0.0

License: MIT, by Somebody. The package comes without a text of it.
`,
  );
  await Deno.remove(root, { recursive: true });
});

Deno.test("relink() turns links to where their targets are in the package, and leaves the others out", () => {
  const cases: [place: string, text: string, expected: string][] = [
    [
      "README.md",
      "[keys](configuration.md) and [s3](configuration.md#s3)",
      "[keys](docs/configuration.md) and [s3](docs/configuration.md#s3)",
    ],
    ["README.md", "[sample](../config.sample.yaml)", "[sample](config.sample.yaml)"],
    ["docs/monitoring.md", "[alerts](../monitoring/alerts.yaml)", "[alerts](../monitoring/alerts.yaml)"],
    ["docs/configuration.md", "as [a Lambda](lambda.md) does", "as a Lambda does"],
    ["docs/monitoring.md", "![a picture](monitoring.svg)\n", "\n"],
    ["README.md", "```ts ignore\ncode\n```\n", "```ts\ncode\n```\n"],
    [
      "docs/archive.md",
      "[gzip](https://www.rfc-editor.org/rfc/rfc1952)",
      "[gzip](https://www.rfc-editor.org/rfc/rfc1952)",
    ],
  ];
  for (const [place, text, expected] of cases) assertEquals(relink(text, place), expected);
});
