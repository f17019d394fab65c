/**
 * A terminal without a last row, which knows what the bars use: newline, carriage return, cursor up and right, erasing,
 * and wrapping, which can be turned off. Resizing wraps its lines anew and keeps the cursor on its character.
 */
export class FakeTerminal {
  /** What is on the screen; `goesOn` where the next row is the same line, wrapped. */
  #rows: { text: string; goesOn: boolean }[] = [{ text: "", goesOn: false }];
  #row = 0;
  #column = 0;
  #wraps = true;

  columns: number;

  constructor(columns: number) {
    this.columns = columns;
  }

  write(text: string): void {
    // deno-lint-ignore no-control-regex
    for (const part of text.match(/\x1b\[[?\d]*[A-Za-z]|[\s\S]/g) ?? []) {
      if (part.startsWith("\x1b[")) this.#control(part.slice(2));
      else if (part === "\n") this.#newLine(false);
      else if (part === "\r") this.#column = 0;
      else if (part < " " || part === "\x7f") throw new Error(`unexpected control character ${JSON.stringify(part)}`);
      else this.#put(part);
    }
  }

  /** The screen's rows without empty ones at the end. */
  text(): string {
    return this.#rows.map((row) => row.text.trimEnd()).join("\n").trimEnd();
  }

  resize(columns: number): void {
    this.columns = columns;
    const before = this.#rows;
    const after: typeof before = [];
    let cursor = { row: 0, column: 0 };
    for (let start = 0; start < before.length;) {
      let end = start;
      while (before[end]?.goesOn) end++;
      const line = before.slice(start, end + 1).map((row) => row.text).join("");
      if (this.#row >= start && this.#row <= end) {
        const offset = before.slice(start, this.#row).reduce((sum, row) => sum + row.text.length, this.#column);
        cursor = { row: after.length + Math.floor(offset / columns), column: offset % columns };
      }
      const pieces = line.match(new RegExp(`.{1,${columns}}`, "g")) ?? [""];
      after.push(...pieces.map((text, index) => ({ text, goesOn: index < pieces.length - 1 })));
      start = end + 1;
    }
    this.#rows = after;
    this.#row = cursor.row;
    this.#column = cursor.column;
  }

  #control(sequence: string): void {
    const up = /^(\d+)A$/.exec(sequence);
    if (up !== null) {
      this.#row -= Number(up[1]);
      if (this.#row < 0) throw new Error("the cursor left the screen");
    } else if (sequence === "C") {
      this.#column = Math.min(this.#column + 1, this.columns - 1);
    } else if (sequence === "K") {
      this.#current().text = this.#current().text.slice(0, this.#column);
    } else if (sequence === "J") {
      if (this.#row === 0 && this.#column === 0) throw new Error("tmux would take this for clearing the screen");
      this.#rows.length = this.#row + 1;
      this.#rows[this.#row] = { text: this.#current().text.slice(0, this.#column), goesOn: false };
    } else if (sequence === "?7l" || sequence === "?7h") {
      this.#wraps = sequence === "?7h";
    } else throw new Error(`unexpected control sequence ${sequence}`);
  }

  #put(character: string): void {
    if (this.#column === this.columns) {
      if (this.#wraps) this.#newLine(true);
      else this.#column--;
    }
    const row = this.#current();
    const text = row.text.padEnd(this.#column);
    row.text = text.slice(0, this.#column) + character + text.slice(this.#column + 1);
    this.#column++;
  }

  #newLine(goesOn: boolean): void {
    this.#current().goesOn = goesOn;
    this.#row++;
    this.#column = 0;
    this.#rows[this.#row] ??= { text: "", goesOn: false };
  }

  #current(): { text: string; goesOn: boolean } {
    return this.#rows[this.#row] ??= { text: "", goesOn: false };
  }
}
