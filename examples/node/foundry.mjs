/**
 * A client of coreason-foundry in plain JavaScript.
 *
 *     const foundry = new Foundry("127.0.0.1:50051", token);
 *     const { project } = await foundry.call("ProjectService.CreateProject", { name: "Oncology" });
 *     const session = await foundry.session(project.project_id).open();
 *     const { acquired } = await session.command("acquire_lock", { field: "system_prompt" });
 */

import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import grpc from "@grpc/grpc-js";

import { loadContract } from "./contract.mjs";
import { backoffMs, fromTrailers } from "./errors.mjs";
import { Session } from "./session.mjs";

export { FoundryError } from "./errors.mjs";
export { within } from "./session.mjs";

const CHANNEL_OPTIONS = {
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.initial_reconnect_backoff_ms": 500,
  "grpc.max_reconnect_backoff_ms": 2_000, // short: a restarted server keeps the locks of lost sessions for 12 s only
  "grpc.max_receive_message_length": 16 * 1024 * 1024, // GetDraft answers up to 12 MiB of content
};
const ATTEMPTS = 4;
// We cancel no unary call: it is a server about to leave, which did not accept this one any more.
const AGAIN = [grpc.status.UNAVAILABLE, grpc.status.CANCELLED];

/** One channel, as one caller. */
export class Foundry {
  #contract;
  #client;
  #metadata = new grpc.Metadata();

  /** @param options Paths as of loadContract; `credentials` for TLS, such as grpc.credentials.createSsl(). */
  constructor(target, token, { credentials = grpc.credentials.createInsecure(), ...paths } = {}) {
    this.#contract = loadContract(paths);
    this.#client = new grpc.Client(target, credentials, CHANNEL_OPTIONS);
    this.#metadata.set("authorization", `Bearer ${token}`);
  }

  /**
   * A unary call, again while the server is not available, all within the deadline.
   *
   * @param {string} method Such as "DraftService.GetDraft".
   * @throws {FoundryError}
   */
  async call(method, request = {}, { ms = 10_000 } = {}) {
    const rpc = this.#rpc(method);
    // What was done is answered, not done again, when the same id comes a second time. So repeating is safe.
    const repeatable = rpc.requestType.type.field.some(({ name }) => name === "request_id");
    const message = repeatable ? { request_id: randomUUID(), ...request } : request;
    const deadline = Date.now() + ms;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(rpc, message, deadline);
      } catch (error) {
        const wait = (error.retryAfterMs ?? 0) + backoffMs(attempt - 1);
        if (!AGAIN.includes(error.code) || attempt === ATTEMPTS || Date.now() + wait >= deadline) throw error;
        await sleep(wait);
      }
    }
  }

  /** The pages of a List call. */
  async *pages(method, request = {}) {
    let page_token = "";
    do {
      const page = await this.call(method, { ...request, page_token });
      yield page;
      page_token = page.next_page_token;
    } while (page_token);
  }

  /** A session in a project, yet to be opened. `opening`: other fields of `Open`, such as `tab_id` or `resume`. */
  session(projectId, opening = {}) {
    const { path, requestSerialize, responseDeserialize } = this.#rpc("SessionService.ProjectSession");
    const start = () => this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata);
    const client = { name: "foundry-node-example", version: "1" };
    return new Session(this.#contract, start, { project_id: projectId, client, ...opening });
  }

  close() {
    this.#client.close();
  }

  #rpc(method) {
    const [service, name] = method.split(".");
    return this.#contract[`coreason.foundry.v1.${service}`][name];
  }

  #attempt({ path, requestSerialize, responseDeserialize }, request, deadline) {
    return new Promise((resolve, reject) => {
      const call = [path, requestSerialize, responseDeserialize, request, this.#metadata, { deadline }];
      this.#client.makeUnaryRequest(...call, (error, response) => {
        if (error) reject(fromTrailers(this.#contract, error));
        else resolve(response);
      });
    });
  }
}

/**
 * Recompute the hash chain of a project's log from the bytes alone.
 *
 * @returns {Promise<number>} How many entries it has.
 * @throws {Error} It is not what was written.
 */
export async function verifyLog(foundry, projectId) {
  let previous = "0".repeat(64);
  let sequence = 0;
  for await (const page of foundry.pages("AuditService.ListEntries", { project_id: projectId, page_size: 1_000 })) {
    for (const { entry_bytes, leaf } of page.entries) {
      const { seq, prev } = JSON.parse(entry_bytes);
      const computed = createHash("sha256").update(Buffer.of(0)).update(entry_bytes).digest();
      if (seq !== ++sequence || prev !== previous || !computed.equals(leaf)) {
        throw new Error(`the log is broken at entry ${sequence}`);
      }
      previous = computed.toString("hex");
    }
  }
  return sequence;
}
