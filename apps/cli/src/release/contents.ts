/**
 * What a release consists of. The workspaces keep their places: apps find each other's files by
 * relative paths. Libraries and third-party packages are bundled dependencies in node_modules/, so
 * an installation takes nothing from the network. Optional packages are left to the user: npm
 * would look for them, and retries for five minutes where it does not reach the registry.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { ReleaseFile } from './archive.js';
import { placePackages, readManifest, type Manifest, type Need, type Packages, type Ranges } from './bundle.js';

/** A workspace that is part of the release. */
interface Workspace {
  readonly manifest: Manifest;
  readonly folder: string;
  /** Its place in the release. */
  readonly place: string;
  /** A page is built with all that it imports, and needs no packages at run time. */
  readonly isPage: boolean;
}

/** Lists the files of a release, so that an installation knows which of its files it came with. */
export const LIST = 'release.json';

/** Optional packages that have their binaries for all platforms inside. */
const BUNDLED_OPTIONS = ['bufferutil'];

/** Compiles the native engine where npm installs the package. It ends well without a compiler. */
const INSTALL = 'node node_modules/@troupe/native/scripts/build.mjs --verbose';

/** @param root the folder of a clone, which is built */
export async function filesOfClone(root: string, signal: AbortSignal): Promise<ReleaseFile[]> {
  const workspaces = await workspacesOf(root);
  const packages = packagesBelow(root);
  const placed = await placePackages(thirdParty(workspaces), packages);
  const manifest = releaseManifest(await readManifest(root), workspaces, [...placed.keys()]);
  const files = [
    json('package.json', manifest),
    ...(await read(root, '', ['LICENSE', 'README.md'], signal)),
    ...(await each(workspaces, (workspace) => filesOfWorkspace(workspace, signal))),
    ...(await each([...placed], ([place, folder]) => filesOfPackage(place, folder, signal))),
  ];
  const list = { files: [...files.map((file) => file.path), LIST].sort() };
  return withModes([...files, json(LIST, list)], manifest.bin);
}

/** @param root the folder of an installed package */
export async function filesOfInstallation(root: string, signal: AbortSignal): Promise<ReleaseFile[]> {
  const list = JSON.parse(await readFile(path.join(root, LIST), 'utf8')) as { readonly files: readonly string[] };
  const { bin = {} } = await readManifest(root);
  return withModes(await read(root, '', list.files, signal), bin);
}

/** Marks the commands as programs. */
function withModes(files: readonly ReleaseFile[], bin: Ranges): ReleaseFile[] {
  const programs = Object.values(bin);
  return files.map((file) => (programs.includes(file.path) ? { ...file, executable: true } : file));
}

/** Apps, and the libraries that they need at run time. */
async function workspacesOf(root: string): Promise<Workspace[]> {
  const all = [...(await workspacesIn(root, 'apps')), ...(await workspacesIn(root, 'libs'))];
  const byName = new Map(all.map((workspace) => [workspace.manifest.name, workspace]));
  const used = new Set(all.filter(({ place }) => place.startsWith('apps/')));
  for (const { manifest, isPage } of used) {
    // A set is iterated in the order of insertion, additions included.
    for (const name of isPage ? [] : Object.keys(manifest.dependencies ?? {})) {
      const library = byName.get(name);
      if (library !== undefined) used.add(library);
    }
  }
  return [...used];
}

