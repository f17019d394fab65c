/** How the program is run, wherever it is built or started. */

/**
 * Network, environment, the host's name for labels, files and a disk's free space. Never the right to run other
 * programs.
 */
export const PERMISSIONS: readonly string[] = [
  "--allow-net",
  "--allow-env",
  "--allow-sys=hostname,statfs",
  "--allow-read",
  "--allow-write",
];

/** V8 frees network buffers late; with a small heap it does so earlier, and most time is spent outside of V8. */
export const RUN_FLAGS: readonly string[] = [
  "--no-prompt",
  "--v8-flags=--memory-saver-mode,--max-semi-space-size=1",
  ...PERMISSIONS,
];

/**
 * What a script that starts it sets beside them. The C library would give each thread an arena of its own, and each
 * keeps what was freed in it: 5 to 20 MB.
 */
export const RUN_ENVIRONMENT: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: "1" };
