/**
 * The permissions the program is given wherever it is built or started: network, environment, the host's name for labels,
 * files. Never the right to run other programs.
 */
export const PERMISSIONS = ["--allow-net", "--allow-env", "--allow-sys=hostname", "--allow-read", "--allow-write"];
