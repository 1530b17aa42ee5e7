/** Files that mostly hold secrets, by their names. */
import type { ByteString } from "../base/tree.ts";

const SECRET_NAMES: readonly RegExp[] = [
  /^\.env($|\.)/,
  /\.env$/,
  /^\.envrc\.(local|private)$/,
  /\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk)$/,
  /^id_(rsa|dsa|ecdsa|ed25519)(_sk)?$/,
  /^\.(npmrc|pypirc|netrc|pgpass|htpasswd|git-credentials|dockercfg|s3cfg|boto)$/,
  /^_netrc$/,
  /^credentials(\.(json|ya?ml|toml|ini|csv))?$/,
  /^(service[-_]?account|client_secret)[^/]*\.json$/,
  /^secrets?\.(json|ya?ml|toml|env)$/,
  /^kubeconfig$/,
  /\.tfvars(\.json)?$/,
  /^terraform\.tfstate(\.backup)?$/,
];
/** What shows others which variables there are. */
const EXAMPLE = /[._-](example|sample|template|tmpl|dist|defaults?)$/;
/** Whole directories of them. */
const SECRET_DIRECTORIES = /(^|\/)(\.ssh|\.gnupg|\.aws|\.kube|\.docker)\//;

/** Whether a path looks like one that should not leave the host unasked. */
export function looksSecret(path: ByteString): boolean {
  const lower = path.toLowerCase();
  if (SECRET_DIRECTORIES.test(lower)) return true;
  const name = lower.slice(lower.lastIndexOf("/") + 1);
  return SECRET_NAMES.some((pattern) => pattern.test(name)) && !EXAMPLE.test(name);
}
