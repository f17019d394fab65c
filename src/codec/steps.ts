/**
 * A stream object of node:zlib, used one step at a time. In: one piece after the other. Out: what has come out of it, all of
 * it, before the next piece goes in. Read as a stream it drops, where it fails, what nobody has read yet: how much that is
 * depends on who was quicker.
 */
import type { Duplex } from "node:stream";

/** One stream object. */
export class Steps {
  readonly #stream: Duplex;
  readonly #failed: Promise<never>;
  #out: Uint8Array[] = [];

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on("data", (bytes: Uint8Array) => this.#out.push(bytes));
    // Deno does not call the callback of a write that fails.
    this.#failed = new Promise((_, reject) => stream.on("error", reject));
    this.#failed.catch(() => {});
  }

  /** What has come out when a piece was taken in. @throws What is wrong with it; {@linkcode taken} has the rest. */
  async step(bytes: Uint8Array): Promise<Uint8Array[]> {
    await Promise.race([
      this.#failed,
      new Promise<void>((resolve, reject) => {
        this.#stream.write(bytes, (error) => error ? reject(error) : resolve());
      }),
    ]);
    return this.taken();
  }

  /** What comes out when no more goes in. @throws What is lacking. */
  async end(): Promise<Uint8Array[]> {
    const ended = new Promise<void>((resolve) => this.#stream.once("end", resolve));
    this.#stream.end();
    await Promise.race([this.#failed, ended]);
    return this.taken();
  }

  /** What has come out and was not taken yet. */
  taken(): Uint8Array[] {
    const taken = this.#out;
    this.#out = [];
    return taken;
  }

  close(): void {
    this.#stream.destroy();
  }
}
