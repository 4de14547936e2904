/** The ssh command of a launch, and its failures in words. */
import { shellQuote } from '@troupe/config';
import type { Host } from './hosts.js';
import { fetchRemedy, OLDEST_NODE, platformOf } from './node-platforms.js';
import type { HostFault } from './wire.js';

export interface SshSettings {
  /** The program: "ssh", or a path. */
  readonly program: string;
  /** A file in place of ~/.ssh/config. */
  readonly config: string | undefined;
}

/**
 * These come first on the command line, so that no file and no later option changes them. Nobody can answer a question, so
 * there is none: an unknown host key and a password are errors.
 */
const OPTIONS = [
  'BatchMode=yes',
  'StrictHostKeyChecking=yes',
  'ConnectTimeout=10',
  'ServerAliveInterval=5',
  'ServerAliveCountMax=4',
  // What people's settings add for a terminal of their own would only disturb.
  'ClearAllForwardings=yes',
  'ControlMaster=no',
  'ForwardAgent=no',
  'ForwardX11=no',
  'LogLevel=ERROR',
  'RemoteCommand=none',
  'RequestTTY=no',
];

/**
 * Reads one line, which is a module in base64, runs it, and leaves the rest of standard input to it. Without single quotes, for the
 * shells on the way.
 */
const LOADER =
  'let b=Buffer.alloc(0);const s=process.stdin;s.on("readable",function f(){for(let c;(c=s.read())!==null;){b=Buffer.concat([b,c]);' +
  'const i=b.indexOf(10);if(i>=0){s.off("readable",f);s.unshift(b.subarray(i+1));' +
  'import("data:text/javascript;base64,"+b.subarray(0,i));return}}})';

const CACHE = '"${XDG_CACHE_HOME:-$HOME/.cache}"/troupe/launch';

/** Places of Node that are often missing in the PATH of a shell without a terminal, and last of all what a launch has brought. */
const NODES = [
  'node',
  '"$HOME"/.local/bin/node',
  '"$HOME"/.volta/bin/node',
  '"$HOME"/.nvm/versions/node/*/bin/node',
  `${CACHE}/node-*/bin/node`,
];

/**
 * Runs the loader ($1) with the node program $2 or, if that is empty, with the first of the following words and the usual places that is new
 * enough. One line without single quotes, backslashes and exclamation marks: it passes through the user's own shell, which may be csh or fish.
 */
const FIND_NODE = [
  'l=$1; m=$2; shift 2; if [ -n "$m" ]; then set -- "$m"; else set -- "$@"',
  NODES.join(' '),
  '; fi; o=; for n in "$@"; do v=$("$n" -p process.versions.node 2>/dev/null) || continue; a=${v%%.*}; b=${v#*.}; b=${b%%.*};',
  `if { [ "$a" -gt ${OLDEST_NODE[0]} ] || { [ "$a" -eq ${OLDEST_NODE[0]} ] && [ "$b" -ge ${OLDEST_NODE[1]} ]; }; } 2>/dev/null;`,
  'then exec "$n" -e "$l"; fi; o="$v $n"; done; u=$(uname -sm); for f in /lib/ld-musl-*; do [ -e "$f" ] && u="$u musl"; done;',
  'if [ -n "$o" ]; then echo "troupe:old_node $o on $u"; else echo "troupe:no_node $u"; fi',
].join(' ');

/**
 * Receives a tarball of Node on standard input, until its end, and puts it into the cache as node-$1. $2 prints the SHA-256 of the program that
 * runs it, so the host needs no other tool for that. One line without single quotes, backslashes and exclamation marks, like FIND_NODE.
 */
const RECEIVE_NODE = [
  `set -f; c=${CACHE}; n="$c/node-$1"; t="$c/.incoming-node-$$"; if [ -x "$n/bin/node" ]; then echo "troupe:node_ready"; exit; fi; umask 077;`,
  'e=$(mkdir -p "$t" 2>&1) || { echo troupe:no_permission $e; exit; }; echo "troupe:node_wanted";',
  'if e=$(tar -xzf - -C "$t" 2>&1); then :; else r=$?; rm -rf "$t"; case "$r $e" in 127*) f=no_tar;; *space*|*uota*) f=disk_full;;',
  '*) f=cannot_install;; esac; echo troupe:$f $e; exit; fi;',
  'v=$("$t/bin/node" --version 2>&1) || { rm -rf "$t"; echo troupe:bad_node $v; exit; };',
  'v=$("$t/bin/node" -p "$2" 2>&1); if [ "$v" != "$1" ]; then rm -rf "$t"; echo troupe:bad_copy $v; exit; fi;',
  'if [ -e "$n" ]; then rm -rf "$t"; else mv "$t" "$n"; fi; echo "troupe:node_ready"',
].join(' ');

