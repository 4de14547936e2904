/** Reads what is under deploy/, and the tools that check it. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { root } from '../e2e/troupe.js';

export const deploy = path.join(root, 'deploy');

export const read = (file: string): string => readFileSync(path.join(deploy, file), 'utf8');

/** One document. `<<` merges, as in Compose. */
export const readYaml = (file: string): unknown => parse(read(file), { merge: true });

/** Files below deploy/, relative to it. */
export const files = (): string[] =>
  readdirSync(deploy, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(deploy, path.join(entry.parentPath, entry.name)))
    .sort();

export const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };

/** Whether a command can be run: a test without its tool is skipped, and its name says which one it needs. */
export function has(command: string, ...args: string[]): boolean {
  return spawnSync(command, args.length > 0 ? args : ['--version'], { stdio: 'ignore' }).status === 0;
}

/** What a command prints, on both outputs, and how it ends. */
export function call(command: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000, ...options });
  return { status, output: `${stdout}${stderr}` };
}

/** What this project reads of a Kubernetes object. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  // Each kind has another one, and the compiler compares them all with the types of the API.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly spec: Record<string, any>;
  readonly data?: Record<string, string>;
}

export const hasKubectl = has('kubectl', 'kustomize', path.join(deploy, 'kubernetes/base'));

/** The objects of a kustomization, as `kubectl apply --kustomize` would create them. */
export function rendered(folder: string): Manifest[] {
  const { status, output } = call('kubectl', ['kustomize', path.join(deploy, 'kubernetes', folder)]);
  if (status !== 0) throw new Error(output);
  return manifestsIn(output);
}

/** The objects in the files of the base, before its kustomization changes them. */
export function written(): Manifest[] {
  const { resources } = readYaml('kubernetes/base/kustomization.yaml') as { resources: string[] };
  return resources.flatMap((file) => manifestsIn(read(`kubernetes/base/${file}`)));
}

const manifestsIn = (text: string): Manifest[] => parseAllDocuments(text).map((document) => document.toJS() as Manifest);
