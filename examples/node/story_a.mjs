/**
 * Story A from JavaScript: two people, two sessions, one pen. Then a connection breaks, and nothing is lost.
 *
 *     FOUNDRY_TOKEN_A=... FOUNDRY_TOKEN_B=... node story_a.mjs [--target HOST:PORT] [--json]
 *
 * Prints what was observed, as sentences or (--json) as one JSON line each. Exit code 0 only if every step was seen.
 */

import { createHash, randomUUID } from "node:crypto";
import { parseArgs } from "node:util";

import { Foundry, FoundryError, verifyLog, within } from "./foundry.mjs";

const PATIENCE_MS = 10_000; // bound on every wait
const FIELD = "system_prompt";
const PROMPT = "You are an expert oncologist.\n";
const CASES = Array.from({ length: 16 }, (_, number) => `test_corpus/case_${number}`);

let options;

/** A person with a client of their own. Remembers every entry that came. */
class Person {
  entries = [];
  joined = 0; // most entries that came in one frame

  constructor(variable) {
    const token = process.env[variable];
    if (!token) throw new Error(`${variable} is not set: \`foundry token --help\` tells how to make one`);
    const claims = claimsOf(token);
    this.subject = claims.sub;
    this.name = claims.name || claims.sub;
    this.foundry = new Foundry(options.target, token);
  }

  async enter(projectId) {
    this.session = this.foundry.session(projectId, { disconnect_grace: { seconds: 10 } });
    this.session.on("entry", (entry) => this.entries.push(entry));
    this.session.on("frame", ({ events }) => {
      this.joined = Math.max(this.joined, events.filter(({ event }) => event === "entry").length);
    });
    await this.session.open(PATIENCE_MS);
  }

  async acquire(field) {
    return (await this.session.command("acquire_lock", { field }, PATIENCE_MS)).acquired;
  }

  /** Save under a lock, which that gives back. */
  async save({ lock: { field, fencing_token }, head_version }, text) {
    const save = {
      changes: [{ field, text }],
      base_version: head_version,
      locks: [{ field, fencing_token }],
      request_id: randomUUID(),
    };
    return (await this.session.command("create_draft", save, PATIENCE_MS)).saved.draft;
  }

  /** The entry with this payload and these particulars, among those seen and those to come. */
  async sees(payload, facts) {
    const matches = (entry) =>
      entry.payload === payload && Object.entries(facts).every(([name, value]) => entry[payload][name] === value);
    const seen = this.entries.find(matches);
    if (seen) return seen;
    const coming = new Promise((resolve, reject) => {
      const { session } = this;
      session.on("entry", function look(entry) {
        if (!matches(entry)) return;
        session.off("entry", look);
        resolve(entry);
      });
      session.ended.then((why) => reject(why ?? new Error("the session is over")));
    });
    return within(PATIENCE_MS, coming, `${this.name} sees ${payload} ${JSON.stringify(facts)}`);
  }

  /** Tell what this person did or saw. */
  observed(step, sentence, facts = {}) {
    console.log(options.json ? JSON.stringify({ step, by: this.subject, ...facts }) : `${this.name} ${sentence}`);
  }
}

async function play(alice, bob) {
  const project_id = await aProjectOfBoth(alice, bob);
  for (const person of [alice, bob]) {
    await person.enter(project_id);
    const { attachment, session_id } = person.session.opened;
    person.observed("session_opened", "opens the project", { attachment, session_id });
  }

  const lock = await theLockedEdit(alice, bob);
  await theBrokenConnection(project_id, alice, bob, lock);

  for (const person of [alice, bob]) {
    await person.session.leave(PATIENCE_MS);
    const { frames, events } = person.session;
    person.observed("left", `leaves, after ${events} events in ${frames} frames`, { frames, events });
  }
  const entries = await within(PATIENCE_MS, verifyLog(alice.foundry, project_id), "the log is verified");
  alice.observed("log_verified", `recomputes the log: ${entries} entries, an unbroken chain`, { entries });
}

async function aProjectOfBoth(alice, bob) {
  const { project } = await alice.foundry.call("ProjectService.CreateProject", { name: "Oncology Agent" });
  const { project_id } = project;
  await alice.foundry.call("ProjectService.SetMember", { project_id, subject: bob.subject, role: "ROLE_EDITOR" });
  alice.observed("project_created", `creates project ${project_id} and lets ${bob.name} edit it`, { project_id });
  return project_id;
}

