import { assert, assertEquals } from "@std/assert";
import {
  firstWindow,
  nextWindow,
  RequestWindow,
  type Round,
  type Window,
} from "../../../src/commands/backup/window.ts";

const MB = 1e6;

/** A round of requests of a megabyte each. */
function round(part: Partial<Round> = {}): Round {
  return { failures: 0, bytes: 4 * MB, elapsedMs: 1000, requestMs: 4000, ...part };
}

function window(part: Partial<Window>): Window {
  return { limit: 4, before: 4, rate: 4 * MB, quickest: 1000, rest: 0, ...part };
}

Deno.test("firstWindow() is four, or what the task allows where that is less", () => {
  assertEquals([1, 2, 4, 16].map((most) => firstWindow(most).limit), [1, 2, 4, 4]);
});

for (
  const [name, before, met, most, limit] of [
    ["grows from the beginning where the task allows more", window({ rate: undefined }), round(), 16, 5],
    ["does not grow beyond what the task allows", window({}), round(), 4, 4],
    ["grows on where the last step brought more", window({ limit: 5 }), round({ bytes: 5 * MB }), 16, 6],
    ["steps back where the last step brought nothing", window({ limit: 5 }), round(), 16, 4],
    ["halves where a request was refused", window({ limit: 9, before: 9 }), round({ failures: 1 }), 16, 4],
    ["is never less than one", window({ limit: 1, before: 1 }), round({ failures: 5 }), 16, 1],
    ["rests behind a refusal", window({ limit: 4, before: 8, rest: 12 }), round(), 16, 4],
    ["grows again behind its rest", window({ rest: 1 }), round(), 16, 5],
    [
      "shrinks where requests wait for each other and less comes",
      window({ limit: 8, before: 8 }),
      round({ bytes: 3 * MB, requestMs: 15_000 }),
      16,
      7,
    ],
    [
      "is not less than four for slowness alone",
      window({ rest: 3 }),
      round({ bytes: 3 * MB, requestMs: 15_000 }),
      16,
      4,
    ],
    ["stays where requests are slow and as much comes", window({}), round({ requestMs: 20_000 }), 4, 4],
    ["bears a round without a byte", window({}), round({ bytes: 0, requestMs: 0 }), 4, 4],
  ] as const
) {
  Deno.test(`nextWindow() ${name}`, () => {
    assertEquals(nextWindow(before, met, most).limit, limit);
  });
}

/**
 * A server that serves `bears` requests at a time in 100 ms each, refuses what is above them, and slows down beyond
 * `best`.
 */
function simulate({ most, bears, best, rounds }: { most: number; bears: number; best: number; rounds: number }) {
  let nowMs = 0;
  let failures = 0;
  const one = new RequestWindow(most, { failures: () => failures, now: () => nowMs });
  const limits: number[] = [];
  for (let n = 0; n < rounds; n++) {
    const { limit } = one;
    limits.push(limit);
    const ends = Array.from({ length: limit }, () => one.begin());
    if (limit > bears) failures++;
    nowMs += 100 * Math.max(1, limit / best);
    for (const end of ends) end(MB);
  }
  return limits;
}

Deno.test("RequestWindow finds what a server bears, and stays about there", () => {
  const limits = simulate({ most: 32, bears: 10, best: 99, rounds: 400 });
  assertEquals(Math.max(...limits), 11);
  const late = limits.slice(200);
  assert(late.filter((limit) => limit > 10).length < late.length / 20, late.join(" "));
  assert(late.reduce((sum, limit) => sum + limit, 0) / late.length > 4, late.join(" "));
});

Deno.test("RequestWindow does not grow where more at a time brings no more", () => {
  const limits = simulate({ most: 32, bears: 99, best: 6, rounds: 400 });
  assert(Math.max(...limits) <= 8, limits.join(" "));
});

Deno.test("RequestWindow goes down to one where a server bears no more", () => {
  assertEquals(simulate({ most: 16, bears: 1, best: 99, rounds: 40 }).at(-1), 1);
});

Deno.test("RequestWindow that refusals have made small grows to where it began by requests that bring no documents", () => {
  let failures = 0;
  const one = new RequestWindow(16, { failures: () => failures, now: () => 0 });
  for (let time = 0; time < 3; time++) {
    failures++;
    one.pass();
  }
  assertEquals(one.limit, 1);
  for (let request = 0; request < 20; request++) one.pass();
  assertEquals(one.limit, 1, "it rests");
  for (let request = 0; request < 100; request++) one.pass();
  assertEquals(one.limit, 4);
  one.begin()(MB);
  assertEquals(one.limit, 4);
});
