/** Resolves as soon as `isSo` says so; a test that waits for what never comes fails, and says for what it waited. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string, withinMs = 30_000): Promise<void> {
  for (const started = performance.now(); !await isSo();) {
    if (performance.now() - started > withinMs) throw new Error(`Not within ${withinMs / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
