/** What a refusal means: one class for statuses of calls and for errors in replies. */

import grpc from "@grpc/grpc-js";

import { milliseconds } from "./contract.mjs";

const DOMAIN = "foundry.coreason.ai";

/**
 * A call or command was refused, or a stream ended.
 *
 * `reason` is stable and documented in error_reason.proto, as are the keys of `metadata`; it is empty when something
 * between us and the server failed. The sentence in `message` is for people and may change.
 */
export class FoundryError extends Error {
  /** @param {{code: number, message: string, details: object[]}} status A decoded google.rpc.Status. */
  constructor({ code, message, details = [] }) {
    const detail = (type) => details.find((any) => any["@type"] === `type.googleapis.com/google.rpc.${type}`);
    const info = detail("ErrorInfo");
    const ours = info?.domain === DOMAIN; // a proxy has reasons of its own
    super(message);
    this.name = "FoundryError";
    this.code = code;
    this.reason = ours ? info.reason : "";
    this.metadata = ours ? info.metadata : {};
    this.violations = detail("BadRequest")?.field_violations ?? detail("PreconditionFailure")?.violations ?? [];
    const retry = detail("RetryInfo");
    this.retryAfterMs = retry ? milliseconds(retry.retry_delay) : null;
  }

  toString() {
    return `${this.reason || grpc.status[this.code]}: ${this.message}`;
  }
}

/** The error that a status of gRPC means. Its details are in a trailer. */
export function fromTrailers(contract, { code, details, metadata }) {
  const [trailer] = metadata.get("grpc-status-details-bin");
  if (!trailer) return new FoundryError({ code, message: details });
  return new FoundryError(contract["google.rpc.Status"].deserialize(trailer));
}

const FINAL_REASONS = ["SESSION_SUPERSEDED", "SESSION_ENDED", "ACCESS_LOST"];
const FINAL_CODES = [
  grpc.status.INVALID_ARGUMENT,
  grpc.status.PERMISSION_DENIED,
  grpc.status.UNAUTHENTICATED, // come back with another token
  grpc.status.NOT_FOUND,
  grpc.status.FAILED_PRECONDITION,
  grpc.status.UNIMPLEMENTED,
];

/** Whether a session may be opened again after its stream ended with this error, or with none. */
export function mayReconnect(error) {
  if (error?.reason === "RESUME_REFUSED") return true; // as a new session: with the position, without the secret
  return !error || !(FINAL_REASONS.includes(error.reason) || FINAL_CODES.includes(error.code));
}

/** Full jitter: at random within a window that doubles with each failure. */
export const backoffMs = (failures) => Math.random() * Math.min(4_000, 500 * 2 ** failures);
