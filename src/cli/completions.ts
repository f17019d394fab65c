/** `couchdb-backup completions bash|zsh|fish`: completions for the shell, made from the commands' own flags. */
import { EXIT, UsageError } from "../errors.ts";
import { type Command, type Flag, flagsOf, operandsOf } from "./command.ts";
import type { DescribedCommand } from "./commands.ts";

const SHELLS = ["bash", "zsh", "fish"];

/** Makes the command from all commands, which it cannot import itself: it is one of them. */
export function completionsCommand(all: () => Promise<DescribedCommand[]>): Command {
  return {
    name: "completions",
    usage: ["bash | zsh | fish"],
    help: ["Prints completions for a shell."],
    flags: [],
    operands: { least: 1, most: 1 },
    operandHelp: [{ name: SHELLS.join(" | "), summary: "the shell", values: SHELLS }],
    exits: {},
    examples: [
      {
        line: "couchdb-backup completions bash > /etc/bash_completion.d/couchdb-backup",
        summary: "bash, for everybody",
      },
      { line: "couchdb-backup completions zsh > ~/.zfunc/_couchdb-backup", summary: "zsh; a folder of $fpath" },
      {
        line: "couchdb-backup completions fish > ~/.config/fish/completions/couchdb-backup.fish",
        summary: "fish",
      },
    ],
    needsNoConfig: true,

    async run(call) {
      const [shell = ""] = call.operands;
      if (!SHELLS.includes(shell)) {
        throw new UsageError(`No completions for the shell "${shell}"`, {
          hint: `Allowed are ${SHELLS.join(", ")}`,
        });
      }
      const commands = await all();
      const text = shell === "bash" ? forBash(commands) : shell === "zsh" ? forZsh(commands) : forFish(commands);
      call.shell.stdout.write(text);
      return EXIT.ok;
    },
  };
}

/** What stands after a flag: one of some words, a file, or what nobody can guess. */
function valueOf({ value, values }: Flag): "nothing" | "file" | "text" | readonly string[] {
  if (value === undefined) return "nothing";
  return values ?? (["FILE", "FOLDER", "PATH"].includes(value) ? "file" : "text");
}

/** What stands in the place of a command. */
const OTHER_FIRST_WORDS = [
  { name: "help", summary: "show all commands, or the options of one" },
  { name: "--help", summary: "show all commands" },
  { name: "--version", summary: "show the version" },
];

/** The words that an operand may be. */
function wordsOf(command: Command): string[] {
  return operandsOf(command).flatMap(({ values = [] }) => values);
}

function forBash(commands: readonly DescribedCommand[]): string {
  const all = commands.flatMap(({ command }) => flagsOf(command));
  const dashed = (wanted: (flag: Flag) => boolean) =>
    [...new Set(all.filter(wanted).map(({ name }) => `--${name}`))].join("|");
  const listed = new Map(all.flatMap((flag) => flag.values === undefined ? [] : [[flag.name, flag.values] as const]));
  const values = Array.from(listed, ([name, words]) => `    --${name}) words="${words.join(" ")}" ;;`);
  const cases = commands.map(({ command }) => {
    const flags = flagsOf(command).map((flag) => `--${flag.name}`).join(" ");
    const words = wordsOf(command);
    const more = words.length === 0 ? "" : `; words="${words.join(" ")}"`;
    return `    ${command.name}) flags="${flags}"${more}${command.needsNoConfig === true ? "; files=no" : ""} ;;`;
  });
  const names = commands.map(({ command }) => command.name);
  const firstWords = [...names, ...OTHER_FIRST_WORDS.map(({ name }) => name)].join(" ");
  return `_couchdb_backup_files() {
  # A name may have spaces in it.
  local IFS=$'\\n'
  COMPREPLY+=($(compgen -f -- "$1"))
}
_couchdb_backup() {
  local flags="" words="" files="" current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${firstWords}" -- "$current"))
    return
  fi
  # Of --flag=value bash makes three words.
  if [ "$current" = "=" ]; then
    current=""
  elif [ "$previous" = "=" ]; then
    previous="\${COMP_WORDS[COMP_CWORD-2]}"
  fi
  case "$previous" in
${values.join("\n")}
    ${dashed((flag) => valueOf(flag) === "file")}) _couchdb_backup_files "$current"; return ;;
    ${dashed((flag) => valueOf(flag) === "text")}) return ;;
  esac
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    help) words="${names.join(" ")}"; files=no ;;
  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$current")) ;;
    *)
      COMPREPLY=($(compgen -W "$words" -- "$current"))
      if [ -z "$files" ]; then _couchdb_backup_files "$current"; fi
      ;;
  esac
}
complete -o filenames -F _couchdb_backup couchdb-backup
`;
}

