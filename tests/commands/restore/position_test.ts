import { assertEquals } from "@std/assert";
import { PositionKeeper, type RestoreBeginning, type RestorePosition } from "../../../src/commands/restore/position.ts";

/** One call over chunks, of which some are damaged. Ends behind the `until`-th. */
function call(
  chunks: number,
  { damaged, beginning, until = chunks }: {
    damaged: (number: number) => boolean;
    beginning?: RestoreBeginning;
    until?: number;
  },
) {
  const positions: RestorePosition[] = [];
  const keeper = new PositionKeeper((position) => void positions.push(position), beginning);
  for (let number = 0; number < until; number++) {
    const chunk = keeper.begin();
    chunk.isLeftOut = damaged(number);
    keeper.end(chunk);
  }
  return { position: positions.at(-1)!, untold: keeper.untold };
}

Deno.test("PositionKeeper goes behind more damaged chunks than it keeps numbers of, and counts the others", () => {
  const damaged = (number: number) => number % 2 === 1;
  const first = call(12_000, { damaged, until: 11_000 }).position;
  assertEquals([first.chunks, first.leftOut.length, first.leftOutMore], [11_000, 5000, 500]);
  // The same chunks are read again, and none is counted twice.
  const second = call(12_000, { damaged, beginning: first });
  assertEquals(second.position.chunks, 12_000);
  assertEquals([second.position.leftOut.length, second.position.leftOutMore, second.untold], [5000, 1000, 0]);
});

Deno.test("PositionKeeper tells how many chunks are whole again of which no call has kept the number", () => {
  const first = call(6000, { damaged: () => true }).position;
  assertEquals([first.leftOut.length, first.leftOutMore], [5000, 1000]);
  const { position, untold } = call(6000, { damaged: (number) => number >= 5400, beginning: first });
  assertEquals([position.leftOut.length, position.leftOutMore, untold], [0, 1000, 400]);
  // What was not sent in this call either is told by the next one, too.
  assertEquals(call(6000, { damaged: () => false, beginning: position }).untold, 1000);
});

Deno.test("PositionKeeper does not send a chunk again that is written and damaged only now", () => {
  const first = call(10, { damaged: () => false }).position;
  assertEquals(call(10, { damaged: (number) => number === 3, beginning: first }).position.leftOut, []);
});
