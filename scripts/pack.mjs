// Builds what is out of date and packs a release: one tarball that `npm install --global` turns
// into the command `troupe`. --json prints path, version, sha256 and sizeBytes as JSON.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const build = fileURLToPath(new URL('build.mjs', import.meta.url));

const compiled = (file) => import(new URL(`../${file}`, import.meta.url).href);

async function pack() {
  const { releaseTarball } = await compiled('apps/cli/dist/release.js');
  const { shellQuote } = await compiled('libs/config/dist/shell.js');
  const release = await releaseTarball(new AbortController().signal);
  const relative = path.relative(process.cwd(), release.path);
  const typed = shellQuote(relative.startsWith('..') ? release.path : `./${relative}`);
  process.stdout.write(process.argv.includes('--json') ? `${JSON.stringify(release)}\n` : report(release, typed));
}

/** @param {string} typed the tarball's path as a word for the shell */
function report({ path: tarball, sizeBytes, sha256 }, typed) {
  return [
    tarball,
    `${(sizeBytes / 1e6).toFixed(1)} MB, SHA-256 ${sha256}`,
    '',
    'Copy it to a machine with Node and npm, and type there, or here:',
    `  npm install --global ${typed}`,
    '',
  ].join('\n');
}

// A build that fails says why.
const { status } = spawnSync(process.execPath, [build], { stdio: ['ignore', 'ignore', 'inherit'] });
if (status === 0) {
  try {
    await pack();
  } catch (error) {
    if (typeof error?.remedy !== 'string') throw error;
    process.stderr.write(`${error.message}\n${error.remedy}\n`);
    process.exitCode = 1;
  }
} else {
  process.exitCode = 1;
}