/** Returns Bob's lock. */
async function theLockedEdit(alice, bob) {
  const granted = await alice.acquire(FIELD);
  const { fencing_token } = granted.lock;
  alice.observed("lock_granted", `clicks into ${FIELD}`, { field: FIELD, fencing_token });

  const { actor } = await bob.sees("lock_acquired", { field: FIELD, fencing_token });
  expect(actor.subject === alice.subject && actor.display_name === alice.name, "everybody is told who holds a field");
  bob.observed("lock_seen", `sees: ${FIELD} is being edited by ${actor.display_name}`, { holder: actor.display_name });

  const { reason, metadata } = await refused("LOCK_HELD", bob.acquire(FIELD));
  expect(metadata.holder === alice.subject && metadata.holder_name === alice.name, "a refusal names the holder");
  bob.observed("lock_refused", `cannot type, ${metadata.holder_name} holds the pen: ${reason}`, { reason, metadata });

  const { version_number } = await alice.save(granted, PROMPT);
  alice.observed("saved", `saves version ${version_number}`, { version_number });

  const created = await bob.sees("draft_created", { version_number });
  expect(created.actor.subject === alice.subject, "a version names its author");
  bob.observed("draft_seen", `sees: version ${version_number} by ${created.actor.display_name}`, { version_number });

  const { lock_released } = await bob.sees("lock_released", { field: FIELD, fencing_token });
  const { release_reason } = lock_released;
  expect(release_reason === "LOCK_RELEASE_REASON_SAVE", "a save gives its lock back");
  bob.observed("unlock_seen", `sees: ${FIELD} is free`, { release_reason });

  const taken = await bob.acquire(FIELD);
  expect(BigInt(taken.lock.fencing_token) === BigInt(fencing_token) + 1n, "each grant raises the fence by one");
  bob.observed("lock_granted", `clicks into ${FIELD}`, { field: FIELD, fencing_token: taken.lock.fencing_token });

  const request = { project_id: taken.lock.project_id, fields: [FIELD] };
  const { text, sha256 } = (await bob.foundry.call("DraftService.GetDraft", request)).draft.fields[0];
  const computed = createHash("sha256").update(text).digest("hex");
  expect(text === PROMPT && computed === sha256 && sha256 === taken.field_sha256, "content is what was saved");
  bob.observed("draft_read", `reads what ${alice.name} wrote`, { sha256 });
  return taken;
}

/** Bob's connection breaks while he holds the pen. He comes back within his grace, keeps it, and has missed nothing. */
async function theBrokenConnection(project_id, alice, bob, lock) {
  const before = bob.session.opened;
  bob.session.cut();
  await within(PATIENCE_MS, bob.session.ended, "the stream is cut");
  bob.observed("connection_lost", "loses the connection");

  // One save without a session is one commit of many entries: 16 locks, the version, 16 releases. They travel together.
  const changes = CASES.map((field) => ({ field, text: '{"eligible": true}\n' }));
  const save = { project_id, changes, base_version: lock.head_version };
  const { draft } = await alice.foundry.call("DraftService.CreateDraft", save);
  alice.observed("saved", `saves ${CASES.length} fields at once`, { version_number: draft.version_number });

  await bob.session.resume(PATIENCE_MS);
  const { attachment, session_id, resume_secret } = bob.session.opened;
  expect(attachment === "ATTACHMENT_RESUMED" && session_id === before.session_id, "the session goes on");
  expect(resume_secret !== before.resume_secret, "each stream brings a new secret");
  bob.observed("session_resumed", "is back", { attachment, session_id });

  for (const person of [alice, bob]) {
    const last = await person.sees("session_closed", { session_id: draft.session_id });
    const sequences = person.entries.map(({ position }) => BigInt(position.sequence));
    const head = BigInt(last.position.sequence);
    const known = sequences.filter((sequence) => sequence <= head);
    expect(BigInt(known.length) === head - sequences[0] + 1n, "no entry is missing and none came twice");
    expect(person.joined > 1, "entries of one commit share a frame");
    const facts = { entries: known.length, from: `${sequences[0]}`, to: `${head}`, most_in_a_frame: person.joined };
    const sentence = `has every entry from ${facts.from} to ${head}, up to ${person.joined} in a frame`;
    person.observed("caught_up", sentence, facts);
  }

  const { version_number } = await bob.save(lock, "You are an expert thoracic oncologist.\n");
  bob.observed("saved", `still holds the pen and saves version ${version_number}`, { version_number });
}

/** Who a token is for, unverified: the server verifies it. */
function claimsOf(token) {
  try {
    return JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
  } catch {
    return { sub: "somebody" }; // the server refuses it, and says why
  }
}

/** The refusal of something that must be refused for this reason. */
async function refused(reason, promise) {
  const outcome = await promise.catch((error) => error);
  if (outcome instanceof FoundryError && outcome.reason === reason) return outcome;
  throw outcome instanceof Error ? outcome : new Error(`not as promised: it is refused with ${reason}`);
}

function expect(kept, promise) {
  if (!kept) throw new Error(`not as promised: ${promise}`);
}

const people = [];
try {
  const target = { type: "string", default: process.env.FOUNDRY_TARGET || "127.0.0.1:50051" };
  const json = { type: "boolean", default: false };
  options = parseArgs({ options: { target, json } }).values;
  people.push(new Person("FOUNDRY_TOKEN_A"), new Person("FOUNDRY_TOKEN_B"));
  await play(...people);
} catch (error) {
  console.error(`${error}`);
  process.exitCode = 1;
} finally {
  for (const { session, foundry } of people) {
    session?.cut();
    foundry.close();
  }
}
