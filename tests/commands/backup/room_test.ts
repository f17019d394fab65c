import { assert, assertEquals, assertRejects } from "@std/assert";
import { Room } from "../../../src/commands/backup/room.ts";
import { forEachParallel } from "../../../src/parallel.ts";

/** Lets whatever waits go on as far as it can. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}

Deno.test("Room.enter() waits until the databases before need fewer requests than there may be", async () => {
  const room = new Room(() => 4, { isShared: true });
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
  const room = new Room(() => 1, { isShared: true });
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
  const room = new Room(() => 4, { isShared: true });
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
  const narrow = new Room(() => 1, { isShared: true });
  assertEquals((await narrow.enter(2)).limit, 1, "as many as there may be are enough");
});

Deno.test("Room.enter() lets as many requests of small databases be in flight as there may be of these", async () => {
  const room = new Room(() => 4, { isShared: true, small: () => 16 });
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
    const room = new Room(() => 1, { isShared });
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
  const room = new Room(() => 4, { isShared: false });
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

Deno.test("Place.claim() lets databases that wait for the store come back, the earlier ones first", async () => {
  const room = new Room(() => 2, { isShared: true });
  const enter = async () => await room.enter(1, { isSmall: true });
  const first = await enter();
  const second = await enter();
  for (const one of [first, second]) one.away();
  const [third, fourth] = [await enter(), await enter()];
  const back: string[] = [];
  for (const [name, one] of [["second", second], ["first", first]] as const) {
    one.claim(1).then(() => back.push(name));
  }
  let isFifthIn = false;
  enter().then(() => isFifthIn = true);
  await settle();
  assertEquals(back, [], "two requests are in flight");
  fourth.leave();
  await settle();
  assertEquals([back, isFifthIn], [["first"], false]);
  third.away();
  await settle();
  assertEquals([back, isFifthIn], [["first", "second"], false]);
  first.leave();
  await settle();
  assertEquals(isFifthIn, true, "who has come back comes before who is to begin");
});

Deno.test("Place.claim() does not wait where the database needs requests already, or is large", async () => {
  const room = new Room(() => 2, { isShared: true });
  const first = await room.enter();
  await first.claim(100);
  assertEquals(first.limit, 2);
  first.away();
  const second = await room.enter();
  await first.claim(100);
  assertEquals([first.limit, second.limit], [2, 1]);
});

Deno.test("Room.enter() lets a large database begin where it leaves room for those that are away", async () => {
  const room = new Room(() => 4, { isShared: true });
  const small: Awaited<ReturnType<typeof room.enter>>[] = [];
  for (let count = 0; count < 5; count++) {
    small.push(await room.enter(1, { isSmall: true }));
    small[count]!.away();
  }
  let large: Awaited<ReturnType<typeof room.enter>> | undefined;
  room.enter().then((place) => large = place);
  await settle();
  assertEquals(large, undefined, "those that are away would make five requests when they are back");
  small[0]!.needs(0);
  small[1]!.needs(0);
  await settle();
  large!.needs(1000);
  assertEquals(large?.limit, 1);
  let back = 0;
  for (const one of small.slice(2)) {
    one.claim(1).then(() => back++);
    await settle();
    one.leave();
  }
  await settle();
  assertEquals([back, large!.limit], [3, 4], "none waits for the end of the large one");
});

Deno.test("Place.claim() goes on, one after the other, where fewer requests are allowed meanwhile", async () => {
  let limit = 4;
  const room = new Room(() => limit, { isShared: true });
  const small = [await room.enter(1, { isSmall: true }), await room.enter(1, { isSmall: true })];
  for (const one of small) one.away();
  const large = await room.enter();
  large.needs(1000);
  limit = 1;
  const back: number[] = [];
  for (const [index, one] of small.entries()) one.claim(1).then(() => back.push(index));
  await settle();
  assertEquals(back, [0]);
  small[0]!.leave();
  await settle();
  assertEquals(back, [0, 1]);
});

Deno.test("Place.claim() ends where the room is closed, and with its signal", async () => {
  const end = new AbortController();
  const room = new Room(() => 1, { isShared: true, signal: end.signal });
  const first = await room.enter(1, { isSmall: true });
  first.away();
  const other = await room.enter(1, { isSmall: true });
  const waiting = first.claim(1);
  room.close(new Error("the login is refused"));
  await assertRejects(() => waiting, Error, "the login is refused");
  await assertRejects(() => first.claim(1), Error, "the login is refused");
  other.leave();
  const ended = new Room(() => 1, { isShared: true, signal: end.signal });
  const away = await ended.enter(1, { isSmall: true });
  away.away();
  await ended.enter(1, { isSmall: true });
  const claimed = away.claim(1);
  end.abort(new Error("stopped"));
  await assertRejects(() => claimed, Error, "stopped");
});

Deno.test("Place.claim() of a database that is done asks for nothing, and two claims of one are both admitted", async () => {
  const room = new Room(() => 1, { isShared: true });
  const first = await room.enter(1, { isSmall: true });
  first.away();
  const second = await room.enter(1, { isSmall: true });
  const both = [first.back(), first.back()];
  second.leave();
  await Promise.all(both);
  first.away();
  const third = await room.enter(1, { isSmall: true });
  const waiting = first.claim(1);
  first.leave();
  await assertRejects(() => waiting, Error, "The database is done");
  await assertRejects(() => first.claim(1), Error, "The database is done");
  third.leave();
});

/** Requests that take a while by chance, the same in each run, and how many were in flight at the most. */
function trafficByChance() {
  let seed = 1;
  let [inFlight, most] = [0, 0];
  const random = () => (seed = seed * 16807 % 2147483647) / 2147483647;
  const pause = async () => {
    for (let turn = Math.floor(random() * 40); turn >= 0; turn--) await Promise.resolve();
  };
  const ask = async (requests: number) => {
    inFlight += requests;
    most = Math.max(most, inFlight);
    await pause();
    inFlight -= requests;
  };
  return { random, pause, ask, most: () => most };
}

