/**
 * The demo's CouchDB: PouchDB with CouchDB's HTTP API, in memory, on a free port of this machine. It is no proof of
 * anything but the commands: it answers winners only and knows no names with a slash.
 */
import type { AddressInfo } from "node:net";
import express from "express";
import expressPouchDb from "express-pouchdb";
import PouchDB from "pouchdb";
import memoryAdapter from "pouchdb-adapter-memory";

/** A running server. */
export interface DemoServer {
  /** Base URL. */
  url: string;
  close(): Promise<void>;
}

/** Starts the server and returns once it listens. */
export async function startDemoServer(): Promise<DemoServer> {
  PouchDB.plugin(memoryAdapter);
  const InMemory = PouchDB.defaults({ adapter: "memory" });
  const app = express();
  // The program refuses a server that does not call itself CouchDB, for what it leaves out.
  app.get("/", (_request: unknown, response: { json(value: unknown): void }) => {
    response.json({ couchdb: "Welcome", version: "1.0.0 (PouchDB, a demo)" });
  });
  app.get(
    "/:database/_revs_limit",
    (_request: unknown, response: { json(value: number): void }) => response.json(1000),
  );
  app.use("/", expressPouchDb(InMemory, { inMemoryConfig: true, logPath: "/dev/null", mode: "fullCouchDB" }));
  const server = app.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Connections that are kept alive would hold it open for minutes.
      server.closeAllConnections();
      return closed;
    },
  };
}
