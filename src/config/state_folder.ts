/** Where a machine keeps what outlives a restart: from the environment to a folder. Pure. */
import { join } from "node:path";
import type { Environment } from "./environment.ts";
import { PROGRAM_NAME } from "../version.ts";

/**
 * The program's state folder: that of its systemd unit, else the user's by the XDG rules; undefined where the
 * environment names neither.
 *
 * @see https://specifications.freedesktop.org/basedir-spec/latest/
 */
export function stateFolderOf(env: Environment): string | undefined {
  // A unit with several has them all here.
  const [unit] = (env.STATE_DIRECTORY ?? "").split(":");
  if (unit) return unit;
  // A relative path is to be passed over, say the rules.
  if (env.XDG_STATE_HOME?.startsWith("/")) return join(env.XDG_STATE_HOME, PROGRAM_NAME);
  const home = env.HOME || env.USERPROFILE;
  return home ? join(home, ".local", "state", PROGRAM_NAME) : undefined;
}