Deno.test("Room lets no more requests of small databases be in flight than there may be, however they come and go", async () => {
  for (const [limit, small] of [[1, 1], [4, 4], [4, 16], [8, 8], [16, 16]] as const) {
    const room = new Room(() => limit, { isShared: true, small: () => small });
    const traffic = trafficByChance();
    const { random, pause, ask } = traffic;
    let done = 0;
    const save = async (place: Awaited<ReturnType<typeof room.enter>>) => {
      await ask(Math.min(2, small));
      place.away();
      await pause();
      await place.claim(1);
      await ask(1);
      place.away();
      await pause();
      if (random() < 0.3) {
        await place.back();
        await ask(1);
      }
      place.needs(0);
      await pause();
      place.leave();
      done++;
    };
    const all: Promise<void>[] = [];
    for (let count = 0; count < 300; count++) all.push(save(await room.enter(2, { isSmall: true })));
    await Promise.all(all);
    assertEquals([done, traffic.most()], [300, Math.max(small, 1)], `limit ${limit}, of small ones ${small}`);
  }
});

Deno.test("Room.enter() lets many small databases wait for the store, and no endless number of them", async () => {
  for (const [requests, most] of [[1, 8], [2, 16], [4, 32], [16, 32], [32, 32]] as const) {
    const room = new Room(() => requests, { isShared: true });
    const places: Awaited<ReturnType<typeof room.enter>>[] = [];
    const all = (async () => {
      while (places.length <= most) {
        const place = await room.enter(1, { isSmall: true });
        places.push(place);
        place.away();
      }
    })();
    for (let turn = 0; turn < 40; turn++) await settle();
    assertEquals(places.length, most, `${requests} requests`);
    places[0]!.leave();
    await all;
  }
});

Deno.test("Place.idle() leaves small databases all room, and large ones all but one request", async () => {
  const room = new Room(() => 2, { isShared: true, small: () => 8 });
  const large = await room.enter();
  large.idle();
  const small = await room.enter(8, { isSmall: true });
  assertEquals(small.limit, 8);
  small.leave();
  const other = await room.enter();
  other.needs(1000);
  assertEquals(other.limit, 1);
  await large.back();
  large.needs(1000);
  assertEquals([other.limit, large.limit], [1, 1], "it comes back behind who has begun meanwhile");
  other.needs(1);
  large.needs(1);
  large.needs(1000);
  other.leave();
  assertEquals(large.limit, 2);
});

