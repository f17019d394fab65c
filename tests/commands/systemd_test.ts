import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseConfig } from "../../src/config/config.ts";
import { escapeInstance, makeUnits, type UnitOptions } from "../../src/commands/systemd.ts";

function units(bucket: string, part: Partial<UnitOptions> = {}, more = "") {
  const text = `database: {url: "http://[::1]:5984"}
task:
  weekly: {cron: "Sat *-*-1..7 18:00:00", timezone: Europe/Berlin, databases: [a]}
  "a b/50%": {cron: "daily Asia/Tokyo", timezone: Europe/Berlin, databases: [a]}
  plain: {cron: "hourly", databases: [a]}
  hand: {databases: [a]}
bucket: "${bucket}"
${more}`;
  const config = parseConfig(text, { file: "/etc/couchdb-backup/config.yaml", env: {} });
  const program = "/usr/local/bin/couchdb-backup";
  return makeUnits({ config, configPath: "/etc/couchdb-backup/config.yaml", program, resident: false, ...part });
}

function settings(text: string): string[] {
  return text.split("\n").filter((line) => /^[A-Z]\w*=/.test(line));
}

Deno.test("makeUnits() makes a service for all tasks, and a timer for each that has a schedule", () => {
  const files = units("s3://data.example.com/folder");
  assertEquals(files.map(({ name }) => name), [
    "couchdb-backup@.service",
    "couchdb-backup@weekly.timer",
    "couchdb-backup@a\\x20b-50\\x25.timer",
    "couchdb-backup@plain.timer",
    "couchdb-backup-failed@.service",
  ]);
  const timers = files.slice(1, -1);
  const calendars = timers.flatMap(({ text }) => settings(text).filter((line) => line.startsWith("OnCalendar=")));
  assertEquals(calendars, [
    "OnCalendar=Sat *-*-1..7 18:00:00 Europe/Berlin",
    "OnCalendar=daily Asia/Tokyo",
    "OnCalendar=hourly",
  ]);
  for (const { text } of timers) {
    assertStringIncludes(text, "\nPersistent=true\n");
    // Else nobody would look after what failed until the next elapse.
    assertStringIncludes(text, "\nOnUnitInactiveSec=5min\n");
  }
  assertStringIncludes(files[2]!.text, "Description=CouchDB backup: a b/50%%, when it is due");
});

Deno.test("makeUnits() makes a unit of its own for what deletes, only where a task has a retention", () => {
  const text = `database: {url: "http://[::1]:5984", login: l, password_file: p}
task: {weekly: {databases: [a], retention: {keep_last: 3}}}
bucket: "file:///srv/b"
`;
  const config = parseConfig(text, { file: "/etc/couchdb-backup/config.yaml", env: {} });
  for (const resident of [false, true]) {
    const files = makeUnits({
      config,
      configPath: "/etc/couchdb-backup/config.yaml",
      program: "/usr/local/bin/couchdb-backup",
      resident,
      password: { name: "p", source: "/etc/couchdb-backup/p" },
    });
    const [service, timer] = files.filter(({ name }) => name.startsWith("couchdb-backup-expire."));
    const lines = settings(service!.text);
    assertEquals(lines.filter((line) => line.startsWith("ExecStart=") || line.startsWith("LoadCredential=")), [
      'ExecStart=:"/usr/local/bin/couchdb-backup" expire %d/config.yaml --confirm',
      "LoadCredential=config.yaml:/etc/couchdb-backup/config.yaml",
    ]);
    assertEquals(timer!.name, "couchdb-backup-expire.timer");
    assertStringIncludes(timer!.text, "\nPersistent=true\n");
  }
  assertEquals(units("file:///srv/b").filter(({ name }) => name.includes("expire")), []);
});

Deno.test("makeUnits() waits for the network, CouchDB and the bucket's disk, and calls somebody when something failed", () => {
  for (const resident of [false, true]) {
    const files = units("file:///srv/b%20c", { resident });
    const lines = settings(files[0]!.text);
    for (
      const line of [
        "After=network-online.target couchdb.service",
        'RequiresMountsFor="/srv/b c"',
        "OnFailure=couchdb-backup-failed@%n.service",
      ]
    ) assertEquals(lines.includes(line), true, line);
    assertEquals(files.at(-1)!.name, "couchdb-backup-failed@.service");
    assertStringIncludes(files.at(-1)!.text, "--priority=alert");
  }
});