async function workspacesIn(root: string, group: 'apps' | 'libs'): Promise<Workspace[]> {
  const entries = await readdir(path.join(root, group), { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const folders = names.sort().map((name) => path.join(root, group, name));
  return Promise.all(
    folders.map(async (folder) => {
      const manifest = await readManifest(folder);
      const place = group === 'apps' ? `apps/${path.basename(folder)}` : `node_modules/${manifest.name}`;
      return { manifest, folder, place, isPage: existsSync(path.join(folder, 'page.json')) };
    }),
  );
}

const isOurs = (name: string) => name.startsWith('@troupe/');

function thirdParty(workspaces: readonly Workspace[]): Need[] {
  return workspaces
    .filter(({ isPage }) => !isPage)
    .flatMap(({ manifest, folder }) => Object.keys(bundledRanges(manifest)).map((name) => ({ name, by: folder })));
}

/** The third-party packages of a workspace that the release contains. */
function bundledRanges({ dependencies = {}, optionalDependencies = {} }: Manifest): Ranges {
  return {
    ...pick(dependencies, (name) => !isOurs(name)),
    ...pick(optionalDependencies, (name) => BUNDLED_OPTIONS.includes(name)),
  };
}

/** Those that users may add: engines and links that need large packages. */
function optionalRanges({ peerDependencies = {}, optionalDependencies = {} }: Manifest): Ranges {
  return { ...peerDependencies, ...pick(optionalDependencies, (name) => !BUNDLED_OPTIONS.includes(name)) };
}

function pick(ranges: Ranges, isWanted: (name: string) => boolean): Ranges {
  return Object.fromEntries(Object.entries(ranges).filter(([name]) => isWanted(name)));
}

function packagesBelow(root: string): Packages {
  return {
    async find({ name, by }) {
      for (let folder = by; ; folder = path.dirname(folder)) {
        const candidate = path.join(folder, 'node_modules', name);
        if (existsSync(path.join(candidate, 'package.json'))) return candidate;
        if (folder === root) throw new Error(`the package ${name}, which ${by} needs, is not installed`);
      }
    },
    async needs(folder) {
      const { dependencies = {}, optionalDependencies = {} } = await readManifest(folder);
      return Object.keys(dependencies).filter((name) => !(name in optionalDependencies));
    },
  };
}

/** The manifest of the release. Every version in it comes from the workspaces. */
export function releaseManifest(root: Manifest, workspaces: readonly Workspace[], places: readonly string[]) {
  const running = workspaces.filter(({ isPage }) => !isPage);
  const libraries = running.filter(({ place }) => place.startsWith('node_modules/')).map(({ manifest }) => manifest);
  const own = Object.fromEntries(libraries.map(({ name, version }) => [name, version]));
  const manifests = running.map(({ manifest }) => manifest);
  const options = merged(manifests.map(optionalRanges));
  const top = places.filter((place) => !place.includes('/node_modules/')).map((place) => place.slice('node_modules/'.length));
  const { name, version, description, license, type, engines } = root;
  return {
    ...{ name, version, private: true, description, license, type, engines },
    bin: commandsOf(running),
    scripts: { install: INSTALL },
    dependencies: { ...own, ...merged(manifests.map(bundledRanges)) },
    peerDependencies: options,
    peerDependenciesMeta: Object.fromEntries(Object.keys(options).map((option) => [option, { optional: true }])),
    bundleDependencies: [...libraries.map((library) => library.name), ...top].sort(),
  };
}

function commandsOf(workspaces: readonly Workspace[]): Ranges {
  return Object.fromEntries(
    workspaces.flatMap(({ manifest, place }) =>
      Object.entries(manifest.bin ?? {}).map(([command, file]) => [command, path.posix.join(place, file)]),
    ),
  );
}

/** Third-party packages and their versions. @throws Error if two workspaces name different versions of a package */
function merged(each: readonly Ranges[]): Ranges {
  const all: Record<string, string> = {};
  for (const [name, range] of each.flatMap((ranges) => Object.entries(ranges))) {
    if ((all[name] ?? range) !== range) throw new Error(`the workspaces name ${name} as ${all[name]} and as ${range}`);
    all[name] = range;
  }
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What the compiler and the native build leave in dist/ and nobody runs. */
const NOT_RUN = /\.(d\.ts|map|tsbuildinfo|node|stamp)$/;

async function filesOfWorkspace(workspace: Workspace, signal: AbortSignal): Promise<ReleaseFile[]> {
  const { manifest, folder, place, isPage } = workspace;
  const found = await each(manifest.files ?? ['dist'], (part) => filesBelow(folder, part));
  const files = found.filter((file) => !NOT_RUN.test(file) && (isPage || isCurrent(folder, file)));
  return [json(`${place}/package.json`, workspaceManifest(manifest)), ...(await read(folder, place, files, signal))];
}

/** Without the dependencies, which the manifest of the release names, and without the sources. */
function workspaceManifest({ name, version, type, exports }: Manifest): object {
  const doors = Object.entries(exports ?? {}).map(([door, conditions]) => [door, conditions.default]);
  return {
    name,
    version,
    private: true,
    type,
    ...(exports === undefined ? {} : { exports: Object.fromEntries(doors) as object }),
  };
}

/** Whether a file was not compiled from a source that is gone by now. */
function isCurrent(folder: string, file: string): boolean {
  const source = file.replace(/^dist\/(.*)\.js$/, 'src/$1.ts');
  return source === file || existsSync(path.join(folder, source));
}

/** Programs, their data, headers for the native build, and licenses. */
const RUN = /(\.([cm]?js|json|node|h)|(^|\/)(licen[cs]e|copying|notice)[^/]*)$/i;

async function filesOfPackage(place: string, folder: string, signal: AbortSignal): Promise<ReleaseFile[]> {
  const files = (await filesBelow(folder, '.')).filter((file) => RUN.test(file) && !file.includes('node_modules/'));
  const others = files.filter((file) => file !== 'package.json');
  return [json(`${place}/package.json`, await bundledManifest(folder)), ...(await read(folder, place, others, signal))];
}

/** The package's own manifest, without what would make npm run its scripts or look for its optional packages. */
async function bundledManifest(folder: string): Promise<object> {
  const left = ['scripts', 'devDependencies', 'optionalDependencies'];
  return Object.fromEntries(Object.entries(await readManifest(folder)).filter(([field]) => !left.includes(field)));
}

/** Paths relative to `folder`, with slashes. */
async function filesBelow(folder: string, part: string): Promise<string[]> {
  const entries = await readdir(path.join(folder, part), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
    .sort();
}

function read(folder: string, place: string, files: readonly string[], signal: AbortSignal): Promise<ReleaseFile[]> {
  return Promise.all(
    files.map(async (file) => ({
      path: path.posix.join(place, file),
      bytes: await readFile(path.join(folder, file), { signal }),
    })),
  );
}

function json(name: string, value: object): ReleaseFile {
  return { path: name, bytes: Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`) };
}

async function each<T, R>(items: readonly T[], action: (item: T) => Promise<readonly R[]>): Promise<R[]> {
  return (await Promise.all(items.map(action))).flat();
}