Deno.test("Place.back() of a large database waits for small ones that have begun meanwhile, and no other one begins", async () => {
  const room = new Room(() => 1, { isShared: true, small: () => 4 });
  const large = await room.enter();
  large.idle();
  const small = [];
  for (let count = 0; count < 3; count++) small.push(await room.enter(1, { isSmall: true }));
  small[0]!.away();
  const back: string[] = [];
  large.back().then(() => back.push("large"));
  let isIn = false;
  room.enter(1, { isSmall: true }).then(() => isIn = true);
  small[1]!.leave();
  small[2]!.leave();
  await settle();
  assertEquals([back, isIn], [[], false], "it would hold up the one that is away");
  small[0]!.back().then(() => back.push("small"));
  await settle();
  assertEquals(back, ["small"]);
  small[0]!.leave();
  await settle();
  assertEquals([back, isIn], [["small", "large"], false]);
  large.idle();
  await settle();
  assertEquals(isIn, true);
});

Deno.test("Place.claim() of a small database that had been done with asking has large ones leave it a request", async () => {
  const room = new Room(() => 4, { isShared: true });
  const [done, other] = [await room.enter(1, { isSmall: true }), await room.enter(1, { isSmall: true })];
  done.needs(0);
  const large = await room.enter();
  large.needs(1000);
  assertEquals(large.limit, 3);
  let isBack = false;
  done.claim(1).then(() => isBack = true);
  await settle();
  assertEquals([isBack, large.limit], [false, 2], "until the large one has had time to make fewer");
  other.needs(1);
  await settle();
  assertEquals(isBack, true);
});

Deno.test("Place.back() of one that is idle ends where the room is closed, of whatever size", async () => {
  for (const isSmall of [true, false]) {
    const room = new Room(() => 1, { isShared: true });
    const place = await room.enter(1, { isSmall });
    place.idle();
    await room.enter(1, { isSmall: true });
    const waiting = place.back();
    assertEquals(place.closed.aborted, false);
    room.close(new Error("the login is refused"));
    await assertRejects(() => waiting, Error, "the login is refused");
    assertEquals(place.closed.aborted, true);
  }
});

Deno.test("Room lets no more requests be in flight than there may be, where large databases wait for nodes too", async () => {
  for (const [limit, small] of [[1, 1], [2, 2], [4, 4], [4, 16], [16, 16]] as const) {
    const room = new Room(() => limit, { isShared: true, small: () => small });
    const traffic = trafficByChance();
    const { random, pause, ask } = traffic;
    let done = 0;
    type Placed = Awaited<ReturnType<typeof room.enter>>;
    /** As many at a time as it may make, and none for a while. */
    const read = async (place: Placed, batches: number) => {
      place.needs(batches);
      await forEachParallel(() => Array.from({ length: batches }), () => ask(1), { limit: () => place.limit });
      place.away();
      await pause();
    };
    const save = async (place: Placed) => {
      const weight = place.isSmall ? limit / small : 1;
      await ask(weight);
      for (let times = Math.floor(random() * 4); times > 0; times--) {
        place.idle();
        await pause();
        await place.back();
        await ask(weight);
        if (!place.isSmall) await read(place, Math.floor(random() * 10) + 1);
      }
      place.needs(0);
      await pause();
      place.leave();
      done++;
    };
    const all: Promise<void>[] = [];
    for (let count = 0; count < 300; count++) {
      const isSmall = random() < 0.7;
      all.push(save(await room.enter(isSmall ? 1 : undefined, { isSmall })));
    }
    await Promise.all(all);
    const which = `limit ${limit}, of small ones ${small}`;
    assertEquals(done, 300, which);
    const most = traffic.most();
    assert(most <= limit && most > limit - 2, `${most} requests, ${which}`);
  }
});

Deno.test("Room.enter() lets a large database begin beside any number of small ones that wait for nodes, which take turns", async () => {
  const room = new Room(() => 4, { isShared: true });
  const small = [];
  for (let count = 0; count < 10; count++) {
    small.push(await room.enter(1, { isSmall: true }));
    small[count]!.idle();
  }
  const large = await room.enter();
  large.needs(1000);
  assertEquals(large.limit, 3);
  const back: number[] = [];
  for (const [index, one] of small.entries()) one.back().then(() => back.push(index));
  await settle();
  assertEquals([back, large.limit], [[0], 3]);
  small[0]!.idle();
  await settle();
  assertEquals([back, large.limit], [[0, 1], 3]);
  large.leave();
  await settle();
  assertEquals(back, [0, 1, 2, 3, 4]);
});