function forZsh(commands: readonly DescribedCommand[]): string {
  const quote = (text: string) => text.replaceAll("'", "'\\''").replaceAll(/[\[\]:]/g, "\\$&");
  const described = commands.map(({ summary, command: { name } }) => ({ name, summary }));
  const names = [...described, ...OTHER_FIRST_WORDS].map(({ name, summary }) => `    '${name}:${quote(summary)}'`);
  const action = (flag: Flag) => {
    const value = valueOf(flag);
    if (value === "nothing") return "";
    return `:${flag.value}:${value === "file" ? "_files" : value === "text" ? "" : `(${value.join(" ")})`}`;
  };
  const cases = commands.map(({ command }) => {
    const flags = flagsOf(command).map((flag) =>
      `'${flag.repeated ? "*" : ""}--${flag.name}${flag.value === undefined ? "" : "="}[${quote(flag.summary)}]${
        action(flag)
      }'`
    );
    const words = wordsOf(command);
    // In place of such a word there may be the config.
    const alternative = `{_alternative "words:what:(${words.join(" ")})" "files:file:_files"}`;
    const operands = command.needsNoConfig === true
      ? ` '1:what:(${words.join(" ")})'`
      : `${words.length === 0 ? "" : ` '1:what:${alternative}'`} '*:file:_files'`;
    return `    ${command.name}) _arguments ${flags.join(" ")}${operands} ;;`;
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
    help) _arguments '1:command:(${described.map(({ name }) => name).join(" ")})' ;;
  esac
}
_couchdb_backup "$@"
`;
}

function forFish(commands: readonly DescribedCommand[]): string {
  const quote = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("'", "\\'");
  const argument = (flag: Flag) => {
    const value = valueOf(flag);
    if (value === "nothing") return "";
    if (value === "file") return " -r";
    return value === "text" ? " -x" : ` -x -a '${value.join(" ")}'`;
  };
  const first = (word: string, summary: string) =>
    `complete -c couchdb-backup -n __couchdb_backup_begins -f -a ${word} -d '${quote(summary)}'`;
  const others = OTHER_FIRST_WORDS.map(({ name, summary }) => first(name, summary));
  const lines = commands.flatMap(({ summary, command }) => {
    const isCalled = `complete -c couchdb-backup -n '__couchdb_backup_is ${command.name}'`;
    const words = wordsOf(command);
    return [
      first(command.name, summary),
      ...command.needsNoConfig === true ? [`${isCalled} -f`] : [],
      ...words.length === 0 ? [] : [`${isCalled} -a '${words.join(" ")}'`],
      ...flagsOf(command).map((flag) => `${isCalled} -l ${flag.name}${argument(flag)} -d '${quote(flag.summary)}'`),
    ];
  });
  const names = commands.map(({ command }) => command.name).join(" ");
  return `function __couchdb_backup_is
  # The command is the first word, and no task or file of that name behind it.
  set -l words (commandline -opc)
  test (count $words) -gt 1; and test "$words[2]" = "$argv[1]"
end
function __couchdb_backup_begins
  test (count (commandline -opc)) -eq 1
end
${[...lines, ...others].join("\n")}
complete -c couchdb-backup -n '__couchdb_backup_is help' -f -a '${names}'
`;
}
