import { assertEquals } from "@std/assert";
import { listBackups } from "../../../src/commands/list.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { verify } from "../../../src/commands/verify.ts";
import { couchOk } from "../../couch_request.ts";
import { makeArchive } from "../../make_archive.ts";
import { setUpRestore } from "./setup.ts";

Deno.test("a database that was emptied between two runs of a day is listed twice, and restored by the first one's moment", async () => {
  await using setup = await setUpRestore();
  const { server, couch, store, context } = setup;
  await couchOk(server, "PUT /orders");
  const docs = Array.from({ length: 500 }, (_, number) => ({ _id: `order-${number}`, number }));
  await couchOk(server, "POST /orders/_bulk_docs", { docs });
  const { prefix, suffix } = context.repository;
  const date = { year: 2026, month: 11, day: 25 };
  const make = async (moment: string) => {
    await makeArchive({ couch, store, database: "orders", prefix, suffix, date, now: () => new Date(moment) });
  };
  await make("2026-11-25T10:00:00Z");
  await couchOk(server, "DELETE /orders");
  await couchOk(server, "PUT /orders");
  await make("2026-11-25T18:04:11Z");

  const { backups } = await listBackups(context, { database: "orders" });
  assertEquals(backups.map(({ finished_at, documents, date }) => [finished_at, documents, date]), [
    ["2026-11-25T18:04:11.000Z", 0, "2026-11-25"],
    ["2026-11-25T10:00:00.000Z", 500, "2026-11-25"],
  ]);
  const cases: [path: string, documents: number][] = [
    ["latest/orders", 0],
    ["2026-11-25/orders", 0],
    ["2026-11-25T18:04:11Z/orders", 0],
    ["2026-11-25T18:04Z/orders", 500],
    [`${backups[1]!.path}/${backups[1]!.manifest}`, 500],
  ];
  for (const [index, [path, documents]] of cases.entries()) {
    const verified = await verify(context, { database: "orders", path });
    assertEquals([verified.ok, verified.documents, verified.leftovers], [true, documents, []], path);
    const restored = await restore(context, { database: `new-${index}`, path });
    assertEquals([restored.ok, restored.documents], [true, documents], path);
  }
});