const OWN_DIGEST = 'crypto.createHash("sha256").update(fs.readFileSync(process.execPath)).digest("hex")';

/** What the shell of the user runs on a host to receive Node. @param digest of the program */
export function receiveNodeCommand(digest: string): string {
  return `exec sh -c ${[RECEIVE_NODE, 'troupe', digest, OWN_DIGEST].map(quoteForShell).join(' ')}`;
}

/** A word of a command line that any shell of a user takes as it stands. */
function quoteForShell(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * A shell command that runs a program of Node.
 * @param node the node program; undefined = look for it
 * @param first places to look for it before the usual ones
 */
export function findNode(program: string, node: string | undefined, first: readonly string[] = []): string {
  return `sh -c ${[FIND_NODE, 'troupe', program, node ?? '', ...first].map(quoteForShell).join(' ')}`;
}

/** What the shell of the user runs on the host. @param node the node program; undefined = look for it */
export function remoteCommand(node: string | undefined): string {
  return `exec ${findNode(LOADER, node)}`;
}

/** Arguments for ssh. @param destination checked when the hosts file was read */
export function sshArguments(settings: SshSettings, destination: string, command: string): string[] {
  const options = OPTIONS.flatMap((option) => ['-o', option]);
  const config = settings.config === undefined ? [] : ['-F', settings.config];
  // Nothing after "--" is taken for an option.
  return [...options, ...config, '--', destination, command];
}

/** Why a host has no workers. Both texts are for people. */
export interface HostTrouble {
  readonly code: string;
  readonly why: string;
  /** Full sentences. */
  readonly remedy: string;
  /** The same attempt fails again until a person does something. */
  readonly lasting: boolean;
}

/** "ssh -F lab.config lab-01": what a person types to see for themselves. */
function typed(program: string, { config }: SshSettings, destination: string): string {
  return [program, ...(config === undefined ? [] : ['-F', shellQuote(config)]), destination].join(' ');
}

/** Why ssh has ended, by what it wrote to standard error. */
export function explainSsh(
  errors: readonly string[],
  host: Pick<Host, 'where'>,
  destination: string,
  ssh: SshSettings,
): HostTrouble {
  const text = errors.join('\n');
  const login = typed(shellQuote(ssh.program), ssh, destination);
  const known = keyTrouble(text, login) ?? loginTrouble(text, login, typed('ssh-copy-id', ssh, destination));
  if (known !== undefined) return { ...known, lasting: true };
  if (/Could not resolve hostname/i.test(text)) {
    const remedy = `Correct the name (${host.where ?? 'in the hosts file'}), or add it to ~/.ssh/config.`;
    return { code: 'unknown_host', why: 'no host of this name is found', remedy, lasting: true };
  }
  if (/Bad (configuration option|owner or permissions)|terminating, \d+ bad configuration|Can't open user config/i.test(text)) {
    return { code: 'ssh_settings', why: lastLine(text), remedy: 'Correct the settings of ssh.', lasting: true };
  }
  return networkTrouble(text, login);
}

type Known = Omit<HostTrouble, 'lasting'>;

function keyTrouble(text: string, login: string): Known | undefined {
  if (/HOST IDENTIFICATION HAS CHANGED/.test(text)) {
    const [remove = 'ssh-keygen -R HOST'] = /ssh-keygen -f .*/.exec(text) ?? [];
    return {
      code: 'host_key_changed',
      why: 'its host key is not the one that is known here: another machine answers, or it was installed again',
      remedy: `Ask who runs it. If it was installed again, type: ${remove.trim()}   and then, once: ${login}`,
    };
  }
  if (!/host key is known|Host key verification failed/i.test(text)) return undefined;
  return {
    code: 'host_key_unknown',
    why: 'its host key is not known here',
    remedy: `Type this once, compare the key that it shows, and answer yes: ${login}`,
  };
}

function loginTrouble(text: string, login: string, copyKey: string): Known | undefined {
  const [, methods] = /Permission denied \(([^)]*)\)/.exec(text) ?? [];
  if (methods !== undefined) {
    const isAsking = /password|keyboard-interactive/.test(methods);
    return {
      code: 'no_login',
      why: isAsking ? 'it asks for a password' : 'it accepts none of your keys',
      remedy: isAsking
        ? `Give it your key: ${copyKey}`
        : `Load the right key with ssh-add, or name it as IdentityFile in ~/.ssh/config, until this works: ${login}`,
    };
  }
  if (!/Too many authentication failures/.test(text)) return undefined;
  const remedy = `Name the right key as IdentityFile in ~/.ssh/config, with IdentitiesOnly yes, until this works: ${login}`;
  return { code: 'no_login', why: 'it was offered too many keys', remedy };
}

