import { assertEquals, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { findGoneChunk, followChain, parentLinkOf } from "../../src/archive/chain.ts";
import type { Manifest, ParentLink } from "../../src/archive/manifest.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { joinKey } from "../../src/store/key.ts";
import { manifestOf, TestRepository } from "./repository_setup.ts";

/** Puts the manifest of a backup of a day, that goes on from `parent`. @returns How a later one names it. */
async function put(setup: TestRepository, day: number, parent: ParentLink | null, part: Partial<Manifest> = {}) {
  const finishedAt = `2026-11-0${day}T10:00:00Z`;
  const manifest: Manifest = {
    ...manifestOf({ day: `2026-11-0${day}`, finishedAt, chunks: [0] }),
    kind: parent === null ? "full" : "incremental",
    parent,
    ...part,
  };
  const folder = setup.folder(`2026-11-0${day}`);
  const name = `manifest-2026110${day}T100000Z-aaaaaaa${day}.json`;
  const bytes = encodeJson(manifest);
  await setup.write(folder, name, bytes);
  await setup.write(folder, "0000000.json.gz", "12345");
  const link = parentLinkOf(setup.repository, { key: joinKey(folder, name), run: manifest.run, bytes });
  return { link, manifest, folder };
}

Deno.test("followChain() finds the parents of a backup down to the full one, below the same prefix", async () => {
  await using setup = await TestRepository.open({ prefix: "a/b", suffix: "c/d" });
  const first = await put(setup, 1, null);
  assertEquals(first.link.path, "2026/11/01/c/d/a%2Fb/manifest-20261101T100000Z-aaaaaaa1.json");
  const second = await put(setup, 2, first.link);
  const { folder, manifest } = await put(setup, 3, second.link);
  const { links, broken } = await followChain({ store: setup.store, folder, manifest }, {});
  assertEquals([broken, links.map(({ folder }) => folder)], [undefined, [second.folder, first.folder]]);
  assertEquals(await findGoneChunk(links[0]!, {}), undefined);
  await setup.write(second.folder, "0000000.json.gz", "1234");
  assertEquals(await findGoneChunk(links[0]!, {}), "0000000.json.gz");
});

const PATH = "2026/11/01/couchdb/a%2Fb/manifest-20261101T100000Z-aaaaaaa1.json";
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

for (
  const { what, parent, problem, database, isDamaged } of [
    { what: "has no parent in its manifest", parent: null, problem: "has no parent in its manifest" },
    {
      what: "has left its repository",
      parent: { path: "2026/11/01/../../etc/manifest.json" },
      problem: "is not that of a manifest",
    },
    {
      what: "names a chunk",
      parent: { path: "2026/11/01/couchdb/a%2Fb/0000000.json.gz" },
      problem: "is not that of a manifest",
    },
    {
      what: "names a folder without a date",
      parent: { path: "x/11/01/a/manifest.json" },
      problem: "is not that of a manifest",
    },
    { what: "names one that is gone", parent: { path: PATH.replace("11/01", "10/01") }, problem: "It is missing" },
    { what: "names one that was replaced", parent: { sha256: sha256("other") }, problem: "SHA-256" },
    { what: "names one of another run", parent: { run: "other" }, problem: "It is of another run" },
    {
      what: "names one of another database",
      parent: {},
      database: "other",
      problem: 'It is of another database, "other"',
    },
    { what: "names one that is damaged", parent: {}, isDamaged: true, problem: "it is not whole JSON" },
  ] as {
    what: string;
    parent: Partial<ParentLink> | null;
    problem: string;
    database?: string;
    isDamaged?: true;
  }[]
) {
  Deno.test(`followChain() names the link of a backup that ${what}`, async () => {
    await using setup = await TestRepository.open();
    const { link, folder: first } = await put(setup, 1, null, database === undefined ? {} : { database });
    if (isDamaged) await setup.write(first, link.path.split("/").at(-1)!, "{");
    const named = parent === null ? null : { ...link, ...parent };
    const { folder, manifest } = await put(setup, 2, named, { kind: "incremental" });
    const { links, broken } = await followChain({ store: setup.store, folder, manifest }, {});
    assertEquals(links, []);
    assertEquals(broken?.path, named?.path ?? "");
    assertStringIncludes(broken?.problem ?? "", problem);
  });
}
