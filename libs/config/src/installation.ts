import { shellQuote } from './shell.js';

/**
 * How this copy of Troupe came onto the machine: as a clone of the repository, or as the package
 * that `npm run pack` makes. People type other commands in each.
 */
export interface Installation {
  readonly kind: 'clone' | 'package';
  /** What to type before a command on another machine, which has a copy of the same kind. */
  readonly program: string;
  /** A sentence for missing files: how to get them back. */
  readonly restore: string;
  /** The command that compiles the native engine, which `script` does. */
  compile(script: string): string;
  /** The command that installs npm packages where this copy finds them. */
  install(...packages: readonly string[]): string;
}

/** @param moduleUrl import.meta.url of any compiled module of Troupe */
export function installationAt(moduleUrl: string): Installation {
  const parent = /^(.*)\/node_modules\/troupe\//.exec(pathOf(moduleUrl))?.[1];
  return parent === undefined ? CLONE : packageIn(parent);
}

const CLONE: Installation = {
  kind: 'clone',
  program: 'npm run troupe --',
  restore: 'Run "npm run build" in the folder of the project.',
  compile: () => 'npm run build',
  install: (...packages) => `npm install --no-save ${packages.join(' ')}`,
};

/** @param parent the folder whose node_modules/ has Troupe */
function packageIn(parent: string): Installation {
  const where = installFlags(parent);
  return {
    kind: 'package',
    program: 'troupe',
    restore: 'Install Troupe again from its tarball: files are missing.',
    compile: (script) => `node ${shellQuote(script)} --verbose`,
    install: (...packages) => `npm install ${where} ${packages.join(' ')}`,
  };
}

/** A global installation is in PREFIX/lib/node_modules, and on Windows in PREFIX/node_modules. */
function installFlags(parent: string): string {
  const prefix = /^[A-Za-z]:/.test(parent) ? parent : /^(.*)\/lib$/.exec(parent)?.[1];
  return prefix === undefined ? `--prefix ${shellQuote(parent)}` : `--global --prefix ${shellQuote(prefix || '/')}`;
}

/** The path of a file: URL, with slashes on Windows too. */
function pathOf(url: string): string {
  return decodeURIComponent(url).replace(/^file:\/\/(\/(?=[A-Za-z]:))?/, '');
}