function networkTrouble(text: string, login: string): HostTrouble {
  const again = 'It is tried again.';
  if (/Connection refused/i.test(text)) {
    return {
      code: 'refused',
      why: 'no ssh server answers there',
      remedy: `Start sshd on it, or correct its port. ${again}`,
      lasting: false,
    };
  }
  if (/timed? ?out|No route to host|unreachable|is down/i.test(text)) {
    const remedy = `Switch it on, or check its name and the network. ${again}`;
    return { code: 'unreachable', why: 'it does not answer', remedy, lasting: false };
  }
  const last = lastLine(text);
  const why = last === '' ? 'the ssh link ended' : `the ssh link ended: ${last}`;
  return { code: 'link_lost', why, remedy: `${again} To see for yourself, type: ${login}`, lasting: false };
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}

/** What a host that answers lacks. @param detail what the host says */
export function explainFault(code: HostFault, detail: string, host: Pick<Host, 'node' | 'where'>): HostTrouble {
  const trouble = (why: string, remedy: string): HostTrouble => ({ code, why, remedy, lasting: true });
  const install =
    host.node === undefined
      ? 'Give --with-node, which brings Node along, or install Node 22 there from https://nodejs.org.'
      : 'Correct node=PATH in the hosts file, or leave it out and give --with-node, which brings Node along.';
  switch (code) {
    case 'no_node':
      return trouble(host.node === undefined ? 'it has no Node' : `it has no node program ${host.node}`, install);
    case 'old_node':
      return trouble(`its Node is too old: ${detail.replace(' ', ', ')}; ${OLDEST_NODE.join('.')} or later is needed`, install);
    case 'bad_node':
      return trouble(`the Node that was brought does not run there: ${detail}`, otherNodeRemedy(detail));
    case 'disk_full':
      return trouble(`its disk is full: ${detail}`, 'Free some space in ~/.cache there, or set XDG_CACHE_HOME for your logins.');
    case 'no_permission':
      return trouble(
        `it lets nobody write there: ${detail}`,
        'Make ~/.cache there writable, or set XDG_CACHE_HOME for your logins.',
      );
    case 'no_tar':
      return trouble('it has no tar', 'Install tar and gzip there.');
    case 'bad_copy':
      return { code, why: 'the release arrived damaged', remedy: 'It is copied again.', lasting: false };
    case 'other_release':
      return trouble('the release has no part that starts workers', 'Leave --release out, or make it again with this version.');
    case 'cannot_install':
      return trouble(
        `the release cannot be installed: ${detail}`,
        'Make sure that ~/.cache there is a folder of yours; if it is, remove ~/.cache/troupe/launch, and start again.',
      );
    default:
      return code satisfies never;
  }
}

/** @param detail what the Node wrote that does not run, and what its machine is: "... on Linux x86_64" */
function otherNodeRemedy(detail: string): string {
  const platform = platformOf(/ on (\w+ \w+(?: musl)?)$/.exec(detail)?.[1] ?? '') ?? 'linux-x64';
  // The builds of nodejs.org need the C library of 2018 or later.
  if (platform === 'linux-x64' && /GLIBC_/.test(detail))
    return `Its C library is too old for it. ${fetchRemedy(`${platform}-glibc-217`)}`;
  return `It needs libraries that this host lacks. ${fetchRemedy(platform)}`;
}
