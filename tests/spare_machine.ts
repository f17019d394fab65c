/**
 * A copy of this machine to install things on: its own root with a layer over it that is thrown away. What is written
 * there shows in {@linkcode SpareMachine.changes}. Network and processes are this machine's. Wants root, and a kernel
 * with overlayfs.
 */

/** How a command has ended. */
export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Mounts the layer, tells so, and stays until it is told to end; the mounts go with it. */
const HOLDER = `set -e
mount -t tmpfs spare "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
for folder in dev proc sys; do mount --rbind "/$folder" "$1/root/$folder"; done
mount -t tmpfs run "$1/root/run"
echo ready
exec cat
`;

/** Programs are found there as on a machine of its own, whatever the tests' PATH is. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Such a copy, which is gone when it is disposed of. */
export class SpareMachine implements AsyncDisposable {
  readonly #folder: string;
  readonly #holder: Deno.ChildProcess;

  private constructor(folder: string, holder: Deno.ChildProcess) {
    this.#folder = folder;
    this.#holder = holder;
  }

  static async start(): Promise<SpareMachine> {
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-machine-" });
    const holder = new Deno.Command("unshare", {
      args: ["--mount", "--propagation", "private", "sh", "-c", HOLDER, "sh", folder],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const reader = holder.stdout.getReader();
    const { value } = await reader.read();
    reader.releaseLock();
    if (value === undefined) {
      throw new Error(`There is no spare machine: ${await new Response(holder.stderr).text()}`);
    }
    const machine = new SpareMachine(folder, holder);
    // Services that are installed shall be started, as far as there is somebody who starts them.
    await machine.sh("rm -f /usr/sbin/policy-rc.d");
    return machine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder.stdin.close();
    await this.#holder.stdout.cancel();
    await this.#holder.stderr.cancel();
    await this.#holder.status;
    await Deno.remove(this.#folder);
  }

  /** Runs a line of shell as root there. */
  async run(line: string): Promise<Ended> {
    return await this.#enter(["chroot", `${this.#folder}/root`, "/bin/sh", "-c", line]);
  }

  /** Runs a command that sees this machine's files and the layer's. */
  async #enter(command: readonly string[], input?: string): Promise<Ended> {
    const child = new Deno.Command("nsenter", {
      args: ["--mount", `--target=${this.#holder.pid}`, "--", ...command],
      clearEnv: true,
      env: { PATH, HOME: "/root", LC_ALL: "C.UTF-8", NO_COLOR: "1", DEBIAN_FRONTEND: "noninteractive" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    // Who reads nothing may be gone before it could.
    const written = writer.write(new TextEncoder().encode(input ?? "")).then(() => writer.close()).catch(() => {});
    const { code, stdout, stderr } = await child.output();
    await written;
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** The same where it has to succeed; returns what it printed. @throws Error with all that it said. */
  async sh(line: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(line);
    if (code !== 0) throw new Error(`${line}\nended with ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** Puts a file there. */
  async copy(file: string, place: string): Promise<void> {
    const { code, stderr } = await this.#enter(["cp", await Deno.realPath(file), `${this.#folder}/root${place}`]);
    if (code !== 0) throw new Error(stderr);
  }

  /** Writes a file there; its owner, group and mode stay where it is there already. */
  async write(place: string, text: string): Promise<void> {
    const { code, stderr } = await this.#enter(["sh", "-c", 'cat >"$1"', "sh", `${this.#folder}/root${place}`], text);
    if (code !== 0) throw new Error(stderr);
  }

  /** The files and folders that are there, or gone, since it began, but for what all installing leaves behind. */
  async changes(): Promise<string[]> {
    const up = `${this.#folder}/up`;
    const { stdout } = await this.#enter([
      "find",
      up,
      "-mindepth",
      "1",
      "-type",
      "d",
      "-printf",
      "/%P/\\n",
      "-o",
      "-printf",
      "/%P\\n",
    ]);
    const names = stdout.split("\n").filter((name) => name !== "");
    const isUsual =
      /^\/(var\/lib\/dpkg|var\/lib\/rpm|var\/log|var\/cache|tmp)\/|^\/(etc\/ld\.so\.cache|usr\/sbin\/policy-rc\.d)$/;
    const found = names.filter((name) => !isUsual.test(name));
    // A folder stands there for what lies in it, and for itself only where this machine has none.
    const isOld = await Promise.all(
      found.map(async (name) => name.endsWith("/") && (await Deno.stat(name).then(() => true, () => false))),
    );
    return found.filter((_, index) => !isOld[index]).toSorted();
  }
}