Deno.test("makeUnits() hands config and password over as credentials, and has systemd make up the user", () => {
  const password = { name: "password", source: "/etc/couchdb-backup/password" };
  const [service] = units("s3://data.example.com/folder", { password });
  const lines = settings(service!.text);
  for (
    const line of [
      'ExecStart=:"/usr/local/bin/couchdb-backup" backup %d/config.yaml --scheduled --task=%I',
      "LoadCredential=config.yaml:/etc/couchdb-backup/config.yaml",
      "LoadCredential=password:/etc/couchdb-backup/password",
      "DynamicUser=yes",
      "RestrictAddressFamilies=AF_INET AF_INET6",
      "SuccessExitStatus=130",
      "ProtectHome=yes",
    ]
  ) assertEquals(lines.includes(line), true, line);
  assertEquals(lines.some((line) => /^(User|ReadWritePaths|MemoryDenyWriteExecute)=/.test(line)), false);
  // Where systemd starts it again by itself, OnFailure= is not called: a run that is killed each time would tell nobody.
  assertEquals(lines.some((line) => line.startsWith("Restart=")), false);
});

Deno.test("makeUnits() lets a service write to its bucket and its textfile only, as a user that they can belong to", () => {
  const [service] = units("file:///home/b%20%25/x", {}, "prometheus: /var/lib/node_exporter/couchdb.prom\n");
  const lines = settings(service!.text);
  assertEquals(lines.filter((line) => line.startsWith("ReadWritePaths=")), [
    // With a dash: where one is not there, as when its disk is not mounted, the program is to say so.
    'ReadWritePaths="-/home/b %%/x"',
    'ReadWritePaths="-/var/lib/node_exporter"',
  ]);
  assertEquals(lines.filter((line) => /^(User|DynamicUser|ProtectHome)=/.test(line)), [
    "User=couchdb-backup",
    "ProtectHome=read-only",
  ]);
  const [other] = units("file:///tmp/x", { user: "backup" });
  assertMatch(other!.text, /\nUser=backup\n[^]*\nPrivateTmp=no\n/);
});

Deno.test("makeUnits() hides no home and no /tmp from a service that has its program, config or password there", () => {
  const cases: [part: Partial<UnitOptions>, more: string, home: string, tmp: string][] = [
    [{ resident: true, configPath: "/home/b/config.yaml" }, "", "read-only", "yes"],
    [{ readsInPlace: true, configPath: "/root/config.yaml" }, "", "read-only", "yes"],
    [{ resident: true, configPath: "/tmp/config.yaml" }, "", "yes", "no"],
    [{ program: "/home/b/.npm/bin/couchdb-backup" }, "", "read-only", "yes"],
    [{ program: "//home/b/couchdb-backup" }, "", "read-only", "yes"],
    [{}, "ca_file: /home/b/ca.pem\nendpoint: https://s3.example.com\n", "read-only", "yes"],
    // systemd reads it, and hands it over.
    [{ configPath: "/home/b/config.yaml" }, "", "yes", "yes"],
    [
      { authorities: [{ server: "bucket", name: "ca.pem", source: "/tmp/ca.pem", isBeside: false }] },
      "ca_file: /tmp/ca.pem\nendpoint: https://s3.example.com\n",
      "yes",
      "yes",
    ],
  ];
  for (const [part, more, home, tmp] of cases) {
    const lines = settings(units("s3://bucket/x", part, more)[0]!.text);
    assertEquals(lines.filter((line) => /^(User|DynamicUser|ProtectHome|PrivateTmp)=/.test(line)), [
      // A user that systemd makes up has a /tmp of its own.
      tmp === "yes" ? "DynamicUser=yes" : "User=couchdb-backup",
      `ProtectHome=${home}`,
      `PrivateTmp=${tmp}`,
    ], JSON.stringify(part));
  }
});

Deno.test("makeUnits() waits for the disk of a bucket that is a folder, and keeps a note that it was there", () => {
  for (const resident of [false, true]) {
    const [service] = units("file:///mnt/b%20%25/x", { resident });
    const [unit, rest] = service!.text.split("\n[Service]\n");
    assertEquals(settings(unit!).filter((line) => line.startsWith("RequiresMountsFor=")), [
      'RequiresMountsFor="/mnt/b %%/x"',
    ]);
    assertEquals(settings(rest!).includes("StateDirectory=couchdb-backup"), true);
    assertEquals(/RequiresMountsFor|StateDirectory/.test(units("s3://bucket/x", { resident })[0]!.text), false);
  }
});

