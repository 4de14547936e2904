/** Finds the third-party packages that a release contains, and where each lies in it. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** What this project reads of a package.json. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly type?: string;
  readonly files?: readonly string[];
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly dependencies?: Ranges;
  readonly optionalDependencies?: Ranges;
  readonly peerDependencies?: Ranges;
  readonly description?: string;
  readonly license?: string;
  readonly engines?: Ranges;
}

/** Package names and versions: { "ws": "^8.23.0" }. */
export type Ranges = Readonly<Record<string, string>>;

export async function readManifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** A package that someone needs. */
export interface Need {
  readonly name: string;
  /** The folder of the package that imports it. */
  readonly by: string;
}

/** How packages are found on the disk; tests replace it. */
export interface Packages {
  /** The folder of the package that code in `by` gets when it imports `name`. */
  find(need: Need): Promise<string>;
  /** The names of the packages that the package in `folder` cannot do without. */
  needs(folder: string): Promise<readonly string[]>;
}

/**
 * Where each package lies in a release: "node_modules/ws" -> its folder on this disk. The packages
 * of `direct` lie at the top. Others do too if they can; one that another version keeps from there
 * lies inside the package that needs it.
 */
export async function placePackages(direct: readonly Need[], packages: Packages): Promise<ReadonlyMap<string, string>> {
  const placed = await placeDirect(direct, packages);
  const queue = [...placed].map(([place, folder]) => ({ place, folder }));
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    for (const name of await packages.needs(next.folder)) {
      const folder = await packages.find({ name, by: next.folder });
      const seen = visibleFrom(next.place, name, placed);
      if (seen !== undefined && placed.get(seen) === folder) continue;
      const place = `${seen === undefined ? '' : `${next.place}/`}node_modules/${name}`;
      placed.set(place, folder);
      queue.push({ place, folder });
    }
  }
  return placed;
}

async function placeDirect(direct: readonly Need[], packages: Packages): Promise<Map<string, string>> {
  const placed = new Map<string, string>();
  for (const need of direct) {
    const place = `node_modules/${need.name}`;
    const folder = await packages.find(need);
    const other = placed.get(place) ?? folder;
    if (other !== folder) throw new Error(`the workspaces use two versions of ${need.name}: ${other} and ${folder}`);
    placed.set(place, folder);
  }
  return placed;
}

/** The place of the package that code at `place` gets when it imports `name`: Node looks inside first, then further out. */
function visibleFrom(place: string, name: string, placed: ReadonlyMap<string, string>): string | undefined {
  for (let within = place; ; within = within.slice(0, Math.max(0, within.lastIndexOf('/node_modules/')))) {
    const candidate = `${within}/node_modules/${name}`.replace(/^\//, '');
    if (placed.has(candidate)) return candidate;
    if (within === '') return undefined;
  }
}
