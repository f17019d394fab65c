/**
 * A stream object of node:zlib, used one step at a time. In: one piece after the other. Out: what has come out of it, all of
 * it, before the next piece goes in. Read as a stream it drops, where it fails, what nobody has read yet: how much that is
 * depends on who was quicker.
 */
import type { Duplex } from "node:stream";

/** One stream object. */
export class Steps {
  readonly #stream: Duplex;
  #out: Uint8Array[] = [];
  #failure: { error: unknown } | undefined;
  /** Ends the step under way. */
  #fail: (error: unknown) => void = () => {};

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on("data", (bytes: Uint8Array) => this.#out.push(bytes));
    stream.on("error", (error) => {
      this.#failure = { error };
      this.#fail(error);
    });
  }

  /** What has come out when a piece was taken in. @throws What is wrong with it; {@linkcode taken} has the rest. */
  async step(bytes: Uint8Array): Promise<Uint8Array[]> {
    await this.#untilDone((done) => this.#stream.write(bytes, done));
    return this.taken();
  }

  /** What comes out when no more goes in. @throws What is lacking. */
  async end(): Promise<Uint8Array[]> {
    await this.#untilDone((done) => {
      this.#stream.once("end", done);
      this.#stream.end();
    });
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

  /**
   * Waits for the end of a step, or for the failure of the stream: Deno does not call the callback of a write that
   * fails. Not by a race with one promise for all steps, which would keep something of each of them to the end.
   */
  #untilDone(begin: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure.error);
      this.#fail = reject;
      begin((error) => error ? reject(error) : resolve());
    });
  }
}
