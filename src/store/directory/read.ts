/**
 * Reads a file as a stream, to the byte that its size announces: one that ends before was cut off. In: a path. Out: its
 * bytes, as they are asked for. The file is open until the stream has ended, failed or been cancelled.
 */
import { constants } from "node:fs";
import { counted } from "../../counts.ts";
import { StoreError } from "../../errors.ts";
import type { FileCalls } from "./calls.ts";
import { directoryError, type DirectoryPlace } from "./error.ts";

const READ_BYTES = 256 * 1024;
/** A pipe that somebody has put there is opened at once, and then refused: else it would be waited for without end. */
const OPEN_TO_READ = constants.O_RDONLY | constants.O_NONBLOCK;

/** What is read, and with what. */
interface ReadOptions {
  calls: FileCalls;
  signal: AbortSignal | undefined;
}

/**
 * Opens the file of an object; its bytes are read as they are asked for.
 *
 * @throws StoreError with code `not_found`; from the stream with `cut_off`, and the signal's reason.
 */
export async function readFile(place: DirectoryPlace, options: ReadOptions): Promise<ReadableStream<Uint8Array>> {
  const reader = await FileReader.open(place, options);
  return new ReadableStream<Uint8Array>(
    { pull: (controller) => reader.pull(controller), cancel: () => reader.close() },
    { highWaterMark: 0 },
  );
}

/** A file that is being read. */
class FileReader {
  readonly #place: DirectoryPlace;
  readonly #calls: FileCalls;
  readonly #signal: AbortSignal | undefined;
  /** Its descriptor. */
  readonly #file: number;
  #sizeBytes = 0;
  #position = 0;
  #reading: Promise<number> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(place: DirectoryPlace, { calls, signal, file }: ReadOptions & { file: number }) {
    this.#place = place;
    this.#calls = calls;
    this.#signal = signal;
    this.#file = file;
  }

  static async open(place: DirectoryPlace, options: ReadOptions): Promise<FileReader> {
    try {
      const file = await options.calls.open(place.path, OPEN_TO_READ);
      const reader = new FileReader(place, { ...options, file });
      await reader.#takeSize();
      return reader;
    } catch (error) {
      throw directoryError(error, place);
    }
  }

  async #takeSize(): Promise<void> {
    try {
      const info = await this.#calls.statOpen(this.#file);
      if (!info.isFile()) throw Object.assign(new Error("It is no file"), { code: "ENOENT" });
      this.#sizeBytes = info.size;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Gives the next bytes, or ends the stream. */
  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    try {
      this.#signal?.throwIfAborted();
      const bytes = await this.#next();
      if (this.#closing !== undefined) return; // Nobody wants it any more.
      if (bytes.length > 0) return controller.enqueue(bytes);
      await this.close();
      controller.close();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** The next bytes; none at the end. */
  async #next(): Promise<Uint8Array> {
    const buffer = new Uint8Array(Math.min(READ_BYTES, this.#sizeBytes - this.#position));
    if (buffer.length === 0) return buffer;
    const { key, url } = this.#place;
    this.#reading = this.#calls.read(this.#file, buffer);
    let bytesRead: number;
    try {
      bytesRead = await this.#reading;
    } catch (error) {
      throw directoryError(error, this.#place);
    }
    if (bytesRead === 0) {
      throw new StoreError(
        `Cannot read "${key}" in "${url}": it ended after ${this.#position} of ${counted(this.#sizeBytes, "byte")}`,
        { code: "cut_off", key },
      );
    }
    this.#position += bytesRead;
    return buffer.subarray(0, bytesRead);
  }

  /** Closes the file, once: its number may be another file's by then. Not while it is read, which would read that one. */
  close(): Promise<void> {
    return this.#closing ??= (async () => {
      await Promise.allSettled([this.#reading]);
      await this.#calls.letGo(this.#file);
    })();
  }
}
