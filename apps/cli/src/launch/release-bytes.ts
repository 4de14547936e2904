/** A release, and the compiled modules of this copy that install one elsewhere. */
import { utimesSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A release in memory. */
export interface ReleaseBytes {
  readonly sha256: string;
  readonly bytes: Buffer;
}

/** The path of a compiled module of this folder. */
export function compiled(name: string): string {
  return fileURLToPath(new URL(`../../dist/launch/${name}.js`, import.meta.url));
}

/** The path of the same module in a release. */
export function inRelease(name: string): string {
  return `apps/cli/dist/launch/${name}.js`;
}

/** Installers remove a release that nobody has marked for hours. */
export const MARK_MS = 60 * 60_000;

/** Shows installers that a release is in use. */
export function markUsed(folder: string): void {
  try {
    utimesSync(folder, new Date(), new Date());
  } catch {
    // A folder that cannot be written to is never pruned either.
  }
}
