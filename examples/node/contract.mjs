/** The contract, read from the plain `.proto` files at run time. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import protoLoader from "@grpc/proto-loader";

const PACKAGE = "coreason/foundry/v1";
const repository = fileURLToPath(new URL("../..", import.meta.url));

const OPTIONS = {
  keepCase: true, // names as in the contract
  longs: String, // a double holds no int64: compare with BigInt, send strings
  enums: String, // LOCK_RELEASE_REASON_SAVE instead of 1; a value that is newer than the files stays a number
  defaults: true,
  oneofs: true, // `event.event` names the arm that is set; it is absent when the arm is newer than the files
  json: true, // what google.protobuf.Any carries is decoded, if the files know it: the details of errors
};

/**
 * Every service and message by full name.
 *
 * @param {string} protos Folder with `coreason/foundry/v1`.
 * @param {string} googleapis Folder with `google/api` and `google/rpc`. `make proto-deps` makes the default one; a
 *   checkout of googleapis, or wherever the wheel googleapis-common-protos is installed, will do as well.
 */
export function loadContract({
  protos = process.env.FOUNDRY_PROTOS || join(repository, "protos"),
  googleapis = process.env.FOUNDRY_GOOGLEAPIS || join(repository, "third_party/googleapis"),
} = {}) {
  if (!existsSync(join(googleapis, "google/rpc/status.proto"))) {
    throw new Error(`no google/rpc/status.proto in ${googleapis}: run \`make proto-deps\`, or set FOUNDRY_GOOGLEAPIS`);
  }
  const ours = readdirSync(join(protos, PACKAGE)).filter((name) => name.endsWith(".proto"));
  const files = [...ours.map((name) => `${PACKAGE}/${name}`), "google/rpc/error_details.proto"];
  return protoLoader.loadSync(files, { ...OPTIONS, includeDirs: [protos, googleapis] });
}

/** Milliseconds of a google.protobuf.Duration; null means 0. */
export const milliseconds = (duration) => Number(duration?.seconds ?? 0) * 1000 + (duration?.nanos ?? 0) / 1e6;
