/** `couchdb-backup completions bash|zsh|fish`: completions for the shell, made from the commands' own flags. */
import { UsageError } from "../errors.ts";
import { type Command, flagsOf } from "./command.ts";

const SHELLS = ["bash", "zsh", "fish"];

/** A command as a completion needs to know it. */
export interface Completable {
  name: string;
  summary: string;
  command: Command;
}

/** Makes the command from all commands, which it cannot import itself: it is one of them. */
export function completionsCommand(all: () => Promise<Completable[]>): Command {
  return {
    name: "completions",
    usage: "bash|zsh|fish",
    help: [
      "Prints completions for a shell.",
      "",
      "bash: couchdb-backup completions bash > /etc/bash_completion.d/couchdb-backup",
      "zsh:  couchdb-backup completions zsh > ~/.zfunc/_couchdb-backup   (a folder of $fpath)",
      "fish: couchdb-backup completions fish > ~/.config/fish/completions/couchdb-backup.fish",
    ],
    flags: [],
    operands: { least: 1, most: 1 },
    needsNoConfig: true,

    async run(call) {
      const [shell = ""] = call.operands;
      if (!SHELLS.includes(shell)) {
        throw new UsageError(`There are no completions for "${shell}"`, {
          hint: `There are some for ${SHELLS.join(", ")}`,
        });
      }
      const commands = await all();
      const text = shell === "bash" ? forBash(commands) : shell === "zsh" ? forZsh(commands) : forFish(commands);
      call.shell.stdout.write(text);
      return 0;
    },
  };
}

function forBash(commands: readonly Completable[]): string {
  const cases = commands.map(({ name, command }) => {
    const words = flagsOf(command).map((flag) => `--${flag.name}`).join(" ");
    return `    ${name}) words="${words}" ;;`;
  });
  return `_couchdb_backup() {
  local words current="\${COMP_WORDS[COMP_CWORD]}"
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    *) words="" ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words="${commands.map(({ name }) => name).join(" ")}"; fi
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "$words" -- "$current")); else COMPREPLY=($(compgen -f -- "$current")); fi ;;
  esac
}
complete -o filenames -F _couchdb_backup couchdb-backup
`;
}

function forZsh(commands: readonly Completable[]): string {
  const quote = (text: string) => text.replaceAll("'", "'\\''").replaceAll(/[\[\]:]/g, "\\$&");
  const names = commands.map(({ name, summary }) => `    '${name}:${quote(summary)}'`);
  const cases = commands.map(({ name, command }) => {
    const flags = flagsOf(command).map((flag) =>
      `'${flag.repeated ? "*" : ""}--${flag.name}[${quote(flag.summary)}]${
        flag.value === undefined ? "" : `:${flag.value}:_files`
      }'`
    );
    return `    ${name}) _arguments ${flags.join(" ")} '*:file:_files' ;;`;
  });
  return `#compdef couchdb-backup
_couchdb_backup() {
  local -a commands=(
${names.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join("\n")}
  esac
}
_couchdb_backup "$@"
`;
}

function forFish(commands: readonly Completable[]): string {
  const quote = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("'", "\\'");
  const lines = commands.flatMap(({ name, summary, command }) => [
    `complete -c couchdb-backup -n __fish_use_subcommand -f -a ${name} -d '${quote(summary)}'`,
    ...flagsOf(command).map((flag) =>
      `complete -c couchdb-backup -n '__fish_seen_subcommand_from ${name}' -l ${flag.name}${
        flag.value === undefined ? "" : " -r"
      } -d '${quote(flag.summary)}'`
    ),
  ]);
  return `${lines.join("\n")}\n`;
}
