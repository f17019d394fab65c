import { assertEquals } from "@std/assert";
import { Room } from "../../../src/commands/backup/room.ts";

/** Lets whatever waits go on as far as it can. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}

Deno.test("Room.enter() waits until the databases before need fewer requests than there may be", async () => {
  const room = new Room(4, { isShared: true });
  const first = await room.enter();
  let second: Awaited<ReturnType<typeof room.enter>> | undefined;
  room.enter().then((place) => second = place);
  await settle();
  assertEquals([second, first.limit], [undefined, 4], "nobody knows yet what the first one needs");
  first.needs(100);
  await settle();
  assertEquals(second, undefined);
  first.needs(3);
  await settle();
  assertEquals([first.limit, second?.limit], [4, 1], "the earlier one comes first");
  first.needs(1);
  assertEquals(second?.limit, 3);
  first.leave();
  assertEquals(second?.limit, 4);
});

Deno.test("Room.enter() lets a database begin while the one before is written, but no endless number of them", async () => {
  const room = new Room(1, { isShared: true });
  const places = [await room.enter()];
  places[0]!.needs(0);
  places.push(await room.enter());
  places[1]!.needs(0);
  let isIn = false;
  room.enter().then(() => isIn = true);
  await settle();
  assertEquals(isIn, false);
  places[0]!.leave();
  await settle();
  assertEquals(isIn, true);
});

Deno.test("Room.enter() lets a database begin whose needs are known where there is room for all of them", async () => {
  const room = new Room(4, { isShared: true });
  const first = await room.enter(2);
  const second = await room.enter(2);
  let third: Awaited<ReturnType<typeof room.enter>> | undefined;
  room.enter(2).then((place) => third = place);
  await settle();
  first.needs(1);
  await settle();
  assertEquals(third, undefined);
  second.needs(1);
  await settle();
  assertEquals(third?.limit, 2);
  const narrow = new Room(1, { isShared: true });
  assertEquals((await narrow.enter(2)).limit, 1, "as many as there may be are enough");
});

Deno.test("Room.enter() lets as many requests of small databases be in flight as there may be of these", async () => {
  const room = new Room(4, { isShared: true, small: () => 16 });
  const places = [];
  for (let count = 0; count < 8; count++) places.push(await room.enter(2, { isSmall: true }));
  let ninth: Awaited<ReturnType<typeof room.enter>> | undefined;
  let large: Awaited<ReturnType<typeof room.enter>> | undefined;
  room.enter(2, { isSmall: true }).then((place) => ninth = place);
  await settle();
  assertEquals(ninth, undefined, "sixteen requests are in flight");
  places[0]!.needs(0);
  await settle();
  assertEquals(ninth?.limit, 2);
  room.enter().then((place) => large = place);
  await settle();
  assertEquals(large, undefined);
  for (const place of places) place.leave();
  await settle();
  assertEquals(large?.limit, 3, "two small requests count as half of one");
});

Deno.test("Room.enter() waits for no database that is done, whatever that says of its needs behind its end", async () => {
  for (const isShared of [true, false]) {
    const room = new Room(1, { isShared });
    const first = await room.enter();
    first.leave();
    first.needs(1);
    let isIn = false;
    room.enter().then(() => isIn = true);
    await settle();
    assertEquals(isIn, true);
  }
});

Deno.test("Room.enter() takes one database after the other where they are not to overlap", async () => {
  const room = new Room(4, { isShared: false });
  const first = await room.enter();
  first.needs(0);
  let isIn = false;
  room.enter().then(() => isIn = true);
  await settle();
  assertEquals(isIn, false);
  first.leave();
  await settle();
  assertEquals(isIn, true);
});
