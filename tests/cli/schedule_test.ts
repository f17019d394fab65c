/** `schedule` as a process: what followSchedule() does, with real signals and a real config. */
import { assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { couchOk } from "../couch_request.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeMonitor } from "../fakes/monitor.ts";
import { startProgram } from "./program.ts";
import { until } from "../until.ts";

async function inSetup(
  test: (setup: {
    server: Awaited<ReturnType<typeof startFakeCouchDb>>;
    config: string;
    write: (task: string, more?: string) => Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  await using server = await startFakeCouchDb();
  await couchOk(server, "PUT /a");
  await couchOk(server, "POST /a/_bulk_docs", { docs: [{ _id: "1" }, { _id: "2" }, { _id: "3" }] });
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-schedule-" });
  const config = `${folder}/config.yaml`;
  const write = (task: string, more = "") =>
    Deno.writeTextFile(
      config,
      `database: {url: "${server.url}", login: ${server.login}, password: ${server.password}}
task: {${task}}
bucket: file://${folder}/bucket
${more}
`,
    );
  try {
    await test({ server, config, write });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("schedule runs each elapse, keeps the old config while the new one is broken, and ends with 0 when it waits", async () => {
  await inSetup(async ({ config, write }) => {
    await write('often: {cron: "*:*:* UTC", databases: [a]}');
    const program = startProgram(["schedule", config, "--json"]);
    await program.says("elapse is claimed");
    await write('often: {cron: "*:*:99", databases: [a]}');
    program.kill("SIGHUP");
    await program.says("the new config has a mistake: the old one stays in use");
    await write('rarely: {cron: "*-01-01 UTC", databases: [a]}');
    program.kill("SIGHUP");
    await program.says("waiting task=rarely");
    program.kill("SIGTERM");
    const { code, stdout, stderr } = await program.ended;
    assertEquals(code, 0, stderr);
    assertStringIncludes(stderr, "second 99 is outside 0..59");
    const reports = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(reports.every(({ ok, tasks }) => ok && tasks.length === 1), true);
    assertEquals(new Set(reports.map(({ run }) => run)).size, reports.length);
    const tasks = reports.map(({ tasks: [one] }) => one.task);
    assertEquals([tasks[0], tasks.at(-1)], ["often", "rarely"]);
  });
});

Deno.test("schedule reads a password_file again for each run, and keeps the old config while a file of the new one cannot be used", async () => {
  await inSetup(async ({ server, config, write }) => {
    const password = `${config}.password`;
    const useFile = async () => {
      const text = await Deno.readTextFile(config);
      await Deno.writeTextFile(config, text.replace(/password: [^}]*/, `password_file: ${password}`));
    };
    await Deno.writeTextFile(password, "wrong");
    await write('often: {cron: "*:*:* UTC", databases: [a]}');
    await useFile();
    const program = startProgram(["schedule", config]);
    await program.says("401 unauthorized");
    // Without a reload. What is due within five minutes of the refused login is not tried.
    await Deno.writeTextFile(password, server.password);
    await program.says("Not tried, as it would fail like the one before");
    await write('often: {cron: "*:*:* UTC", databases: [a]}', "loki: {url: 'https://[::1]:1', ca_file: missing.pem}");
    await useFile();
    program.kill("SIGHUP");
    await program.says("the new config has a mistake: the old one stays in use");
    await write('often: {cron: "*:*:* UTC", databases: [a]}');
    await useFile();
    program.kill("SIGHUP");
    await program.says("task is saved");
    await Deno.writeTextFile(password, "");
    await program.says("the password cannot be read again: the one that was read last is used");
    const { length } = server.requestsTo("_changes");
    await until(() => server.requestsTo("_changes").length > length, "a run with the password that was read last");
    await Deno.writeTextFile(password, "wrong again");
    const refused = () => server.requests.filter(({ status }) => status === 401).length;
    await until(() => refused() >= 2, "a run with the password that is there now");
    program.kill("SIGTERM");
    const { stderr } = await program.ended;
    assertStringIncludes(stderr, "missing.pem");
  });
});

Deno.test("schedule ends a run on SIGTERM within five seconds with 130, and resumes it when it starts again", async () => {
  await inSetup(async ({ server, config, write }) => {
    await write('rarely: {cron: "*-01-01 UTC", databases: [a], chunk: 1, parallel: 1}');
    const { promise: isHeld, resolve: release } = Promise.withResolvers<void>();
    server.faults.add({ endpoint: "_bulk_get", skip: 1, fault: { kind: "run", run: () => isHeld } });
    const first = startProgram(["schedule", config]);
    await until(() => server.requestsTo("_bulk_get").length >= 2, "the second chunk");
    const asked = performance.now();
    first.kill("SIGTERM");
    await first.says("stopping: chunks in flight are finished first");
    release();
    const { code, stderr } = await first.ended;
    assertLess(performance.now() - asked, 5000);
    assertEquals(code, 130, stderr);
    const second = startProgram(["schedule", config, "--json"]);
    await second.says("waiting task=rarely");
    second.kill("SIGINT");
    const report = JSON.parse((await second.ended).stdout);
    assertEquals([report.ok, report.scheduled[0].outcome], [true, "resumed"]);
    assertEquals(server.requestsTo("_bulk_get").length, 3);
  });
});

Deno.test("schedule refuses a config in which no task will ever be due", async () => {
  await inSetup(async ({ config, write }) => {
    await write("hand: {databases: [a]}");
    const { code, stderr } = await startProgram(["schedule", config]).ended;
    assertEquals(code, 2);
    assertStringIncludes(stderr, "No task of the config will ever be due");
  });
});

Deno.test("schedule resumes the run of a task whose only time is over, and ends when it is saved", async () => {
  await inSetup(async ({ server, config, write }) => {
    await write('once: {cron: "2026-01-01 UTC", databases: [a], chunk: 1}');
    server.faults.add({ endpoint: "_bulk_get", skip: 1, fault: { kind: "stall", ms: 60_000 } });
    const first = startProgram(["schedule", config]);
    await until(() => server.requestsTo("_bulk_get").length > 1, "the second chunk");
    first.kill("SIGTERM");
    assertEquals((await first.ended).code, 130);
    server.faults.clear();
    const { code, stdout, stderr } = await startProgram(["schedule", config, "--json"]).ended;
    assertEquals([code, JSON.parse(stdout).scheduled[0].outcome], [0, "resumed"], stderr);
    assertStringIncludes(stderr, "no task will be due again");
  });
});

Deno.test("schedule notifies of each run, and a monitor that is silent keeps it from ending no longer than two seconds", async () => {
  await inSetup(async ({ server, config, write }) => {
    await using monitor = new FakeMonitor();
    await write('rarely: {cron: "*-01-01 UTC", databases: [a], chunk: 1}', `notify: "${monitor.url("/{task}")}"`);
    const first = startProgram(["schedule", config]);
    await first.says("waiting task=rarely");
    first.kill("SIGTERM");
    assertEquals((await first.ended).code, 0);
    assertEquals(monitor.paths, ["/rarely/start", "/rarely"]);

    await write('other: {cron: "*-01-01 UTC", databases: [a], chunk: 1}', `notify: "${monitor.url("/{task}")}"`);
    monitor.isSilent = true;
    server.faults.add({ endpoint: "_bulk_get", fault: { kind: "stall", ms: 60_000 } });
    const second = startProgram(["schedule", config]);
    await until(() => server.requestsTo("_bulk_get").length > 3, "the run");
    second.kill("SIGTERM");
    const begin = performance.now();
    const { code, stderr } = await second.ended;
    assertEquals(code, 130, stderr);
    // Three seconds of grace for what is in flight, two for the monitor.
    assertLess(performance.now() - begin, 7000);
    assertStringIncludes(stderr, "Cannot tell");
  });
});

Deno.test("schedule, backup --scheduled and backup tell of the task that is over when SIGTERM comes during the next one", async () => {
  for (const command of [["schedule"], ["backup", "--scheduled"], ["backup"]]) {
    await inSetup(async ({ server, config, write }) => {
      await using monitor = new FakeMonitor();
      const isOneEach = command.length === 1;
      const textfile = `${config}.prom`;
      const more = (path: string) => `notify: "${monitor.url(path)}"\nprometheus: ${textfile}`;
      const tasks = ["one", "two"].map((name) => `${name}: {cron: "*-01-01 UTC", databases: [a], chunk: 1}`).join(", ");
      await write(tasks, more(isOneEach ? "/{task}" : "/all"));
      // Those of the first task are answered.
      server.faults.add({ endpoint: "_bulk_get", skip: 3, fault: { kind: "stall", ms: 60_000 } });
      const program = startProgram([...command, config]);
      await until(() => server.requestsTo("_bulk_get").length > 3, "the second task");
      program.kill("SIGTERM");
      const { code, stderr } = await program.ended;
      assertEquals(code, 130, stderr);
      assertStringIncludes(stderr, "task is saved task=one");
      // Where both have one check, it is told of the failure last.
      const ofEach = ["/one/start", "/two/start", "/one", "/two/fail"];
      assertEquals(monitor.paths, isOneEach ? ofEach : ["/all/start", "/all", "/all/fail"]);
      const metrics = await Deno.readTextFile(textfile);
      assertStringIncludes(metrics, 'couchdb_backup_last_run_success{task="one"} 1');
      assertEquals(metrics.includes('task="two"'), false);
      const status = JSON.parse((await startProgram(["status", config, "--json"]).ended).stdout);
      assertEquals(status.tasks[0].state, "saved");
    });
  }
});
