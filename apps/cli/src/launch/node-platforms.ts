/** Which Node a machine needs. */

/** The oldest version of Node that runs Troupe: major and minor. */
export const OLDEST_NODE = [20, 19] as const;

/** @param version "20.19.0" */
export function isNewEnough(version: string): boolean {
  const [major, minor] = version.split('.').map(Number);
  return major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
}

/** What a program of Node runs on, as nodejs.org names it: "linux-x64", "linux-arm64", "linux-x64-musl", "darwin-arm64". */
export type Platform = string;

const MACHINES: Readonly<Record<string, string>> = {
  x86_64: 'x64',
  amd64: 'x64',
  aarch64: 'arm64',
  i686: 'x86',
};

/** "Linux x86_64 musl", which a host says of itself, as a platform; undefined if the text is none. */
export function platformOf(text: string): Platform | undefined {
  const [, system, machine, musl = ''] = /^(\w+) (\w+)( musl)?$/.exec(text.trim()) ?? [];
  if (system === undefined) return undefined;
  return `${system.toLowerCase()}-${MACHINES[machine] ?? machine}${musl.replace(' ', '-')}`;
}

/** Where a person finds Node for a platform, and how to hand it over. */
export function fetchRemedy(platform: Platform): string {
  const isOfficial = !platform.endsWith('-musl') && !platform.endsWith('-glibc-217');
  const place = isOfficial ? 'https://nodejs.org/dist/latest-v22.x/' : 'https://unofficial-builds.nodejs.org/download/release/';
  return `Fetch node-v22.*-${platform}.tar.gz from ${place}, and give it with --with-node --node-from FILE.`;
}
