/** A session: one ProjectSession stream, commands in, events out. */

import { EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import grpc from "@grpc/grpc-js";

import { milliseconds } from "./contract.mjs";
import { FoundryError, backoffMs, fromTrailers, mayReconnect } from "./errors.mjs";

/** The result of a promise, or an error after so many milliseconds: nothing here waits for ever. */
export async function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms / 1000} s: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Emits each event under the name of its arm: `entry`, `presence`, `tick`, `snapshot`, `going_away`, ... Entries come
 * in order, without gaps, each once, over as many streams as it takes. Listen before `open()`, so as to miss nothing.
 */
export class Session extends EventEmitter {
  #contract;
  #start;
  #opening;
  #ticket;
  #stream;
  #pending = new Map();
  #lastId = 0;
  #heard;
  #heartbeat;
  #fault;
  #why;
  #end;
  #caughtUp;

  opened = null; // the newest
  position; // of the last entry seen, or null
  frames = 0;
  events = 0;
  ended; // promise of why the stream ended: an error, or null after a good end

  /**
   * @param start Starts a ProjectSession call.
   * @param opening The `open` command; with the `bookmark` of a session of another process as `resume` to take it over.
   */
  constructor(contract, start, { resume: { after = null, ...ticket } = {}, ...opening }) {
    super();
    this.#contract = contract;
    this.#start = start;
    this.#opening = opening;
    this.#ticket = ticket;
    this.position = after;
  }

  /** What to keep to come back. The secret works once: each stream brings a new one. */
  get bookmark() {
    return { ...this.#ticket, after: this.position };
  }

  /** Open a stream, and wait until what was missed has come. */
  async open(ms = 10_000) {
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.#fault = this.#why = null;
    const stream = (this.#stream = this.#start());
    let status;
    stream.on("data", (frame) => this.#read(frame));
    stream.on("status", (last) => (status = last));
    stream.on("error", () => {}); // says what `status` says, and leaves the good ends out
    stream.on("end", () => this.#finish(status)); // after the last frame, which may come later than the status
    this.#send("open", { ...this.#opening, resume: this.bookmark });
    const live = new Promise((resolve, reject) => {
      this.#caughtUp = resolve;
      this.ended.then(() => reject(this.#why));
    });
    try {
      await within(ms, live, "the session is open");
    } catch (error) {
      this.cut();
      throw error;
    }
    return this;
  }

  /**
   * Come back after the stream has ended: again and again, for as long as that can help. If the server still has the
   * session, its locks are still held; if not, `opened.session_id` is another one.
   */
  async resume(ms = 30_000) {
    const deadline = Date.now() + ms;
    for (let failures = 0; ; failures++) {
      const why = await this.ended;
      if (!mayReconnect(why)) throw why;
      if (why?.reason === "RESUME_REFUSED") this.#ticket = {}; // a new session then, but from where we were
      // A server that leaves names a span for all its clients to come back in. Otherwise: back off.
      const leaving = failures === 0 && why?.reason === "GOING_AWAY";
      const wait = leaving ? Math.random() * why.retryAfterMs : (why?.retryAfterMs ?? 0) + backoffMs(failures);
      if (Date.now() + wait >= deadline) throw this.#why;
      await sleep(wait);
      try {
        return await this.open(deadline - Date.now());
      } catch {
        // `ended` tells
      }
    }
  }

  /**
   * Send a command.
   *
   * @param {string} arm Of ProjectSessionRequest: "acquire_lock", "create_draft", ...
   * @returns The Reply; its arm `acquired`, `released`, `touched` or `saved` is the result.
   * @throws {FoundryError} It was refused, and the stream goes on; or the stream ended.
   */
  async command(arm, body = {}, ms = 10_000) {
    if (this.#why) throw this.#why;
    const id = this.#send(arm, body);
    const reply = new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
    try {
      return await within(ms, reply, `a reply to ${arm}`);
    } finally {
      this.#pending.delete(id);
    }
  }

  /** End it cleanly: its locks are released. */
  async leave(ms = 5_000) {
    await this.command("leave", {}, ms);
    this.#stream.end();
    await within(ms, this.ended, "the end of the stream");
  }

  /** Let go of the stream without a word, as a lost connection does. */
  cut() {
    this.#stream?.cancel();
  }

  #send(arm, body) {
    const id = ++this.#lastId;
    this.#stream.write({ command_id: id, [arm]: body });
    return id;
  }

  /** A frame holds as many events as were waiting. Every one of them counts, in this order. */
  #read(frame) {
    this.#heard = Date.now();
    this.frames += 1;
    this.events += frame.events.length;
    this.emit("frame", frame);
    for (const event of frame.events) this.#take(event.event, event[event.event]);
  }

  #take(arm, event) {
    switch (arm) {
      case undefined:
        return; // newer than our files
      case "opened":
        this.opened = event;
        this.#ticket = { session_id: event.session_id, resume_secret: event.resume_secret };
        if (event.attachment === "ATTACHMENT_SNAPSHOT") this.position = null;
        this.#keepAlive();
        break;
      case "resync":
        this.position = null;
        break;
      case "caught_up":
        this.position ??= event.position;
        this.#caughtUp();
        break;
      case "entry":
        if (!this.#advance(event.position)) return;
        break;
      case "reply":
        this.#resolve(event);
    }
    this.emit(arm, event);
  }

  /** Move on to the position of an entry; false when it was seen before. */
  #advance(position) {
    const [seen, next] = [this.position, position].map((at) => at && BigInt(at.sequence));
    const sameLog = this.position?.epoch === position.epoch;
    if (sameLog && next <= seen) return false;
    if (!sameLog || next !== seen + 1n) {
      this.#fault ??= new Error(`the log has a gap: ${next} came after ${seen}`);
      this.cut();
      return false;
    }
    this.position = position;
    return true;
  }

  #resolve(reply) {
    const waiting = this.#pending.get(Number(reply.command_id)); // we chose it, so it is small
    if (!waiting) return; // a heartbeat's, or nobody waits any more
    if (reply.error) waiting.reject(new FoundryError(reply.error));
    else waiting.resolve(reply);
  }

  #keepAlive() {
    const { heartbeat_interval, limits } = this.opened;
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => {
      // The server says something every 2 s. One that has been silent for so long is gone, whatever TCP believes.
      if (Date.now() - this.#heard > milliseconds(limits.silence_limit)) this.cut();
      else this.#send("heartbeat", { acknowledged: this.position });
    }, milliseconds(heartbeat_interval));
  }

  #finish(status) {
    clearInterval(this.#heartbeat);
    const error = this.#fault ?? (status.code === grpc.status.OK ? null : fromTrailers(this.#contract, status));
    this.#why = error ?? new FoundryError({ code: grpc.status.CANCELLED, message: "the session is over" });
    for (const { reject } of this.#pending.values()) reject(this.#why);
    this.#end(error);
  }
}