Deno.test("makeUnits() makes one service that stays and reads its config where it is, for a reload to find it", () => {
  const files = units("s3://data.example.com/folder", { resident: true, user: "backup" });
  assertEquals(files.map(({ name }) => name), ["couchdb-backup.service", "couchdb-backup-failed@.service"]);
  const lines = settings(files[0]!.text);
  for (
    const line of [
      'ExecStart=:"/usr/local/bin/couchdb-backup" schedule "/etc/couchdb-backup/config.yaml"',
      "ExecReload=/bin/kill -HUP $MAINPID",
      "Restart=on-failure",
      "User=backup",
      "WantedBy=multi-user.target",
    ]
  ) assertEquals(lines.includes(line), true, line);
});

Deno.test("escapeInstance() leaves nothing that systemd would take for a part of the name's own", () => {
  const cases: [name: string, escaped: string][] = [
    ["weekly", "weekly"],
    [".a.b", "\\x2ea.b"],
    ["a-b", "a\\x2db"],
    ["a/b c", "a-b\\x20c"],
    ["é:_", "\\xc3\\xa9:_"],
    ["@\\", "\\x40\\x5c"],
  ];
  for (const [name, escaped] of cases) assertEquals(escapeInstance(name), escaped);
});

Deno.test("makeUnits() names credentials as systemd reads them: no quotes, the path up to the line's end", () => {
  const password = { name: "a 1%\\b", source: "/etc/couchdb-backup/a 1%\\b" };
  const [service] = units("s3://bucket/x", { password, configPath: '/etc/a "b" %d/config.yaml' });
  assertEquals(settings(service!.text).filter((line) => line.startsWith("LoadCredential=")), [
    'LoadCredential=config.yaml:/etc/a "b" %%d/config.yaml',
    "LoadCredential=a 1%%\\\\b:/etc/couchdb-backup/a 1%%\\b",
  ]);
  // Quoted, as it is one of several words.
  assertEquals(settings(service!.text).filter((line) => line.startsWith("Environment=")), [
    'Environment="COUCHDB_BACKUP_CONFIG_SOURCE=/etc/a \\"b\\" %%d/config.yaml"',
  ]);
});

Deno.test("makeUnits() reads config and password where they lie for a user who may, and confines every service", () => {
  const password = { name: "password", source: "/etc/couchdb-backup/password" };
  const files = units("file:///srv/b", { password, readsInPlace: true, user: "couchdb-backup" });
  const services = files.filter(({ name }) => name.endsWith(".service"));
  const lines = settings(services[0]!.text);
  const start =
    'ExecStart=:"/usr/local/bin/couchdb-backup" backup "/etc/couchdb-backup/config.yaml" --scheduled --task=%I';
  assertEquals(lines.filter((line) => /^(ExecStart|LoadCredential)=/.test(line)), [start]);
  for (const { name, text } of services) {
    const has = settings(text);
    for (const line of ["NoNewPrivileges=yes", "CapabilityBoundingSet=", "SystemCallFilter=@system-service"]) {
      assertEquals(has.includes(line), true, `${name}: ${line}`);
    }
  }
  for (const { name, text } of files) {
    assertEquals(settings(text).includes("Documentation=man:couchdb-backup(1)"), true, name);
  }
});

Deno.test("makeUnits() hands each authority over once, and to what deletes all but CouchDB's", () => {
  const ca = { name: "ca.pem", source: "/etc/couchdb-backup/ca.pem" };
  const s3 = { name: "s3.pem", source: "/etc/couchdb-backup/s3.pem" };
  const authorities = [
    { ...ca, server: "database", isBeside: true },
    { ...s3, server: "bucket", isBeside: true },
    { ...ca, server: "notify", isBeside: false },
  ] as const;
  const text = `database: {url: "http://[::1]:5984"}
task: {weekly: {databases: [a], retention: {keep_last: 3}}}
bucket: "s3://data.example.com/folder"
`;
  const configPath = "/etc/couchdb-backup/config.yaml";
  const config = parseConfig(text, { file: configPath, env: {} });
  const loaded = (resident: boolean) => {
    const files = makeUnits({ config, configPath, program: "/usr/local/bin/couchdb-backup", resident, authorities });
    return files.filter(({ name }) => name.endsWith(".service")).map(({ text }) =>
      settings(text).filter((line) => line.startsWith("LoadCredential=")).map((line) => line.slice(15))
    );
  };
  const [ownConfig, ofCa, ofS3] = [
    `config.yaml:${configPath}`,
    "ca.pem:/etc/couchdb-backup/ca.pem",
    "s3.pem:/etc/couchdb-backup/s3.pem",
  ];
  assertEquals(loaded(false), [[ownConfig, ofCa, ofS3], [ownConfig, ofS3, ofCa], []]);
  // A service that stays reads what lies beside its config.
  assertEquals(loaded(true), [[ofCa], [ownConfig, ofS3, ofCa], []]);
});
